# SPDX-License-Identifier: GPL-2.0-or-later
"""Pitch of many pieces of sound at once: the distance after which each resembles itself most.

Normalised cross-correlation of the newest samples (the template) with what lies one
candidate period earlier, for all candidates from 2.5 to 15 ms, every sample: 400 Hz to
67 Hz, from a child's voice to a low man's, as in G.711 Appendix I.

Sums are of whole numbers below 2**53, so float64 holds them exactly, in any order: the
same sound has the same pitch in every batch.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

SHORTEST_MS = 2.5
LONGEST_MS = 15
NEARNESS = 0.3
"what a candidate loses in likeness, per share by which it misses the period that is expected"


def pitch_periods(
    recent: NDArray[np.float64], template: int, rate_hz: int, expected: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Period of each row in samples, and how alike two periods are (-1 to 1; 0 for silence).

    `recent` is [n, H], whole numbers, newest last; the longest candidate is what H leaves
    room for.  `template` is the number of newest samples that are compared.  `expected`
    is [n], a period that is likely (0: none): near ones are preferred.  Of equally good
    candidates the shortest wins.  H must hold the shortest period and a template.
    """
    shortest, longest = _bounds(recent.shape[1], template, rate_hz)
    newest = recent[:, -template:]
    part = np.ascontiguousarray(recent[:, -template - longest : recent.shape[1] - shortest])
    rows, candidates = len(part), longest - shortest + 1
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
        off = np.abs(np.arange(shortest, longest + 1) - expected[:, None]) / np.maximum(expected, 1.0)[:, None]
        score = likeness - np.where(expected[:, None] > 0, NEARNESS * off, 0.0)
    best = score.argmax(axis=1)
    return best + shortest, likeness[np.arange(rows), best]


def pitch_period(recent: list[float], template: int, rate_hz: int, expected: float = 0.0) -> tuple[int, float]:
    """Scalar twin of `pitch_periods` for one row."""
    end = len(recent)
    shortest, longest = _bounds(end, template, rate_hz)
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


def _bounds(samples: int, template: int, rate_hz: int) -> tuple[int, int]:
    """Shortest and longest candidate."""
    shortest = round(SHORTEST_MS * rate_hz / 1000)
    return shortest, max(shortest, min(round(LONGEST_MS * rate_hz / 1000), samples - template))
