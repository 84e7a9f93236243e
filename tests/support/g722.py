# SPDX-License-Identifier: GPL-2.0-or-later
"""Sounds and codes for G.722 that are the same everywhere, and FFmpeg's G.722 to compare with."""

from __future__ import annotations

import hashlib

import av
import numpy as np
from numpy.typing import NDArray

SAMPLES = 48000
"of each sound: 3 s"

Pcm = NDArray[np.int16]
Bytes = NDArray[np.uint8]


def sounds() -> dict[str, Pcm]:
    """By whole numbers only, so that no library's rounding matters."""
    white = _random("white", 2 * SAMPLES).view("<i2").astype(np.int64)
    summed = np.cumsum(np.concatenate([np.zeros(8, np.int64), white]))
    low = (summed[8:] - summed[:-8]) // 8
    at = np.arange(SAMPLES)
    envelope = np.minimum(at % 8000, 4000)  # a syllable each half a second, with a pause
    return {
        "white": white.astype(np.int16),
        "low": low.astype(np.int16),
        "syllables": (low * envelope // 4000).astype(np.int16),
        "faint": (white % 5 - 2).astype(np.int16),
    }


def codes() -> Bytes:
    """Every byte is a code; these overshoot as no encoder's would."""
    return _random("codes", SAMPLES // 2)


def loud_square() -> Pcm:
    """Full scale, 400 Hz: the bands overshoot it."""
    return np.where(np.arange(SAMPLES) // 20 % 2 == 0, 32767, -32768).astype(np.int16)


def digest(values: NDArray[np.integer]) -> str:
    """Of codes as bytes, of PCM as little-endian int16."""
    wire = values.astype(np.uint8 if values.dtype == np.uint8 else "<i2")
    return hashlib.sha256(wire.tobytes()).hexdigest()[:32]


def ffmpeg_encode(pcm: Pcm) -> Bytes:
    """By libavcodec, without trellis search."""
    context = av.CodecContext.create("g722", "w")
    context.sample_rate, context.format, context.layout = 16000, "s16", "mono"
    context.open()
    out = []
    for piece in pcm.reshape(-1, 320):
        frame = av.AudioFrame.from_ndarray(piece[None], "s16", "mono")
        frame.sample_rate = 16000
        out += [bytes(packet) for packet in context.encode(frame)]
    out += [bytes(packet) for packet in context.encode(None)]
    return np.frombuffer(b"".join(out), np.uint8)


def ffmpeg_decode(payload: Bytes) -> Pcm:
    """By libavcodec."""
    context = av.CodecContext.create("g722", "r")
    context.sample_rate, context.layout = 16000, "mono"
    frames = [frame for piece in payload.reshape(-1, 160) for frame in context.decode(av.Packet(piece.tobytes()))]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def _random(seed: str, count: int) -> Bytes:
    return np.frombuffer(hashlib.shake_256(seed.encode()).digest(count), np.uint8)
