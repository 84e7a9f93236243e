# SPDX-License-Identifier: GPL-2.0-or-later
"""Sound that goes on by repetition of its last periods, without an audible joint.

After 20 ms the last two periods are repeated, after 40 ms the last three, so that a long
loss does not turn into a tone; the stage of a piece is that of its first sample.  A joint
is the place where one pass ends and the next begins: the end of a pass is faded over into
what led to its beginning.  The step from the last good sample to the first made up one is
taken back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STAGE_MS = 20
"after each so many, one period more is repeated"
OVERLAP_MS = 1.5
"length of a joint"
SEAM_MS = 1
"over so long the step between the last good sample and the first made up one is taken back"

Real = NDArray[np.float64]
Samples = NDArray[np.int64]


def repeat(good: Real, period: Samples, start: Samples, samples: int, stages: int, rate_hz: int) -> Real:
    """Sound from `start` [n] samples after the end of `good` [n, H] on (0: the next one): f64[n, samples].

    `samples` are at most 20 ms.  In stage s, from 1 to `stages`, s periods are repeated.
    """
    overlap, stage_samples = samples_of(OVERLAP_MS, rate_hz), samples_of(STAGE_MS, rate_hz)
    most = np.minimum(np.maximum((good.shape[1] - overlap) // period, 1), stages)
    stage = np.minimum(start // stage_samples + 1, most)
    sound = _in_stage(good, period, start, samples, stage, rate_hz)
    into = start - (stage - 1) * stage_samples
    changing = np.flatnonzero((stage > 1) & (into < overlap))
    if len(changing):
        _fade_stages(sound, changing, good, period, start, stage, into, rate_hz)
    seam = samples_of(SEAM_MS, rate_hz)
    first = np.flatnonzero(start < seam)
    if len(first):
        step = good[first, -1] - good[first, np.maximum(good.shape[1] - 1 - period[first], 0)]
        at = start[first, None] + np.arange(min(seam, samples))
        sound[first, : at.shape[1]] += step[:, None] * np.maximum(1 - (at + 1) / (seam + 1), 0.0)
    return sound


def _fade_stages(
    sound: Real,
    rows: NDArray[np.intp],
    good: Real,
    period: Samples,
    start: Samples,
    stage: Samples,
    into: Samples,
    rate_hz: int,
) -> None:
    """Let the stage before fade out at the beginning of these rows' sound, in place."""
    overlap = samples_of(OVERLAP_MS, rate_hz)
    columns = min(overlap, sound.shape[1])
    before = _in_stage(good[rows], period[rows], start[rows], columns, stage[rows] - 1, rate_hz)
    share = np.minimum((into[rows, None] + np.arange(columns) + 0.5) / overlap, 1.0)
    sound[rows, :columns] = before * (1 - share) + sound[rows, :columns] * share


def _in_stage(
    good: Real, period: Samples, start: Samples, samples: int, stage: Samples, rate_hz: int
) -> Real:
    """`repeat` where the stage of each row is given."""
    rows, width = good.shape
    overlap = samples_of(OVERLAP_MS, rate_hz)
    block = stage * period
    began = (stage - 1) * samples_of(STAGE_MS, rate_hz)
    looped = good.copy()
    columns = np.arange(overlap)
    led = np.maximum(width - block - overlap, 0)[:, None] + columns
    share = (columns + 0.5) / overlap
    looped[:, -overlap:] = good[:, -overlap:] * (1 - share) + good[np.arange(rows)[:, None], led] * share
    index = ((start - began + began % period)[:, None] + np.arange(samples)).astype(np.int32)
    index %= block[:, None].astype(np.int32)
    index += (np.arange(rows) * width + width - block)[:, None].astype(np.int32)
    return looped.ravel().take(index)


def samples_of(ms: float, rate_hz: int) -> int:
    """Whole samples in so many milliseconds."""
    return int(ms * rate_hz / 1000)


# -- scalar twin -----------------------------------------------------------------------------


def repeat_row(
    good: list[float], period: int, start: int, samples: int, stages: int, rate_hz: int
) -> list[float]:
    """Scalar twin of `repeat` for one row."""
    overlap, seam = samples_of(OVERLAP_MS, rate_hz), samples_of(SEAM_MS, rate_hz)
    stage_samples = samples_of(STAGE_MS, rate_hz)
    most = min(max((len(good) - overlap) // period, 1), stages)
    stage = min(start // stage_samples + 1, most)
    out = []
    for at in range(start, start + samples):
        sound = _in_stage_at(good, period, at, stage, rate_hz)
        into = at - (stage - 1) * stage_samples
        if stage > 1 and start - (stage - 1) * stage_samples < overlap and at - start < overlap:
            share = min((into + 0.5) / overlap, 1.0)
            sound = _in_stage_at(good, period, at, stage - 1, rate_hz) * (1 - share) + sound * share
        if at < seam:
            sound += (good[-1] - good[max(len(good) - 1 - period, 0)]) * (1 - (at + 1) / (seam + 1))
        out.append(sound)
    return out


def _in_stage_at(good: list[float], period: int, at: int, stage: int, rate_hz: int) -> float:
    overlap = samples_of(OVERLAP_MS, rate_hz)
    began, block = (stage - 1) * samples_of(STAGE_MS, rate_hz), stage * period
    place = len(good) - block + (at - began + began % period) % block
    joint = place - (len(good) - overlap)
    if joint < 0:
        return good[place]
    share = (joint + 0.5) / overlap
    return good[place] * (1 - share) + good[max(len(good) - block - overlap, 0) + joint] * share
