# SPDX-License-Identifier: GPL-2.0-or-later
"""Jitter and loss, with the cases in which others went wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp import reception
from trunkline.rtp.sequence import extend

counts = st.integers(0, 1 << 40)


def column(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def run_jitter(arrivals: list[int], wire: list[int]) -> list[float]:
    """Jitter after each packet of one stream; timestamps as on the wire."""
    jitter, transit, known, highest = np.zeros(1), column(0), np.zeros(1, np.uint8), column(wire[0])
    out = []
    for arrival, timestamp in zip(arrivals, wire, strict=True):
        highest = extend(highest, column(timestamp), 32)
        jitter, transit = reception.interarrival_jitter(jitter, transit, known, column(arrival), highest)
        known[:] = 1
        out.append(float(jitter[0]))
    return out


def test_jitter_by_hand() -> None:
    """One packet 32 ticks late, the next in time: A.8 gives 2, then 2 + (32 - 2) / 16."""
    assert run_jitter([0, 160, 352, 480], [1000, 1160, 1320, 1480]) == [0, 0, 2, 3.875]


def test_timestamp_wrap_is_no_jitter() -> None:
    """A clockwork stream has jitter 0 on both sides of the 32-bit wrap."""
    arrivals = [160 * k for k in range(50)]
    wire = [(0xFFFFFFFF - 3000 + 160 * k) & 0xFFFFFFFF for k in range(50)]
    assert run_jitter(arrivals, wire) == [0.0] * 50


def test_first_packet_is_only_remembered() -> None:
    """Without a packet before, transit is stored and jitter stays, however large transit is."""
    jitter, transit = reception.interarrival_jitter(
        np.array([5.0]), column(0), np.zeros(1, np.uint8), column(1 << 50), column(7)
    )
    assert (jitter.tolist(), transit.tolist()) == ([5.0], [(1 << 50) - 7])


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e9),
            st.none() | st.integers(-(1 << 45), 1 << 45),
            st.integers(0, 1 << 45),
            st.integers(0, 1 << 45),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_jitter_batch_equals_scalar(rows: list[tuple[float, int | None, int, int]]) -> None:
    """The kernel agrees with A.8 written out for one stream."""
    jitter, transit = reception.interarrival_jitter(
        np.array([row[0] for row in rows]),
        column(*(row[1] or 0 for row in rows)),
        np.array([row[1] is not None for row in rows], np.uint8),
        column(*(row[2] for row in rows)),
        column(*(row[3] for row in rows)),
    )
    expected = [reception.interarrival_jitter_one(*row) for row in rows]
    np.testing.assert_allclose(jitter, [j for j, _ in expected], rtol=1e-12)
    assert transit.tolist() == [t for _, t in expected]


@pytest.mark.parametrize(
    ("expected", "received", "expected_prior", "received_prior", "fraction"),
    [
        (100, 75, 0, 0, 64),
        (200, 150, 100, 75, 64),
        (200, 199, 100, 75, 0),  # late packets: more came than the interval expected
        (110, 112, 100, 100, 0),  # duplicates
        (100, 100, 100, 100, 0),  # nothing since the last report: no 0/0
        (100, 101, 100, 100, 0),  # only a late packet since then
        (200, 100, 100, 100, 255),  # all lost: 256 would read as none
        (101, 99, 100, 99, 255),
        (90, 90, 100, 100, 0),  # a source that began again below
    ],
)
def test_fraction_lost(
    expected: int, received: int, expected_prior: int, received_prior: int, fraction: int
) -> None:
    """RFC 3550 A.3, where the interval's loss may be negative and the interval empty."""
    arguments = (expected, received, expected_prior, received_prior)
    assert reception.fraction_lost(*(column(value) for value in arguments)).tolist() == [fraction]
    assert reception.fraction_lost_one(*arguments) == fraction


@given(st.lists(st.tuples(counts, counts, counts, counts), min_size=1, max_size=12))
def test_loss_batch_equals_scalar(rows: list[tuple[int, int, int, int]]) -> None:
    """Fractions agree with the scalar twin and fit their octet; counts fit 24 bits."""
    columns = [column(*values) for values in zip(*rows, strict=True)]
    fractions = reception.fraction_lost(*columns)
    assert fractions.tolist() == [reception.fraction_lost_one(*row) for row in rows]
    assert fractions.min() >= 0 and fractions.max() <= 255
    lost = reception.cumulative_lost(columns[0], columns[1])
    assert lost.tolist() == [reception.cumulative_lost_one(row[0], row[1]) for row in rows]
    assert lost.min() >= -(1 << 23) and lost.max() < 1 << 23


def test_reading_changes_nothing() -> None:
    """Statistics read twice are the same twice, and the columns they came from are untouched."""
    columns = [column(100, 50), column(90, 60), column(20, 10), column(20, 10)]
    before = [values.copy() for values in columns]
    first = reception.fraction_lost(*columns).tolist()
    assert reception.fraction_lost(*columns).tolist() == first == [32, 0]
    assert reception.cumulative_lost(columns[0], columns[1]).tolist() == [10, -10]
    jitter = np.array([4.0, 4.0])
    reception.interarrival_jitter(jitter, columns[0], np.ones(2, np.uint8), columns[1], columns[2])
    assert jitter.tolist() == [4.0, 4.0]
    for values, copy in zip(columns, before, strict=True):
        assert (values == copy).all()


def test_expected_counts_both_ends() -> None:
    """From the first number to the highest, both included, over a wrap."""
    assert reception.expected_packets(column(65530, 7), column(65536 + 3, 7)).tolist() == [10, 1]
