# SPDX-License-Identifier: GPL-2.0-or-later
"""Sounds that need no file: quiet music, a soft tone, a farewell. Made once, by a few sines."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

MADE_HZ = 16_000
MUSIC, TONE, FAREWELL = "built-in:music", "built-in:tone", "built-in:farewell"
LOUD = 3000
"Peak of one note: -21 dBov, a little below speech."
BEAT_S = 0.4
CHORDS = ((220.0, 261.6, 329.6), (174.6, 220.0, 261.6), (130.8, 196.0, 261.6), (196.0, 246.9, 293.7))
"A minor, F, C, G: four bars that may go on for ever."
OVERTONES = (1.0, 0.35, 0.12)
"Shares of the first partials: a soft electric piano, all of it below 2 kHz, so that no codec suffers."

Pcm = NDArray[np.int16]


def music() -> Pcm:
    """Broken chords in a loop of 9.6 s."""
    notes = []
    for bar, chord in enumerate(CHORDS):
        order = (0, 1, 2, 1, 2, 1)
        notes += [(chord[n] * 2, (bar * len(order) + at) * BEAT_S, 1.2, 0.6) for at, n in enumerate(order)]
        notes.append((chord[0], bar * len(order) * BEAT_S, 2.4, 0.8))
    return _played(notes, len(CHORDS) * 6 * BEAT_S)


def tone() -> Pcm:
    """Two quiet notes every 2 s: the line lives, somebody is coming."""
    return _played([(523.3, 0.0, 0.5, 0.7), (659.3, 0.25, 0.7, 0.7)], 2.0)


def farewell() -> Pcm:
    """Three notes downwards: this does not go on."""
    return _played([(659.3, 0.0, 0.4, 1.0), (523.3, 0.3, 0.4, 1.0), (392.0, 0.6, 0.8, 1.0)], 1.5)


BUILT_IN: dict[str, Callable[[], Pcm]] = {MUSIC: music, TONE: tone, FAREWELL: farewell}


@functools.cache
def made(name: str) -> Pcm:
    """One of them, at `MADE_HZ`."""
    return BUILT_IN[name]()


def _played(notes: Sequence[tuple[float, float, float, float]], seconds: float) -> Pcm:
    """Notes (Hz, start s, length s, loudness) in a loop so long: what rings on at the end does so at the start."""
    total = round(seconds * MADE_HZ)
    out: NDArray[np.float64] = np.zeros(total)
    for hz, start_s, length_s, loudness in notes:
        t = np.arange(round(length_s * MADE_HZ)) / MADE_HZ
        swell = np.minimum(t / 0.015, 1.0) * np.exp(-3.0 * t / length_s) * np.minimum((length_s - t) / 0.05, 1.0)
        wave = sum(share * np.sin(2 * np.pi * hz * (k + 1) * t) for k, share in enumerate(OVERTONES))
        places = (round(start_s * MADE_HZ) + np.arange(len(t))) % total
        np.add.at(out, places, loudness * LOUD * swell * wave)
    return np.clip(out, -32768, 32767).astype(np.int16)
