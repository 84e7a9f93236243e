# SPDX-License-Identifier: GPL-2.0-or-later
"""Extension of wire counters across wraps and reordering."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp.sequence import extend, extend_one


def one(reference: int, wire: int, bits: int) -> int:
    return int(extend(np.array([reference]), np.array([wire]), bits)[0])


@pytest.mark.parametrize(
    ("reference", "wire", "bits", "expected"),
    [
        (10, 11, 16, 11),
        (65535, 0, 16, 65536),  # forward over the wrap
        (65536, 65535, 16, 65535),  # a packet from before it, overtaken
        (3 * 65536 + 2, 65530, 16, 3 * 65536 - 6),
        (2, 65530, 16, -6),  # before the very first: below zero, low bits as on the wire
        (0, 32767, 16, 32767),
        (0, 32768, 16, -32768),  # half a cycle: old
        (0xFFFFFFFF, 159, 32, 0x1_0000_009F),
        (0x1_0000_009F, 0xFFFFFFFF, 32, 0xFFFFFFFF),
    ],
)
def test_nearest_number(reference: int, wire: int, bits: int, expected: int) -> None:
    """The number nearest to the reference is taken, on either side of a wrap."""
    assert one(reference, wire, bits) == expected
    assert extend_one(reference, wire, bits) == expected


@given(st.integers(0, 1 << 45), st.integers(-(1 << 15), (1 << 15) - 1), st.sampled_from([16, 32]))
def test_recovers_what_was_sent(reference: int, distance: int, bits: int) -> None:
    """Any number less than half a cycle away survives being cut to the wire's width."""
    sent = reference + distance
    assert one(reference, sent & ((1 << bits) - 1), bits) == sent


@given(st.lists(st.tuples(st.integers(-(1 << 40), 1 << 40), st.integers(0, 0xFFFF)), min_size=1, max_size=20))
def test_batch_equals_scalar(pairs: list[tuple[int, int]]) -> None:
    """The kernel agrees with the search among neighbouring cycles."""
    reference, wire = (np.array(column) for column in zip(*pairs, strict=True))
    assert extend(reference, wire, 16).tolist() == [extend_one(r, w, 16) for r, w in pairs]


def test_a_day_of_packets() -> None:
    """Followed packet by packet over three wraps with steps back, no number is ever wrong."""
    rng = np.random.default_rng(3)
    sent = 65000 + np.arange(200_000, step=37)
    sent[1:] -= rng.integers(0, 30, len(sent) - 1)
    highest = int(sent[0])
    for number in sent.tolist():
        assert one(highest, number & 0xFFFF, 16) == number
        highest = max(highest, number)
