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

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.level import level_dbov
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
        self.leave_out: dict[int, int] = {}
        "row -> blocks that are to be left out"
        self.repeat: set[int] = set()
        "rows that are to say a block twice"
        self._at_any_cost: set[int] = set()
        "... of these, rows in which no quiet block came"

    @property
    def pending(self) -> bool:
        """Whether any row waits for a suitable block."""
        return bool(self.leave_out or self.repeat)

    @property
    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """What a look at a row changes: its least and its most spare, and how often it was looked at."""
        return self._least, self._most, self._seen

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
        late = set(self.leave_out) | self.repeat
        self.leave_out.clear()
        self.repeat.clear()
        self._at_any_cost.clear()
        for row in np.flatnonzero(steady & (excess > LONGER_NS)).tolist():
            blocks = int(excess[row] // self._table.ptime_ns[row])
            if row in late and excess[row] > MUCH_LONGER_NS:
                self._at_any_cost.add(row)
            self.leave_out[row] = min(blocks, MOST)
        even = steady & (self._most - least <= UNSTEADY_NS)
        low = even & (least < SHORT_NS) & (excess < -FALLEN_NS)
        for row in np.flatnonzero(low & self._low).tolist():
            if row in late:
                self._at_any_cost.add(row)
            self.repeat.add(row)
        self._low = low
        least[:], self._most[:], seen[:], self._fresh[:] = 1 << 62, -(1 << 62), 0, False

    # -- acting -----------------------------------------------------------------------------

    def adjust(self, fmt: Format, rows: Rows, whole: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Rows whose next block is due; leaves out blocks, and returns which rows are to keep theirs for once more."""
        again = np.zeros(len(rows), bool)
        for i, row in enumerate(rows.tolist()):
            if not whole[i]:
                continue
            if row in self.repeat:
                again[i] = self._wants(row, fmt.queue)
                if again[i]:
                    self.repeat.discard(row)
                    self._table.shared.frames_repeated[row] += 1
            elif row in self.leave_out and fmt.queue.count[row] > 1 and self._wants(row, fmt.queue):
                self._leave_out(row, fmt.queue)
        return again

    def _wants(self, row: int, queue: FrameQueue) -> bool:
        if row in self._at_any_cost:
            return True
        return float(level_dbov(queue.peek(np.array([row], np.intp)))[0]) < QUIET_DBOV

    def _leave_out(self, row: int, queue: FrameQueue) -> None:
        """Take the next block out of the queue; its samples count as played, in no time."""
        c, rows = self._table.shared, np.array([row], np.intp)
        left_out = queue.pop(rows)
        queue.blend_into_next(row, left_out[0, :BLEND_SAMPLES])
        c.down_position[row] += queue.block_samples
        c.frames_left_out[row] += 1
        self.leave_out[row] -= 1
        if self.leave_out[row] <= 0 or row in self._at_any_cost:
            del self.leave_out[row]
            self._at_any_cost.discard(row)

    def forget(self, row: int) -> None:
        """The row has a new call."""
        self._chosen[row], self._fresh[row] = -1, True
        self.leave_out.pop(row, None)
        self.repeat.discard(row)
        self._at_any_cost.discard(row)
