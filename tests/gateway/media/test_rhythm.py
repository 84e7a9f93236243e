# SPDX-License-Identifier: GPL-2.0-or-later
"""When a worker ticks, by a clock that the test turns."""

from __future__ import annotations

import pytest

from support.media_rig import MS
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.rhythm import GRIDS_NS, PROMPT_NS, TOLERATED_NS, Rhythm


class Loop:
    """A worker's loop whose ticks cost what the test says; packets are ready all the time or never."""

    def __init__(self, *, packets: bool = True) -> None:
        self.now_ns = 1_000_000_000
        self.cpu_ns = 0
        self.packets = packets
        self.polls: list[float] = []
        self.columns = Columns(4)
        self.rhythm = Rhythm(
            self.poll, self.columns.worker, clock=lambda: self.now_ns, cpu_clock=lambda: self.cpu_ns,
            sleep=self.sleep,
        )  # fmt: skip
        self.begun: list[int] = []

    def poll(self, seconds: float) -> list[tuple[int, int]]:
        self.polls.append(seconds)
        if self.packets:
            return [(5, 1)]
        self.sleep(seconds)
        return []

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)

    def run(
        self, seconds: float, cost_ms: float, wall_ms: float | None = None, passed_on_ms: float | None = None
    ) -> None:
        end_ns = self.now_ns + int(seconds * 1e9)
        while self.now_ns < end_ns:
            self.rhythm.wait(lambda: self.now_ns + (5 if self.packets else 250) * MS)
            self.begun.append(self.now_ns)
            before_ms = cost_ms if passed_on_ms is None else passed_on_ms
            self.cpu_ns += int(before_ms * MS)
            self.rhythm.passed_on()
            self.cpu_ns += int((cost_ms - before_ms) * MS)
            self.now_ns += int((cost_ms if wall_ms is None else wall_ms) * MS)
            self.rhythm.done()

    @property
    def load(self) -> float:
        return float(self.columns.worker.busy_ns[0]) / (self.now_ns - 1_000_000_000)


