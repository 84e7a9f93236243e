# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets that came too early: they wait here for the ones before them.

Few rows have any (`table.held` says which), so all share a pool of slots, and those of a row
are linked in order of their sequence numbers.  They are given back one of each row at a time,
so that what follows a loss in a hundred calls is decoded as one batch.

There are addresses for as many as all rows may have, but memory only where something has lain. So when
all callers lose a packet at once there is room without anything being moved, and it is given back later.

`native/reorder.c` does the same row by row; its arrays are these.
"""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.arrivals import Arrivals
from trunkline.gateway.media.batch import PACKET_BYTES
from trunkline.gateway.media.table import Table

HELD_PACKETS = 64
"Packets held back for one row at most: 1.3 s at 20 ms, beyond any target delay."
SLOTS = 128
"Put to use at once, at least;"
TOO_MANY = 16
"and so many times those that are taken are too many to keep: each has room for any packet."
TO_GIVE_BACK = 2048
"Slots whose memory is given back at once, at most: so many take 0.1 ms."
_NO_RESERVE = 0x4000
"Linux: MAP_NORESERVE, which Python 3.11 does not name."

SLOT_FIELDS = ("seq", "timestamp", "kind", "size", "next")
SEQ, TIMESTAMP, KIND, SIZE, NEXT = range(len(SLOT_FIELDS))

Rows = NDArray[np.intp]
Indices = NDArray[np.intp]


class ReorderBuffer:
    """Waiting packets of every row, by extended sequence number."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.first = np.full(table.capacity, -1, np.int64)
        "slot of each row's packet that is next of those that wait, -1: none does"
        most = table.capacity * (HELD_PACKETS + 1)
        self._memory = mmap.mmap(
            -1, most * PACKET_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
        )
        self.slots: NDArray[np.int64] = np.zeros((most, len(SLOT_FIELDS)), np.int64)
        "[slots, SLOT_FIELDS]; `next` is the slot of the packet behind it, -1 for the last of a row"
        self.payloads = np.frombuffer(self._memory, np.uint8).reshape(most, PACKET_BYTES)
        "[slots, PACKET_BYTES]"
        self.free: NDArray[np.int64] = np.zeros(most + 1, np.int64)
        "[slots + 1] how many slots are free, then which"
        self.in_use = 0
        "slots that are taken or free; those behind have not been needed,"
        self.with_memory = 0
        "or, before this one, no more"

    @property
    def waiting(self) -> int:
        """Packets of all rows."""
        return self.in_use - int(self.free[0])

    def reserve(self, packets: int) -> None:
        """Have room for so many more packets, whatever rows they are for, as long as these have room."""
        taken = self.in_use - int(self.free[0])
        if self.in_use > max(2 * SLOTS, TOO_MANY * taken, 4 * packets):  # whatever made so many wait is over
            self._pack(taken)
        lacking = packets + taken - self.in_use
        if lacking > 0:
            old = self.in_use
            self.in_use = min(old + max(lacking, SLOTS), len(self.slots))
            self.with_memory = max(self.with_memory, self.in_use)
            self._give_back(np.arange(old, self.in_use)[::-1])
        elif self.with_memory > self.in_use:
            first = max(self.in_use, self.with_memory - TO_GIVE_BACK)
            start, end = _page_behind(first), min(_page_behind(self.with_memory), len(self._memory))
            if end > start:
                self._memory.madvise(mmap.MADV_DONTNEED, start, end - start)
            self.with_memory = first

    def _pack(self, taken: int) -> None:
        """Have what waits in the first slots, and no others in use."""
        free = self.free[1 : self.in_use - taken + 1]
        mine = np.ones(self.in_use, bool)
        mine[free] = False
        old, new = np.flatnonzero(mine), np.full(self.in_use + 1, -1, np.int64)  # the last is for -1
        new[old] = np.arange(taken)
        width = int(self.slots[old, SIZE].max(initial=0))
        self.payloads[:taken, :width] = self.payloads[old, :width]
        self.slots[:taken] = self.slots[old]
        self.slots[:taken, NEXT] = new[self.slots[:taken, NEXT]]
        self.first[:] = new[self.first]
        self.in_use, self.free[0] = taken, 0

    def put(self, arrivals: Arrivals, which: Indices) -> Indices:
        """Keep arrivals of different rows; returns those of them whose row has no room."""
        self.reserve(len(which))
        return np.array([i for i in which.tolist() if not self._put(arrivals, i)], np.intp)

    def _put(self, arrivals: Arrivals, i: int) -> bool:
        table, slots, row, seq = self._table, self.slots, int(arrivals.rows[i]), int(arrivals.seq[i])
        if table.held[row] >= HELD_PACKETS:
            return False
        before, slot = -1, int(self.first[row])
        while slot >= 0 and slots[slot, SEQ] < seq:
            before, slot = slot, int(slots[slot, NEXT])
        if slot < 0 or slots[slot, SEQ] != seq:
            after, slot = slot, int(self.free[self.free[0]])
            self.free[0] -= 1
            table.held[row] += 1
            slots[slot, NEXT] = after
            if before < 0:
                self.first[row] = slot
            else:
                slots[before, NEXT] = slot
        start, size = int(arrivals.start[i]), int(arrivals.size[i])
        slots[slot, :NEXT] = seq, arrivals.timestamp[i], arrivals.kind[i], size
        self.payloads[slot, :size] = arrivals.packets[arrivals.index[i], start : start + size]
        return True

    def payload(self, slot: int) -> bytes:
        """Of the packet in a slot."""
        return self.payloads[slot, : int(self.slots[slot, SIZE])].tobytes()

    def take_next(self, rows: Rows, seq: NDArray[np.int64]) -> Arrivals | None:
        """The packets with these numbers, of the rows that have them; None if no row has.

        Their slots are free, and stay as they are until the next `put`.
        """
        first = self.first[rows]
        found = (first >= 0) & (self.slots[first, SEQ] == seq)
        if not found.any():
            return None
        slots = self._unlink_first(rows[found])
        seq, timestamp, kind, size, _ = self.slots[slots].T
        return self.arrivals(rows[found], seq, timestamp, kind, size, slots)

    def arrivals(
        self, rows: Rows, seq: NDArray[np.int64], timestamp: NDArray[np.int64], kind: NDArray[np.int64],
        size: NDArray[np.int64], slots: Indices,
    ) -> Arrivals:  # fmt: skip
        """What lies in slots, as columns."""
        start: NDArray[np.int32] = np.zeros(len(rows), np.int32)
        kinds, sizes = kind.astype(np.uint8), size.astype(np.int32)
        return Arrivals(rows, seq, timestamp, kinds, self.payloads, slots, start, sizes)

    def _unlink_first(self, rows: Rows) -> Indices:
        """Slots of the packets that are next in these rows, which have some; they are free from now on."""
        slots = self.first[rows]
        self.first[rows] = self.slots[slots, NEXT]
        self._table.held[rows] -= 1
        self._give_back(slots)
        return slots

    def _give_back(self, slots: Indices) -> None:
        count = int(self.free[0])
        self.free[count + 1 : count + 1 + len(slots)] = slots
        self.free[0] = count + len(slots)

    def drop_before(self, rows: Rows, seq: NDArray[np.int64]) -> Rows:
        """Forget packets whose place has been passed; returns the row of each."""
        dropped: list[Rows] = []
        while True:
            first = self.first[rows]
            old = (first >= 0) & (self.slots[first, SEQ] < seq)
            if not old.any():
                return np.concatenate(dropped) if dropped else rows[:0]
            rows, seq = rows[old], seq[old]
            self._unlink_first(rows)
            dropped.append(rows)

    def forget(self, row: int) -> int:
        """Forget all of a row; returns how many that was."""
        held, one = int(self._table.held[row]), np.array([row], np.intp)
        for _ in range(held):
            self._unlink_first(one)
        return held


def _page_behind(slot: int) -> int:
    """Where the first page begins that has nothing of slots before this one."""
    return -(-slot * PACKET_BYTES // mmap.PAGESIZE) * mmap.PAGESIZE
