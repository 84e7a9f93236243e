# SPDX-License-Identifier: GPL-2.0-or-later
"""Audio from agents that waits for its packet: a queue per row, all in one pool.

Agents speak in chunks of any size and faster than real time.  Each chunk is cut
into blocks of one packet time; a block is a row of a common pool, and a call's
queue is a ring of block numbers.  So a tick takes one block from each of
hundreds of queues with two gathers, and an idle queue costs no memory: the big
arrays are zero pages that the kernel gives out when they are first written, and
the free list is last-in-first-out to keep the touched part small.

The pool is smaller than the sum of all limits, since hardly any call has a minute
waiting.  So that a few that do cannot silence the others, half of the pool is
promised: each row may always hold its even part of that half (`promised`), and
only what is beyond comes from the common half, first come, first served.

In the usual cases kernels do what `push` and `pop` do (`native/queue.c`), in the same arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]

POOL_BLOCKS = 1 << 18
"Blocks in the pool at most: 87 minutes of audio at 20 ms, over all calls."
CROWDED_SHARE = 0.25
"With less than this share of the common half left, rows that live on it should be asked to pause."


class FrameQueue:
    """Bounded queues of int16 blocks, one queue a row.

    `block_samples` is the length of a block; `limit` the blocks that one row may
    hold.  Order within a row is the order of `push`.
    """

    def __init__(self, capacity: int, block_samples: int, limit: int) -> None:
        self.block_samples = block_samples
        self.limit = limit
        blocks = min(POOL_BLOCKS, capacity * limit)
        self.promised = min(limit, blocks // 2 // capacity)
        "blocks that each row may hold, whatever the others do: 2.6 s at 1,000 rows and 20 ms"
        self._pool: Pcm = np.zeros((blocks, block_samples), np.int16)
        self._free: NDArray[np.int32] = np.arange(blocks - 1, -1, -1, dtype=np.int32)
        owed = capacity * self.promised
        self._levels: NDArray[np.int64] = np.array([blocks, owed, self.promised], np.int64)
        "free blocks; how many of these are promised to rows which do not hold them yet; `promised`"
        self._common = blocks - owed
        self._ring: NDArray[np.int32] = np.zeros((capacity, limit), np.int32)
        self._head: NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.count: NDArray[np.int32] = np.zeros(capacity, np.int32)
        "[capacity] whole blocks that wait"
        self._partial: Pcm = np.zeros((capacity, block_samples), np.int16)
        self.partial: NDArray[np.int32] = np.zeros(capacity, np.int32)
        "[capacity] samples of an unfinished block"

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What kernels work on (`native/queue.h`): all that there is to a queue, and always the same arrays."""
        return (
            self._pool, self._free, self._levels, self._ring, self._head, self.count, self._partial, self.partial,
        )  # fmt: skip

    @property
    def _free_count(self) -> int:
        return int(self._levels[0])

    @_free_count.setter
    def _free_count(self, blocks: int) -> None:
        self._levels[0] = blocks

    @property
    def _owed(self) -> int:
        return int(self._levels[1])

    @_owed.setter
    def _owed(self, blocks: int) -> None:
        self._levels[1] = blocks

    @property
    def crowded(self) -> bool:
        """Whether the common half is nearly used up."""
        return self._free_count - self._owed < self.crowded_below

    @property
    def crowded_below(self) -> float:
        """Blocks of the common half that are left when it is nearly used up."""
        return CROWDED_SHARE * self._common

    def begins(self, rows: Rows, samples: int | NDArray[np.int64]) -> NDArray[np.int64]:
        """How many blocks so many more samples begin, those that will be dropped included: as many as they are
        packets long, however they are cut."""
        held = self.partial[rows].astype(np.int64)
        return (held + samples + self.block_samples - 1) // self.block_samples - (held > 0)

    def push(self, rows: Rows, pcm: Pcm) -> NDArray[np.int64] | None:
        """Append pcm[n, samples] to n different rows; returns the samples dropped for each, None if none were."""
        if pcm.shape[1] == self.block_samples and self._push_single(rows, pcm):
            return None
        return self.push_pieces(rows, pcm.reshape(-1), np.full(len(rows), pcm.shape[1], np.int64))

    def push_pieces(self, rows: Rows, pcm: Pcm, samples: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Append samples[n] of `pcm`, which has them end to end, to n different rows; returns as `push` does."""
        whole, rest = np.divmod(self.partial[rows] + samples, self.block_samples)
        if rest.any() or self.partial[rows].any():
            blocks = self._cut(rows, pcm, samples, whole)
            self.partial[rows] = rest
        else:
            blocks = pcm.reshape(-1, self.block_samples)
        lost = (whole - self._append(rows, blocks, whole)) * self.block_samples
        return lost if lost.any() else None

    def _cut(self, rows: Rows, pcm: Pcm, samples: NDArray[np.int64], whole: NDArray[np.int64]) -> Pcm:
        """Complete the unfinished blocks, keep what is unfinished now; returns the `whole[n]` blocks of all rows."""
        size, n = self.block_samples, len(rows)
        first = np.cumsum(whole + 1) - whole - 1  # each row's blocks, and one for what is left
        laid = np.empty((int(whole.sum()) + n, size), np.int16)
        laid[first] = self._partial[rows]
        flat, at = laid.reshape(-1), 0
        for begin, count in zip((first * size + self.partial[rows]).tolist(), samples.tolist(), strict=True):
            flat[begin : begin + count] = pcm[
                at : at + count
            ]  # a copy a row is cheaper than an index a sample
            at += count
        self._partial[rows] = laid[first + whole]
        return laid[np.arange(len(laid) - n) + np.repeat(np.arange(n), whole)]

    def _push_single(self, rows: Rows, pcm: Pcm) -> bool:
        """The usual case, cheaply: one block for each row, and room for all; False if it is not that case."""
        count, n = self.count[rows], len(rows)
        if self.partial[rows].any() or int(count.max()) >= self.limit or n > self._free_count - self._owed:
            return False
        taken = self._free[self._free_count - n : self._free_count]
        self._free_count -= n
        self._pool[taken] = pcm
        self._ring[rows, (self._head[rows] + count) % self.limit] = taken
        self._owed -= int(np.count_nonzero(count < self.promised))
        self.count[rows] = count + 1
        return True

    def _append(self, rows: Rows, blocks: Pcm, each: NDArray[np.int64]) -> NDArray[np.int64]:
        """Append each[n] of the blocks, those of a row after those of the row before it; returns how many fitted.

        What exceeds limit or pool is dropped from the end of each row's.
        """
        room = self._room(rows, each)
        number = np.arange(len(blocks)) - np.repeat(np.cumsum(each) - each, each)  # within the row
        if (room < each).any():
            fits = number < np.repeat(room, each)
            blocks, number = blocks[fits], number[fits]
        total = len(blocks)
        taken = self._free[self._free_count - total : self._free_count][::-1]
        self._free_count -= total
        self._pool[taken] = blocks
        slots = np.repeat(self._head[rows] + self.count[rows], room) + number
        self._ring[np.repeat(rows, room), slots % self.limit] = taken
        self._owed -= int(np.minimum(room, self._short_of_promise(rows)).sum())
        self.count[rows] += room.astype(np.int32)
        return room

    def _room(self, rows: Rows, each: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many of each[n] blocks every row may have: what it was promised, then of the common half."""
        room = np.minimum(self.limit - self.count[rows], each)
        if int(each.sum()) > self._free_count - self._owed:
            own = np.minimum(room, self._short_of_promise(rows))
            beyond = room - own
            if int(beyond.sum()) > self._free_count - self._owed:
                room = own + np.minimum(beyond, (self._free_count - self._owed) // len(rows))
        return room

    def _short_of_promise(self, rows: Rows) -> NDArray[np.int32]:
        """Blocks that each row could still hold of those it was promised."""
        return np.maximum(self.promised - self.count[rows], 0)

    def pop(self, rows: Rows) -> Pcm:
        """Take the oldest block of each row; every row must have one. Returns [n, block_samples]."""
        head, count = self._head[rows], self.count[rows]
        blocks = self._ring[rows, head]
        self._head[rows] = (head + 1) % self.limit
        self.count[rows] = count - 1
        self._owed += int(np.count_nonzero(count <= self.promised))
        self._free[self._free_count : self._free_count + len(rows)] = blocks
        self._free_count += len(rows)
        return self._pool[blocks]

    def peek(self, rows: Rows) -> Pcm:
        """The oldest block of each row, which stays where it is; every row must have one."""
        return self._pool[self._ring[rows, self._head[rows]]]

    def blend_into_next(self, row: int, before: Pcm) -> None:
        """Begin the oldest block with `before`, fading into its own samples: a seam that is not heard."""
        block = self._pool[self._ring[row, self._head[row]]]
        before = before[: len(block)]
        share = np.arange(1, len(before) + 1) / (len(before) + 1)
        block[: len(before)] = before * (1 - share) + block[: len(before)] * share

    def pop_partial(self, rows: Rows) -> tuple[Pcm, NDArray[np.int32]]:
        """Take the unfinished block of each row: [n, block_samples], and how many samples are real."""
        held = self.partial[rows]
        self.partial[rows] = 0
        pcm = self._partial[rows]
        pcm[np.arange(self.block_samples) >= held[:, None]] = 0
        return pcm, held

    def queued_samples(self, rows: Rows) -> NDArray[np.int64]:
        """Samples that wait, unfinished blocks included."""
        total: NDArray[np.int64] = self.count[rows].astype(np.int64) * self.block_samples + self.partial[rows]
        return total

    def clear(self, row: int) -> int:
        """Forget all that waits for a row; returns how many samples that was."""
        n = int(self.count[row])
        discarded = n * self.block_samples + int(self.partial[row])
        slots = (self._head[row] + np.arange(n)) % self.limit
        self._free[self._free_count : self._free_count + n] = self._ring[row, slots]
        self._free_count += n
        self._owed += min(n, self.promised)
        self.count[row] = 0
        self.partial[row] = 0
        return discarded

    def take_all(self, row: int) -> Pcm:
        """Remove and return everything of a row, in order: [samples]."""
        n = int(self.count[row])
        slots = (self._head[row] + np.arange(n)) % self.limit
        body = self._pool[self._ring[row, slots]].reshape(-1)
        whole = np.concatenate([body, self._partial[row, : self.partial[row]]])
        self.clear(row)
        return whole
