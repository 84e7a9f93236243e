# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine with too much to do: worker and network stall at random, and soon afterwards everybody is heard.

The worker's own loop in virtual time, with sockets that are queues here (support/busy_worker.py).
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from support.busy_worker import FIRST_FD, BusyWorker, Modelled
from support.media_rig import MS
from support.virtual_engine import START_NS

CALLS = 40
CROWDED_MS = (1_000, 4_000)
"From when to when the machine is short of CPU: all work takes four times as long, and stalls come."
END_S = 5.5
COSTS = Modelled(read=5_000, hear=20_000, begin=60_000, fill=60_000, silence=10_000, send=5_000, tick=400_000)


def crowded(seed: int) -> tuple[BusyWorker, int]:
    """A worker on such a machine, and when all is over, in ms."""
    rng = random.Random(seed)
    worker = BusyWorker(CALLS, COSTS, talk_after_ms=100)
    ours, theirs, at = [], [], CROWDED_MS[0]
    while at < CROWDED_MS[1]:  # the worker, the network, often both: 50 to 500 ms each
        at += int(rng.expovariate(6) * 1000)
        length, kind = rng.randint(50, 500), rng.random()
        if kind < 0.8:
            ours.append((at, at + length))
        if kind < 0.6 or kind >= 0.8:
            theirs.append((at, at + rng.randint(50, 500)))
        at += length
    worker.clock.crowded = START_NS + CROWDED_MS[0] * MS, START_NS + CROWDED_MS[1] * MS
    worker.clock.stalls = [(START_NS + begin * MS, START_NS + end * MS) for begin, end in ours]
    worker.outages = [(START_NS + begin * MS, START_NS + end * MS) for begin, end in theirs]
    return worker, max([CROWDED_MS[1], *(end for _, end in ours + theirs)])


def dropped_at(worker: BusyWorker, ms: int) -> int:
    return next(state.dropped for state in worker.states if state.at_ms >= ms)


@pytest.mark.parametrize("seed", [0, 1, 3, 5, 12])
def test_what_waited_is_not_taken_for_a_slow_clock(seed: int) -> None:
    """No time is filled and then heard as well: that costs credit, and credit that is gone costs packets."""
    worker, quiet_ms = crowded(seed)
    worker.run(END_S)
    drops = worker.rig.drops()
    assert drops.get("TOO_FAST", 0) <= 5 * CALLS
    assert drops.get("GIVEN_UP", 0) == 0, "no load that lasts"
    assert worker.states[-1].dropped == dropped_at(worker, quiet_ms + 100)


def test_after_more_than_the_worker_can_bear_everybody_is_heard_soon() -> None:
    """The machine has been behind for a second and longer; when there is CPU again nothing is left of it."""
    worker, quiet_ms = crowded(15)
    worker.run(END_S)
    assert max(state.waiting for state in worker.states) > 20 * CALLS
    assert worker.states[-1].dropped == dropped_at(worker, quiet_ms + 100)


@pytest.mark.parametrize("stall_ms", [60, 300, 900, 2500])
def test_a_stall_of_ours_costs_nobody_a_word(stall_ms: int) -> None:
    """All that waited is heard, in order, where it belongs, however long it was: nothing is made up in its place."""
    worker = BusyWorker(CALLS, COSTS, talk_after_ms=100)
    worker.clock.stalls = [(START_NS + 1_000 * MS, START_NS + (1_000 + stall_ms) * MS)]
    worker.run(4.5)
    before = next(state for state in worker.states if state.at_ms >= 900)
    assert worker.states[-1].filled == before.filled
    assert not worker.rig.drops()
    assert worker.states[-1].waiting <= CALLS, "it has caught up"
    assert worker.shifts() == [[(0, runs[0][1])] for runs in worker.shifts()]
    packets = np.bincount(np.concatenate([calls for calls, _, _ in worker.heard]), minlength=CALLS)
    assert (packets == worker.read).all()


def test_silence_of_the_network_is_filled_as_ever() -> None:
    """Nothing waits at the sockets then."""
    worker = BusyWorker(CALLS, COSTS, talk_after_ms=100)
    worker.outages = [(START_NS + 1_000 * MS, START_NS + 1_500 * MS)]
    worker.run(2)
    before = next(state for state in worker.states if state.at_ms >= 900)
    outage = worker.states[-1].filled - before.filled
    assert outage == pytest.approx(CALLS * (500 - 45) / 20, rel=0.1)


class Flooded(BusyWorker):
    """Row 0 has always more to read: packets that mean nothing."""

    def _ready(self) -> list[tuple[int, int]]:
        return [(FIRST_FD, 1), *(item for item in super()._ready() if item[0] != FIRST_FD)]

    def waiting(self, ready: list[tuple[int, int]]) -> np.ndarray:  # type: ignore[override]
        return super().waiting(ready)

    def receive(self, ready, *, behind=False):  # type: ignore[no-untyped-def]
        batch, others = super().receive(ready, behind=behind)
        if batch is not None and 0 in batch.rows:
            batch.packets[batch.rows == 0, 8] ^= 0xFF  # another SSRC
        return batch, others

    def _due(self, now_ns: int) -> np.ndarray:
        due = super()._due(now_ns)
        due[0] = max(due[0], self.read[0] + 1)
        return due


def test_a_caller_who_is_flooded_has_frames_and_the_others_are_in_time() -> None:
    """What somebody sends to one socket without end is no backlog of ours."""
    worker = Flooded(CALLS, COSTS, talk_after_ms=100)
    frames = worker.rig.agent.frames
    worker.run(2)
    frames = worker.rig.agent.frames.copy()
    worker.run(1)
    assert worker.rig.agent.frames[0] - frames[0] == pytest.approx(50, abs=2)
    assert all(runs[-1][0] >= 0 and len(runs) == 1 for runs in worker.shifts()[1:])
    assert worker.states[-1].waiting <= CALLS + 2
    assert not worker.engine.table.shared.worker.behind_since_ns[0]
