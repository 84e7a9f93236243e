# SPDX-License-Identifier: GPL-2.0-or-later
"""More calls at once than there is time for: a worker that is behind catches up, and what it cannot bear it gives up.

All calls begin in one moment, and each first packet costs as much as many others; then the load is what the test says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.busy_worker import BusyWorker, Modelled
from support.virtual_agent import Frames
from support.virtual_engine import VirtualEngine
from support.virtual_network import Callers, Network
from trunkline.agent_bridge.dialect import FLAG_GAP
from trunkline.gateway.media.backlog import GIVE_UP_NS
from trunkline.gateway.media.batch import Batch
from trunkline.gateway.media.load import LoadMeter

CALLS = 300


def costs(load: float) -> Modelled:
    """Of so much of a core when all is well, or what would be."""
    of_packets = load * 20_000_000 / CALLS * 0.93
    return Modelled(
        read=int(of_packets * 0.12), hear=int(of_packets * 0.48), begin=400_000, fill=60_000, silence=30_000,
        send=int(of_packets * 0.4), tick=400_000,
    )  # fmt: skip


def filled_since(worker: BusyWorker, ms: int) -> int:
    begun = [state.filled for state in worker.states if state.at_ms <= ms]
    return worker.states[-1].filled - begun[-1]


@pytest.mark.parametrize("load", [0.66, 0.8, 0.88])
def test_calls_that_begin_all_at_once_are_all_heard(load: float) -> None:
    """The worker is behind by many packets, fills nothing in their place, and is in time again within seconds.

    What it made up would cost as much as what it reads, and it would not recover though the load fits.
    """
    worker = BusyWorker(CALLS, costs(load))
    worker.run(6)
    assert max(state.waiting for state in worker.states) > 1.5 * CALLS, "it was behind"
    assert worker.states[-1].waiting < CALLS
    assert not worker.rig.drops()
    assert filled_since(worker, 1000) <= CALLS, "one of each call may have been due when it began to speak"
    assert all(len(runs) == 1 for runs in worker.shifts()), "every packet is where its predecessors say"


def test_time_at_the_agent_is_time() -> None:
    """Frames are elapsed time by packet time, to the packet that is under way, after a worker was behind as well."""
    worker = BusyWorker(CALLS, costs(0.85))
    worker.run(6)
    elapsed = (worker.clock.now() - worker.begun_ns) / 20e6
    assert np.abs(worker.rig.agent.frames - elapsed).max() <= 4
    assert worker.rig.agent.misplaced == 0


def test_what_can_never_be_read_in_time_is_given_up_and_nobody_is_later_than_that() -> None:
    """With twice the load that fits: agents hear a part, flagged where some is missing, and positions are time."""
    worker = BusyWorker(CALLS, costs(2.0))
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    hear = worker.rig.agent.on_frames
    assert hear is not None

    def look(calls: np.ndarray, frames: Frames) -> None:
        seen.append((calls.copy(), frames.heads[["position", "flags"]].copy()))
        hear(calls, frames)

    worker.rig.agent.on_frames = look
    worker.run(10)
    worker.rig.agent.read()
    drops = worker.rig.drops()
    assert drops.keys() <= {"GIVEN_UP", "LATE"} and drops["GIVEN_UP"] > 20 * CALLS
    assert max(state.waiting for state in worker.states) < 2.5 * GIVE_UP_NS / 20e6 * CALLS
    heard = np.bincount(np.concatenate([calls for calls, _, _ in worker.heard]), minlength=CALLS)
    assert int(heard.sum()) + drops["GIVEN_UP"] + drops.get("LATE", 0) == int(worker.read.sum())
    assert heard.min() > 0.1 * worker.read.max(), "of everybody"
    elapsed = (worker.clock.now() - worker.begun_ns) / 20e6
    places = worker.rig.agent.next_position / 160
    assert (places <= elapsed + 1).all() and (places > elapsed - 2.5 * GIVE_UP_NS / 20e6).all()
    for call in range(0, CALLS, 50):
        of_call = np.concatenate([records[calls == call] for calls, records in seen])
        jumps = np.flatnonzero(np.diff(of_call["position"].astype(np.int64)) != 160)
        assert len(jumps) and (of_call["flags"][jumps + 1] & FLAG_GAP).all()


def test_a_worker_that_is_behind_says_nothing_that_can_wait() -> None:
    """Underruns are of its own making then: counted, but thousands of messages about them would keep it behind."""
    worker = BusyWorker(CALLS, costs(0.88))
    worker.run(6)
    underruns = int(worker.rig.table.shared.underruns.sum())
    told = sum(message["type"] == "underrun" for message in worker.rig.agent.control)
    assert underruns == 0 or told < underruns / 2
    silent = [message for message in worker.rig.agent.control if message["type"] == "network"]
    assert not silent


def test_new_calls_are_shed_within_half_a_second() -> None:
    """Not when the load of a second is known: the running ones are late by then."""
    worker = BusyWorker(CALLS, costs(1.3))
    meter, counters = LoadMeter(0.85), worker.rig.table.shared.worker
    shed_ms: list[int] = []
    sampled_ms = [0]
    look = worker._look

    def sample(now_ns: int) -> None:
        look(now_ns)
        state = worker.states[-1]
        if state.at_ms >= sampled_ms[-1] + 250:
            sampled_ms.append(state.at_ms)
            beat_ns, behind_ns = int(counters.heartbeat_ns[0]), int(counters.behind_since_ns[0])
            if meter.sample(now_ns, int(counters.busy_ns[0]), beat_ns, CALLS, behind_ns):
                shed_ms.append(state.at_ms)

    worker._look = sample  # type: ignore[method-assign]
    worker.run(4)
    assert shed_ms and 1000 < shed_ms[0] < 1600, "they began to speak at 1000"
    assert meter.overloaded


def feed(meter: LoadMeter, behind_for_ms: list[int], share: float) -> list[bool]:
    out = []
    for i, behind_ms in enumerate(behind_for_ms):
        now = (i + 1) * 250_000_000
        since = now - behind_ms * 1_000_000 if behind_ms else 0
        meter.sample(now, round(share * now), now, 10, since)
        out.append(meter.overloaded)
    return out


def test_a_stall_that_is_made_good_sheds_nobody() -> None:
    assert feed(LoadMeter(0.85), [0, 0, 0, 0, 100, 200, 0], 0.3) == [False] * 7
    assert feed(LoadMeter(0.85), [0, 0, 100, 350, 600, 0, 0], 0.3) == [False] * 3 + [True] * 2 + [False] * 2
    assert feed(LoadMeter(0), [0, 900], 0.3) == [False] * 2, "there is no limit"


def test_the_rig_is_the_same_again() -> None:
    """What is modelled takes no account of this machine."""

    def digest() -> Any:
        worker = BusyWorker(50, costs(0.5))
        worker.run(2)
        return worker.rig.digests(), worker.states

    assert digest() == digest()


@pytest.mark.parametrize(("rate_hz", "frame_ms", "ptime_ms"), [(8000, 20, 20), (16000, 30, 20), (48000, 10, 30)])
def test_a_timeline_jumps_over_what_was_given_up(rate_hz: int, frame_ms: int, ptime_ms: int) -> None:
    """Whatever the frames: positions are elapsed time before and after, and the next packet is heard at once."""
    rig = VirtualEngine(2, rate_hz=rate_hz, frame_ms=frame_ms, ptime_ms=ptime_ms)
    begun_ns = rig.now_ns
    traffic = rig.traffic(1, Callers(2, ptime_ms=ptime_ms), Network())
    batches = traffic.batches(600)
    for _ in range(200):
        rig.step(next(batches))
    backlog, frames_before = rig.engine.timeline.backlog, rig.agent.frames.copy()
    waited: list[Batch] = []
    for _ in range(150):  # the worker does not come round for 1.5 s
        rig.now_ns += rig.tick_ns
        waited += next(batches)
    for batch in waited:
        rest = backlog.drop(batch, rig.now_ns)
        assert rest is None, "their rows are late by more than a second"
    rig.engine.pass_on(rig.now_ns, np.array([1]))  # row 1 has more to read
    assert backlog.busy and backlog.skips == 1
    rig.engine.pass_on(rig.now_ns)
    assert not backlog.busy and backlog.skips == 2
    late = rig.uplink_drops().copy()
    for _ in range(150):
        rig.step(next(batches))
    assert backlog.skips == 0
    assert (rig.uplink_drops() == late).all() and late.sum() == rig.drops()["GIVEN_UP"]
    elapsed = (rig.now_ns - begun_ns) / 1e9 * rate_hz
    assert np.abs(rig.agent.next_position - elapsed).max() <= 3 * max(frame_ms, ptime_ms) * rate_hz / 1000
    assert (rig.agent.frames - frames_before <= 1500 / frame_ms + 6).all(), "none stands for what was given up"
    assert rig.engine.table.shared.rx_proven[:2].all() and not rig.table.held[:2].any()
