# SPDX-License-Identifier: GPL-2.0-or-later
"""Key tones found in audio (ITU-T Q.23, Q.24), for many calls at once.

    frames -> windows of 30 ms, one every 5 -> 8 complex amplitudes each (one matrix product)
           -> could this be a key?  no, for all but a few windows of an hour's speech
           -> the few: frequency by phase, purity, runs of windows               (one by one)

A window may belong to a key if nearly all of its power lies in one row's and one column's
tone, if neither is too weak, and if neither is much weaker than the other.  How far each
lies beside its nominal frequency is told by how far its phase has turned since the window
before: to a fraction of a percent, where the windows' own resolution is 33 Hz.  Speech fails
this within a window or two; a press is a run of five windows, which 40 ms of a tone give
and 23 ms do not.
"""

from __future__ import annotations

import cmath
import dataclasses
import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from trunkline.codecs.tones import COLUMNS_HZ, KEYS, ROWS_HZ, amplitude

HOP_MS, WINDOW_MS = 5, 30
LEAST_DBM0 = -36.0
"Of each tone. Q.24 has administrations ask for -25 to -29, and lines lose."
MIN_PURITY = 0.72
"Share of a window's power in the two tones: 4 dB of signal over noise, or a window that a tone fills by two thirds."
PRESS_PURITY = 0.86
"... and of the best window of a press. A recorded \"p\" of a man got to 0.81; tones with noise 12 dB below have 0.94."
COARSE_PURITY = 0.36
"... before it is known how far beside the bins the tones lie: 2.5 % cost 3 dB at 1633 Hz."
COLUMN_OVER_ROW = 10 ** (6 / 10)
ROW_OVER_COLUMN = 10 ** (10 / 10)
"Twist, as power: Q.24's extremes are 4 dB for the column and 8 (Australia: 10) dB for the row."
WINDOW_DEVIATION = 0.029
"Of one window: noise turns the phase, too."
MEAN_DEVIATION = 0.0245
"Of all windows of a press. Q.24: 1.5 % must be taken, 3.5 % must not."
PRESS_WINDOWS = 5
"40 ms of a tone fill 6 or 7 windows well enough, 23 ms at most 4."
BRIDGED_WINDOWS = 6
"Windows without the tone within a press: an interruption of 10 ms costs 5, a pause of 40 ms 10 at least."
EDGE_MS = 9.25
"A tone begins and ends so far within the first and the last window that hold enough of it."

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]
_ALL_HZ = np.array(ROWS_HZ + COLUMNS_HZ, float)


@dataclasses.dataclass(frozen=True, slots=True)
class Tone:
    """A press that is over."""

    row: int
    digit: str
    duration_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class Suspect:
    """A window with a tone in it, be it of a press or not: what to silence."""

    index: int
    "place of its row in the batch"
    start: int
    "sample of the batch's frame; negative in what came before"
    stop: int


@dataclasses.dataclass(slots=True)
class _Run:
    """Windows that hold one key, so far."""

    key: int
    windows: int = 0
    "that hold it"
    length: int = 0
    "from the first of them to the last"
    missing: int = 0
    "since the last"
    row_turn: complex = 0j
    column_turn: complex = 0j
    "phase from window to window, weighted by power"
    purity: float = 0.0
    "of the best window"
    pressed: bool = False


