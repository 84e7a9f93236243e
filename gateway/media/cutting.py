# SPDX-License-Identifier: GPL-2.0-or-later
"""Audio that comes in lengths of the caller's choice, and must leave in others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]
Flags = NDArray[np.uint16]


class Cutter:
    """Collects audio of any length and gives it back in frames; flags of the parts are joined."""

    def __init__(self, capacity: int, frame_samples: int, count: NDArray[np.int64]) -> None:
        """`count` i64[capacity]: samples that wait of each row, none as yet."""
        self._frame = frame_samples
        self._audio: Pcm = np.zeros((capacity, frame_samples * 2), np.int16)
        self.count = count
        self.flags: NDArray[np.uint16] = np.zeros(capacity, np.uint16)
        "of what waits"
        self._newest: NDArray[np.uint16] = np.zeros(capacity, np.uint16)
        "of the last piece alone: what is left behind a frame is of no other"

    def add(self, rows: Rows, pcm: Pcm, flags: NDArray[np.uint16]) -> None:
        """Append pcm[n, samples] to n different rows."""
        needed = int(self.count[rows].max()) + pcm.shape[1]
        if needed > self._audio.shape[1]:
            grown = np.zeros((len(self._audio), needed), np.int16)
            grown[:, : self._audio.shape[1]] = self._audio
            self._audio = grown
        columns = self.count[rows][:, None] + np.arange(pcm.shape[1])
        self._audio[rows[:, None], columns] = pcm
        self.count[rows] += pcm.shape[1]
        self.flags[rows] |= flags
        self._newest[rows] = flags

    def frames(self, rows: Rows) -> list[tuple[Rows, Pcm, NDArray[np.uint16]]]:
        """Take every whole frame of these rows, oldest first."""
        out: list[tuple[Rows, Pcm, NDArray[np.uint16]]] = []
        while True:
            rows = rows[self.count[rows] >= self._frame]
            if not len(rows):
                return out
            out.append((rows, self._audio[rows, : self._frame].copy(), self.flags[rows].copy()))
            self._audio[rows, : -self._frame] = self._audio[rows, self._frame :]
            self.count[rows] -= self._frame
            self.flags[rows] = np.where(self.count[rows] > 0, self._newest[rows], 0)


class OddEnds:
    """Line audio of which a resampler would make no whole number of samples: the rest waits for what follows.

    From 44.1 to 16 kHz it is 441 samples that become 160.  Packets of another length are rare, and dealt with
    one by one.
    """

    def __init__(self) -> None:
        self._rest: dict[int, Pcm] = {}
        "by row"

    def any_among(self, rows: Rows, samples: int, multiple: int) -> bool:
        """Whether pieces of so many samples cannot go on as they are."""
        return samples % multiple > 0 or (bool(self._rest) and not self._rest.keys().isdisjoint(rows.tolist()))

    def whole(self, rows: Rows, pcm: Pcm, flags: Flags, multiple: int) -> list[tuple[Rows, Pcm, Flags]]:
        """What can go on now, row by row: each a batch of one, in lengths that are multiples."""
        out: list[tuple[Rows, Pcm, Flags]] = []
        for i, row in enumerate(rows.tolist()):
            before = self._rest.pop(row, None)
            piece = pcm[i] if before is None else np.concatenate([before, pcm[i]])
            good = len(piece) // multiple * multiple
            if good < len(piece):
                self._rest[row] = piece[good:].copy()
            if good:
                out.append((rows[i : i + 1], piece[None, :good], flags[i : i + 1]))
        return out

    def forget(self, row: int) -> int:
        """Drop what waits; returns how many samples that was."""
        rest = self._rest.pop(row, None)
        return 0 if rest is None else len(rest)
