# SPDX-License-Identifier: GPL-2.0-or-later
"""Bursts and gaps: RFC 3611 4.7.2 on patterns that can be counted by hand, and batch equals loop."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp.loss_bursts import (
    COUNTS,
    GMIN,
    BurstCounter,
    BurstMetrics,
    burst_metrics,
    burst_metrics_one,
    note_missing,
)


def metrics_of(pattern: str) -> BurstMetrics:
    """Metrics of packets that arrived (.) or are missing (x)."""
    counter = BurstCounter()
    for letter in pattern:
        counter.packet(letter == ".")
    return burst_metrics(np.array([counter.counts]), np.array([counter.received]))


def plainly(pattern: str) -> tuple[list[str], list[str]]:
    """Bursts and gaps of a pattern, by their definition: split where GMIN packets in a row arrived."""
    at = [i for i, letter in enumerate(pattern) if letter == "x"]
    events: list[list[int]] = []
    for i in at:
        if events and i - events[-1][-1] - 1 < GMIN:
            events[-1].append(i)
        else:
            events.append([i])
    spans = [(event[0], event[-1] + 1) for event in events if len(event) > 1]
    edges = [0, *(edge for span in spans for edge in span), len(pattern)]
    pieces = [pattern[a:b] for a, b in itertools.pairwise(edges)]
    return pieces[1::2], pieces[0::2]


def check(pattern: str) -> None:
    """The counters' answer is that of the definition."""
    bursts, gaps = plainly(pattern)
    found = metrics_of(pattern)
    in_bursts, in_gaps = "".join(bursts), "".join(gaps)
    assert found.bursts[0] == len(bursts)
    assert found.burst_density[0] == pytest.approx(in_bursts.count("x") / max(len(in_bursts), 1))
    assert found.burst_packets[0] == pytest.approx(len(in_bursts) / max(len(bursts), 1))
    assert found.gap_density[0] == pytest.approx(in_gaps.count("x") / max(len(in_gaps), 1))
    assert found.gap_packets[0] == pytest.approx(len(in_gaps) / len(gaps))
    counter = BurstCounter()
    for letter in pattern:
        counter.packet(letter == ".")
    fields = (getattr(found, field.name)[0] for field in dataclasses.fields(found))
    assert burst_metrics_one(counter.counts, counter.received) == pytest.approx(tuple(fields)), "scalar twin"
    runs = [run for run in pattern.split(".") if run]
    assert found.loss_run[0] == pytest.approx(pattern.count("x") / len(runs) if runs else 1)


@pytest.mark.parametrize(
    ("pattern", "bursts", "density", "length"),
    [
        ("." * 100, 0, 0, 0),
        ("." * 50 + "x" + "." * 50, 0, 0, 0),
        ("." * 50 + "xx" + "." * 50, 1, 1, 2),
        ("." * 50 + "x" + "." * 15 + "x" + "." * 50, 1, 2 / 17, 17),
        ("." * 50 + "x" + "." * 16 + "x" + "." * 50, 0, 0, 0),
        ("x" + "." * 3 + "x" + "." * 40 + "xxx" + "." * 3, 2, 5 / 8, 4),
        ("xxxx", 1, 1, 4),
    ],
)
def test_patterns_by_hand(pattern: str, bursts: int, density: float, length: float) -> None:
    """Two missing packets with 15 between them are a burst; with 16, or alone, they belong to a gap."""
    found = metrics_of(pattern)
    assert found.bursts[0] == bursts
    assert found.burst_density[0] == pytest.approx(density)
    assert found.burst_packets[0] == pytest.approx(length)
    check(pattern)


@given(st.lists(st.sampled_from([".", "....................", "x", "xx", "........"]), max_size=40))
def test_counters_agree_with_the_definition(pieces: list[str]) -> None:
    """For any pattern."""
    check("".join(pieces))


events = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5)), min_size=1, max_size=12)


@given(st.lists(events, min_size=1, max_size=4))
def test_batch_equals_loop(streams: list[list[tuple[int, int]]]) -> None:
    """One event of every stream at a time, against A.2 packet by packet."""
    counters = [BurstCounter() for _ in streams]
    counts = np.zeros((len(streams), COUNTS), np.int64)
    for turn in range(max(map(len, streams))):
        rows = np.array([i for i, stream in enumerate(streams) if turn < len(stream)])
        received = np.array([streams[i][turn][0] for i in rows])
        missing = np.array([streams[i][turn][1] for i in rows])
        counts[rows] = note_missing(counts[rows], received, missing)
        for i in rows:
            for arrived in [True] * streams[i][turn][0] + [False] * streams[i][turn][1]:
                counters[i].packet(arrived)
    assert counts.tolist() == [counter.counts for counter in counters]
