# SPDX-License-Identifier: GPL-2.0-or-later
"""Is it a voice, or only loud? The pitch of a vowel repeats; noise, clicks and breath do not.

    50 ms -> window -> spectrum, 200 to 1500 Hz -> autocorrelation over its own at lag 0, 70 to 400 Hz

Of recorded speech 37 of 39 beginnings reach 0.5 within 60 ms, with noise 9 dB below, too; one window of white noise
in 1,000 does.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs import compiled
from trunkline.codecs.fourier import MOST_POINTS, turns

SPAN_MS = 50
BAND_HZ = (200, 1500)
PITCH_HZ = (70, 400)


def span_samples(rate_hz: int) -> int:
    """How many samples `voicing` looks at."""
    return rate_hz * SPAN_MS // 1000


def voicing(pcm: NDArray[np.int16], rate_hz: int) -> NDArray[np.float64]:
    """How periodic i16[n, span_samples] is: f64[n], 0 to about 1; 0 for silence."""
    window, band, of_window, lags = _tools(rate_hz)
    kernel = compiled.get("voicing") if _size(rate_hz) <= MOST_POINTS else None
    if kernel is not None:
        found = np.empty(len(pcm))
        kernel(turns(_size(rate_hz)), window, band, of_window, lags.start, lags.stop, pcm, found)
        return found
    sound = (pcm - pcm.mean(axis=1, keepdims=True)) * window
    size = 2 * (len(band) - 1)
    spectrum = np.fft.rfft(sound, size, axis=1)
    power = (np.square(spectrum.real) + np.square(spectrum.imag)) * band
    likeness = np.fft.irfft(power, size, axis=1)
    at_pitch = (likeness[:, lags] / of_window[lags]).max(axis=1)
    whole = likeness[:, 0]
    return np.where(whole > 1.0, at_pitch / np.maximum(whole, 1.0), 0.0)


def voicing_of(pcm: list[int], rate_hz: int) -> float:
    """Scalar twin: the sums as they are defined."""
    count, size = len(pcm), _size(rate_hz)
    mean = sum(pcm) / count
    window = [math.sin(math.pi * (i + 1) / (count + 1)) ** 2 for i in range(count)]
    sound = [(sample - mean) * w for sample, w in zip(pcm, window, strict=True)]
    bins = [k for k in range(size // 2 + 1) if BAND_HZ[0] <= k * rate_hz / size <= BAND_HZ[1]]
    power = {}
    for k in bins:
        turn = [2 * math.pi * k * i / size for i in range(count)]
        power[k] = (
            sum(s * math.cos(t) for s, t in zip(sound, turn, strict=True)) ** 2
            + sum(s * math.sin(t) for s, t in zip(sound, turn, strict=True)) ** 2
        )
    whole = sum(power.values()) * 2 / size
    if whole <= 1.0:
        return 0.0
    own = sum(w * w for w in window)
    best = -math.inf
    for lag in range(rate_hz // PITCH_HZ[1], rate_hz // PITCH_HZ[0]):
        at = sum(p * math.cos(2 * math.pi * k * lag / size) for k, p in power.items()) * 2 / size
        of_window = sum(a * b for a, b in zip(window, window[lag:], strict=False)) / own
        best = max(best, at / of_window)
    return best / whole


def _size(rate_hz: int) -> int:
    """Points of the transform: room for all lags without wrapping around."""
    return 1 << (span_samples(rate_hz) + rate_hz // PITCH_HZ[0]).bit_length()


@functools.cache
def _tools(rate_hz: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], slice]:
    """Window, band of the spectrum, the window's autocorrelation, lags of voices."""
    count, size = span_samples(rate_hz), _size(rate_hz)
    window = np.hanning(count + 2)[1:-1]
    hz = np.fft.rfftfreq(size, 1 / rate_hz)
    band = ((hz >= BAND_HZ[0]) & (hz <= BAND_HZ[1])).astype(np.float64)
    own = np.correlate(window, window, "full")[count - 1 :]
    return window, band, own / own[0], slice(rate_hz // PITCH_HZ[1], rate_hz // PITCH_HZ[0])
