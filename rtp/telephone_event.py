# SPDX-License-Identifier: GPL-2.0-or-later
"""The payload of a telephone-event packet (RFC 4733 2.3).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |     event     |E|R| volume    |          duration             |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

Which packets make up a press is the matter of `dtmf.py`.
"""

from __future__ import annotations

import dataclasses
import struct

DIGITS = "0123456789*#ABCD"
"Digits by event code, 0 to 15 (RFC 4733 3.2)."

MAX_DURATION_TS = 0xFFFF
"What the field can say; a longer press goes on in another segment (2.5.1.3)."

MAX_EVENTS = 4
"""Of one packet that are looked at: so many presses, of 40 ms each and as much between them, take 0.3 s, and no packet
holds more audio.  A packet of 1,400 bytes has room for 350."""

DEFAULT_VOLUME = 10
"We send -10 dBm0, the usual level of a telephone's keys."


@dataclasses.dataclass(frozen=True, slots=True)
class TelephoneEvent:
    """One payload of four bytes."""

    code: int
    "0..15 digits; other codes are flash, modem and fax signals"
    end: bool
    duration_ts: int
    "since the packet's timestamp, in its ticks, 0..0xFFFF"
    volume: int = DEFAULT_VOLUME
    "power in -dBm0, 0..63"

    @classmethod
    def parse(cls, payload: bytes) -> TelephoneEvent | None:
        """Read the first event of a payload; None when it is too short."""
        if len(payload) < 4:
            return None
        code, flags, duration = struct.unpack_from("!BBH", payload)
        return cls(code, bool(flags & 0x80), duration, flags & 0x3F)

    @classmethod
    def parse_all(cls, payload: bytes) -> list[TelephoneEvent]:
        """All events of a payload: short ones that followed one another may share a packet (2.5.1.5).

        Each begins where the one before it ended, so that one must have ended and lasted.  What does not
        fit this is padding of a careless sender, not another digit.  One more than `MAX_EVENTS` at most.
        """
        first = cls.parse(payload)
        if first is None:
            return []
        events = [first]
        for start in range(4, min(len(payload) - 3, 4 * MAX_EVENTS + 1), 4):
            event = cls.parse(payload[start : start + 4])
            if event is None or not (events[-1].end and events[-1].duration_ts and event.duration_ts):
                break
            events.append(event)
        return events

    def __bytes__(self) -> bytes:
        return struct.pack("!BBH", self.code, self.end << 7 | self.volume, self.duration_ts)