@pytest.mark.parametrize("crowded", [False, True])
def test_ticks_lie_on_the_grid(crowded: bool) -> None:
    """However many packets come, there is one tick at each point of the grid; a crowded one polls once for it."""
    loop = Loop()
    loop.rhythm.crowded = crowded
    loop.run(0.1, cost_ms=0.5)
    assert all(begun % PROMPT_NS < MS // 100 for begun in loop.begun[1:])
    assert len(loop.begun) == pytest.approx(100 / 4, abs=2)  # it begins so, and it takes a second to change
    assert len(loop.polls) <= (1.1 if crowded else 2) * len(loop.begun)


def test_in_a_crowd_nobody_asks_what_is_due() -> None:
    """Something is ready at the next point of the grid anyway; if it is not, the loop sleeps until something is due."""
    loop = Loop()
    asked: list[int] = []

    def due() -> int:
        asked.append(loop.now_ns)
        return loop.now_ns + 100 * MS

    loop.rhythm.wait(due)
    del asked[:]
    loop.rhythm.crowded = True
    assert loop.rhythm.wait(due) and not asked
    assert loop.rhythm.late_ns == pytest.approx(0, abs=MS // 100)
    loop.now_ns += 9 * MS  # a long tick: the next one begins at once, and is late by its grid
    assert loop.rhythm.wait(due) and not asked
    assert loop.rhythm.late_ns == pytest.approx(9 * MS - loop.rhythm.grid_ns, abs=MS // 100)
    loop.packets = False
    before_ns = loop.now_ns
    assert loop.rhythm.wait(due) == [] and len(asked) == 1
    assert loop.now_ns >= before_ns + 100 * MS


def test_without_packets_it_sleeps_until_something_is_due() -> None:
    loop = Loop(packets=False)
    loop.run(2, cost_ms=0.1)
    assert len(loop.begun) == pytest.approx(8, abs=1)


def test_ticks_are_as_long_as_packets_may_take() -> None:
    """A packet waits a tick at most, and then for the work up to passing it on: together less than 5 ms."""
    loop = Loop()
    assert loop.rhythm.grid_ns == 4_000_000, "until it knows better"
    loop.run(1.1, cost_ms=1.4, passed_on_ms=1.4)
    assert loop.rhythm.grid_ns == 2_500_000
    loop.run(1.1, cost_ms=1.2, passed_on_ms=0.1)
    assert loop.rhythm.grid_ns == 4_000_000, "at once, not step by step"
    loop.run(3, cost_ms=1.2, passed_on_ms=0.15)
    assert loop.rhythm.grid_ns == 4_000_000
    loop.run(3, cost_ms=1.6, passed_on_ms=0.8)
    assert loop.rhythm.grid_ns == 3_333_333
    loop.run(3, cost_ms=1.4, passed_on_ms=1.4)
    assert loop.rhythm.grid_ns == 2_500_000
    loop.run(3, cost_ms=1.8, passed_on_ms=1.1)
    assert loop.rhythm.grid_ns == 2_500_000, "longer ticks have more to do"


def test_ticks_become_longer_when_cpu_runs_short_and_shorter_when_there_is_plenty() -> None:
    loop = Loop()
    loop.run(5, cost_ms=1.7)
    assert loop.rhythm.grid_ns == GRIDS_NS[0], "68 % of a core is no reason"
    loop.run(2.5, cost_ms=2.3)
    loop.run(3, cost_ms=3.2)
    assert loop.rhythm.grid_ns == GRIDS_NS[2]
    loop.run(4, cost_ms=4.9)
    assert loop.rhythm.grid_ns == 5_000_000 + 5_000_000
    loop.run(5, cost_ms=9.9)
    assert loop.rhythm.grid_ns == GRIDS_NS[-1], "and no further"
    loop.run(8, cost_ms=1.5)
    assert loop.rhythm.grid_ns == GRIDS_NS[0]


def test_a_long_tick_is_no_hang_of_two() -> None:
    """A worker is taken for hung by the age of its heartbeat: no older than the tick that it is in."""
    loop = Loop()
    loop.run(3, cost_ms=900)
    begun_ns = loop.now_ns
    heartbeat_ns = loop.columns.worker.heartbeat_ns
    assert begun_ns - int(heartbeat_ns[0]) < 50 * MS
    loop.rhythm.wait(lambda: loop.now_ns)
    assert int(heartbeat_ns[0]) == loop.rhythm.begun_ns
    loop.now_ns += 900 * MS
    assert loop.now_ns - int(heartbeat_ns[0]) == pytest.approx(900 * MS, abs=5 * MS)


def test_load_is_cpu_or_lateness_of_a_worker_that_works() -> None:
    """A tick that takes long because others have the core is a load only for who used that core."""
    idle, working = Loop(), Loop()
    idle.run(4, cost_ms=0.2, wall_ms=30)
    assert idle.load < 0.02
    working.run(4, cost_ms=12, wall_ms=30)
    lateness = (30 * MS - 5 * MS - TOLERATED_NS) / (30 * MS)
    assert working.load > lateness - 0.1
    working = Loop()
    working.run(4, cost_ms=0.8)
    assert working.load == pytest.approx((0.8 / 4 + 3 * 0.24) / 4, abs=0.02), "a second of 4 ms a tick, then 3.3"


def test_a_tick_that_is_behind_makes_the_next_ones_long_at_once_and_no_longer_than_needed() -> None:
    """Large batches are the cheapest; when all has been caught up, ticks are what they were, not a second later."""
    loop = Loop()
    loop.run(1.5, cost_ms=1.4, passed_on_ms=1.4)
    assert loop.rhythm.grid_ns == 2_500_000
    loop.rhythm.hurry()
    assert loop.rhythm.grid_ns == GRIDS_NS[-1]
    loop.run(0.1, cost_ms=9.0, passed_on_ms=8.0)
    loop.rhythm.hurry()
    loop.run(0.15, cost_ms=9.0, passed_on_ms=8.0)
    assert loop.rhythm.grid_ns == GRIDS_NS[-1]
    loop.run(0.1, cost_ms=1.4, passed_on_ms=1.4)
    assert loop.rhythm.grid_ns == 2_500_000
    assert loop.rhythm.reach_ns == pytest.approx(1.4 * MS, rel=0.1), "of ticks of an ordinary length"
    loop.run(4, cost_ms=2.4)
    for _ in range(8):
        loop.rhythm.hurry()
        loop.run(0.15, cost_ms=9.9)
    loop.run(0.3, cost_ms=9.9)
    assert loop.rhythm.share > 0.88 and loop.rhythm.grid_ns == GRIDS_NS[-1], "CPU is short, behind or not"
