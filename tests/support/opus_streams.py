# SPDX-License-Identifier: GPL-2.0-or-later
"""Streams through `OpusCodec`: recorded speech in, packets, and what is heard."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from support.audio import decode_g711
from support.opus_peer import rows_of
from trunkline.codecs.opus import OpusCodec
from trunkline.gateway import demo

Pcm = NDArray[np.int16]
SPEECH = pathlib.Path(demo.__file__).with_name("speech.ulaw")


def speech(rate_hz: int, seconds: float = 3, start_s: float = 0) -> Pcm:
    """The demonstration's voice, in whole packets of 60 ms; above 4 kHz there is nothing."""
    narrow = decode_g711(SPEECH.read_bytes(), 0)[round(8000 * start_s) : round(8000 * (start_s + seconds))]
    narrow = narrow[: len(narrow) // 480 * 480]
    if rate_hz == 8000:
        return narrow
    return resampled(narrow.astype(np.float64), 8000, rate_hz)


def resampled(sound: NDArray[np.float64], from_hz: int, to_hz: int) -> Pcm:
    """By the spectrum, without delay: nothing is shared with the resampler of the package."""
    count = len(sound) * to_hz // from_hz
    out = np.fft.irfft(np.fft.rfft(sound)[: count // 2 + 1], count) * (to_hz / from_hz)
    return np.clip(np.rint(out), -32768, 32767).astype(np.int16)


def sent(codec: OpusCodec, pcm: Pcm, packet_ms: int = 20, row: int = 0) -> list[bytes]:
    """One row's packets; b"" where nothing is sent."""
    pieces = pcm.reshape(-1, 1, codec.sample_rate_hz * packet_ms // 1000)
    return [one(*codec.encode(np.array([row]), piece)) for piece in pieces]


def one(payload: NDArray[np.uint8], lengths: NDArray[np.int32]) -> bytes:
    """The first packet of a batch."""
    return payload[0, : lengths[0]].tobytes()


def heard(codec: OpusCodec, packets: Sequence[bytes], row: int = 0, samples: int = 0) -> Pcm:
    """One row's PCM; `samples` for an empty packet, else as long as each says."""
    parts = []
    for packet in packets:
        payload, lengths = rows_of([packet])
        count = int(codec.durations(payload, lengths)[0]) or samples
        parts.append(codec.decode_variable(np.array([row]), payload, lengths, count)[0])
    return np.concatenate(parts)
