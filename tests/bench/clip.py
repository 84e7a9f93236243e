# SPDX-License-Identifier: GPL-2.0-or-later
"""What the callers say: the recorded speech that comes with trunkline, each call from another place of it."""

from __future__ import annotations

import pathlib

import numpy as np
from numpy.typing import NDArray

from support.audio import decode_g711

CLIP = pathlib.Path(__file__).resolve().parents[2] / "gateway" / "demo" / "speech.ulaw"
FRAME = 160
"samples, and bytes, of a packet: 20 ms of G.711"
PHRASE_STEP = 37
"Frames between the places where two calls begin: a mix-up of calls is seen in the audio."


def clip() -> NDArray[np.uint8]:
    """The speech as mu-law frames [n, 160], its pauses filled with faint line noise.

    A pause of exact zeros would come back as the code that the gateway sends while nobody
    speaks, and nobody could tell an echo from a hole.
    """
    codes = np.fromfile(CLIP, np.uint8)
    codes = codes[: len(codes) // FRAME * FRAME].copy()
    faint = (codes & 0x7F) >= 0x7D  # magnitudes up to 16 of 32767
    noise = np.random.default_rng(1).choice(np.array([0x7C, 0x7D, 0xFC, 0xFD], np.uint8), faint.sum())
    codes[faint] = noise
    return codes.reshape(-1, FRAME)


def first_frame(call: int, frames: int) -> int:
    """Where in a clip of so many frames a call begins."""
    return call * PHRASE_STEP % frames


def said(call: int, count: int) -> NDArray[np.float64]:
    """Loudness of the first `count` packets of a call."""
    levels = loudness(clip())
    return levels[(first_frame(call, len(levels)) + np.arange(count)) % len(levels)]


def loudness(payloads: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean magnitude of each mu-law payload [n, 160]."""
    pcm = decode_g711(payloads.tobytes(), 0).reshape(payloads.shape)
    return np.asarray(np.abs(pcm.astype(np.float64)).mean(axis=1))
