# SPDX-License-Identifier: GPL-2.0-or-later
"""When a media worker ticks, and what that says of its load.

A quiet worker wakes for each packet.  Otherwise no tick follows another before the next
point of a grid: what comes in between waits for it, and is cheaper in a batch, since a tick
costs some 0.1 ms beside its packets, most of it for coming out of sleep.  The grid is the
coarsest of 2.5 to 4 ms with which a packet is still with its agent within 5 ms: it may wait
for a whole tick, and then for all that is done until it has been passed on.  A worker begins
with the coarsest of these, and after a second has the one that suits it.  One that is nearly
out of CPU takes a coarser one: some milliseconds more for everybody, but all of what they say.
And one that is behind takes the coarsest at once, until it has caught up: what it must make
good is cheapest in the largest batches.

    wait(due) -> what is ready ... passed_on() ... done(): load, histogram, heartbeat
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable
from typing import Any

from trunkline.gateway.media.columns import DELAY_EDGES_US
from trunkline.gateway.media.poller import Ready

GRIDS_NS = (2_500_000, 3_333_333, 4_000_000, 5_000_000, 10_000_000)
PROMPT_NS = 4_000_000
"The longest ticks of a worker that has CPU to spare."
PROMISED_NS = 4_300_000
"... and for a whole one and the work up to passing on; waking up, here and at the agent, takes the rest of 5 ms."
LONGER_FROM, SHORTER_FROM = 0.88, 0.72
"Share of a core, lately, from which ticks become longer, and below which shorter."
SHARE_NS = 1_000_000_000
"Time constant of that share, and the shortest time between two changes."
CALM_NS = 200_000_000
"After so long without a tick that is behind, ticks are as long as before."
REACH_LOOKS = 4
"The time up to passing on is a mean of about so many looks at the CPU clock."
LOOK_NS = 50_000_000
"The CPU clock is looked at so often: that is a system call, and takes as long as a packet does."
LATE_COUNTS_FROM = 0.25
"Lateness is a load of ours only if we have used so much of a core: else it is other programs'."
TOLERATED_NS = 5_000_000
"A tick that is done so long after it was due harms nobody; what is beyond counts as load (load.py)."

_EDGES_US = DELAY_EDGES_US.tolist()


class Rhythm:
    """The clock of one worker's loop."""

    def __init__(
        self,
        poll: Callable[[float], Ready],
        counters: Any,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        cpu_clock: Callable[[], int] = time.thread_time_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`poll(seconds)` names what is ready; `counters` is the worker's part of the columns."""
        self._poll, self._counters = poll, counters
        self._clock, self._cpu_clock, self._sleep = clock, cpu_clock, sleep
        self.crowded = False
        "the last tick found many sockets ready: something is sure to be ready at the next point of the grid"
        self.grid_ns = PROMPT_NS
        self.reach_ns = 0.0
        "CPU time from waking up to where packets were passed on, lately"
        self.share = 0.0
        "of a core that was used lately"
        self.begun_ns = 0
        "when the last tick began"
        self.wanted_ns = 0
        "... and when it should have"
        self.late_ns = 0
        "how long it began after something was due, or after the tick before it if that was later"
        self._cpu_ns, self._done_ns = cpu_clock(), clock()
        self._changed_ns = self._looked_ns = self._done_ns
        self._fresh = True
        "the CPU clock was looked at when a tick was done, and nothing was passed on since"
        self._behind_ns = 0
        "what ticks were late by since then"
        self._calm_grid_ns = 0
        "the grid to go back to when this tick, and those to come, are behind no more; 0: none was"
        self._hurried_ns = 0
        "when a tick was behind last"

    def wait(self, due_ns: Callable[[], int]) -> Ready:
        """Sleep until something is ready or due, but not to before the next point of the grid.

        `due_ns` is asked only if it matters: in a crowd something is ready at each point.
        """
        next_ns = (self.begun_ns // self.grid_ns + 1) * self.grid_ns
        ready: Ready | None = None
        if self.crowded:
            self._sleep_until(next_ns)
            ready = self._poll(0)
        wanted_ns = next_ns
        if not ready:
            wanted_ns = due_ns()
            ready = self._poll(max((wanted_ns - self._clock()) / 1e9, 0.0))
            if self._sleep_until(next_ns):
                ready = self._poll(0)
        now_ns = self._clock()
        self.wanted_ns = max(wanted_ns, next_ns)
        self.late_ns, self.begun_ns = now_ns - max(wanted_ns, self.begun_ns), now_ns
        self._counters.heartbeat_ns[0] = now_ns
        return ready

    def _sleep_until(self, then_ns: int) -> bool:
        """Sleep, if the time has not come yet; whether it had not."""
        ahead_ns = then_ns - self._clock()
        if ahead_ns > 0:
            self._sleep(ahead_ns / 1e9)
        return ahead_ns > 0

    @property
    def looks_ns(self) -> int:
        """When the CPU clock is to be looked at, at the end of a tick."""
        return self._looked_ns + LOOK_NS

    def follow(self, begun_ns: int, wanted_ns: int, late_ns: int, behind_ns: int, done_ns: int) -> None:
        """Ticks were waited for and done elsewhere: the last of them began then, the one before it was `done_ns`.

        Those before it have been counted, but for what they were late by, all in all: `behind_ns`.
        """
        self.begun_ns, self.wanted_ns, self.late_ns = begun_ns, wanted_ns, late_ns
        self._behind_ns += behind_ns
        self._done_ns = done_ns

    def hurry(self) -> None:
        """This tick is behind."""
        self._hurried_ns = self.begun_ns
        if not self._calm_grid_ns:
            self._calm_grid_ns, self.grid_ns = self.grid_ns, GRIDS_NS[-1]

    def passed_on(self, cpu_ns: int | None = None) -> None:
        """What had come is with the agents' sockets, since the CPU clock said this, or now."""
        if self._fresh and not self._calm_grid_ns:
            cpu_ns = self._cpu_clock() if cpu_ns is None else cpu_ns
            self.reach_ns += (cpu_ns - self._cpu_ns - self.reach_ns) / REACH_LOOKS
            self._fresh = False

    def done(self) -> None:
        """The tick is over: account for it, and set the grid for those to come."""
        done_ns = self._clock()
        self._note_load(done_ns)
        took_us = (done_ns - self.begun_ns) // 1000
        counters = self._counters
        counters.heartbeat_ns[0] = done_ns
        counters.ticks[0] += 1
        counters.tick_duration[bisect.bisect_left(_EDGES_US, took_us)] += 1
        counters.tick_max_us[0] = max(int(counters.tick_max_us[0]), took_us)

    def _note_load(self, done_ns: int) -> None:
        """Since the last look: the CPU that ticks took, or what they were late by, if that is more."""
        late_ns = min(done_ns - self.wanted_ns - TOLERATED_NS, done_ns - self._done_ns)
        self._behind_ns += max(late_ns, 0)
        self._done_ns = done_ns
        passed_ns = done_ns - self._looked_ns
        self._fresh = passed_ns >= LOOK_NS
        if not self._fresh:
            return
        cpu_ns = self._cpu_clock()
        busy_ns = cpu_ns - self._cpu_ns
        self.share += (busy_ns / passed_ns - self.share) * min(passed_ns / SHARE_NS, 1.0)
        if self.share > LATE_COUNTS_FROM:
            busy_ns = max(busy_ns, self._behind_ns)
        self._counters.busy_ns[0] += busy_ns
        self._cpu_ns, self._looked_ns, self._behind_ns = cpu_ns, done_ns, 0
        if self._calm_grid_ns:
            if done_ns - self._hurried_ns > CALM_NS:
                if self.share <= LONGER_FROM:  # else shorter ones would be too many again
                    self.grid_ns = self._calm_grid_ns
                self._calm_grid_ns, self._changed_ns = 0, done_ns
        elif done_ns - self._changed_ns > SHARE_NS:
            self._set_grid(done_ns)

    def _set_grid(self, now_ns: int) -> None:
        """The longest ticks with which packets are in time; longer ones, step by step, where CPU runs short."""
        place, best = GRIDS_NS.index(self.grid_ns), GRIDS_NS.index(self._longest_in_time())
        if self.share > LONGER_FROM:
            place = min(place + 1, len(GRIDS_NS) - 1)
        elif self.grid_ns > PROMPT_NS:  # back, as slowly: shorter ones take more of the core
            place -= self.share < SHORTER_FROM
        elif best > place or self.share < SHORTER_FROM:
            place = best
        if GRIDS_NS[place] != self.grid_ns:
            self.grid_ns, self._changed_ns = GRIDS_NS[place], now_ns

    def _longest_in_time(self) -> int:
        """Longer ticks than these ones have more to do, in proportion at most; shorter ones need be no quicker."""
        fitting = GRIDS_NS[0]
        for grid_ns in GRIDS_NS[1:]:
            reach_ns = self.reach_ns * max(grid_ns / self.grid_ns, 1.0)
            if grid_ns <= PROMPT_NS and grid_ns + reach_ns <= PROMISED_NS:
                fitting = grid_ns
        return fitting
