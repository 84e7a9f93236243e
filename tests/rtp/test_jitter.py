# SPDX-License-Identifier: GPL-2.0-or-later
"""The adaptive target: what it does on networks of known behaviour."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp.jitter import TargetParams, update_target, update_target_one

PARAMS = TargetParams()
MS = 1_000_000
PACKET_NS = 20 * MS


def run(delays_ns: np.ndarray, target_ns: float = 60 * MS) -> tuple[np.ndarray, np.ndarray]:
    """Base and target after each packet of one stream whose packets have these relative delays."""
    base, target = np.array([np.nan]), np.array([target_ns])
    bases, targets = [], []
    for k, delay in enumerate(delays_ns):
        elapsed = np.array([0.0 if k == 0 else PACKET_NS])
        base, target = update_target(base, target, np.array([delay], np.float64), elapsed, PARAMS)
        bases.append(base[0])
        targets.append(target[0])
    return np.array(bases), np.array(targets)


def test_first_packet_is_the_base() -> None:
    """The first packet sets the base and keeps the target that the stream began with."""
    bases, targets = run(np.array([1e15]))
    assert (bases[0], targets[0]) == (1e15, 60 * MS)


def test_quiet_network_shrinks_to_the_minimum() -> None:
    """Without jitter the target is near its minimum after three time constants, and stays above it."""
    _, targets = run(np.full(3000, 5e12))
    assert targets[1500] < 25 * MS
    assert targets[-1] == PARAMS.min_ns
    assert (np.diff(targets) <= 0).all()


def test_lateness_is_answered_at_once_and_forgotten_slowly() -> None:
    """A packet 80 ms late raises the target above 80 ms at once; a second later most of it is left."""
    delays = np.full(600, 5e12)
    delays[100] += 80 * MS
    _, targets = run(delays, target_ns=PARAMS.min_ns)
    assert targets[99] == PARAMS.min_ns
    assert targets[100] == pytest.approx(85 * MS, rel=1e-3)
    assert targets[150] > 75 * MS
    assert targets[-1] < targets[150]


def test_target_is_bounded() -> None:
    """However late a packet is, the target stays at its maximum."""
    _, targets = run(np.array([0.0, 2.9e9, 0.0]))
    assert targets[1] == PARAMS.max_ns
    assert targets.max() <= PARAMS.max_ns


def test_random_jitter_is_covered() -> None:
    """With exponential jitter of 10 ms, fewer than one packet in 100 is later than the target."""
    delays = 1e12 + np.random.default_rng(5).exponential(10 * MS, 5000)
    bases, targets = run(delays)
    late = delays[1:] - bases[:-1] > targets[:-1]
    assert late[500:].mean() < 0.01
    assert targets[500:].mean() < 120 * MS


@pytest.mark.parametrize("drift_ppm", [-200, 200])
def test_clock_drift_is_followed(drift_ppm: int) -> None:
    """Over an hour of drift (0.72 s) the base stays within 10 ms, and the target at its minimum."""
    elapsed = np.array([1e9])  # one packet in 50, to keep the test short
    base, target = np.array([np.nan]), np.array([PARAMS.min_ns], np.float64)
    for second in range(3600):
        delay = np.array([7e12 + second * 1000.0 * drift_ppm])
        base, target = update_target(base, target, delay, elapsed, PARAMS)
        assert 0 <= delay[0] - base[0] < 10 * MS
    assert target[0] == PARAMS.min_ns


def test_a_longer_route_becomes_the_norm() -> None:
    """After a step of 50 ms upwards the target jumps, and is back near its minimum in two minutes."""
    delays = np.full(6500, 1e12)
    delays[500:] += 50 * MS
    _, targets = run(delays)
    assert targets[500] >= 54 * MS
    assert targets[-1] < 25 * MS


def test_moved_timeline_starts_anew() -> None:
    """A sender that leaps by an hour makes a new base, forwards as backwards, and not a late network."""
    hour = 3.6e12
    bases, targets = run(np.array([1e13, 1e13, 1e13 + hour, 1e13 + hour, 1e13, 1e13]), PARAMS.min_ns)
    assert bases.tolist() == [1e13, 1e13, 1e13 + hour, 1e13 + hour, 1e13, 1e13]
    assert (targets == PARAMS.min_ns).all()


def test_inputs_are_not_written() -> None:
    """The caller's columns change only when it stores what was returned."""
    arrays = [np.array([1e9]), np.array([3e7]), np.array([2e9]), np.array([2e7])]
    before = [array.copy() for array in arrays]
    update_target(arrays[0], arrays[1], arrays[2], arrays[3], PARAMS)
    assert all((array == copy).all() for array, copy in zip(arrays, before, strict=True))


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(0, 10**15),
            st.integers(20 * MS, 200 * MS),
            st.integers(-(10**11), 10**11),
            st.integers(-(10**6), 10**12),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_batch_equals_scalar(rows: list[tuple[int | None, int, int, int]]) -> None:
    """The kernel agrees with the branches of its scalar twin."""
    cases = [
        (None if base is None else float(base), float(target), (base or 0) + float(offset), float(elapsed))
        for base, target, offset, elapsed in rows
    ]
    base, target = update_target(
        np.array([np.nan if case[0] is None else case[0] for case in cases]),
        *(np.array([case[k] for case in cases], np.float64) for k in (1, 2, 3)),
        PARAMS,
    )
    expected = [update_target_one(*case, PARAMS) for case in cases]
    np.testing.assert_allclose(base, [b for b, _ in expected], rtol=1e-12, atol=1)
    np.testing.assert_allclose(target, [t for _, t in expected], rtol=1e-9, atol=1)
