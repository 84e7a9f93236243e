# SPDX-License-Identifier: GPL-2.0-or-later
"""Pitch of many pieces of sound at once: the distance after which each resembles itself most.

Normalised cross-correlation of the newest samples (the template) with what lies one
candidate period earlier, for all candidates from 2.5 to 15 ms, every sample: 400 Hz to
67 Hz, from a child's voice to a low man's, as in G.711 Appendix I.

From 32 kHz on the search is done on sums of 2 or 3 samples first, and then sample by sample
around what it found: at 48 kHz in a fifth of the time (64 rows: 18 us a row for 90).

Sums are of whole numbers below 2**53, so float64 holds them exactly, in any order: the
same sound has the same pitch in every batch, and compiled (`native/pitch.c`).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs import compiled

SHORTEST_MS = 2.5
LONGEST_MS = 15
NEARNESS = 0.3
"what a candidate loses in likeness, per share by which it misses the period that is expected"
MOST_SAMPLES = 2400
"what the kernel takes, MOST_GOOD of native/made_up.h: 50 ms at 48 kHz"

Real = NDArray[np.float64]


def pitch_periods(
    recent: Real, template: int, rate_hz: int, expected: Real | None = None
) -> tuple[NDArray[np.int64], Real]:
    """Period of each row in samples, and how alike two periods are (-1 to 1; 0 for silence).

    `recent` is [n, H], whole numbers, newest last; the longest candidate is what H leaves
    room for.  `template` is the number of newest samples that are compared.  `expected`
    is [n], a period that is likely (0: none): near ones are preferred.  Of equally good
    candidates the shortest wins.  H must hold the shortest period and a template.
    """
    kernel = compiled.get("pitch")
    if kernel is None or recent.shape[1] > MOST_SAMPLES:
        return periods_by_numpy(recent, template, rate_hz, expected)
    period, likeness = np.empty(len(recent), np.int64), np.empty(len(recent))
    wanted = np.zeros(len(recent)) if expected is None else expected
    kernel(np.ascontiguousarray(recent), template, rate_hz, wanted, period, likeness)
    return period, likeness


def periods_by_numpy(
    recent: Real, template: int, rate_hz: int, expected: Real | None = None
) -> tuple[NDArray[np.int64], Real]:
    """The same without a kernel."""
    step = _step(rate_hz)
    shortest, longest = _bounds(recent.shape[1], template, rate_hz)
    if step > 1 and longest - shortest > 2 * step:
        whole = recent[:, recent.shape[1] % step :]
        coarse = sum(whole[:, first::step] for first in range(1, step)) + whole[:, ::step]
        bounds = _bounds(coarse.shape[1], template // step, rate_hz / step)
        near, _ = _search(coarse, template // step, *bounds, None if expected is None else expected / step)
        middle = np.clip(near * step, shortest + step, longest - step)
        return _search_near(recent, template, middle, step, expected)
    return _search(recent, template, shortest, longest, expected)


def _search(
    recent: Real, template: int, shortest: int, longest: int, expected: Real | None
) -> tuple[NDArray[np.int64], Real]:
    """`pitch_periods` among all candidates from the shortest to the longest."""
    newest = recent[:, -template:]
    part = np.ascontiguousarray(recent[:, -template - longest : recent.shape[1] - shortest])
    periods = np.arange(shortest, longest + 1)
    return _best(part, newest, periods, expected)


def _search_near(
    recent: Real, template: int, middle: NDArray[np.int64], step: int, expected: Real | None
) -> tuple[NDArray[np.int64], Real]:
    """`pitch_periods` among the candidates of each row that are at most `step` away from `middle` [n]."""
    rows, width = recent.shape
    first = np.arange(rows) * width + (width - template - step) - middle
    part = recent.ravel().take(first[:, None] + np.arange(template + 2 * step))
    return _best(part, recent[:, -template:], middle[:, None] + np.arange(-step, step + 1), expected)


def _best(
    part: Real, newest: Real, periods: NDArray[np.int64], expected: Real | None
) -> tuple[NDArray[np.int64], Real]:
    """The candidate whose piece of `part` is most like `newest` [n, template], and how much.

    `periods`, [candidates] or [n, candidates], goes up by one each; `part` [n, template +
    candidates - 1] has the longest candidate's piece first.
    """
    rows, template = newest.shape
    candidates = part.shape[1] - template + 1
    by_row, by_sample = part.strides
    # What sliding_window_view makes, [n, candidates, template], without its overhead for a single row.
    earlier = np.ndarray((rows, candidates, template), part.dtype, part, 0, (by_row, by_sample, by_sample))
    product = np.einsum("nks,ns->nk", earlier, newest)
    squares = np.zeros((rows, part.shape[1] + 1))
    np.cumsum(part * part, axis=1, out=squares[:, 1:])
    energy = squares[:, template:] - squares[:, :-template]
    power = energy * np.einsum("ns,ns->n", newest, newest)[:, None]
    likeness = (product / np.sqrt(np.maximum(power, 1.0)))[:, ::-1]  # shortest first
    score = likeness
    if expected is not None:
        off = np.abs(periods - expected[:, None]) / np.maximum(expected, 1.0)[:, None]
        score = likeness - np.where(expected[:, None] > 0, NEARNESS * off, 0.0)
    best, every = score.argmax(axis=1), np.arange(rows)
    found = periods[best] if periods.ndim == 1 else periods[every, best]
    return found, likeness[every, best]


def pitch_period(recent: list[float], template: int, rate_hz: int, expected: float = 0.0) -> tuple[int, float]:
    """Scalar twin of `pitch_periods` for one row."""
    step = _step(rate_hz)
    shortest, longest = _bounds(len(recent), template, rate_hz)
    if step > 1 and longest - shortest > 2 * step:
        coarse = [math.fsum(recent[at : at + step]) for at in range(len(recent) % step, len(recent), step)]
        bounds = _bounds(len(coarse), template // step, rate_hz / step)
        near, _ = _pitch_period(coarse, template // step, bounds, expected / step)
        middle = min(max(near * step, shortest + step), longest - step)
        shortest, longest = middle - step, middle + step
    return _pitch_period(recent, template, (shortest, longest), expected)


def _pitch_period(
    recent: list[float], template: int, bounds: tuple[int, int], expected: float
) -> tuple[int, float]:
    """The best period from the first to the last of `bounds`."""
    end, (shortest, longest) = len(recent), bounds
    newest = recent[end - template :]
    own = math.fsum(sample * sample for sample in newest)
    best, best_likeness, best_score = shortest, 0.0, -math.inf
    for period in range(shortest, longest + 1):
        earlier = recent[end - template - period : end - period]
        product = math.fsum(a * b for a, b in zip(earlier, newest, strict=True))
        power = math.fsum(sample * sample for sample in earlier) * own
        likeness = product / math.sqrt(max(power, 1.0))
        off = abs(period - expected) / max(expected, 1.0) if expected > 0 else 0.0
        score = likeness - NEARNESS * off
        if score > best_score:
            best, best_likeness, best_score = period, likeness, score
    return best, best_likeness


def room_for_pitch(samples: int, template: int, rate_hz: int) -> bool:
    """Whether so much sound is enough to look for a period in."""
    return samples >= template + round(SHORTEST_MS * rate_hz / 1000)


def _step(rate_hz: int) -> int:
    """Samples that are added up for the first look: what is left is 16 kHz or a little more."""
    return max(rate_hz // 16000, 1)


def _bounds(samples: int, template: int, rate_hz: float) -> tuple[int, int]:
    """Shortest and longest candidate."""
    shortest = round(SHORTEST_MS * rate_hz / 1000)
    return shortest, max(shortest, min(round(LONGEST_MS * rate_hz / 1000), samples - template))
