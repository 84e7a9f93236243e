# SPDX-License-Identifier: GPL-2.0-or-later
"""Background noise: what it is like, and more of it.

Noise is described as RFC 3389 does: a level, and the reflection coefficients of an
all-pole filter that gives white noise its colour.  The sign is that of the lattice whose
A(z) is 1 + k1/z for one coefficient, so noise of low pitch has a negative k1.

`analyse` finds the coefficients of a piece of sound (autocorrelation, Levinson-Durbin),
`synthesise` makes noise.  The filter is applied in the frequency domain to pieces of one
endless white noise, of which the spectra are known beforehand, so that all rows are done
at once, without a loop over samples, and frames join without a seam.  Compiled
(`native/noise.c`), it is the same row by row.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs import compiled
from trunkline.codecs.fourier import MOST_POINTS, turns

ORDER = 10
"coefficients that we estimate and keep; enough for the telephone band"
LIMIT = 0.98
"coefficients beyond would let the filter ring for longer than a frame"

_PIECES = 64
"frames of white noise there are, before they come again: 1.3 s of 20 ms, too long to be heard as a period"
_WARM_UP = 96
"samples before a frame in which the filter forgets that it starts from nothing"
_WHITE_NOISE_CORRECTION = 1.0001
"on the power: keeps the normal equations of a tone, or of silence, solvable (-40 dB)"
_STEP_S, _SHORT_STEP_S = 0.01, 0.0025
"Lengths of pieces are multiples of it, or of the latter if they are shorter than the former: `length_of_piece`."
_TABLES = 128
"more than there are such lengths of packets, at all rates on the line; those up to 120 ms of one rate have 5 to 22 MB"
_ROWS = 64
"rows at a time, for small temporaries"
_MOST_PIECE = 5760
"samples that the kernel analyses, MOST_PIECE of native/made_up.h"
_SETTLED, _MOST_ROUNDS = 1e-12, 10_000
"share of the peak by which rounds of the twin's may differ; what is still to come is a hundred times that at most"

Real = NDArray[np.float64]


def analyse(pcm: NDArray[np.int16]) -> Real:
    """Reflection coefficients of each row: i16[n, samples] to f64[n, ORDER]; zeros for silence."""
    samples = pcm.shape[1]
    kernel = compiled.get("analyse") if samples <= _MOST_PIECE else None
    if kernel is not None:
        found = np.empty((len(pcm), ORDER))
        kernel(pcm, window(samples), found)
        return found
    windowed = pcm * window(samples)
    lags = np.stack(
        [
            np.einsum("ns,ns->n", windowed[:, lag:], windowed[:, : max(samples - lag, 0)])
            for lag in range(ORDER + 1)
        ]
    )
    lags[0] *= _WHITE_NOISE_CORRECTION
    reflection = np.zeros((len(pcm), ORDER))
    error = np.maximum(lags[0], 1.0)
    forward = np.zeros((ORDER + 1, len(pcm)))
    forward[0] = 1.0
    for m in range(1, ORDER + 1):
        k = np.clip(-np.einsum("in,in->n", forward[:m], lags[m:0:-1]) / error, -LIMIT, LIMIT)
        forward[1 : m + 1] += k * forward[m - 1 :: -1]
        error *= 1 - k * k
        reflection[:, m - 1] = k
    return reflection


def synthesise(
    level_dbov: NDArray[np.floating], reflection: NDArray[np.floating], samples: int, piece: NDArray[np.int64],
    length: int = 0,
) -> Real:  # fmt: skip
    """Noise of each row's level (f[n], dBov) and colour (f[n, k]): f64[n, samples].

    `piece` i64[n] counts the frames of a row: consecutive ones join, if they are as long as
    pieces are.  These have `length` samples (0: as many as are wanted), of which the last
    are taken.  Rows whose pieces differ are independent.
    """
    white = white_spectra(length or samples)
    size = 2 * (white.shape[1] - 1)
    bounded = np.clip(reflection, -LIMIT, LIMIT)
    kernel = compiled.get("synthesise") if size <= MOST_POINTS and reflection.shape[1] <= ORDER else None
    if kernel is not None:
        noise = np.empty((len(piece), samples))
        levels, colours = np.asarray(level_dbov, np.float64), np.asarray(bounded, np.float64)
        kernel(turns(size), white.view(np.float64), levels, colours, piece, noise)
        return noise
    amplitude = _amplitude(level_dbov, bounded)
    noise = np.empty((len(piece), samples))
    for first in range(0, len(piece), _ROWS):
        part = slice(first, first + _ROWS)
        colour = _predictor(bounded[part]) @ _delays(reflection.shape[1], size)
        whole = np.fft.irfft(white[piece[part] % _PIECES] / colour, size, axis=1)
        np.multiply(whole[:, size - samples :], amplitude[part, None], out=noise[part])
    return noise


@functools.lru_cache(maxsize=16)
def window(samples: int) -> Real:
    """Of a piece that is analysed: Hamming's, f64[samples]."""
    return np.hamming(samples)


