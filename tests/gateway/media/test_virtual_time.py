# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole engine in virtual time: a hundred calls on a bad network, and the books must balance.

An hour of it is `make bench-hour`; here it is half a minute, by the same code.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from support.virtual_accounts import Places, frames_minus_time, unaccounted
from support.virtual_engine import START_NS, VirtualEngine
from support.virtual_network import MS, Callers, Network, Traffic
from trunkline.gateway.media import compiled

BAD = Network(loss=0.01, burst=0.001, duplicate=0.002, jitter_ms=4, stall=0.0005)
TESTS = Path(__file__).parents[2]
RUN_OUT_S = 8
"Longer than a chunk of traffic: everything sent has arrived."


def run(
    seed: int, callers: Callers, network: Network, seconds: float, *, tick_ms: float = 20, echo: bool = False
) -> tuple[VirtualEngine, Traffic, Places]:
    """`callers` for so long, then silence until nothing is on the way any more."""
    rig = VirtualEngine(callers.calls, seed=seed, tick_ms=tick_ms, echo=echo)
    places = Places(rig)
    traffic = rig.traffic(seed, callers, network)
    rig.run(seconds, traffic)
    traffic.stopped = True
    rig.run(RUN_OUT_S, traffic)
    return rig, traffic, places


@pytest.fixture(scope="module")
def everything() -> tuple[VirtualEngine, Traffic, Places]:
    """100 echoed calls with drift, DTX, restarts, loss, jitter and duplicates."""
    callers = Callers(100, drift_ppm=200, speech=0.9, restart=0.1)
    return run(11, callers, BAD, 30, echo=True)


def test_every_packet_is_played_or_dropped_with_a_reason(everything) -> None:
    """Packets in = played + each drop reason, exactly, for each of 100 calls."""
    rig, traffic, places = everything
    assert traffic.delivered.sum() > 100_000
    assert not unaccounted(rig, traffic, places).any()
    assert {"DUPLICATE", "LATE"} <= set(rig.drops()) <= {"DUPLICATE", "LATE", "SSRC", "PROBATION"}


def test_nothing_is_played_twice_or_out_of_order(everything) -> None:
    """Packet numbers at the agent only rise, and frames follow each other without a hole."""
    rig, _, places = everything
    assert places.not_in_order == 0
    assert rig.agent.misplaced == 0
    assert np.array_equal(rig.agent.frames, rig.table.shared.frames_to_agent[: rig.calls])


def test_frames_keep_to_time_through_restarts(everything) -> None:
    """However often a caller starts anew, its agent has as many frames as time has packet times."""
    rig, traffic, _ = everything
    assert traffic.restarts.sum() > 20
    slip = frames_minus_time(rig)
    # Held back at the end are delay and target, 30 + 40 to 200 ms; at the start a burst may have come at once.
    assert slip.min() > -13
    assert slip.max() < 8
    assert abs(np.median(slip) + 3) < 1.5