class ToneDetector:
    """Detector of one sample rate; state by row number, i16 frames of any length in, presses out."""

    def __init__(self, rate_hz: int, rows: int) -> None:
        self.rate_hz = rate_hz
        self._hop = rate_hz * HOP_MS // 1000
        self._size = rate_hz * WINDOW_MS // 1000
        window = np.hanning(self._size + 2)[1:-1]
        turns = np.exp(-2j * np.pi * np.outer(np.arange(self._size), _ALL_HZ) / rate_hz) * window[:, None]
        self._basis = np.concatenate([turns.real, turns.imag], axis=1).astype(np.float32)  # [size, 16]
        self._window = window.astype(np.float32)
        self._sum = float(window.sum())
        self._turn = np.exp(-2j * np.pi * _ALL_HZ * self._hop / rate_hz)
        "what a hop turns a tone of nominal frequency, undone"
        self._least = (amplitude(LEAST_DBM0) * self._sum / 2) ** 2
        self._past = np.zeros((rows, self._size), np.int16)
        self._count = np.full(rows, self._size - self._hop, np.intp)
        "samples of `_past` that wait for the rest of their window"
        self._last = np.zeros((rows, 8), np.complex64)
        "amplitudes of the last window"
        self._runs: dict[int, _Run] = {}

    def forget(self, row: int) -> None:
        """Whatever comes next follows on silence."""
        self._past[row] = self._last[row] = 0
        self._count[row] = self._size - self._hop
        self._runs.pop(row, None)

    def finish(self, row: int) -> Tone | None:
        """The call is over: a press that is under way ends with it."""
        run = self._runs.pop(row, None)
        self.forget(row)
        return self._tone(row, run) if run is not None and run.pressed else None

    def process(self, rows: Rows, pcm: Pcm) -> tuple[list[Tone], list[Suspect]]:
        """pcm[n, samples] of n different rows: presses that have ended, and windows that hold a tone."""
        tones: list[Tone] = []
        suspects: list[Suspect] = []
        counts = self._count[rows]
        for count in np.unique(counts):
            which = np.flatnonzero(counts == count)
            self._process(rows, which, int(count), pcm, tones, suspects)
        return tones, suspects

    def _process(
        self, rows: Rows, which: NDArray[np.intp], count: int, pcm: Pcm, tones: list[Tone], suspects: list[Suspect]
    ) -> None:
        """Rows with the same number of samples waiting: all of their windows in one product."""
        of_rows = rows[which]
        audio = np.concatenate([self._past[of_rows, :count], pcm[which]], axis=1)
        windows = max(0, (audio.shape[1] - self._size) // self._hop + 1)
        kept = audio[:, windows * self._hop :]
        self._past[of_rows, : kept.shape[1]] = kept
        self._count[of_rows] = kept.shape[1]
        if not windows:
            return
        values, energy = self._amplitudes(audio, windows)
        likely = self._likely(values, energy)
        if self._runs:
            running = np.array([row in self._runs for row in of_rows.tolist()])
            likely[running] = True
        before = self._last[of_rows]
        self._last[of_rows] = values[:, -1]
        for i in np.flatnonzero(likely.any(axis=1)):
            found = _Windows(int(of_rows[i]), int(which[i]), count, values[i], energy[i], before[i], likely[i])
            self._follow(found, tones, suspects)

    def _amplitudes(self, audio: Pcm, windows: int) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
        """Complex amplitudes [n, windows, 8] and power under the window [n, windows]."""
        n = len(audio)
        cut = sliding_window_view(audio, self._size, axis=1)[:, :: self._hop][:, :windows]
        flat = cut.reshape(n * windows, self._size).astype(np.float32)
        product = (flat @ self._basis).reshape(n, windows, 16)
        energy = (np.square(flat) @ self._window).reshape(n, windows)
        return product[:, :, :8] + 1j * product[:, :, 8:], energy

    def _likely(self, values: NDArray[np.complex64], energy: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Windows [n, windows] that are worth a second look."""
        power = np.square(values.real) + np.square(values.imag)
        row, column = power[:, :, :4].max(axis=2), power[:, :, 4:].max(axis=2)
        likely = 2 * (row + column) > COARSE_PURITY * self._sum * energy
        likely &= (row > self._least / 2) & (column > self._least / 2)
        return np.asarray(likely & (column < 2 * COLUMN_OVER_ROW * row) & (row < 2 * ROW_OVER_COLUMN * column))

    # -- the few windows that may hold a tone -----------------------------------------------

    def _follow(self, found: _Windows, tones: list[Tone], suspects: list[Suspect]) -> None:
        """The windows of one row, in order."""
        run = self._runs.get(found.row)
        last = found.before
        for place, value in enumerate(found.values):
            energy = float(found.energy[place])
            key, row_turn, column_turn, purity = self._key(value, last, energy) if found.likely[place] else _NO
            last = value
            if run is not None and key != run.key:
                run.missing += 1
                if run.missing > BRIDGED_WINDOWS or key >= 0:
                    if run.pressed:
                        tones.append(self._tone(found.row, run))
                    run = None
            if key >= 0:
                if run is None:
                    run = _Run(key)
                run.purity = max(run.purity, purity)
                self._extend(run, row_turn, column_turn)
            if run is not None and (key >= 0 or run.pressed):
                start = place * self._hop - found.count
                suspects.append(Suspect(found.index, start, start + self._size))
        if run is None:
            self._runs.pop(found.row, None)
        else:
            self._runs[found.row] = run

    def _key(
        self, value: NDArray[np.complex64], last: NDArray[np.complex64], energy: float
    ) -> tuple[int, complex, complex, float]:
        """Key that a window holds, -1 for none; how far its tones have turned since the last window; their purity."""
        power = np.square(np.abs(value))
        row, column = int(power[:4].argmax()), 4 + int(power[4:].argmax())
        turns = [complex(value[i]) * complex(last[i]).conjugate() * complex(self._turn[i]) for i in (row, column)]
        beside = [self._beside_hz(turn) for turn in turns]
        if any(abs(hz) > WINDOW_DEVIATION * _ALL_HZ[i] for hz, i in zip(beside, (row, column), strict=True)):
            return _NO
        of_row, of_column = (
            float(power[i]) / self._droop(hz) for hz, i in zip(beside, (row, column), strict=True)
        )
        purity = 2 * (of_row + of_column) / max(self._sum * energy, 1.0)
        loud = min(of_row, of_column) > self._least
        level = of_column < COLUMN_OVER_ROW * of_row and of_row < ROW_OVER_COLUMN * of_column
        fits = purity > MIN_PURITY and loud and level
        return (row * 4 + column - 4, turns[0], turns[1], purity) if fits else _NO

    def _extend(self, run: _Run, row_turn: complex, column_turn: complex) -> None:
        """One more window of the key; enough of them, of the right frequencies, are a press."""
        run.windows += 1
        run.length += 1 + run.missing if run.windows > 1 else 1
        run.missing = 0
        run.row_turn += row_turn
        run.column_turn += column_turn
        if run.windows >= PRESS_WINDOWS and run.purity > PRESS_PURITY and not run.pressed:
            row = self._beside_hz(run.row_turn) / ROWS_HZ[run.key // 4]
            column = self._beside_hz(run.column_turn) / COLUMNS_HZ[run.key % 4]
            run.pressed = max(abs(row), abs(column)) < MEAN_DEVIATION

    def _beside_hz(self, turn: complex) -> float:
        """How far beside its nominal frequency a tone lies that turns so much more from window to window."""
        return cmath.phase(turn) / (2 * math.pi) * self.rate_hz / self._hop

    def _droop(self, beside_hz: float) -> float:
        """Power that a Hann window leaves of a tone beside the frequency that is looked for."""
        bins = abs(beside_hz) * self._size / self.rate_hz
        if abs(bins - 1) < 1e-6:
            return 0.25
        return max(float((np.sinc(bins) / (1 - bins * bins)) ** 2), 0.1)

    def _tone(self, row: int, run: _Run) -> Tone:
        ms = ((run.length - 1) * self._hop + self._size) * 1000 / self.rate_hz - 2 * EDGE_MS
        return Tone(row, KEYS[run.key], round(ms))


_NO = (-1, 0j, 0j, 0.0)


@dataclasses.dataclass(frozen=True, slots=True)
class _Windows:
    """New windows of one row."""

    row: int
    index: int
    count: int
    "samples of the first window that came with an earlier frame"
    values: NDArray[np.complex64]
    energy: NDArray[np.float32]
    before: NDArray[np.complex64]
    "amplitudes of the window before the first"
    likely: NDArray[np.bool_]
