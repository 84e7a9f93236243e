# SPDX-License-Identifier: GPL-2.0-or-later
"""What callers have said lately, kept for an agent that comes after the one they said it to.

Each call of a route that wants it has a ring of frames, with the position of each, in a pool of its kind; the
pool is zero pages until it is written to.  Every frame for an agent goes into the ring first.  A call whose agent
is lost, new, or slow is `behind`: its frames go into the ring only, and the agent gets them out of it, from the
`cursor` on, `SPEED` times as fast as they were said, until nothing is left and the call is live again.  So the
audio that comes meanwhile needs no special case: positions go on without a hole by construction, and what has
been overwritten because nobody took it for too long is the oldest, counted and flagged as a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import FLAG_GAP, FLAG_REPLAY
from trunkline.gateway.media.table import Table
from trunkline.rtp.outcomes import Drop

SPEED = 10
"Times real time. Ten seconds take one, and an agent with 200 calls hears no more than with 2,000."
STEP_NS = 10_000_000
MARGIN_MS = 2000
"A ring holds so much more than is replayed at most: what is said while it is replayed, or nobody is found."
POOL_BYTES = 1 << 30
"Of all rings of a worker: 2,700 calls with 10 s at 16 kHz. A call that finds no place has no replay."

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]
Positions = NDArray[np.int64]
Flags = NDArray[np.uint16]
Send = Callable[[Rows, Positions, Flags, Pcm], None]


class Rings:
    """Rings of `frames` frames of `samples` samples, one for each call that has a slot."""

    def __init__(self, capacity: int, frames: int, samples: int) -> None:
        self.frames, self.samples = frames, samples
        self._slot_bytes = frames * (samples * 2 + 8)
        self._slots = min(capacity, POOL_BYTES // self._slot_bytes)
        self._begin()

    def _begin(self) -> None:
        self._audio: Pcm = np.zeros((self._slots * self.frames, self.samples), np.int16)
        self._label: NDArray[np.int64] = np.zeros(self._slots * self.frames, np.int64)
        "position << 16 | flags of each frame, and 1 more: 0 is none, so that these are zero pages, too"
        self._free: list[int] = []
        "slots that were in use"
        self._touched = 0
        "slots that ever were: they are memory"

    @property
    def bytes(self) -> int:
        """Memory that is more than zero pages."""
        return self._touched * self._slot_bytes

    def take(self, room_bytes: int = POOL_BYTES) -> int:
        """A slot with nothing in it, or -1: there is none that is memory already, and no room for more."""
        if self._free:
            slot = self._free.pop()
            self._label[slot * self.frames : (slot + 1) * self.frames] = 0
            return slot
        if self._touched == self._slots or room_bytes < self._slot_bytes:
            return -1
        self._touched += 1
        return self._touched - 1

    def shrink(self) -> None:
        """Give the memory back, if no call has a slot."""
        if self._touched and len(self._free) == self._touched:
            self._begin()

    def give_back(self, slot: int) -> None:
        """The call is over."""
        self._free.append(slot)

    def write(self, slots: NDArray[np.int64], positions: Positions, flags: Flags, pcm: Pcm) -> None:
        """One frame for each of n different slots."""
        at = slots * self.frames + positions // self.samples % self.frames
        self._audio[at] = pcm
        self._label[at] = (positions << 16 | flags) + 1

    def positions(self, slots: NDArray[np.int64], positions: Positions) -> Positions:
        """The position of what stands at these (-1: nothing), without looking at the audio."""
        at = slots * self.frames + positions // self.samples % self.frames
        return np.asarray(self._label[at] - 1 >> 16)

    def read(self, slots: NDArray[np.int64], positions: Positions) -> tuple[Pcm, Flags, NDArray[np.int64]]:
        """Frames at these positions: pcm, flags, and the position of what stands there (-1: nothing)."""
        at = slots * self.frames + positions // self.samples % self.frames
        label = self._label[at] - 1
        return self._audio[at], (label & 0xFFFF).astype(np.uint16), label >> 16


class Replay:
    """The rings of all rows, and which rows are behind."""

    def __init__(self, table: Table) -> None:
        n = table.capacity
        self._table = table
        self._kinds: dict[tuple[int, int], int] = {}
        self._rings: list[Rings] = []
        self._kind: NDArray[np.int64] = np.full(n, -1, np.int64)
        self._slot: NDArray[np.int64] = np.full(n, -1, np.int64)
        self._longest: Positions = np.zeros(n, np.int64)
        "samples that are replayed at most"
        self.acked: Positions = np.zeros(n, np.int64)
        "position before which nothing needs to be replayed"
        self.cursor: Positions = np.zeros(n, np.int64)
        self.behind, self.waiting = table.behind_rows, table.behind
        self._said_before: Positions = np.zeros(n, np.int64)
        "frames before this position are flagged as replay"
        self._owed: Flags = np.zeros(n, np.uint16)
        "flags for the next frame"
        self.rows = 0
        "how many rows have a ring"
        self._step_ns = 0

    # -- rings ------------------------------------------------------------------------------

    def open(self, row: int, replay_ms: int, samples: int, frame_ms: int) -> bool:
        """Give a row a ring; False if there is no place for one."""
        kind = (replay_ms + MARGIN_MS) // frame_ms, samples
        if kind not in self._kinds:
            self._kinds[kind] = len(self._rings)
            self._rings.append(Rings(self._table.capacity, *kind))
        index = self._kinds[kind]
        self._slot[row] = self._take(index)
        if self._slot[row] < 0:
            self._table.shared.worker.replays_refused[0] += 1
            return False
        self._kind[row] = index
        self._longest[row] = replay_ms // frame_ms * samples
        self.acked[row], self._owed[row] = self._table.shared.up_position[row], 0
        self.rows += 1
        return True

    def _take(self, index: int) -> int:
        """A slot of this kind; where memory is short, other kinds that nobody uses now give theirs back."""
        slot = self._rings[index].take(self._room())
        if slot < 0:
            for rings in self._rings:
                rings.shrink()
            slot = self._rings[index].take(self._room())
        return slot

    def _room(self) -> int:
        return POOL_BYTES - self.reserved_bytes

    @property
    def reserved_bytes(self) -> int:
        """Memory of all kinds."""
        return sum(rings.bytes for rings in self._rings)

    def close(self, row: int) -> None:
        """The call is over."""
        if self._slot[row] >= 0:
            self._rings[self._kind[row]].give_back(int(self._slot[row]))
            self._slot[row] = self._kind[row] = -1
            self.rows -= 1
        self.behind[row] = False
        self.waiting.discard(row)

    def has(self, row: int) -> bool:
        """Whether the row has a ring."""
        return bool(self._slot[row] >= 0)

    def acknowledge(self, row: int, position: int) -> None:
        """The agent has done with what came before."""
        position = min(position, int(self._table.shared.up_position[row]))
        self.acked[row] = max(int(self.acked[row]), position)

    def keep(self, rows: Rows, positions: Positions, flags: Flags, pcm: Pcm) -> None:
        """Frames for agents, of one length, one for each row."""
        for rings, which in self._groups(rows):
            rings.write(self._slot[rows[which]], positions[which], flags[which], pcm[which])

    def _groups(self, rows: Rows) -> Iterator[tuple[Rings, NDArray[np.intp] | slice]]:
        kinds = self._kind[rows]
        first = int(kinds[0])
        if (kinds == first).all():
            if first >= 0:
                yield self._rings[first], slice(None)
            return
        for index in np.unique(kinds[kinds >= 0]).tolist():
            yield self._rings[index], np.flatnonzero(kinds == index)

    # -- behind -----------------------------------------------------------------------------

    def hold(self, rows: Rows, positions: Positions) -> NDArray[np.bool_]:
        """The agents of these rows cannot take their frames now; returns which rows have a ring to wait in."""
        kept = self._slot[rows] >= 0
        self._fall_behind(rows[kept], positions[kept])
        return np.asarray(kept)

    def _fall_behind(self, rows: Rows, positions: Positions) -> None:
        self.behind[rows], self.cursor[rows], self._said_before[rows] = True, positions, 0
        self.waiting.update(rows.tolist())

    def go_back(self, rows: Rows, positions: Positions) -> None:
        """Frames of rows that are behind, perhaps from before their cursors: silence that was kept back until now."""
        self.cursor[rows] = np.minimum(self.cursor[rows], positions)

    def lose(self, row: int) -> None:
        """The agent is lost: from now on frames wait."""
        if self.has(row):
            one = np.array([row], np.intp)
            self._fall_behind(one, self._table.shared.up_position[one])

    def offer(self, row: int) -> tuple[int, int]:
        """Another agent is asked: the position from which it will hear the caller, and samples of replay from there."""
        now = int(self._table.shared.up_position[row])
        if not self.has(row):
            return now, 0
        start = max(int(self.acked[row]), now - int(self._longest[row]), 0)
        rings = self._rings[self._kind[row]]
        start = now + (start - now) // rings.samples * rings.samples  # a frame of which a part is acked comes whole
        start = self._first_there(rings, row, start, now)
        self.cursor[row] = start
        self._said_before[row] = now
        self._owed[row] = 0
        return start, now - start

    def _first_there(self, rings: Rings, row: int, start: int, now: int) -> int:
        """Of these positions the first whose frame is kept: there may have been none yet, or silence was withheld."""
        wanted = np.arange(start, now, rings.samples)
        found = rings.positions(np.full(len(wanted), self._slot[row]), wanted) == wanted
        return int(wanted[found.argmax()]) if found.any() else now

    @property
    def next_deadline_ns(self) -> int | None:
        """When `step` has something to do."""
        return self._step_ns if self.waiting else None

    def step(self, now_ns: int, able: Callable[[Rows], NDArray[np.bool_]], send: Send) -> None:
        """Send what is due to rows that are behind; `able` says which of them have an agent that takes it now."""
        if not self.waiting or now_ns < self._step_ns:
            return
        elapsed_ns = min(now_ns - self._step_ns, 2 * STEP_NS) if self._step_ns else STEP_NS
        elapsed_ns, self._step_ns = max(elapsed_ns, STEP_NS), now_ns + STEP_NS
        rows = np.array(sorted(self.waiting), np.intp)
        rows = rows[able(rows)]
        for index in np.unique(self._kind[rows]).tolist():
            same, rings = rows[self._kind[rows] == index], self._rings[index]
            rate = rings.samples * 1_000_000_000
            frame_ns = rate // int(self._table.formats.at(int(same[0])).key.agent_rate_hz) if len(same) else 1
            for _ in range(max(SPEED * elapsed_ns // frame_ns, 1)):
                same = self._round(rings, same, send)
                if not len(same):
                    break

    def _round(self, rings: Rings, rows: Rows, send: Send) -> Rows:
        """The next frame of each row; returns those that have more."""
        c = self._table.shared
        level = self.cursor[rows] >= c.up_position[rows]
        if level.any():
            done = rows[level]
            self.behind[done] = False
            self.waiting.difference_update(done.tolist())
            rows = rows[~level]
        if not len(rows):
            return rows
        at = self.cursor[rows]
        pcm, flags, found = rings.read(self._slot[rows], at)
        self.cursor[rows] = at + rings.samples
        overwritten = found > at
        if overwritten.any():
            self._skip(rings, rows[overwritten])
        good = found == at  # else it was withheld: the position jumps as it did for the agent before
        if good.any():
            to = rows[good]
            flags = flags[good] | self._owed[to] | np.where(at[good] < self._said_before[to], FLAG_REPLAY, 0)
            self._owed[to] = 0
            send(to, at[good], flags.astype(np.uint16), pcm[good])
        return rows

    def _skip(self, rings: Rings, rows: Rows) -> None:
        """Nobody took it for too long: the oldest is lost, and the next frame says so."""
        c = self._table.shared
        oldest = c.up_position[rows] - (rings.frames - 1) * rings.samples
        lost = np.maximum(oldest - self.cursor[rows], 0) // rings.samples + 1
        self.cursor[rows] += (lost - 1) * rings.samples
        self._owed[rows] |= FLAG_GAP
        c.drops[rows, Drop.AGENT_SLOW] += lost
        c.worker.drops[Drop.AGENT_SLOW] += int(lost.sum())
