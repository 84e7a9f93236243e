# SPDX-License-Identifier: GPL-2.0-or-later
"""Speech codecs by name, behind one batch interface.

A codec works on rows of equal length: payload and PCM at the codec's own sample
rate.  What one frame leaves behind for the next (the predictors of G.722, the
decoders of libopus) belongs to the codec object, by row number of the caller's
table.  So there is one object per worker and encoding, which all packet times
share, and a packet time that changes in mid-call costs no state.

State outlives a change of source: there is no way to reset a decoder alone.  A
decoder that meets a stream it does not know finds its way within two or three frames,
as after a loss; an encoder that began anew would do the same to the peer, which
has changed nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs import g711
from trunkline.codecs.fixed import FixedRate
from trunkline.codecs.g722 import G722Codec
from trunkline.codecs.l16 import L16Codec
from trunkline.codecs.opus import OpusCodec
from trunkline.codecs.opus_native import OpusUnavailable
from trunkline.codecs.opus_sending import OpusSettings
from trunkline.rtp import payload as formats

Rows = NDArray[np.intp]
Bytes = NDArray[np.uint8]
Pcm = NDArray[np.int16]
Lengths = NDArray[np.int32]


class AudioCodec(Protocol):
    """What the media worker asks of a codec; n different rows at a time."""

    @property
    def name(self) -> str:
        """Encoding name, a key of `payload.AUDIO_FORMATS`."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the PCM, which is not always the RTP clock."""

    @property
    def variable(self) -> bool:
        """Payloads of one duration differ in length (Opus)."""

    @property
    def conceals(self) -> bool:
        """The decoder makes up what did not come (`conceal`)."""

    @property
    def decode_table(self) -> NDArray[np.int16] | None:
        """The sample of each byte, i16[256], where decoding is no more than to look it up."""

    @property
    def encode_table(self) -> Bytes | None:
        """u8[65536], the payload's byte for each sample as u16, where there is no more to it than that."""

    def samples_for(self, payload_bytes: int) -> int:
        """Samples in a payload of so many bytes; 0 when none has that size, and for variable encodings."""

    def durations(self, payload: Bytes, lengths: Lengths) -> NDArray[np.int64]:
        """Samples in each payload u8[n, width] of lengths[n] bytes, 0 where it is malformed.

        What lies behind a payload's length is anything.
        """

    def decode(self, rows: Rows, payload: Bytes) -> Pcm:
        """Fixed encodings: u8[n, bytes] to i16[n, samples]."""

    def decode_variable(self, rows: Rows, payload: Bytes, lengths: Lengths, samples: int) -> Pcm:
        """Variable encodings: payloads that all last so many samples (`durations`), to i16[n, samples]."""

    def encode(self, rows: Rows, pcm: Pcm) -> tuple[Bytes, Lengths | None]:
        """PCM i16[n, samples] to u8[n, width], and how much of each row is payload.

        None stands for all of it, a length of 0 for nothing to send (DTX).
        """

    def conceal(self, rows: Rows, samples: int, following: Sequence[bytes] | None) -> Pcm | None:
        """The decoder's own idea of the next i16[n, samples], which never came; None where it does not conceal.

        `following` has for each row the payload that comes right behind these samples,
        b"" where it is not known.  Moves the state on, as decoding would have.
        """

    def look_ahead(self, rows: Rows, payload: Bytes) -> Pcm | None:
        """As `decode`, and leaves the state alone; None if that cannot be done."""

    def forget(self, row: int) -> None:
        """The row's stream has ended, in both directions."""

    def configure(self, row: int, parameters: str) -> None:
        """What the peer wants to be sent, as its a=fmtp says ("" where it has none)."""

    def note_loss(self, rows: Rows, percent: NDArray[np.float64]) -> None:
        """What share of our packets the peers report as lost."""


class G711Codec(FixedRate):
    """PCMU or PCMA: a byte per sample, no state (RFC 3551 4.5.14)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sample_rate_hz = formats.AUDIO_FORMATS[name].sample_rate_hz
        mu_law = name == formats.PCMU.name
        self._decode = g711.decode_ulaw if mu_law else g711.decode_alaw
        self.decode_table: NDArray[np.int16] | None = self._decode(np.arange(256, dtype=np.uint8))
        self._encode = g711.encode_ulaw if mu_law else g711.encode_alaw
        self.encode_table = g711.ENCODE_ULAW if mu_law else g711.ENCODE_ALAW

    def samples_for(self, payload_bytes: int) -> int:
        """As many as bytes."""
        return payload_bytes

    def decode(self, rows: Rows, payload: Bytes) -> Pcm:
        """u8[n, samples] to i16[n, samples]."""
        return self._decode(payload)

    look_ahead = decode

    def encode(self, rows: Rows, pcm: Pcm) -> tuple[Bytes, Lengths | None]:
        """i16[n, samples] to u8[n, samples]."""
        return self._encode(pcm), None


def open_codec(
    name: str, rows: int, sample_rate_hz: int = 0, opus: OpusSettings | None = None
) -> AudioCodec:
    """A codec of that encoding name, in any case, with room for the state of so many rows.

    `sample_rate_hz` is a wish that only Opus can fulfil: the rate of its PCM (0: its own).
    ValueError names the encodings that there are, or says what this machine lacks.
    """
    upper = name.upper()
    if upper in (formats.PCMU.name, formats.PCMA.name):
        return G711Codec(upper)
    if upper == formats.G722.name:
        return G722Codec(rows)
    if upper == formats.OPUS.name:
        try:
            return OpusCodec(rows, sample_rate_hz or formats.OPUS.sample_rate_hz, opus)
        except OpusUnavailable as problem:
            raise ValueError(str(problem)) from None
    if upper in formats.AUDIO_FORMATS:
        return L16Codec(upper)
    raise ValueError(f"no codec {name!r}; there are {', '.join(formats.AUDIO_FORMATS)}")
