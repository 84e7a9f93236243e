# SPDX-License-Identifier: GPL-2.0-or-later
"""One press is one digit, whichever methods tell of it, in whatever order."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.media.presses import PRESSES_PER_SECOND, SECOND_NS, Presses

MS = 1_000_000
Report = tuple[int, str, int, str]
"ms at which it is told, digit, duration, method"


def digits(*reports: Report) -> str:
    presses = Presses()
    return "".join(
        digit for at_ms, digit, ms, method in sorted(reports) if presses.is_new(digit, ms, method, at_ms * MS)
    )


@pytest.mark.parametrize("order", list(itertools.permutations(["rfc4733", "inband", "info"])))
def test_three_methods_are_one_digit_in_any_order(order: tuple[str, ...]) -> None:
    reports = [(1000 + delay, "5", 100, method) for method, delay in zip(order, (0, 60, 300), strict=True)]
    assert digits(*reports) == "5"


def test_a_key_twice_by_two_methods_is_two_digits() -> None:
    """Told one after the other, or both of one method first."""
    one = [(1000, "1", 80, "rfc4733"), (1060, "1", 80, "inband"), (1200, "1", 80, "rfc4733"), (1260, "1", 80, "inband")]
    assert digits(*one) == "11"
    late = [(1000, "1", 80, "rfc4733"), (1200, "1", 80, "rfc4733"), (1500, "1", 160, "info"), (1700, "1", 160, "info")]
    assert digits(*late) == "11"


def test_one_method_alone_is_never_silenced() -> None:
    assert digits(*[(1000 + 90 * i, "1", 40, "rfc4733") for i in range(10)]) == "1" * 10
    assert digits(*[(1000 + 90 * i, "1", 40, "info") for i in range(10)]) == "1" * 10


def test_another_key_or_another_time_is_another_press() -> None:
    assert digits((1000, "1", 100, "rfc4733"), (1050, "2", 100, "inband")) == "12"
    assert digits((1000, "1", 100, "rfc4733"), (1600, "1", 100, "inband")) == "11"
    assert digits((1000, "1", 100, "rfc4733"), (4000, "1", 100, "info")) == "11"


def test_a_long_press_whose_beginning_was_heard_as_a_tone() -> None:
    assert digits((1100, "7", 60, "inband"), (4000, "7", 2980, "rfc4733")) == "7"


@given(
    st.lists(st.sampled_from("1239#"), min_size=1, max_size=12),
    st.lists(st.sampled_from(["rfc4733", "inband", "info"]), min_size=1, max_size=3, unique=True),
    st.integers(180, 400),
    st.data(),
)
def test_any_sequence_by_any_methods_arrives_once(keys: list[str], methods: list[str], gap: int, data) -> None:
    """Each method tells every key, in order, up to 150 ms (tones) or 1.5 s (INFO) later."""
    reports = []
    for method in methods:
        most = {"rfc4733": 0, "inband": 150, "info": 1500}[method]
        delay = data.draw(st.integers(0, most))
        reports += [(1000 + i * gap + delay, key, 100, method) for i, key in enumerate(keys)]
    told = digits(*reports)
    assert told == "".join(keys)


@given(st.lists(st.integers(0, 300 * MS) | st.just(0), max_size=120))
def test_no_second_has_more_than_so_many_and_none_is_kept_back_without_need(pauses: list[int]) -> None:
    """In any second, wherever it begins; what is refused does not count."""
    presses, now_ns, told = Presses(), 0, []
    for pause_ns in pauses:
        now_ns += pause_ns
        lately = sum(1 for at_ns in told if now_ns - at_ns < SECOND_NS)
        assert presses.may_tell(now_ns) == (lately < PRESSES_PER_SECOND)
        if lately < PRESSES_PER_SECOND:
            told.append(now_ns)
