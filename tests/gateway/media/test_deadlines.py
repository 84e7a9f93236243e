# SPDX-License-Identifier: GPL-2.0-or-later
"""Deadlines of many things: as if all were looked at each time."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from trunkline.gateway.media import soonest
from trunkline.gateway.media.deadlines import NEVER_NS, Deadlines

KEYS = st.integers(0, 5)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, st.none() | st.integers(0, 60)),
        st.tuples(st.just("forget"), KEYS, st.none()),
        st.tuples(st.just("pass"), st.integers(0, 20), st.none()),
        st.tuples(st.just("look"), st.just(0), st.none()),
    ),
    max_size=60,
)


@given(STEPS)
def test_what_is_due_is_what_a_scan_finds(steps: list[tuple[str, int, int | None]]) -> None:
    """Sooner deadlines are noted, later ones are not; nothing is due twice, or late, or before its time."""
    actual: dict[int, int | None] = {}
    deadlines = Deadlines(actual.get)
    now = 0
    for what, number, value in steps:
        if what == "set":
            before, due = actual.get(number), None if value is None else now + value
            actual[number] = due
            if due is not None and (before is None or due < before):
                deadlines.note(number, due)
        elif what == "forget":
            actual.pop(number, None)
            deadlines.forget(number)
        elif what == "pass":
            now += number
            scanned = sorted(key for key, due in actual.items() if due is not None and due <= now)
            assert bool(scanned) <= (deadlines.next_ns <= now), "one comparison finds it"
            assert sorted(deadlines.due(now)) == scanned
            for key in scanned:
                actual[key] = None
        else:
            assert deadlines.soonest() == min((due for due in actual.values() if due is not None), default=None)


def test_a_deadline_that_moves_before_it_is_noted_is_not_swallowed() -> None:
    """Somebody looks in between: what has become sooner by then is the bound, whether it is noted afterwards or not."""
    actual: dict[int, int | None] = {1: 10, 2: 3}
    deadlines = Deadlines(actual.get)
    deadlines.note(1, 10)
    deadlines.note(2, 3)
    actual[1] = 7
    assert deadlines.due(3) == [2]
    assert deadlines.soonest() == 7 and deadlines.next_ns == 7


def test_what_moves_all_the_time_leaves_nothing_behind() -> None:
    """A key that is due in each tick, and in five seconds in between, takes no more memory for it."""
    actual: dict[int, int | None] = {}
    deadlines = Deadlines(actual.get)
    for now in range(10_000):
        actual[1] = now + 5_000
        deadlines.note(1, now + 5_000)
        actual[1] = now
        deadlines.note(1, now)
        assert deadlines.due(now) == [1]
    assert len(deadlines._heap) < 200
    deadlines.forget(1)
    actual.clear()
    assert deadlines.soonest() is None
    assert deadlines.next_ns == NEVER_NS


@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 8), st.just(3)), elements=st.integers(-9, 9)), st.data())
def test_the_soonest_of_a_column_is_the_least_of_its_rows(block: NDArray[np.int64], data: st.DataObject) -> None:
    """Compiled or not, and of no rows at all: never."""
    column = block[:, 1]
    rows = np.array(data.draw(st.lists(st.integers(0, len(column) - 1))), np.intp)
    wanted = min(column[rows].tolist(), default=NEVER_NS)
    assert soonest._by_numpy(column)(rows) == wanted
    assert soonest.soonest_of(column)(rows) == wanted
