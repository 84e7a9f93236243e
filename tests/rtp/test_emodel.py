# SPDX-License-Identifier: GPL-2.0-or-later
"""The E-model against figures that the ITU-T published, and batch equals loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp import emodel
from trunkline.rtp.emodel import G711_CONCEALED, G711_PLAIN, CodecImpairment


def rating_at(
    one_way_ms: float = 0.0, missing_percent: float = 0.0, codec: CodecImpairment = G711_CONCEALED
) -> float:
    """R of a call whose loss is random."""
    equipment = emodel.effective_impairment_one(codec, missing_percent)
    return emodel.rating_one(emodel.delay_impairment_one(one_way_ms), equipment)


def test_all_defaults_give_93_2() -> None:
    """G.107, below table 2: with all default values R is 93.2, which is a MOS of 4.41."""
    assert rating_at() == pytest.approx(93.2, abs=0.05)
    assert emodel.mos_one(rating_at()) == pytest.approx(4.41, abs=0.005)


@pytest.mark.parametrize(("r", "mos"), [(90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58)])
def test_mos_of_the_quality_classes(r: float, mos: float) -> None:
    """G.107 annex B, table B.1."""
    assert emodel.mos_one(r) == pytest.approx(mos, abs=0.01)


@pytest.mark.parametrize(("r", "mos"), [(-5, 1.0), (0, 1.0), (4, 1.0), (100, 4.5), (110, 4.5)])
def test_mos_stays_on_its_scale(r: float, mos: float) -> None:
    """Annex B: 1 to 4.5, and the cubic's dip below R = 6.5 is cut off."""
    assert emodel.mos_one(r) == mos


@pytest.mark.parametrize(
    ("percent", "ie_plain", "ie_concealed"), [(1, 25, 5), (2, 35, 7), (3, 45, 10), (5, 55, 15)]
)
def test_loss_against_the_tables_of_g113(percent: float, ie_plain: float, ie_concealed: float) -> None:
    """G.113 appendix I tabulated Ie of G.711 under random loss before Bpl summed it up: same course, within 8."""
    assert emodel.effective_impairment_one(G711_PLAIN, percent) == pytest.approx(ie_plain, abs=8)
    assert emodel.effective_impairment_one(G711_CONCEALED, percent) == pytest.approx(ie_concealed, abs=1.5)


@pytest.mark.parametrize(
    ("codec", "percent", "expected"),
    [
        (G711_PLAIN, 1, 95 / 5.3),
        (G711_CONCEALED, 5, 95 * 5 / 30.1),
        (CodecImpairment(11, 19), 2, 11 + 84 * 2 / 21),  # G.729A with VAD
    ],
)
def test_effective_impairment_by_hand(codec: CodecImpairment, percent: float, expected: float) -> None:
    """Formula 7-29 with BurstR = 1."""
    assert emodel.effective_impairment_one(codec, percent) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("one_way_ms", "low", "high"), [(100, 90, 92), (150, 88, 91), (250, 78, 82), (400, 60, 65)]
)
def test_delay_against_the_curve_of_g114(one_way_ms: float, low: float, high: float) -> None:
    """G.114 figure 1: very satisfied up to 150 ms or so, some dissatisfied at 250, many at 400."""
    assert low <= rating_at(one_way_ms) <= high


def test_more_is_never_better() -> None:
    """Delay, loss and burstiness each only lower the rating."""
    for course in (
        [rating_at(one_way_ms=ms) for ms in range(0, 800, 10)],
        [rating_at(missing_percent=p) for p in range(101)],
        [-emodel.effective_impairment_one(G711_CONCEALED, 10, ratio) for ratio in (1, 1.5, 2, 4)],
    ):
        assert course == sorted(course, reverse=True)
        assert course[0] > course[-1]


def test_random_loss_has_a_burst_ratio_of_one() -> None:
    """A tenth lost at random comes in runs of 1/0.9; runs of 3 are 2.7 times as long, single ones are not below 1."""
    ratio = emodel.burst_ratio(np.array([1 / 0.9, 3.0, 1.0]), np.full(3, 10.0))
    assert ratio == pytest.approx([1.0, 2.7, 1.0])


calls = st.lists(st.tuples(st.floats(0, 5000), st.floats(0, 100), st.floats(1, 30)), min_size=1, max_size=6)


@given(calls)
def test_batch_equals_loop(some: list[tuple[float, float, float]]) -> None:
    """Rating and MOS; the table of delays is within 0.05."""
    delay, percent, ratio = (np.array(values) for values in zip(*some, strict=True))
    n = len(some)
    equipment = emodel.effective_impairment(np.full(n, 11.0), np.full(n, 19.0), percent, ratio)
    codec = CodecImpairment(11, 19)
    loop = [emodel.effective_impairment_one(codec, p, b) for _, p, b in some]
    assert equipment == pytest.approx(loop)
    impairment = emodel.delay_impairment(delay)
    assert impairment == pytest.approx([emodel.delay_impairment_one(ms) for ms, _, _ in some], abs=0.05)
    r = emodel.rating(impairment, equipment)
    assert r == pytest.approx([emodel.rating_one(*pair) for pair in zip(impairment, loop, strict=True)])
    assert emodel.mos(r) == pytest.approx([emodel.mos_one(one) for one in r])
