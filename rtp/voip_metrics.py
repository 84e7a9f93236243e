# SPDX-License-Identifier: GPL-2.0-or-later
"""The VoIP Metrics block of an extended report (RFC 3611 4.7): how one end hears a call.

 0                   1                   2                   3
 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
|     BT=7      |   reserved    |       block length = 8        |
|                        SSRC of source                         |
|   loss rate   | discard rate  | burst density |  gap density  |
|       burst duration          |         gap duration          |
|     round trip delay          |       end system delay        |
| signal level  |  noise level  |     RERL      |     Gmin      |
|   R factor    | ext. R factor |    MOS-LQ     |    MOS-CQ     |
|   RX config   |   reserved    |          JB nominal           |
|          JB maximum           |          JB abs max           |
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
"""

from __future__ import annotations

import dataclasses
import struct

UNKNOWN = 127
"An R factor, MOS, level or RERL that is not known."

_BODY = struct.Struct("!I4B4H4B4B2B3H")


@dataclasses.dataclass(frozen=True, slots=True)
class VoipMetrics:
    """One block; all figures are since the start of reception."""

    ssrc: int
    "the source that is reported on"
    loss_rate: int = 0
    "packets that the network lost, in 1/256"
    discard_rate: int = 0
    "packets that came too late to be heard, in 1/256"
    burst_density: int = 0
    "lost or discarded within bursts, in 1/256"
    gap_density: int = 0
    "the same between bursts"
    burst_ms: int = 0
    "mean"
    gap_ms: int = 0
    "mean"
    round_trip_ms: int = 0
    end_system_ms: int = 0
    signal_dbm0: int = UNKNOWN
    "signed"
    noise_dbm0: int = UNKNOWN
    "signed"
    echo_return_loss_db: int = UNKNOWN
    gmin: int = 16
    r_factor: int = UNKNOWN
    external_r_factor: int = UNKNOWN
    mos_lq: int = UNKNOWN
    "listening quality, times ten"
    mos_cq: int = UNKNOWN
    "conversational quality, which delay lowers, times ten"
    rx_config: int = 0
    "0xC0 concealment, 0x30 jitter buffer, 0x0F its speed (4.7.7)"
    nominal_ms: int = 0
    "jitter buffer"
    maximum_ms: int = 0
    absolute_maximum_ms: int = 0

    @classmethod
    def parse(cls, kind: int, specific: int, body: bytes) -> VoipMetrics | None:
        """From the body of a block; None if its length is impossible."""
        if len(body) != _BODY.size:
            return None
        words = list(_BODY.unpack(body))
        del words[18]  # reserved
        for level in (9, 10):
            words[level] -= (words[level] & 0x80) << 1
        return cls(*words)

    def __bytes__(self) -> bytes:
        words = list(dataclasses.astuple(self))
        words[9] &= 0xFF
        words[10] &= 0xFF
        words.insert(18, 0)
        return struct.pack("!BBH", 7, 0, 8) + _BODY.pack(*words)

    @property
    def r_or_none(self) -> float | None:
        """R factor, where the peer knows it."""
        return float(self.r_factor) if self.r_factor <= 100 else None

    @property
    def mos_or_none(self) -> float | None:
        """Conversational MOS, else listening MOS, where the peer knows one."""
        for value in (self.mos_cq, self.mos_lq):
            if 10 <= value <= 50:
                return value / 10
        return None
