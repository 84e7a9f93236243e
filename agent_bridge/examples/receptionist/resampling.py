# SPDX-License-Identifier: MIT
"""Another sample rate, piece by piece: a windowed sinc in a table of phases."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.int16]

ZEROS = 16
"Zero crossings of the sinc on each side: the passband ends near 90 % of half the lower rate."


class Resampler:
    """From one rate to another; `take` each piece, `end` at last."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        """Any two rates; the table has one row for each phase between them."""
        common = math.gcd(from_hz, to_hz)
        self._up, self._down = to_hz // common, from_hz // common
        cutoff = min(1.0, to_hz / from_hz) * 0.95
        self._reach = math.ceil(ZEROS / cutoff)
        phases = np.arange(self._up)[:, None] / self._up
        taps = np.arange(1 - self._reach, self._reach + 1)[None, :] - phases
        window = np.where(np.abs(taps) < self._reach, 0.5 + 0.5 * np.cos(np.pi * taps / self._reach), 0.0)
        table = cutoff * np.sinc(cutoff * taps) * window
        self._table = table / table.sum(axis=1, keepdims=True)
        self._pending = np.zeros(self._reach - 1)
        "samples that later output needs: what precedes the next one, and what follows"
        self._phase = 0
        "of the next output sample, in 1/up of an input sample, from `pending[reach - 1]` on"

    def take(self, pcm: Pcm) -> Pcm:
        """int16[n] more input -> int16[m] of output, as far as it is settled."""
        self._pending = np.concatenate([self._pending, pcm.astype(np.float64)])
        ready = len(self._pending) - 2 * self._reach + 1
        if ready <= 0:
            return np.zeros(0, np.int16)
        count = max(0, -(-(ready * self._up - self._phase) // self._down))
        steps = self._phase + self._down * np.arange(count)
        first, phase = steps // self._up, steps % self._up
        windows = np.lib.stride_tricks.sliding_window_view(self._pending, 2 * self._reach)
        out = np.einsum("ij,ij->i", windows[first], self._table[phase])
        after = self._phase + self._down * count
        self._pending = self._pending[after // self._up :]
        self._phase = after % self._up
        return np.clip(np.rint(out), -32768, 32767).astype(np.int16)

    def end(self) -> Pcm:
        """What was still to come, with silence behind it."""
        return self.take(np.zeros(self._reach, np.int16))
