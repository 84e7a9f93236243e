# SPDX-License-Identifier: GPL-2.0-or-later
"""Payload formats: what a payload type number means (RFC 3551, RFC 4733).

A format keeps three things apart that are easily confused: the RTP clock, the
rate of the samples, and the payload type number on the wire.
"""

from __future__ import annotations

import dataclasses

PACKET_TIMES_MS = (10, 20, 30, 40, 60)
"packet times that we send, where the encoding can"

MAX_PAYLOAD_BYTES = 1400
"leaves room in an Ethernet frame for IPv6, UDP, RTP and the tag of SRTP: 1500 - 40 - 8 - 12 - 16, and some"

_SPELLING = {"OPUS": "opus", "TELEPHONE-EVENT": "telephone-event"}
"Encoding names that their RFCs write in lower case. Case does not count, but some peers do not know that."


@dataclasses.dataclass(frozen=True, slots=True)
class PayloadFormat:
    """One encoding as SDP names it."""

    name: str
    """our word for it, upper case, each format's own: the encoding name of a=rtpmap, with the clock after a
    slash where there are several of that name, as in `L16/16000`"""
    clock_hz: int
    "RTP timestamp clock"
    sample_rate_hz: int
    "rate of the samples; not the clock for G.722"
    static_pt: int | None = None
    "RFC 3551 payload type, None if dynamic"
    channels: int = 1
    "as a=rtpmap counts them; Opus says 2 whatever it carries (RFC 7587 7)"
    bits_per_sample: int = 0
    "on the wire, for encodings of a fixed rate; 0 for variable ones"

    @property
    def packet_times_ms(self) -> tuple[int, ...]:
        """Packet times that we send and ask for: the encoder's own, and no IP fragments.

        >>> L16_44100.packet_times_ms, OPUS.packet_times_ms
        ((10,), (10, 20, 40, 60))
        """
        if self.bits_per_sample == 0:  # Opus, whose frames have these lengths (RFC 6716 2.1.4)
            return tuple(ms for ms in PACKET_TIMES_MS if ms != 30)
        bytes_per_ms = self.sample_rate_hz * self.bits_per_sample / 8000
        return tuple(ms for ms in PACKET_TIMES_MS if ms * bytes_per_ms <= MAX_PAYLOAD_BYTES)

    @property
    def encoding(self) -> str:
        """Encoding name of a=rtpmap, upper case: `L16` of `L16/16000`."""
        return self.name.partition("/")[0]

    @property
    def rtpmap(self) -> str:
        """As a=rtpmap spells it: `PCMU/8000`, `opus/48000/2`, `telephone-event/8000`."""
        name = _SPELLING.get(self.encoding, self.encoding)
        return f"{name}/{self.clock_hz}" + (f"/{self.channels}" if self.channels > 1 else "")


PCMU = PayloadFormat("PCMU", 8000, 8000, 0, bits_per_sample=8)
PCMA = PayloadFormat("PCMA", 8000, 8000, 8, bits_per_sample=8)
# 64 kbit/s; a clock of 8000 Hz by an error of RFC 1890 that RFC 3551 4.5.2 keeps
G722 = PayloadFormat("G722", 8000, 16000, 9, bits_per_sample=4)
OPUS = PayloadFormat("OPUS", 48000, 48000, channels=2)
L16_8000 = PayloadFormat("L16/8000", 8000, 8000, bits_per_sample=16)
L16_16000 = PayloadFormat("L16/16000", 16000, 16000, bits_per_sample=16)
L16_44100 = PayloadFormat("L16/44100", 44100, 44100, 11, bits_per_sample=16)

AUDIO_FORMATS: dict[str, PayloadFormat] = {
    f.name: f for f in (PCMU, PCMA, G722, OPUS, L16_8000, L16_16000, L16_44100)
}
"""Speech encodings that the gateway can carry, by name."""

TELEPHONE_EVENT = PayloadFormat("TELEPHONE-EVENT", 8000, 8000)
TELEPHONE_EVENTS: dict[int, PayloadFormat] = {8000: TELEPHONE_EVENT} | {
    clock: PayloadFormat(f"TELEPHONE-EVENT/{clock}", clock, clock) for clock in (16000, 44100, 48000)
}
"""Keys of a telephone (RFC 4733), by clock: that of the speech beside them."""

COMFORT_NOISE = PayloadFormat("CN", 8000, 8000, 13)
COMFORT_NOISES: dict[int, PayloadFormat] = {
    8000: COMFORT_NOISE,
    16000: PayloadFormat("CN/16000", 16000, 16000),
}
"""Comfort noise (RFC 3389), by clock. Opus has its own, and G.722 none that all agree on."""

FORMATS: dict[str, PayloadFormat] = AUDIO_FORMATS | {
    f.name: f for f in (*TELEPHONE_EVENTS.values(), *COMFORT_NOISES.values())
}
"""All formats, by name."""

_BY_RTPMAP = {(f.encoding, f.clock_hz, f.channels): f for f in FORMATS.values()} | {
    # Written by devices that took the sample rate for the clock; what they send has the usual clock.
    ("G722", 16000, 1): G722,
    # RFC 7587 wants /2; peers that leave it out send the same Opus.
    ("OPUS", 48000, 1): OPUS,
}


def find_format(name: str, clock_hz: int, channels: int = 1) -> PayloadFormat | None:
    """What an a=rtpmap means, or None if we carry no such thing."""
    return _BY_RTPMAP.get((name.upper(), clock_hz, channels))


def audio_format(name: str, clock_hz: int, channels: int = 1) -> PayloadFormat | None:
    """The speech encoding that an a=rtpmap means, or None if we carry no such thing."""
    found = find_format(name, clock_hz, channels)
    return found if found is not None and found.name in AUDIO_FORMATS else None


def noise_of(speech: PayloadFormat) -> PayloadFormat | None:
    """The comfort noise that goes with that speech, if any does (RFC 3389 4).

    G.722's clock is not its sample rate, and peers differ in which of the two its noise has.
    """
    if speech.bits_per_sample == 0 or speech.sample_rate_hz != speech.clock_hz:
        return None
    return COMFORT_NOISES.get(speech.clock_hz)


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