def length_of_piece(samples: int, rate_hz: int) -> int:
    """For `synthesise`, where peers choose the lengths of frames: then those of a rate share a dozen tables.

    Packets last tens of milliseconds, or quarters of ten, and are as long as their piece.
    """
    short = round(rate_hz * _SHORT_STEP_S)
    step = short if samples <= 3 * short else round(rate_hz * _STEP_S)
    return -(-samples // step) * step


def _amplitude(level_dbov: NDArray[np.floating], reflection: NDArray[np.floating]) -> Real:
    """Of white noise, so that what leaves the filter has that level: its gain is known from k alone."""
    unit = np.sqrt(np.prod(1 - np.square(reflection, dtype=np.float64), axis=1))
    return 32768 * 10 ** (np.asarray(level_dbov, np.float64) / 20) * unit


def _predictor(reflection: NDArray[np.floating]) -> Real:
    """Coefficients of A(z), 1 first, of each row (step-up recursion): [n, k + 1]."""
    rows, order = reflection.shape
    forward = np.zeros((rows, order + 1))
    forward[:, 0] = 1.0
    for m in range(1, order + 1):
        k = reflection[:, m - 1 : m].astype(np.float64)
        forward[:, 1 : m + 1] += k * forward[:, m - 1 :: -1]
    return forward


@functools.cache
def _delays(order: int, size: int) -> NDArray[np.complex128]:
    """Spectra of 1, 1/z, ... : [order + 1, size / 2 + 1]."""
    return np.fft.rfft(np.eye(order + 1, size), axis=1)


def white_noise(samples: int) -> Real:
    """The endless white noise of unit power, as many frames as there are; the same in every process."""
    noise = np.random.default_rng(3389).standard_normal(_PIECES * samples)
    noise /= np.sqrt(np.mean(noise * noise))
    return noise


@functools.lru_cache(maxsize=_TABLES)
def white_spectra(samples: int) -> NDArray[np.complex128]:
    """Spectrum of each frame of white noise and what is before it: [pieces, size / 2 + 1]."""
    noise = white_noise(samples)
    size = piece_size(samples)
    index = (np.arange(1, _PIECES + 1)[:, None] * samples - size + np.arange(size)) % len(noise)
    return np.fft.rfft(noise[index], axis=1)


def piece_size(samples: int) -> int:
    """Samples that are filtered for one frame: with the warm-up, and quick to transform."""
    wanted = samples + _WARM_UP
    return min(factor << shift for factor in (1, 3, 5) for shift in range(1, 20) if factor << shift >= wanted)


# -- scalar twins ----------------------------------------------------------------------------


def predictor_row(reflection: list[float]) -> list[float]:
    """Scalar twin of the step-up recursion: coefficients of A(z)."""
    forward = [1.0]
    for wanted in reflection:
        k = min(max(wanted, -LIMIT), LIMIT)
        longer = [*forward, 0.0]
        forward = [a + k * b for a, b in zip(longer, reversed(longer), strict=True)]
    return forward


def synthesise_row(level_dbov: float, reflection: list[float], samples: int, piece: int) -> list[float]:
    """Scalar twin of `synthesise`: the recursive filter, run over the white noise again and again.

    In the frequency domain a piece follows upon itself: so here, until a round is as the one before.
    A filter that rings on by 0.1 % less each sample takes a hundred rounds.
    """
    size, white = piece_size(samples), white_noise(samples)
    first = (piece % _PIECES + 1) * samples - size
    gain = 1.0
    for k in reflection:
        gain *= 1 - min(max(k, -LIMIT), LIMIT) ** 2
    amplitude = 32768 * 10 ** (level_dbov / 20) * gain**0.5
    coefficients = predictor_row(reflection)[1:]
    past = [0.0] * len(coefficients)
    before = [float("inf")] * size
    for _ in range(_MOST_ROUNDS):
        out: list[float] = []
        for i in range(size):
            sample = float(white[(first + i) % len(white)])
            sample -= sum(a * p for a, p in zip(coefficients, past, strict=True))
            past = [sample, *past][: len(coefficients)]
            out.append(sample)
        if max(abs(a - b) for a, b in zip(out, before, strict=True)) <= _SETTLED * max(map(abs, out)):
            break
        before = out
    return [sample * amplitude for sample in out[-samples:]]
