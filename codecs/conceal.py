# SPDX-License-Identifier: GPL-2.0-or-later
"""What to play in place of audio that did not come.

**From behind.** The last pitch period before the loss is repeated, after 20 ms the last
two, after 40 ms the last three, each joined to itself by a short overlap: voiced speech
goes on at its pitch instead of buzzing at the frame rate, and a long loss does not turn
into a tone.  Where the sound has no pitch, what is repeated is at least 12 ms long.  The
shape is that of G.711 Appendix I.

**From ahead.** A gap is only filled when the packet behind it has had its time to come,
so more often than not that packet is there already.  Then its first pitch period is
repeated backwards through the gap, and the two are faded into each other.  This is worth
three times as much as the rest together (see tests/bench/concealment.py), and costs no delay.

**Fading.** A sound that is held grows unlikely: from 40 ms on it fades, and is gone at
240 ms.  The background noise that comes up meanwhile is `comfort_noise.py`'s.

**Compiled** (`native/conceal.c`) a row goes through all of it before the next one.

A concealed frame is a function of the good audio on both sides and of how far into the
loss it lies, nothing else.  So the caller keeps *good* samples in its history, leaves them
alone while frames are missing, and counts the frames.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs import compiled
from trunkline.codecs.pitch import MOST_SAMPLES as MOST_HISTORY
from trunkline.codecs.pitch import pitch_period, pitch_periods, room_for_pitch
from trunkline.codecs.repetition import OVERLAP_MS, STAGE_MS, repeat, repeat_row, samples_of

HOLD_MS = 40
"full level for so long: one or two lost packets, by far the most frequent losses, keep their loudness"
SILENT_MS = 240
"nothing is left from here on: a sound held longer is taken for a fault of the line"

_HISTORY_MS = 50
"three of the longest periods, and a little to overlap with"
_TEMPLATE_MS = 10
_AHEAD_TEMPLATE_MS = 5
"there are only 20 ms to look at in the packet behind the gap"
_STAGES = 3
"periods that are repeated at most"
_VOICED = 0.5
"likeness of two periods from which a sound has a pitch"
_UNVOICED_MS = 12

_ROWS = 64
"rows at a time, for small temporaries"
_LEAST_HISTORY_MS, MOST_SAMPLES = 12.5, 5760
"what the kernels take, with MOST_HISTORY: LEAST_HISTORY_MS of native/conceal.c, MOST_SAMPLES of native/samples.h"

Pcm = NDArray[np.int16]
Real = NDArray[np.float64]


def history_samples(sample_rate_hz: int = 8000) -> int:
    """Good samples before a loss that concealment makes use of: 50 ms."""
    return samples_of(_HISTORY_MS, sample_rate_hz)


def can_look_ahead(samples: int, sample_rate_hz: int) -> bool:
    """Whether a packet of so many samples tells enough of what comes after a gap."""
    return room_for_pitch(samples, samples_of(_AHEAD_TEMPLATE_MS, sample_rate_hz), sample_rate_hz)


def conceal(history: Pcm, samples: int, start: NDArray[np.int64], sample_rate_hz: int = 8000) -> Real:
    """The next missing piece of each row, from what was before it: f64[n, samples].

    `history` is i16[n, H], the last good samples before the loss, newest last (H at least
    25 ms, best `history_samples`; zeros where a call is younger than that), and `start`
    i64[n], how many samples have already been missing.
    """
    filled = np.empty((len(history), samples))
    kernel = compiled.get("conceal") if _is_usual(history, samples, sample_rate_hz) else None
    if kernel is not None:
        kernel(history, sample_rate_hz, start, filled)
        return filled
    for first in range(0, len(history), _ROWS):
        part = slice(first, first + _ROWS)
        good = history[part].astype(np.float64)
        filled[part] = _from_behind(good, samples, start[part], sample_rate_hz)[0]
    return filled


def conceal_between(
    history: Pcm,
    ahead: Pcm,
    samples: int,
    start: NDArray[np.int64],
    known: NDArray[np.int64],
    length: NDArray[np.int64],
    sample_rate_hz: int = 8000,
) -> Real:
    """The next missing piece of each row, where what comes after the gap is there already.

    `ahead` is i16[n, A], the good samples that follow it (A: `can_look_ahead`), and
    `length` i64[n] the whole gap in samples.  The fade from behind to ahead begins at
    `known` i64[n], where in the gap the caller first knew, and ends with the gap.
    The rest as `conceal` has it.
    """
    filled = np.empty((len(history), samples))
    usual = _is_usual(history, samples, sample_rate_hz) and ahead.shape[1] <= MOST_SAMPLES
    kernel = compiled.get("conceal_between") if usual else None
    if kernel is not None:
        kernel(history, ahead, sample_rate_hz, start, known, length, filled)
        return filled
    for first in range(0, len(history), _ROWS):
        part = slice(first, first + _ROWS)
        good = history[part].astype(np.float64)
        behind, period = _from_behind(good, samples, start[part], sample_rate_hz)
        at = start[part, None] + np.arange(samples)
        since, until = known[part, None], length[part, None]
        before = _from_ahead(ahead[part], length[part] - start[part], samples, period, sample_rate_hz)
        share = np.minimum(np.maximum((at - since + 0.5) / np.maximum(until - since, 1), 0.0), 1.0)
        filled[part] = behind * (1 - share) + before * share
    return filled


def _is_usual(history: Pcm, samples: int, rate_hz: int) -> bool:
    """Whether there is room in the kernels."""
    kept = history.shape[1]
    return samples_of(_LEAST_HISTORY_MS, rate_hz) <= kept <= MOST_HISTORY and samples <= MOST_SAMPLES


def fade_left(start: NDArray[np.int64], samples: int, sample_rate_hz: int = 8000) -> Real:
    """How much of the sound before a loss is still there, `start` samples into it: f64[n, samples], 1 to 0."""
    hold, silent = samples_of(HOLD_MS, sample_rate_hz), samples_of(SILENT_MS, sample_rate_hz)
    return np.clip((silent - start[:, None] - np.arange(samples)) / (silent - hold), 0.0, 1.0)


# -- the two sides ---------------------------------------------------------------------------


def _from_behind(
    good: Real, samples: int, start: NDArray[np.int64], rate_hz: int
) -> tuple[Real, NDArray[np.float64]]:
    """The sound goes on and fades; and its period, 0 where it has none."""
    period, likeness = pitch_periods(good, _template(good.shape[1], rate_hz), rate_hz)
    voiced = likeness >= _VOICED
    unvoiced = min(samples_of(_UNVOICED_MS, rate_hz), good.shape[1] - samples_of(OVERLAP_MS, rate_hz))
    repeated = np.where(voiced, period, np.maximum(period, unvoiced))
    piece = samples_of(STAGE_MS, rate_hz)
    parts = [
        repeat(good, repeated, start + at, min(piece, samples - at), _STAGES, rate_hz)
        for at in range(0, samples, piece)
    ]
    sound = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    if len(start) and int(start.max()) + samples > samples_of(HOLD_MS, rate_hz):
        sound *= fade_left(start, samples, rate_hz)
    return sound, np.where(voiced, period, 0).astype(np.float64)


def _from_ahead(
    ahead: Pcm, left: NDArray[np.int64], samples: int, expected: NDArray[np.float64], rate_hz: int
) -> Real:
    """What led to the sound ahead, from `left` samples before it on, at its first period."""
    backwards = ahead[:, : samples_of(STAGE_MS, rate_hz)][:, ::-1].astype(np.float64)
    period, _ = pitch_periods(backwards, samples_of(_AHEAD_TEMPLATE_MS, rate_hz), rate_hz, expected)
    piece = samples_of(STAGE_MS, rate_hz)
    nearest = np.maximum(left - samples, 0)
    parts = [
        repeat(backwards, period, nearest + at, min(piece, samples - at), 1, rate_hz)
        for at in range(0, samples, piece)
    ]
    return (parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1))[:, ::-1]


def _template(width: int, rate_hz: int) -> int:
    """Newest samples to compare: 10 ms, less where the history is short (high rates)."""
    return min(samples_of(_TEMPLATE_MS, rate_hz), width // 2)


# -- scalar twins ----------------------------------------------------------------------------


def conceal_row(history: list[float], samples: int, start: int, sample_rate_hz: int = 8000) -> list[float]:
    """Scalar twin of `conceal` for one row."""
    return _behind_row(history, samples, start, sample_rate_hz)[0]


def conceal_between_row(
    history: list[float],
    ahead: list[float],
    samples: int,
    start: int,
    known: int,
    length: int,
    sample_rate_hz: int = 8000,
) -> list[float]:
    """Scalar twin of `conceal_between` for one row."""
    behind, expected = _behind_row(history, samples, start, sample_rate_hz)
    piece = samples_of(STAGE_MS, sample_rate_hz)
    newest = ahead[:piece][::-1]
    period, _ = pitch_period(newest, samples_of(_AHEAD_TEMPLATE_MS, sample_rate_hz), sample_rate_hz, expected)
    before: list[float] = []
    for at in range(0, samples, piece):
        first = max(length - start - samples, 0) + at
        before += repeat_row(newest, period, first, min(piece, samples - at), 1, sample_rate_hz)
    out = []
    for i, (sound, led) in enumerate(zip(behind, reversed(before), strict=True)):
        share = min(max((start + i - known + 0.5) / max(length - known, 1), 0.0), 1.0)
        out.append(sound * (1 - share) + led * share)
    return out


def _behind_row(history: list[float], samples: int, start: int, rate_hz: int) -> tuple[list[float], float]:
    period, likeness = pitch_period(history, _template(len(history), rate_hz), rate_hz)
    unvoiced = min(samples_of(_UNVOICED_MS, rate_hz), len(history) - samples_of(OVERLAP_MS, rate_hz))
    repeated = period if likeness >= _VOICED else max(period, unvoiced)
    hold, silent = samples_of(HOLD_MS, rate_hz), samples_of(SILENT_MS, rate_hz)
    piece = samples_of(STAGE_MS, rate_hz)
    sound: list[float] = []
    for at in range(0, samples, piece):
        sound += repeat_row(history, repeated, start + at, min(piece, samples - at), _STAGES, rate_hz)
    left = (min(max((silent - start - i) / (silent - hold), 0.0), 1.0) for i in range(samples))
    faded = [one * share for one, share in zip(sound, left, strict=True)]
    return faded, float(period if likeness >= _VOICED else 0)
