# SPDX-License-Identifier: GPL-2.0-or-later
"""How we send Opus: what we want, what the peer asks for, and what the network bears.

**Loss.** RTCP reports how much of our stream the peer lost.  The estimate goes up to what
is reported at once, and comes down by a quarter of the difference with each report, so that
one good report after a bad one changes little.  In-band FEC, a coarse copy of each frame in
the packet after it, is on from 1 % and off again below 0.4 %.  It is paid for: the bit rate
rises by half, or else libopus takes the copy's bits from the sound itself.  With 3 and 10 %
of packets lost, speech at 16 kHz had a MOS (PESQ) of 3.6 and 3.1 without more bits, 4.0 and
3.7 with a quarter, 4.2 and 4.0 with half.  From 10 % on, loss is congestion as likely as bad
luck, and more bits do not help against that: the bit rate comes down by degrees, to three
quarters of what is wanted at 30 %.

A peer that wants a constant bit rate gets one, whatever it loses; nobody gets more than
its `maxaveragebitrate`, and a peer that cannot use FEC gets none.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

from trunkline.rtp.opus_fmtp import BITRATES_BPS, OpusFmtp

FEC_ON_PERCENT = 1.0
FEC_OFF_PERCENT = 0.4
"one packet of 5 s, the usual time between reports, is 0.4 % of those of 20 ms"
FORGET = 0.25
"of the difference, with each report: from 5 % FEC goes off after nine reports without loss"
FEC_SHARE = 1.5
"with the headers of a packet of 20 ms, that is 30 % more on the wire, and still less than G.711"
CONGESTED_PERCENT = (10, 30)
CONGESTED_SHARE = 0.75

_WANTED_BPS = {8000: 16000, 12000: 20000, 16000: 24000, 24000: 28000, 48000: 32000}
"by bandwidth; the upper end of what RFC 7587 3.1.1 calls the sweet spot for speech, with room for FEC"


@dataclasses.dataclass(frozen=True, slots=True)
class OpusSettings:
    """What the configuration says of Opus."""

    complexity: int = 5
    """0 to 10: how hard the encoder tries.  Speech at 16 kHz had a MOS (PESQ) of 4.23 with 0, 4.37 with 5 and
    4.41 with 10, which takes twice the CPU of 5 (`make bench-opus`)."""
    bitrate_bps: int = 0
    "6000 to 510000; 0: 16000 for narrow band to 32000 for full band, as the sample rate is"
    fec: bool = True
    "in-band FEC for peers that can use it, while they lose packets"
    dtx: bool = False
    "leave out packets of silence; also done for a peer that asks for it"

    def __post_init__(self) -> None:
        if not 0 <= self.complexity <= 10:
            raise ValueError(f"complexity of Opus is 0 to 10, not {self.complexity}")
        if self.bitrate_bps and self.bitrate_bps not in BITRATES_BPS:
            raise ValueError(
                f"bit rate of Opus is {BITRATES_BPS[0]} to {BITRATES_BPS[-1]}, or 0 for its own choice, "
                f"not {self.bitrate_bps}"
            )


class Sending(NamedTuple):
    """Settings of one encoder, but for complexity, which all share."""

    bandwidth_hz: int
    bitrate_bps: int
    vbr: bool
    dtx: bool
    fec: bool
    loss_percent: int


class Loss(NamedTuple):
    """What is known of the loss of one stream."""

    percent: float = 0.0
    fec: bool = False
    "worth its bits"

    def after(self, reported_percent: float) -> Loss:
        """With one more report."""
        reported = min(max(reported_percent, 0.0), 100.0)
        percent = max(reported, self.percent + (reported - self.percent) * FORGET)
        return Loss(percent, percent >= (FEC_OFF_PERCENT if self.fec else FEC_ON_PERCENT))


def sending(settings: OpusSettings, rate_hz: int, peer: OpusFmtp, loss: Loss) -> Sending:
    """The settings for PCM of that rate, to that peer, over that network."""
    bandwidth_hz = min(rate_hz, peer.bandwidth_hz)
    fec = settings.fec and peer.use_inband_fec and loss.fec
    percent = math.ceil(loss.percent) if fec else 0
    wanted = settings.bitrate_bps or _WANTED_BPS[bandwidth_hz]
    if not peer.cbr:
        wanted = round(wanted * _share(math.ceil(loss.percent), fec=fec))
    bitrate = max(peer.bitrate_bps(wanted), BITRATES_BPS[0])
    return Sending(bandwidth_hz, bitrate, not peer.cbr, settings.dtx or peer.use_dtx, fec, percent)


def _share(percent: int, *, fec: bool) -> float:
    """Bit rate, as a share of what is wanted without loss."""
    most = FEC_SHARE if fec else 1.0
    first, last = CONGESTED_PERCENT
    congested = min(max((percent - first) / (last - first), 0.0), 1.0)
    return most - (most - CONGESTED_SHARE) * congested
