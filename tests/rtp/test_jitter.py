# SPDX-License-Identifier: GPL-2.0-or-later
"""The adaptive target: what it does on networks of known behaviour."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp.jitter import BINS, TargetParams, update_target, update_target_one, wants_update

PARAMS = TargetParams()
MS = 1_000_000
PACKET_NS = 20 * MS


class Streams:
    """n streams, each with its state; a packet in each at a time."""

    def __init__(self, n: int = 1, target_ns: float = PARAMS.min_ns) -> None:
        self.base = np.full(n, np.nan)
        self.target = np.full(n, float(target_ns))
        self.counts = np.zeros((n, BINS), np.float32)
        self.weight = np.zeros(n)
        self._fresh = True

    def packet(self, delay_ns: np.ndarray, packets: int = 1, elapsed_ns: float = PACKET_NS) -> None:
        n = len(self.base)
        elapsed = np.full(n, 0.0 if self._fresh else elapsed_ns)
        self.base, self.target, self.counts, self.weight = update_target(
            self.base, self.target, self.counts, self.weight, np.asarray(delay_ns, np.float64),
            np.full(n, packets), elapsed, PARAMS,
        )  # fmt: skip
        self._fresh = False


def run(delays_ns: np.ndarray, target_ns: float = PARAMS.min_ns) -> tuple[np.ndarray, np.ndarray]:
    """Base and target after each packet of one stream whose packets have these relative delays."""
    stream = Streams(1, target_ns)
    bases, targets = [], []
    for delay in delays_ns:
        stream.packet(np.array([delay]))
        bases.append(stream.base[0])
        targets.append(stream.target[0])
    return np.array(bases), np.array(targets)


def test_first_packet_is_the_base() -> None:
    """The first packet sets the base and keeps the target that the stream began with."""
    bases, targets = run(np.array([1e15]), 60 * MS)
    assert (bases[0], targets[0]) == (1e15, 60 * MS)


def test_quiet_network_shrinks_to_the_minimum() -> None:
    """Without jitter the target goes down to its minimum, and stays there."""
    _, targets = run(np.full(1500, 5e12), 120 * MS)
    assert targets[750] < 42 * MS
    assert targets[-1] == pytest.approx(PARAMS.min_ns, rel=0.01)
    assert (np.diff(targets) <= 0).all()


def test_lateness_is_answered_at_once_and_forgotten_slowly() -> None:
    """A packet 80 ms late raises the target above 80 ms at once; a second later most of it is left."""
    delays = np.full(1600, 5e12)
    delays[1000] += 80 * MS
    _, targets = run(delays)
    assert targets[999] == PARAMS.min_ns
    assert targets[1000] == pytest.approx(85 * MS, rel=1e-3)
    assert targets[1050] > 70 * MS
    assert targets[-1] < 48 * MS


def test_what_keeps_happening_stays_covered() -> None:
    """One packet in 50 is 90 ms late: a minute later the target still covers it, between the late ones too."""
    delays = np.full(4000, 5e12)
    delays[25::50] += 90 * MS
    _, targets = run(delays)
    assert targets[1000:].min() >= 90 * MS
    assert targets[1000:].max() <= 101 * MS


def test_what_no_target_covers_raises_none() -> None:
    """A packet 900 ms late is given up in any case: the others are not waited for because of it."""
    delays = np.full(300, 5e12)
    delays[::10] += 900 * MS
    _, targets = run(delays[1:])
    assert (targets == PARAMS.min_ns).all()


def test_target_is_bounded() -> None:
    """However often packets are as late as the longest target, it does not grow beyond."""
    delays = np.full(300, 5e12)
    delays[1::2] += 194 * MS
    _, targets = run(delays)
    assert targets.max() <= PARAMS.max_ns
    assert targets[-1] > 190 * MS


def test_random_jitter_is_covered() -> None:
    """With exponential jitter of 10 ms, about one packet in 100 is later than the target, and hardly more."""
    delays = 1e12 + np.random.default_rng(5).exponential(10 * MS, 10_000)
    bases, targets = run(delays)
    late = delays[1:] - bases[:-1] > targets[:-1]
    assert late[500:].mean() < 0.006
    assert targets[500:].mean() < 75 * MS


@pytest.mark.parametrize("drift_ppm", [-200, 200])
def test_clock_drift_is_followed(drift_ppm: int) -> None:
    """Over an hour of drift (0.72 s) the base stays within 10 ms, and the target at its minimum."""
    stream = Streams()
    for second in range(3600):
        delay = np.array([7e12 + second * 1000.0 * drift_ppm])
        stream.packet(delay, packets=50, elapsed_ns=1e9)
        assert 0 <= delay[0] - stream.base[0] < 10 * MS
    assert stream.target[0] == PARAMS.min_ns


def test_a_longer_route_becomes_the_norm() -> None:
    """After a step of 50 ms upwards the target jumps, and is at its minimum again in two minutes."""
    delays = np.full(6500, 1e12)
    delays[500:] += 50 * MS
    _, targets = run(delays)
    assert targets[500] >= 54 * MS
    assert targets[-1] < 42 * MS


def test_a_moved_timeline_is_no_late_network() -> None:
    """Timestamps an hour ahead are followed; an hour back they change nothing, until the owner sets a new base."""
    hour = 3.6e12
    bases, targets = run(np.array([1e13, 1e13, 1e13 + hour, 1e13 + hour, 1e13 - hour, 1e13 - hour]))
    assert bases.tolist() == [1e13, 1e13, 1e13, 1e13, 1e13 - hour, 1e13 - hour]
    assert (targets == PARAMS.min_ns).all()


def test_packets_on_time_need_only_be_counted() -> None:
    """The distribution is the same when those that `wants_update` passes over are counted later."""
    rng = np.random.default_rng(3)
    delays = 1e12 + rng.exponential(8 * MS, 4000)
    every, some = Streams(), Streams()
    waiting = 0
    for k, delay in enumerate(delays):
        every.packet(np.array([delay]))
        waiting += 1
        if k % 17 == 0 or wants_update(np.array([delay]) - some.base, PARAMS)[0]:
            some.packet(np.array([delay]), packets=waiting, elapsed_ns=waiting * PACKET_NS)
            waiting = 0
    assert some.weight[0] == pytest.approx(every.weight[0], rel=0.03)
    assert some.target[0] == pytest.approx(every.target[0], abs=5 * MS)


def test_inputs_are_not_written() -> None:
    """The caller's columns change only when it stores what was returned."""
    arrays = [
        np.array([1e9]),
        np.array([6e7]),
        np.ones((1, BINS), np.float32),
        np.array([9.0]),
        np.array([1.1e9]),
    ]
    before = [array.copy() for array in arrays]
    update_target(*arrays, np.array([3]), np.array([2e7]), PARAMS)
    assert all((array == copy).all() for array, copy in zip(arrays, before, strict=True))


