# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine with too much to do: worker and network stall at random, and soon afterwards everybody is heard.

The worker's own tick (looks, hurry, catching up) in virtual time, with sockets that are queues here.
"""

from __future__ import annotations

import collections
import random
import types
from unittest import mock

import numpy as np
import pytest

from support.media_rig import MS, PEER
from support.virtual_engine import VirtualEngine
from trunkline.gateway.media import worker as module
from trunkline.gateway.media.batch import Batch
from trunkline.gateway.media.rhythm import GRIDS_NS
from trunkline.gateway.media.worker import LOOKS_AFTER_STALL, LOOKS_PER_TICK, STALL_NS, Worker
from trunkline.rtp.jitter import TargetParams
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.packet import HEADER_BYTES, write_headers

CALLS = 40
CROWDED_NS = (1_000 * MS, 4_000 * MS)
"From when to when the machine is short of CPU: all work takes four times as long, and stalls come."
END_NS = 5_500 * MS
PACKET_NS, FILL_NS, HURRIED_FILL_NS, TICK_NS = 25_000, 60_000, 10_000, 400_000
"What the work costs."


class CrowdedMachine:
    """One worker, its callers, and a clock that runs on with all that is done."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.rig = VirtualEngine(CALLS, seed=3, jitter=TargetParams(min_ns=45 * MS))
        self.start_ns = self.now_ns = self.rig.now_ns
        self.stalls, outages = self._stalls(rng)
        self.quiet_ns = self.start_ns + max([CROWDED_NS[1], *(end for _, end in self.stalls + outages)])
        self._arrivals = collections.deque(self._arrive(rng, outages))
        self._queues = [collections.deque() for _ in range(CALLS)]
        self._looked: set[tuple[int, int]] = set()
        self.dropped: list[tuple[int, int]] = []
        "time, and how many packets of that tick were not heard"
        self.worker = self._worker()
        fill = self.rig.engine.uplink.fill

        def costly(rows: np.ndarray, *rest: object) -> None:
            self._spend((HURRIED_FILL_NS if self.rig.engine.uplink.hurried else FILL_NS) * len(rows))
            fill(rows, *rest)  # type: ignore[arg-type]

        self.rig.engine.uplink.fill = costly  # type: ignore[method-assign]

    def _stalls(self, rng: random.Random) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Of the worker and of the network, often of both: 50 to 500 ms each."""
        ours, theirs, at = [], [], CROWDED_NS[0]
        while at < CROWDED_NS[1]:
            at += int(rng.expovariate(6) * 1e9)
            length, kind = rng.randint(50, 500) * MS, rng.random()
            if kind < 0.8:
                ours.append((at, at + length))
            if kind < 0.6 or kind >= 0.8:
                theirs.append((at, at + rng.randint(50, 500) * MS))
            at += length
        return ours, theirs

    def _arrive(self, rng: random.Random, outages: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
        """Time, row and number of each packet; what falls into an outage comes in one burst at its end."""
        out = []
        for row in range(CALLS):
            first = (100 + rng.randrange(20)) * MS
            for number in range((END_NS - first) // (20 * MS)):
                at = first + number * 20 * MS + rng.randrange(MS)
                at = max([at, *(end for begin, end in outages if begin <= at < end)])
                out.append((self.start_ns + at, row, number))
        return sorted(out, key=lambda packet: (packet[0], packet[2]))

    def _spend(self, ns: int) -> None:
        begin, end = (self.start_ns + at for at in CROWDED_NS)
        self.now_ns += ns * (4 if begin <= self.now_ns < end else 1)
        self._stall()

    def _stall(self) -> None:
        for begin, end in self.stalls:
            if begin <= self.now_ns - self.start_ns < end:
                self.now_ns = self.start_ns + end

    def _ready(self) -> list[tuple[int, int]]:
        while self._arrivals and self._arrivals[0][0] <= self.now_ns:
            _, row, number = self._arrivals.popleft()
            self._queues[row].append(number)
        return [(row, 1) for row in range(CALLS) if self._queues[row]]

    def _read(
        self, ready: list[tuple[int, int]], *, behind: bool = False
    ) -> tuple[Batch | None, list[tuple[int, int]]]:
        ready = [item for item in ready if item in self._looked] if behind else ready
        self._looked = set(ready)
        rows = np.array([row for row, _ in ready if self._queues[row]], np.intp)
        if not len(rows):
            return None, []
        number = np.array([self._queues[row].popleft() for row in rows.tolist()])
        n, size = len(rows), HEADER_BYTES + 160
        packets = np.full((n, size), 0x55, np.uint8)
        no_marker, ssrc = np.zeros(n, bool), (rows + 1).astype(np.uint32)
        write_headers(packets, np.zeros(n, np.uint8), no_marker, number & 0xFFFF, number * 160, ssrc)
        self._spend(PACKET_NS * n)
        return Batch(rows, packets, np.full(n, size, np.int32), np.ones(n, bool), [PEER] * n), []

    def _worker(self) -> Worker:
        worker = Worker.__new__(Worker)
        worker.poller = types.SimpleNamespace(  # type: ignore[assignment]
            handlers={}, poll=lambda _seconds: self._ready()
        )
        worker.sockets = types.SimpleNamespace(sampled_row=-1, receive=self._read)  # type: ignore[assignment]
        worker.engine, worker.table = self.rig.engine, self.rig.table
        worker.channel = types.SimpleNamespace(fileno=lambda: -1)  # type: ignore[assignment]
        worker.rhythm = types.SimpleNamespace(  # type: ignore[assignment]
            crowded=False, late_ns=0, begun_ns=self.now_ns, passed_on=lambda: None
        )
        worker._catch_up_ns = worker._stalled_ns = worker._handled_ns = 0
        return worker

    def run(self) -> None:
        worker, grid_ns = self.worker, GRIDS_NS[0]
        with mock.patch.object(module, "time", types.SimpleNamespace(monotonic_ns=lambda: self.now_ns)):
            while self.now_ns < self.start_ns + END_NS:
                wanted_ns = (worker.rhythm.begun_ns // grid_ns + 1) * grid_ns
                self.now_ns = max(self.now_ns, wanted_ns)
                self._stall()
                if not (ready := self._ready()):
                    wanted_ns = self.rig.engine.next_deadline_ns()
                    coming_ns = self._arrivals[0][0] if self._arrivals else 1 << 62
                    self.now_ns = max(self.now_ns, min(wanted_ns, coming_ns))
                    self._stall()
                    ready = self._ready()
                self._tick(ready, wanted_ns)

    def dropped_since(self, since_ns: int) -> int:
        return sum(count for at_ns, count in self.dropped if at_ns > since_ns)

    def _tick(self, ready: list[tuple[int, int]], wanted_ns: int) -> None:
        """As `Worker.run` has it."""
        worker, now_ns, drops = self.worker, self.now_ns, self.rig.table.shared.drops
        worker.rhythm.late_ns = now_ns - max(wanted_ns, worker.rhythm.begun_ns)
        worker.rhythm.begun_ns = self.rig.now_ns = now_ns
        if worker.rhythm.late_ns > STALL_NS:
            worker._catch_up_ns = now_ns + 1
            worker._note_stall(now_ns)
        before = int(drops[:CALLS].sum())
        worker._tick(ready, now_ns, LOOKS_AFTER_STALL if now_ns < worker._catch_up_ns else LOOKS_PER_TICK)
        self.dropped.append((now_ns, int(drops[:CALLS].sum()) - before))
        self.rig.poller.turn(readable=bool(self.rig.agent.socket.inbox))
        self._spend(TICK_NS)


@pytest.mark.parametrize("seed", [0, 1, 3, 5, 12])
def test_what_waited_is_not_taken_for_a_slow_clock(seed: int) -> None:
    """No time is filled and then heard as well: that costs credit, and credit that is gone costs packets."""
    machine = CrowdedMachine(seed)
    machine.run()
    assert machine.rig.drops().get(Drop.TOO_FAST.name, 0) <= 5 * CALLS
    assert machine.dropped_since(machine.quiet_ns + 100 * MS) == 0


def test_after_more_than_the_worker_can_bear_everybody_is_heard_soon() -> None:
    """A backlog of more than a second is given up: it is read all the same, and at once when there is CPU again."""
    machine = CrowdedMachine(15)
    machine.run()
    assert machine.rig.drops()[Drop.TOO_FAST.name] > 5 * CALLS
    assert machine.dropped_since(machine.quiet_ns + 100 * MS) == 0
