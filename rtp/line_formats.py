# SPDX-License-Identifier: GPL-2.0-or-later
"""The payload types of a peer's m-line, and what each of them means."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from trunkline.rtp import sdp_attributes as attributes
from trunkline.rtp.payload import STATIC_NAMES, PayloadFormat, audio_format, find_format
from trunkline.rtp.sdp import Media

_KEYS = set(range(12))
"0-9, * and #: a peer that cannot take these has no use for our digits"


@dataclasses.dataclass(frozen=True, slots=True)
class OfferedFormat:
    """One payload type of an m-line."""

    payload_type: int
    name: str
    "encoding name, upper case; empty for a dynamic number without a readable a=rtpmap"
    clock_hz: int
    channels: int
    parameters: str | None
    "its a=fmtp"

    @property
    def format(self) -> PayloadFormat | None:
        """What it is for us, if we know it at all."""
        return find_format(self.name, self.clock_hz, self.channels)

    @property
    def audio(self) -> PayloadFormat | None:
        """The speech encoding, if we carry it."""
        return audio_format(self.name, self.clock_hz, self.channels)

    @property
    def carries_keys(self) -> bool:
        """Whether this is a telephone-event that takes the keys of a telephone."""
        return self.name == "TELEPHONE-EVENT" and attributes.events(self.parameters) >= _KEYS

    @property
    def rtpmap(self) -> str:
        """As an answer repeats it: in our spelling of the name, with the peer's clock and channels.

        Where the peer has those wrong (`G722/16000`, `opus/48000`) it would not know the right ones again.
        """
        known = self.format
        name = known.rtpmap.partition("/")[0] if known else self.name
        return f"{name}/{self.clock_hz}" + (f"/{self.channels}" if self.channels > 1 else "")


def read_formats(media: Media, known: Mapping[int, PayloadFormat]) -> list[OfferedFormat]:
    """All payload types in the peer's order; what is no number is passed over.

    `known` are dynamic numbers that mean something without an a=rtpmap: in an answer, those of the offer.
    """
    maps = attributes.rtpmaps(media)
    parameters = attributes.format_parameters(media)
    out = []
    for text in media.formats:
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else 128
        if number > 127:
            continue
        if mapped := maps.get(number):
            name, clock_hz, channels = mapped.name, mapped.clock_hz, mapped.channels
        elif number in known:
            name, clock_hz, channels = known[number].encoding, known[number].clock_hz, known[number].channels
        else:
            name, clock_hz, channels = STATIC_NAMES.get(number, ("", 0, 1))
        out.append(OfferedFormat(number, name, clock_hz, channels, parameters.get(number)))
    return out


def names(formats: list[OfferedFormat]) -> str:
    """Encodings for a person, such as `G729/8000, opus/48000/2`; at most eight."""
    words = []
    for offered in formats[:8]:
        channels = f"/{offered.channels}" if offered.channels > 1 else ""
        name = f"{quote(offered.name)}/{offered.clock_hz}{channels}"
        words.append(name if offered.name else f"payload type {offered.payload_type} (no rtpmap)")
    if len(formats) > 8:
        words.append(f"{len(formats) - 8} more")
    return ", ".join(words) or "nothing"


def quote(text: str) -> str:
    """A peer's words in our sentence: short, and printable."""
    return ascii(text[:60])[1:-1]