def test_the_packet_clock_of_the_callers_never_misses(everything) -> None:
    """One packet to each caller every 20 ms, in sequence, whatever came from it."""
    rig, _, _ = everything
    assert (rig.sockets.sent == (rig.now_ns - START_NS) // 20_000_000 + 1).all()
    assert rig.sockets.out_of_sequence == 0


def test_the_same_seed_gives_the_same_bytes(everything, monkeypatch) -> None:
    """Byte for byte, also when the wall clock is stepped by an hour back and forth meanwhile."""
    real, calls = time.time_ns, iter(range(1 << 62))
    monkeypatch.setattr(time, "time_ns", lambda: real() + (3600 if next(calls) % 2 else -3600) * 10**9)
    rig, _, _ = everything
    again, _, _ = run(11, Callers(100, drift_ppm=200, speech=0.9, restart=0.1), BAD, 30, echo=True)
    assert again.digests() == rig.digests()


def test_another_seed_gives_other_bytes() -> None:
    few = Callers(5)
    digests = {run(seed, few, BAD, 2)[0].digests() for seed in (1, 1, 2)}
    assert len(digests) == 2


WIDE = """
from support.virtual_engine import VirtualEngine
from support.virtual_network import Callers, Network
import sys
calls, seconds = map(int, sys.argv[1:])
rig = VirtualEngine(calls, seed=4, tick_ms=20, echo=True, rate_hz=16_000)
rig.run(seconds, rig.traffic(4, Callers(calls, drift_ppm=200, speech=0.9, restart=0.1),
                        Network(loss=0.02, burst=0.002, duplicate=0.002, jitter_ms=4, stall=0.001)))
print(rig.digests()[1], rig.drops(), rig.agent.made_up.sum())
"""


@pytest.mark.skipif(compiled.native is None, reason="built without a compiler: there is nothing to compare")
@pytest.mark.parametrize(("calls", "seconds"), [("20", "10"), ("60", "12")])
def test_compiled_or_not_all_but_the_samples_is_the_same(calls: str, seconds: str) -> None:
    """Headers, positions, flags, messages and reports, with agents at another rate than the line's.

    With more than MANY_ROWS calls, too, whose frames are filled at points of a raster.
    """
    said = []
    for kernels in ("0", "1"):
        environment = os.environ | {"TRUNKLINE_COMPILED": kernels, "PYTHONPATH": str(TESTS)}
        program = [sys.executable, "-c", WIDE, calls, seconds]
        said.append(subprocess.run(program, env=environment, capture_output=True, text=True, check=True).stdout)
    assert said[0] == said[1]
    assert "LATE" in said[0]


@pytest.mark.parametrize("heard_s", [0, 2])
def test_a_successor_makes_up_for_all_the_time_without_a_worker(heard_s: float) -> None:
    """Three seconds, of callers that had been heard before, and of such that never were."""
    rig = VirtualEngine(2)
    traffic = rig.traffic(3, Callers(2), Network())
    rig.run(heard_s, traffic)
    traffic.stopped = True
    rig.run(2, traffic)
    rig.now_ns += 3_000 * MS
    after = rig.successor()
    after.run(3)
    samples = after.table.shared.up_position[:2]
    rate_hz = after.table.formats.at(0).key.agent_rate_hz
    assert (np.abs(samples * 1e9 / rate_hz - (after.now_ns - START_NS)) < 60 * MS).all()


def test_every_frame_lies_at_its_own_time() -> None:
    """Frames = elapsed time / packet time, exactly: packet k is frame k of its call from the first to the last."""
    callers = Callers(100, drift_ppm=200, speech=0.9)
    rig, traffic, places = run(5, callers, BAD, 30)
    assert not unaccounted(rig, traffic, places).any()
    assert not places.moves.any()


def test_drift_alone_makes_no_gap_and_no_delay() -> None:
    """Clocks from -200 to +200 ppm for ten minutes: each packet reaches its agent when it comes, none is made up."""
    rig = VirtualEngine(11, tick_ms=60, rate_hz=8000, frame_ms=60, ptime_ms=60)
    places = Places(rig)
    traffic = rig.traffic(3, Callers(11, ptime_ms=60, drift_ppm=200), Network())
    rig.run(60, traffic)
    made_up = rig.agent.made_up.copy()
    rig.run(540, traffic)
    assert np.array_equal(rig.agent.made_up, made_up)
    assert not rig.drops()
    assert not places.moves.any()
    assert np.array_equal(traffic.delivered, places.heard)
    slip_ms = frames_minus_time(rig) * 60
    assert np.allclose(slip_ms - slip_ms[5], traffic.ppm * 600e-3, atol=61)


def test_other_packet_times_and_rates_keep_to_time_too() -> None:
    """Packets of 30 ms from the callers, of 40 ms to them, frames of 20 ms at 16 kHz for the agents."""
    rig = VirtualEngine(10, tick_ms=10, rate_hz=16_000, ptime_ms=40)
    traffic = rig.traffic(9, Callers(10, ptime_ms=30, restart=0.2), BAD)
    rig.run(30, traffic)
    traffic.stopped = True
    rig.run(10, traffic)
    c = rig.table.shared
    assert rig.agent.misplaced == 0
    assert np.array_equal(rig.agent.next_position, rig.agent.frames * 320)
    assert np.array_equal(rig.agent.next_position, c.up_position[:10])
    elapsed = (rig.now_ns - START_NS) / 20_000_000
    assert (abs(rig.agent.frames - elapsed) < 13).all()
    assert abs(np.median(rig.agent.frames - elapsed) + 3) < 2.5
    assert (rig.sockets.sent == (rig.now_ns - START_NS) // 40_000_000 + 1).all()
    decoded = traffic.delivered - rig.uplink_drops()
    assert (decoded > 900).all()
    assert set(rig.drops()) <= {"DUPLICATE", "LATE", "SSRC", "PROBATION"}