counts = st.lists(st.integers(0, 50), min_size=BINS, max_size=BINS)


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(0, 10**15),
            st.integers(40 * MS, 200 * MS),
            counts,
            st.integers(0, 2000),
            st.integers(-(10**11), 10**11) | st.integers(0, 250 * MS),
            st.integers(1, 100),
            st.integers(-(10**6), 10**12),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_batch_equals_scalar(rows: list[tuple[int | None, int, list[int], int, int, int, int]]) -> None:
    """The kernel agrees with the branches of its scalar twin."""
    cases = [
        (None if base is None else float(base), float(target), [float(c) for c in late], float(weight),
         (base or 0) + float(offset), packets, float(elapsed))
        for base, target, late, weight, offset, packets, elapsed in rows
    ]  # fmt: skip
    base, target, late, weight = update_target(
        np.array([np.nan if case[0] is None else case[0] for case in cases]),
        np.array([case[1] for case in cases]),
        np.array([case[2] for case in cases], np.float32),
        *(np.array([case[k] for case in cases], np.float64) for k in (3, 4)),
        np.array([case[5] for case in cases]),
        np.array([case[6] for case in cases]),
        PARAMS,
    )
    expected = [update_target_one(*case, PARAMS) for case in cases]
    np.testing.assert_allclose(base, [e[0] for e in expected], rtol=1e-12, atol=1)
    np.testing.assert_allclose(late, [e[2] for e in expected], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(weight, [e[3] for e in expected], rtol=1e-9)
    np.testing.assert_allclose(target, [e[1] for e in expected], rtol=1e-9, atol=1)
