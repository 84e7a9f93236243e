# SPDX-License-Identifier: GPL-2.0-or-later
"""Speech codecs by name, behind one batch interface.

A codec works on rows of equal length: `u8[n, bytes]` of payload and
`i16[n, samples]` of PCM at the codec's own sample rate.  The media worker groups
its streams by codec and payload size, so that one call serves all of them.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs import g711
from trunkline.rtp import payload as formats


class AudioCodec(Protocol):
    """What the media worker asks of a codec."""

    @property
    def name(self) -> str:
        """Encoding name, a key of `payload.AUDIO_FORMATS`."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the PCM."""

    def decode(self, payload: NDArray[np.uint8]) -> NDArray[np.int16]:
        """Rows of payload, u8[n, bytes], to PCM, i16[n, samples]."""

    def encode(self, pcm: NDArray[np.int16]) -> NDArray[np.uint8]:
        """PCM, i16[n, samples], to rows of payload, u8[n, bytes]."""

    def samples_for(self, payload_bytes: int) -> int:
        """Samples in a payload of so many bytes; 0 when no payload has that size."""


class G711Codec:
    """PCMU or PCMA: a byte per sample, no state (RFC 3551 4.5.14)."""

    def __init__(self, name: str, silence: int) -> None:
        self.name = name
        self.sample_rate_hz = formats.AUDIO_FORMATS[name].sample_rate_hz
        self.silence = silence
        "payload byte of silence"
        mu_law = name == formats.PCMU.name
        self.decode = g711.decode_ulaw if mu_law else g711.decode_alaw
        self.encode = g711.encode_ulaw if mu_law else g711.encode_alaw

    def samples_for(self, payload_bytes: int) -> int:
        """As many as bytes."""
        return payload_bytes


_CODECS: dict[str, AudioCodec] = {
    codec.name: codec
    for codec in (
        G711Codec(formats.PCMU.name, g711.SILENCE_ULAW),
        G711Codec(formats.PCMA.name, g711.SILENCE_ALAW),
    )
}


def get_codec(name: str) -> AudioCodec:
    """The codec of that encoding name, in any case; ValueError names those that there are."""
    try:
        return _CODECS[name.upper()]
    except KeyError:
        raise ValueError(f"no codec {name!r}; there are {', '.join(_CODECS)}") from None
