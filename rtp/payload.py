# SPDX-License-Identifier: GPL-2.0-or-later
"""Payload formats: what a payload type number means (RFC 3551, RFC 4733).

A format keeps three things apart that are easily confused: the RTP clock, the
rate of the samples, and the payload type number on the wire.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class PayloadFormat:
    """One encoding as SDP names it."""

    name: str
    "encoding name of a=rtpmap, upper case"
    clock_hz: int
    "RTP timestamp clock"
    sample_rate_hz: int
    "rate of the samples; not the clock for G.722"
    static_pt: int | None = None
    "RFC 3551 payload type, None if dynamic"
    channels: int = 1
    bits_per_sample: int = 0
    "on the wire, for encodings of a fixed rate; 0 for variable ones"

    @property
    def rtpmap(self) -> str:
        """As a=rtpmap spells it: `PCMU/8000`, `telephone-event/8000`."""
        name = self.name.lower() if self.name == "TELEPHONE-EVENT" else self.name
        return f"{name}/{self.clock_hz}" + (f"/{self.channels}" if self.channels > 1 else "")


PCMU = PayloadFormat("PCMU", 8000, 8000, 0, bits_per_sample=8)
PCMA = PayloadFormat("PCMA", 8000, 8000, 8, bits_per_sample=8)
TELEPHONE_EVENT = PayloadFormat("TELEPHONE-EVENT", 8000, 8000)
COMFORT_NOISE = PayloadFormat("CN", 8000, 8000, 13)

AUDIO_FORMATS: dict[str, PayloadFormat] = {f.name: f for f in (PCMU, PCMA)}
"""Speech encodings that the gateway can carry, by name."""


def audio_format(name: str, clock_hz: int, channels: int = 1) -> PayloadFormat | None:
    """The speech encoding that an a=rtpmap means, or None if we carry no such thing."""
    found = AUDIO_FORMATS.get(name.upper())
    if found is None or (found.clock_hz, found.channels) != (clock_hz, channels):
        return None
    return found


STATIC_NAMES: dict[int, tuple[str, int, int]] = {
    0: ("PCMU", 8000, 1),
    3: ("GSM", 8000, 1),
    4: ("G723", 8000, 1),
    5: ("DVI4", 8000, 1),
    6: ("DVI4", 16000, 1),
    7: ("LPC", 8000, 1),
    8: ("PCMA", 8000, 1),
    9: ("G722", 8000, 1),
    10: ("L16", 44100, 2),
    11: ("L16", 44100, 1),
    12: ("QCELP", 8000, 1),
    13: ("CN", 8000, 1),
    14: ("MPA", 90000, 1),
    15: ("G728", 8000, 1),
    16: ("DVI4", 11025, 1),
    17: ("DVI4", 22050, 1),
    18: ("G729", 8000, 1),
}
"""Payload types that need no a=rtpmap (RFC 3551 table 4): name, clock, channels.

Also those that we cannot carry, so that a refusal can name what was offered.
"""
