# SPDX-License-Identifier: GPL-2.0-or-later
"""Who speaks: voice activity by energy over an adaptive noise floor, for many callers at once.

State is one row of float64 per caller (`new_state`), in decibels and milliseconds, so that it
survives a change of codec, rate or packet time.  A caller's floor (`learn`) is

    the least level of the last 1.5 to 3 s     it falls at once, and rises when that window has passed,
    or a level that has held for 0.6 s         speech never does: a fan, a tone, line noise after a leap of AGC

and voice is what lies well above it (`is_voice`).  Voice that goes on is speech (`count`): a
click is not, a pause between words does not end it.  Each has a scalar twin.

All functions change `state` [n, FIELDS] in place; levels are dBov (`level.py`), f[n].
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BEGIN, VOICE_MS, QUIET_MS, START_MS, STOP_MS = range(5)
FLOOR, LOW, BEFORE, AGE_MS, ANCHOR, STEADY_MS, MARGIN_DB = range(5, 12)
"""Fields of a row: level from which frames are voice (dBov); since voice began, and since it was last heard; how much
of either is a change, inf if none; the floor; least level of this window, and of the one before it; age of this
window; level that has held, and for how long; how far above the floor voice begins."""
FIELDS = 12

FIRST_FLOOR_DBOV = -50.0
"Before anything is known."
QUIETEST_DBOV = -65.0
"A floor is not taken for lower: above digital silence, all would be voice."
LOUDEST_FLOOR_DBOV = -15.0
"... nor for higher: then nothing would be."
LEAST_MARGIN_DB, MOST_MARGIN_DB = 8.0, 16.0
"Where voice begins above the floor: line noise of 20 ms is 2 dB above its own least, and seldom 4; a fan is up to 12."
MARGIN_BASE_DB, MARGIN_PER_DB, MARGIN_RATE = 5.0, 1.5, 0.05
"So it follows how restless the noise is, frame by frame, while nobody speaks."
GO_ON_DB = 3.0
"So much less is enough to go on"
LEAST_DBOV = -50.0
"What is quieter begins none, whatever the floor: breath, a room, the noise of a codec."
GO_ON_WITHIN_MS = 200.0
"for voice that was heard so lately: the end of a word is quieter than its beginning."
BRIDGE_MS = 60.0
"A hole in voice that does not make it two: a stop consonant, a lost packet."
WINDOW_MS = 1500.0
"Who speaks takes breath, or closes his lips, in that time."
STEADY_DB, HELD_MS = 3.0, 600.0
"A level that moves no more than this for so long is none of speech: a drawn-out \"so\" does for 0.4 s."

State = NDArray[np.float64]
Levels = NDArray[np.float64] | NDArray[np.float32]
Mask = NDArray[np.bool_]


def new_state() -> list[float]:
    """A row of a caller of whom nothing was heard; no length of voice or quiet is a change yet."""
    begin = FIRST_FLOOR_DBOV + LEAST_MARGIN_DB
    return [begin, 0.0, 1e6, math.inf, math.inf, FIRST_FLOOR_DBOV, math.inf, FIRST_FLOOR_DBOV, 0.0, 0.0, 0.0,
            LEAST_MARGIN_DB]  # fmt: skip


# --- all at once ---------------------------------------------------------------------------


def learn(state: State, level: Levels, ms: float) -> None:
    """Frames of `ms`, or one in a few that stand for so long: what they say of the floor."""
    heard = np.minimum(np.maximum(level, QUIETEST_DBOV), LOUDEST_FLOOR_DBOV)
    moved = np.abs(heard - state[:, ANCHOR]) > STEADY_DB
    state[:, STEADY_MS] += ms
    if moved.any():
        state[moved, ANCHOR] = heard[moved]
        state[moved, STEADY_MS] = 0.0
    state[:, AGE_MS] += ms
    low = np.minimum(state[:, LOW], heard)
    floor = np.minimum(low, state[:, BEFORE])
    held = (state[:, STEADY_MS] >= HELD_MS) & (floor < state[:, ANCHOR] - STEADY_DB)
    if held.any():
        floor[held] = low[held] = state[held, BEFORE] = state[held, ANCHOR]
    state[:, FLOOR] = floor
    restless = np.minimum(MARGIN_BASE_DB + MARGIN_PER_DB * (heard - floor), MOST_MARGIN_DB)
    np.maximum(restless, LEAST_MARGIN_DB, out=restless)
    margin = state[:, MARGIN_DB]
    margin += MARGIN_RATE * (restless - margin) * (state[:, STOP_MS] == math.inf)
    state[:, BEGIN] = np.maximum(floor + margin, LEAST_DBOV)
    state[:, LOW] = low
    over = state[:, AGE_MS] >= WINDOW_MS
    if over.any():
        state[over, BEFORE] = low[over]
        state[over, LOW], state[over, AGE_MS] = math.inf, 0.0


def is_voice(state: State, level: Levels, least_dbov: Levels) -> Mask:
    """Frames that are voice: above the floor, and above `least_dbov` [n], what may be an echo of our own."""
    needed = state[:, BEGIN] - GO_ON_DB * (state[:, QUIET_MS] < GO_ON_WITHIN_MS)
    return np.asarray(level > np.maximum(needed, least_dbov, out=needed))


def count(state: State, voice: Mask, ms: float) -> Mask:
    """Frames of `ms` that were voice or not; where the caller has now begun or ceased to speak.

    It has if voice goes on for START_MS, or nothing was heard for STOP_MS.
    """
    spoken, quiet = state[:, VOICE_MS], state[:, QUIET_MS]
    state[:, VOICE_MS : QUIET_MS + 1] += ms
    quiet[voice] = 0.0
    spoken[quiet > BRIDGE_MS] = 0.0
    return np.asarray(voice & (spoken >= state[:, START_MS]) | (quiet >= state[:, STOP_MS]))


# --- twins, one row ------------------------------------------------------------------------


def learn_one(row: list[float], level: float, ms: float) -> None:
    """Scalar twin of `learn`."""
    heard = min(max(level, QUIETEST_DBOV), LOUDEST_FLOOR_DBOV)
    row[STEADY_MS] += ms
    if abs(heard - row[ANCHOR]) > STEADY_DB:
        row[ANCHOR], row[STEADY_MS] = heard, 0.0
    row[AGE_MS] += ms
    row[LOW] = min(row[LOW], heard)
    row[FLOOR] = min(row[LOW], row[BEFORE])
    if row[STEADY_MS] >= HELD_MS and row[FLOOR] < row[ANCHOR] - STEADY_DB:
        row[FLOOR] = row[LOW] = row[BEFORE] = row[ANCHOR]
    restless = min(MARGIN_BASE_DB + MARGIN_PER_DB * (heard - row[FLOOR]), MOST_MARGIN_DB)
    if row[STOP_MS] == math.inf:
        row[MARGIN_DB] += MARGIN_RATE * (max(restless, LEAST_MARGIN_DB) - row[MARGIN_DB])
    row[BEGIN] = max(row[FLOOR] + row[MARGIN_DB], LEAST_DBOV)
    if row[AGE_MS] >= WINDOW_MS:
        row[BEFORE], row[LOW], row[AGE_MS] = row[LOW], math.inf, 0.0


def is_voice_one(row: list[float], level: float, least_dbov: float) -> bool:
    """Scalar twin of `is_voice`."""
    return level > max(row[BEGIN] - GO_ON_DB * (row[QUIET_MS] < GO_ON_WITHIN_MS), least_dbov)


def count_one(row: list[float], voice: bool, ms: float) -> bool:
    """Scalar twin of `count`."""
    row[QUIET_MS] = 0.0 if voice else row[QUIET_MS] + ms
    row[VOICE_MS] = 0.0 if row[QUIET_MS] > BRIDGE_MS else row[VOICE_MS] + ms
    return (voice and row[VOICE_MS] >= row[START_MS]) or row[QUIET_MS] >= row[STOP_MS]
