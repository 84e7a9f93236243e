# SPDX-License-Identifier: GPL-2.0-or-later
"""The search for the largest number of calls, on measurements that are played."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.bench.limit import MAX_RUNS, Limit, Step, Verdict, find_limit


def search(capacity: int, *, first: int = 100, most: int = 9000, unclear_from: int = 1 << 30) -> Limit:
    """On a machine that carries so many calls, and whose generator fails from there on."""

    def measure(calls: int) -> Step:
        if calls >= unclear_from:
            return Step(calls, Verdict.UNCLEAR, "the generator was late")
        fits = calls <= capacity
        return Step(
            calls, Verdict.FITS if fits else Verdict.TOO_MANY, "" if fits else "p99 9.0 ms", {"calls": calls}
        )

    return find_limit(measure, first, most)


@given(st.integers(1, 9000), st.integers(1, 4000))
def test_the_limit_is_found_to_five_percent_in_a_bounded_number_of_runs(capacity: int, first: int) -> None:
    found = search(capacity, first=first)
    assert len(found.steps) <= MAX_RUNS
    assert found.calls <= capacity
    if len(found.steps) < MAX_RUNS:
        assert capacity - found.calls <= max(1, round(found.calls * 0.05))
    if found.calls:
        assert found.best == {"calls": found.calls}


def test_a_machine_that_carries_nothing() -> None:
    found = search(0)
    assert found.calls == 0 and found.best is None
    assert "at 1 calls: p99 9.0 ms" in found.bounded_by


def test_what_the_generator_could_not_do_is_tried_again_and_told_apart() -> None:
    found = search(5000, unclear_from=1000)
    tried = [step.calls for step in found.steps if step.verdict is Verdict.UNCLEAR]
    assert tried[0] == tried[1], "twice"
    assert 900 <= found.calls < 1000
    assert "not the worker" in found.bounded_by and "generator was late" in found.bounded_by


def test_it_goes_no_higher_than_allowed() -> None:
    found = search(9000, most=1500)
    assert found.calls == 1500 and "most" in found.bounded_by
    assert max(step.calls for step in found.steps) == 1500
