# SPDX-License-Identifier: GPL-2.0-or-later
"""A voice that speech codecs take for one, made of arithmetic: to send through a line and find again.

Voiced syllables with a gliding pitch up to 7 kHz, and hissing ones between them.  Codecs that model
speech (Opus) spend their bits on it as on speech, which noise would not be; the glide makes it equal to
itself at one place only; each seed is another speaker.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from support.audio import Match, Pcm, Real, compare

NARROW_HZ, WIDE_HZ = (300, 3300), (4000, 6800)
"What every codec passes, and what only wideband ones do."
EDGE_HZ = 100
SILENCE = 10.0
"RMS below which a band is empty."


def voice(seconds: float, seed: int, rate_hz: int = 16000, peak: int = 10_000) -> Pcm:
    """So much of a speaker, i16; the same each time."""
    rng = np.random.default_rng(seed)
    wide = 16000
    time = np.arange(round(seconds * wide)) / wide
    pitch = rng.uniform(100, 180) * (1 + 0.25 * np.sin(2 * np.pi * rng.uniform(0.5, 0.9) * time + seed))
    phase = 2 * np.pi * np.cumsum(pitch) / wide
    formants = rng.uniform((400, 1200, 2300, 4300), (700, 1800, 2900, 5600))
    voiced = np.zeros(len(time))
    for harmonic in range(1, 60):
        hz = harmonic * pitch
        weight = sum(np.exp(-(((hz - one) / 350) ** 2)) for one in formants) + 0.1
        voiced += np.where(hz < 7000, weight / harmonic**0.4, 0) * np.cos(harmonic * phase + harmonic**2)
    hiss = in_band(rng.standard_normal(len(time)), wide, (2500, 7000)) * 0.6 * np.abs(voiced).mean()
    syllable = np.sin(2 * np.pi * rng.uniform(1.8, 2.4) * time + rng.uniform(0, 6))
    sound = voiced * np.clip(syllable + 0.4, 0.02, 1) + hiss * np.clip(-syllable - 0.5, 0, 1)
    return resample((sound * (peak / np.abs(sound).max())).astype(np.int16), wide, rate_hz)


def resample(pcm: Pcm, from_hz: int, to_hz: int) -> Pcm:
    """By the spectrum of the whole: exact but for its edges, and nobody else's code."""
    if from_hz == to_hz:
        return pcm
    count = round(len(pcm) * to_hz / from_hz)
    spectrum = np.fft.rfft(pcm.astype(np.float64))
    kept = np.zeros(count // 2 + 1, np.complex128)
    size = min(len(kept), len(spectrum))
    kept[:size] = spectrum[:size]
    return np.rint(np.clip(np.fft.irfft(kept, count) * (count / len(pcm)), -32768, 32767)).astype(np.int16)


def in_band(sound: Pcm | Real, rate_hz: int, band_hz: tuple[int, int], later_by: float = 0.0) -> Real:
    """Only what lies between two frequencies; perhaps moved by a fraction of a sample."""
    size = 1 << (len(sound) + rate_hz // 100).bit_length()  # silence after it, and a length that is quick
    spectrum = np.fft.rfft(sound.astype(np.float64), size)
    hz = np.fft.rfftfreq(size, 1 / rate_hz)
    low, high = band_hz
    spectrum *= np.clip((hz - low) / EDGE_HZ + 1, 0, 1) * np.clip((high - hz) / EDGE_HZ + 1, 0, 1)
    if later_by:
        spectrum *= np.exp(-2j * np.pi * hz / rate_hz * later_by)
    return np.fft.irfft(spectrum, size)[: len(sound)]


@dataclasses.dataclass(frozen=True, slots=True)
class Likeness:
    """How what was heard contains what was said, both at 16 kHz."""

    narrow: Match
    "between 300 and 3300 Hz"
    wide: float
    "correlation between 4000 and 6800 Hz, at the same place; 0 when nothing is there"
    whole: bool
    "the beginning and the end are there, too"


def likeness(said: Pcm, heard: Pcm) -> Likeness:
    """Line the two up and compare. Nothing heard is unlike anything."""
    if len(heard) < len(said) // 2:
        return Likeness(Match(0.0, 0.0, float("-inf")), 0.0, False)
    narrow = compare(*(in_band(one, 16000, NARROW_HZ) for one in (said, heard)))  # type: ignore[arg-type]
    at = int(np.floor(narrow.offset))
    if at < 0 or at + len(said) > len(heard):
        return Likeness(narrow, 0.0, False)
    high = in_band(said, 16000, WIDE_HZ, narrow.offset - at)
    there = in_band(heard, 16000, WIDE_HZ)[at : at + len(said)]
    norm = float(np.sqrt((high @ high) * (there @ there)))
    loud = float(np.sqrt(np.mean(there**2))) > SILENCE
    return Likeness(narrow, float(high @ there) / norm if loud else 0.0, True)
