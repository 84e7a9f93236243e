# SPDX-License-Identifier: GPL-2.0-or-later
"""Two clocks in one call: agents that speak in real time, by a clock that is not ours.

Most agents speak faster than real time and wait; their queues are theirs, and nothing
here touches them.  One that passes on live audio (a bridge, an echo, a person) feeds
its queue as fast as it is played, but for the difference of two clocks: at 200 ppm
20 ms in 100 s.  Without a cure its delay grows for as long as it speaks, or it runs
dry again and again.

So the time that a talking row could go on without its agent (`spare`) is looked at
just before the agent's next piece comes, when it is least.  A row whose spare stays
within `STEADY_NS` for a whole window is in real time, and the least spare of its first
such window is what its agent chose.  When the least spare is more than `LONGER_NS`
above that, blocks are left out; when it is close to nothing, one is repeated; both
where the block is quiet, and only at the end of patience elsewhere.  A row that has
paused starts anew.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.compiled import Kernel
from trunkline.codecs.level import level_dbov
from trunkline.gateway.media import compiled
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.frame_queue import FrameQueue
from trunkline.gateway.media.table import Table

TURN = 5
"One batch from agents in so many is looked at, drawn at random: any order would meet the same rows again and again."
WINDOW_NS = 5_000_000_000
"Longer than any stall of a live agent that still counts as steady."
LOOKS = 5
"Looks at a row in a window at least: an agent in real time sends ten pieces a second or more."
STEADY_NS = 200_000_000
"In real time is who moves no more than this in a window."
LONGER_NS = 40_000_000
"Above what the agent chose: two packets, so that ordinary jitter leaves out nothing."
SHORT_NS = 4_000_000
"So close to running dry that the next hiccup of 4 ms would be heard,"
FALLEN_NS = 2_000_000
"and by so much closer than at first, two windows in a row: who is always just in time is left alone,"
UNSTEADY_NS = 10_000_000
"and so is whose pieces come less evenly than this: that is jitter, which no block said twice would cure."
QUIET_DBOV = -50.0
"Blocks below this may go or come twice unheard."
MUCH_LONGER_NS = 120_000_000
"From here on a block of any loudness is left out, one a window."
MOST = 10
"Blocks left out in a window at most: 200 ms of a pause."
BLEND_SAMPLES = 80
"Seams of blocks that are not quiet are blended over so many samples: 5 ms at 16 kHz."

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]

_NO_ROWS = np.zeros(0, np.intp)


class Pace:
    """Keeps the queues of live agents at the length that they chose."""

    def __init__(self, table: Table) -> None:
        n = table.capacity
        self._table = table
        self._rng = random.Random(TURN)
        self._window_ns = 0
        self._least: NDArray[np.int64] = np.full(n, 1 << 62, np.int64)
        self._most: NDArray[np.int64] = np.full(n, -(1 << 62), np.int64)
        self._seen: NDArray[np.int32] = np.zeros(n, np.int32)
        self._chosen: NDArray[np.int64] = np.full(n, -1, np.int64)
        "least spare of the first steady window, -1 not known"
        self._fresh: NDArray[np.bool_] = np.zeros(n, bool)
        "rows that began to talk in this window: it is not whole"
        self._low: NDArray[np.bool_] = np.zeros(n, bool)
        "rows that were close to running dry in the last window"
        self._blocks: NDArray[np.int32] = np.zeros(n, np.int32)
        "blocks that are to be left out of what a row says; -1: it is to say one twice"
        self._at_any_cost: NDArray[np.bool_] = np.zeros(n, bool)
        "... of these, rows in which no quiet block came"
        self._waiting: Rows = _NO_ROWS
        "rows that wait for a suitable block,"
        self.suited: Rows = _NO_ROWS
        "and those of them that had one when `find` was called last"
        self._is_compiled = compiled.native is not None
        self._kernels: list[Kernel | None] = []
        "by format: `find` for its rows"
        self._found: Rows = np.zeros(n, np.intp)
        "what these fill in"

    @property
    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """What a look at a row changes: its least and its most spare, and how often it was looked at."""
        return self._least, self._most, self._seen

    @property
    def waiting(self) -> bool:
        """Whether any row waits for a suitable block."""
        return len(self._waiting) > 0

    @property
    def judges_ns(self) -> int:
        """When the window is over."""
        return self._window_ns + WINDOW_NS

    # -- looking ----------------------------------------------------------------------------

    def begin(self, rows: Rows) -> None:
        """These rows begin to talk after a pause."""
        self._chosen[rows] = -1
        self._fresh[rows] = True

    def look(self, rows: Rows, now_ns: int) -> None:
        """Agents are about to add to the queues of these rows."""
        if not self.is_turn():
            return
        table, c = self._table, self._table.shared
        rows = rows[c.tx_talking[rows] == 1]
        for fmt, which in table.formats.groups(rows):
            talking = rows[which]
            queued_ns = fmt.queue.queued_samples(talking) * 1_000_000_000 // fmt.key.agent_rate_hz
            spare = queued_ns + c.tx_due_ns[talking] - now_ns
            self._least[talking] = np.minimum(self._least[talking], spare)
            self._most[talking] = np.maximum(self._most[talking], spare)
            self._seen[talking] += 1
        self.looked(now_ns)

    def is_turn(self) -> bool:
        """Whether a batch is one of those that are looked at."""
        return self._rng.random() * TURN < 1

    def looked(self, now_ns: int) -> None:
        """A batch has been looked at: is the window over?"""
        if now_ns - self._window_ns >= WINDOW_NS:
            self._window_ns = now_ns
            self._judge()

    def _judge(self) -> None:
        """The end of a window: who is too far ahead, who is about to run dry?"""
        least, seen = self._least, self._seen
        steady = (seen >= LOOKS) & (self._most - least <= STEADY_NS) & ~self._fresh
        fresh = steady & (self._chosen < 0)
        self._chosen[fresh] = least[fresh]
        excess = least - self._chosen
        late = self._blocks != 0
        ahead = steady & (excess > LONGER_NS)
        even = steady & (self._most - least <= UNSTEADY_NS)
        low = even & (least < SHORT_NS) & (excess < -FALLEN_NS)
        dry = low & self._low
        self._at_any_cost[:] = late & (dry | ahead & (excess > MUCH_LONGER_NS))
        self.want(slice(None), 0)
        self.want(dry, -1)
        self.want(ahead, np.clip(excess[ahead] // self._table.ptime_ns[ahead], 1, MOST))
        self._low = low
        least[:], self._most[:], seen[:], self._fresh[:] = 1 << 62, -(1 << 62), 0, False

    def want(self, rows: Rows | NDArray[np.bool_] | slice, blocks: NDArray[np.int64] | int) -> None:
        """So many suitable blocks of these rows are to be left out; -1: one is to be said twice."""
        self._blocks[rows] = blocks
        self._waiting = np.flatnonzero(self._blocks)

    # -- acting -----------------------------------------------------------------------------

    def find(self, now_ns: int) -> Rows:
        """Rows that are due and wait for a block such as they have next: they are `suited`, and nobody else."""
        self.suited = _NO_ROWS
        if len(self._waiting):
            find = self._find_compiled if self._is_compiled else self._find_by_numpy
            found = list(find(now_ns))
            self.suited = np.concatenate(found) if found else _NO_ROWS
        return self.suited

    def _find_by_numpy(self, now_ns: int) -> Iterator[Rows]:
        """By format."""
        due = self._waiting[self._table.shared.tx_due_ns[self._waiting] <= now_ns]
        for fmt, which in self._table.formats.groups(due):
            rows = due[which]
            yield rows[self._suits(rows, fmt.queue)]

    def _find_compiled(self, now_ns: int) -> Iterator[Rows]:
        """The same."""
        formats, c = self._table.formats, self._table.shared
        for fmt in formats.list[len(self._kernels) :]:
            columns = self._blocks, self._at_any_cost, c.send, formats.of_row
            self._kernels.append(compiled.bind("suited", *fmt.queue.arrays, *columns, fmt.index, QUIET_DBOV))
        for fmt in formats.live:
            kernel = self._kernels[fmt.index]
            assert kernel is not None
            if count := kernel(self._waiting, now_ns, self._found):
                yield self._found[:count].copy()

    def adjust(self, fmt: Format, rows: Rows, whole: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Rows whose next block is due; leaves out blocks, and returns which rows are to keep theirs for once more."""
        again = np.zeros(len(rows), bool)
        asked = np.flatnonzero(whole & (self._blocks[rows] != 0))
        suited = asked[self._suits(rows[asked], fmt.queue)]
        twice = self._blocks[rows[suited]] < 0
        again[suited[twice]] = True
        repeating = rows[again]
        self._done(repeating)
        self._table.shared.frames_repeated[repeating] += 1
        self._leave_out(rows[suited[~twice]], fmt.queue)
        return again

    def _suits(self, rows: Rows, queue: FrameQueue) -> NDArray[np.bool_]:
        """Which of these rows have a block that may go or come twice; none is left out that is the only one."""
        suits = queue.count[rows] > (self._blocks[rows] > 0)
        some = np.flatnonzero(suits)
        suits[some] = level_dbov(queue.peek(rows[some])) < QUIET_DBOV
        suits[some] |= self._at_any_cost[rows[some]]
        return suits

    def _leave_out(self, rows: Rows, queue: FrameQueue) -> None:
        """Take the next block out of each queue; its samples count as played, in no time."""
        c = self._table.shared
        for row, left_out in zip(rows.tolist(), queue.pop(rows), strict=True):
            queue.blend_into_next(row, left_out[:BLEND_SAMPLES])
        c.down_position[rows] += queue.block_samples
        c.frames_left_out[rows] += 1
        self._blocks[rows] -= 1
        self._done(rows[(self._blocks[rows] <= 0) | self._at_any_cost[rows]])

    def _done(self, rows: Rows) -> None:
        """They wait for nothing any more."""
        if len(rows):
            self._at_any_cost[rows] = False
            self.want(rows, 0)

    def forget(self, row: int) -> None:
        """The row has a new call."""
        self._chosen[row], self._fresh[row] = -1, True
        self._done(np.array([row], np.intp))
