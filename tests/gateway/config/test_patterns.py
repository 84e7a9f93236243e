# SPDX-License-Identifier: GPL-2.0-or-later
"""Patterns take what their text says, and nothing else."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.config.patterns import REGEX_MAX_CHARS, Pattern, bare_number, parse_number_pattern

DIGITS = st.text("0123456789", min_size=1, max_size=15)
LITERAL = st.text(st.characters(codec="utf-8", exclude_characters="*."), min_size=1).filter(
    lambda text: not text.startswith("re:")
)


@pytest.mark.parametrize(
    ("pattern", "takes", "leaves"),
    [
        ("600", ["600"], ["6000", "60", "x600", "600\n"]),
        ("6..", ["600", "6ab"], ["60", "6000", "700"]),
        ("+49*", ["+49", "+4930123"], ["49", "0049"]),
        ("*", ["", "600", "a\nb"], []),
        (r"re:^\+?49", ["49", "+4930"], ["049", ""]),
        ("re:5", ["05", "150"], ["6"]),
        ("a+b", ["a+b"], ["aab"]),
    ],
)
def test_pattern(pattern: str, takes: list[str], leaves: list[str]) -> None:
    """Literal text, one character, the rest, or a regular expression."""
    compiled = Pattern.parse(pattern)
    assert [value for value in takes if not compiled.matches(value)] == []
    assert [value for value in leaves if compiled.matches(value)] == []


@given(LITERAL, LITERAL)
def test_text_without_wildcards_takes_itself_only(text: str, other: str) -> None:
    """No character but `.` and `*` has a meaning."""
    assert Pattern.parse(text).matches(text)
    assert Pattern.parse(text).matches(other) == (text == other)
    assert Pattern.parse(text + "*").matches(text + other)


@given(DIGITS)
def test_dots_count(number: str) -> None:
    """As many characters as there are dots."""
    dots = Pattern.parse("." * len(number))
    assert dots.matches(number)
    assert not dots.matches(number + "0")
    assert not dots.matches(number[1:])


@given(DIGITS, st.data())
def test_visual_separators_do_not_count(number: str, data: st.DataObject) -> None:
    """RFC 3966 5.1.1: 030-12 34 and 0301234 are one number."""
    written = number[0] + "".join(
        data.draw(st.sampled_from(["", "-", ".", " ", "(", ")"])) + d for d in number[1:]
    )
    assert bare_number(written) == number
    assert bare_number("+" + written) == "+" + number


@given(st.text(st.sampled_from("abcxyz._-0123456789"), min_size=1))
def test_names_are_left_as_they_are(user: str) -> None:
    """A user part with letters beyond A to D is a name, in which a dash counts."""
    name = "x" + user
    assert bare_number(name) == name


def test_a_value_longer_than_any_number_is_not_tried_on_a_slow_expression() -> None:
    """The caller must not be able to stop the SIP thread."""
    slow = Pattern.parse(r"re:^(a|aa)+$")
    begun = time.monotonic()
    assert not slow.matches("a" * 60_000 + "b")
    assert time.monotonic() - begun < 1
    assert Pattern.parse("re:a").matches("a" * REGEX_MAX_CHARS)
    assert not Pattern.parse("re:a").matches("a" * (REGEX_MAX_CHARS + 1))


@pytest.mark.parametrize("text", ["", "*6", "6**", "re:[", "re:*"])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    """When the file is read."""
    with pytest.raises(ValueError, match=r".+"):
        Pattern.parse(text)


def test_separators_in_a_number_pattern_are_refused_because_they_could_never_match() -> None:
    """In a header's pattern they are text like any other."""
    with pytest.raises(ValueError, match=r"write '030123\*'"):
        parse_number_pattern("(030) 123*")
    assert Pattern.parse("acme-corp (x)").matches("acme-corp (x)")
    assert parse_number_pattern("john-doe").matches("john-doe")
