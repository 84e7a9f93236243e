# SPDX-License-Identifier: GPL-2.0-or-later
"""Silence that agents do not want: kept back, for calls whose route says so.

    frames of a caller who speaks      -> agent
    of one who does not                -> a ring of the last ones; what falls out of it is withheld

When the caller begins to speak, what is in the ring goes first: the beginning of a word, and
a breath before it.  A caller has ceased to speak only after `min_silence_ms`, so that much
silence goes to the agent behind each speech.  Positions of frames tell what was left out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.table import Stream, Table

BEFORE_MS = 240
"What the agent gets of the time before the speech; with it, of the time that it took to know that it is one."

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]
Deliver = Callable[[Rows, NDArray[np.int64], NDArray[np.uint16], Pcm], None]


class Withholding:
    """The calls whose silence is withheld."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.count = 0
        "calls; nobody asks before there is one"
        self.on = np.zeros(table.capacity, bool)
        "which these are"
        self.open = np.zeros(table.capacity, bool)
        "their callers spoke in the last frame, and what was kept before has gone"
        self._rings: dict[int, _Ring] = {}
        "by samples of a frame"
        self._room = np.zeros(table.capacity, np.intp)
        "frames of its ring that a call uses"

    def set(self, stream: Stream) -> None:
        """A call begins."""
        turns, row = stream.start.turns, stream.row
        if turns.withhold_silence and turns.detector != "off":
            self.on[row] = True
            self.count += 1
            self.open[row] = self._table.shared.speaking[row] == 1
            frame_ms = stream.start.agent.frame_ms
            self._room[row] = -(-(BEFORE_MS + turns.min_speech_ms) // frame_ms)

    def end(self, row: int) -> None:
        """The call is over."""
        if not self.on[row]:
            return
        self.on[row] = False
        self.count -= 1
        self.drop(row)

    def drop(self, row: int) -> None:
        """What is in the row's ring will never be sent."""
        for ring in self._rings.values():
            self._count(np.array([row], np.intp), int(ring.held[row]))
            ring.held[row] = 0

    def release(self, row: int, deliver: Deliver) -> None:
        """What is in the row's ring is delivered now."""
        for samples in self._rings:
            self._let_go(row, samples, deliver)

    def asks(self, rows: Rows) -> NDArray[np.bool_]:
        """Rows whose next frame must be passed on here; those of callers who go on speaking need not."""
        speaking = self._table.shared.speaking[rows] == 1
        return np.asarray(self.on[rows] & ~(speaking & self.open[rows]))

    def pass_on(
        self, rows: Rows, positions: NDArray[np.int64], flags: NDArray[np.uint16], pcm: Pcm, deliver: Deliver
    ) -> None:
        """One frame of each row: to the agent, or into the ring; and out of it, where the caller speaks now."""
        speaking = self._table.shared.speaking[rows] == 1
        on = self.on[rows]
        opened = np.flatnonzero(on & speaking & ~self.open[rows])
        for i in opened.tolist():
            self._let_go(int(rows[i]), pcm.shape[1], deliver)
        self.open[rows] = speaking
        kept = on & ~speaking
        if kept.any():
            self._keep(rows[kept], positions[kept], flags[kept], pcm[kept])
            sent = ~kept
            rows, positions, flags, pcm = rows[sent], positions[sent], flags[sent], pcm[sent]
        if len(rows):
            deliver(rows, positions, flags, pcm)

    def _keep(self, rows: Rows, positions: NDArray[np.int64], flags: NDArray[np.uint16], pcm: Pcm) -> None:
        ring, room, samples = self._rings.get(pcm.shape[1]), self._room[rows], pcm.shape[1]
        if ring is None or ring.pcm.shape[1] < int(room.max()):
            ring = self._rings[samples] = _Ring(ring, self._table.capacity, int(room.max()), samples)
        held = ring.held[rows]
        slot = (ring.first[rows] + held) % room
        ring.pcm[rows, slot], ring.positions[rows, slot], ring.flags[rows, slot] = pcm, positions, flags
        full = held == room
        ring.first[rows] = np.where(full, (ring.first[rows] + 1) % room, ring.first[rows])
        ring.held[rows] = held + ~full
        self._count(rows[full], 1)

    def _let_go(self, row: int, samples: int, deliver: Deliver) -> None:
        ring = self._rings.get(samples)
        if ring is None:
            return
        one = np.array([row], np.intp)
        for k in range(int(ring.held[row])):
            slot = (int(ring.first[row]) + k) % int(self._room[row])
            deliver(one, ring.positions[row, slot, None], ring.flags[row, slot, None], ring.pcm[row, slot, None])
        ring.held[row] = 0

    def _count(self, rows: Rows, each: int) -> None:
        if each and len(rows):
            self._table.shared.frames_withheld[rows] += each
            self._table.shared.worker.frames_withheld[0] += each * len(rows)


class _Ring:
    """The last frames of each row, all of one length."""

    def __init__(self, before: _Ring | None, capacity: int, room: int, samples: int) -> None:
        """`before`, which had less room, is taken over: its rows' places stay, as they use no more of it."""
        self.pcm = np.zeros((capacity, room, samples), np.int16)
        self.positions = np.zeros((capacity, room), np.int64)
        self.flags = np.zeros((capacity, room), np.uint16)
        self.first = np.zeros(capacity, np.intp)
        self.held = np.zeros(capacity, np.intp)
        if before is not None:
            n = before.pcm.shape[1]
            self.pcm[:, :n], self.positions[:, :n], self.flags[:, :n] = before.pcm, before.positions, before.flags
            self.first, self.held = before.first, before.held
