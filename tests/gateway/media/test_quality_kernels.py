# SPDX-License-Identifier: GPL-2.0-or-later
"""Quality and targets, compiled and not: the same columns, and the same agents told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support import kernels
from support.media_rig import MS, UplinkRig
from support.quality_rows import ROW
from trunkline.gateway.media import compiled
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.figures import NAMES, QUALITY_SLOTS, Figure, told, told_each
from trunkline.gateway.media.lateness import Lateness
from trunkline.gateway.media.quality import QualityWatch
from trunkline.gateway.media.table import Stream, Table
from trunkline.rtp.jitter import BINS, TargetParams
from trunkline.rtp.outcomes import Drop

pytestmark = pytest.mark.skipif(
    not kernels.there, reason="built without a compiler: there is nothing to compare"
)

SECOND = 1000 * MS


class Watch(UplinkRig):
    """Rows of whatever values, and who is told what of them."""

    def __init__(self, rows: list[dict[str, Any]], seen: list[dict[str, Any]]) -> None:
        super().__init__(len(rows), TargetParams())
        self.told: list[tuple[int, dict[str, float]]] = []
        self.quality = QualityWatch(self.table, self._tell)
        c = self.table.shared
        for row, (values, old) in enumerate(zip(rows, seen, strict=True)):
            for name, value in values.items():
                getattr(c, name)[row] = value
            c.drops[row, Drop.LATE] = row * 3
            c.quality[row, [Figure.RECENT_MOS, Figure.MOS_MIN]] = old["mos"]
            self.quality._before[row] = old["before"]
            self.quality._told_ns[row] = self.now_ns - old["told_s"] * SECOND
            self.quality._told_mos[row] = old["mos"]

    def _tell(self, stream: Stream, figures: dict[str, float]) -> None:
        self.told.append((stream.row, figures))

    def left_behind(self) -> list[Any]:
        """All that `QualityWatch` writes."""
        c, q, n = self.table.shared, self.quality, len(self.streams)
        columns = (
            c.quality,
            c.loss_counts,
            c.loss_from_seq,
            c.loss_carry,
            q._before,
            q._told_ns,
            q._told_mos,
        )
        return [column[:n].copy() for column in columns]


SEEN = st.fixed_dictionaries(
    {
        "mos": st.sampled_from([0.0, 3.5, 4.4, np.nan]), "told_s": st.integers(0, 9),
        "before": st.lists(st.integers(0, 1000), min_size=4, max_size=4),
    }
)  # fmt: skip


@given(
    st.lists(st.tuples(st.fixed_dictionaries(ROW), SEEN), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 40), st.integers(0, 5)), max_size=30),
)
@settings(deadline=None, max_examples=150)
def test_figures_and_who_is_told_are_the_same(
    rows: list[tuple[dict[str, Any], dict[str, Any]]], losses: list[tuple[int, int, int]]
) -> None:
    """After any losses, for a second of looks."""
    given_rows, seen = [values for values, _ in rows], [old for _, old in rows]
    with kernels.without_kernels():
        twin = Watch(given_rows, seen)
    fast = Watch(given_rows, seen)
    for watch in (twin, fast):
        first = watch.table.shared.rx_next_seq.copy()
        for row, arrived, missing in losses:
            if row < len(rows):
                first[row] += arrived
                watch.quality.missing(row, int(first[row]), int(first[row]) + missing)
                first[row] += missing
        watch.table.shared.rx_next_seq[:] = first
        for _ in range(10):
            watch.now_ns += 100 * MS
            watch.quality.advance(watch.now_ns)
    for mine, its in zip(fast.left_behind(), twin.left_behind(), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-6, atol=1e-6)
    assert [row for row, _ in fast.told] == [row for row, _ in twin.told]
    for (_, mine), (_, its) in zip(fast.told, twin.told, strict=True):
        assert mine == pytest.approx(its, abs=0.1001, nan_ok=True)


def test_a_row_alone_is_the_same_in_the_kernel() -> None:
    """`refresh` tells nobody, however long ago that was."""
    values = {"packets_received": 5000, "packets_lost": 50, "loss_counts": [1, 4000, 3, 20, 30, 9, 18]}
    watch = Watch([values], [{"mos": 0.0, "told_s": 9, "before": [0, 0, 0, 0]}])
    before = watch.quality._told_ns[0], watch.quality._told_mos[0]
    watch.quality.refresh(watch.table.active)
    batch = watch.table.shared.quality[0].copy()
    watch.table.shared.quality[0] = 0
    watch.quality.refresh_one(0)
    np.testing.assert_allclose(watch.table.shared.quality[0], batch, rtol=1e-4, atol=0.06)
    assert not watch.told and before == (watch.quality._told_ns[0], watch.quality._told_mos[0])


NOTED = st.fixed_dictionaries(
    {
        "base": st.just(np.nan) | st.integers(0, 10**12).map(float), "above_us": st.integers(-5000, 300_000),
        "target_ms": st.floats(40, 200), "packets": st.integers(0, 2000), "elapsed_ms": st.integers(-5, 60_000),
        "counts": st.lists(st.floats(0, 50, width=32), min_size=BINS, max_size=BINS), "weight": st.floats(0, 1000),
    }
)  # fmt: skip


@given(st.lists(NOTED, min_size=1, max_size=20), st.integers(0, 3))
@settings(deadline=None, max_examples=200)
def test_targets_are_the_same(noted: list[dict[str, Any]], leaps: int) -> None:
    """Whatever was learned before."""
    params = TargetParams()
    outcomes = []
    for use in (kernels.without_kernels, None):
        table = Table(Columns(32))
        lateness = _made(use, lambda table=table: Lateness(table, params))
        c, rows = table.shared, np.arange(len(noted))[::-1]
        for row, one in enumerate(noted):
            c.rx_base_delay_ns[row], c.rx_target_ns[row] = one["base"], one["target_ms"] * MS
            table.late_counts[row], table.late_weight[row] = one["counts"], one["weight"]
            c.packets_received[row], table.noted_ns[row] = one["packets"], -one["elapsed_ms"] * MS
        relative = np.array([np.nan_to_num(one["base"]) + one["above_us"] * 1000.0 for one in noted])
        relative[:leaps] += params.leap_ns
        lateness.update(rows, relative[rows], 0)
        learned = [c.rx_base_delay_ns, c.rx_target_ns, table.late_counts, table.late_weight]
        outcomes.append([*learned, table.noted_packets, table.noted_ns])
    for mine, its in zip(*outcomes, strict=True):
        np.testing.assert_array_equal(mine, its)


def _made(use: Any, make: Callable[[], Lateness]) -> Lateness:
    if use is None:
        return make()
    with use():
        return make()


@example([[0.0] * 18 + [1e-41] + [0.0] * 5])
@given(
    st.lists(st.lists(st.floats(0, 2000, width=32) | st.just(np.nan), min_size=24, max_size=24), max_size=6)
)
def test_told_of_many_is_told_of_each(lines: list[list[float]]) -> None:
    """But for which way a half is rounded."""
    column = np.array(lines, np.float32).reshape(len(lines), QUALITY_SLOTS)
    for line, its in zip(column.tolist(), told_each(column), strict=True):
        wanted = told(line)
        told_names = [figure for figure, name in NAMES.items() if name in wanted]
        assert its.keys() == wanted.keys()
        for figure in told_names if its else []:
            assert its[NAMES[figure]] == pytest.approx(line[figure], abs=0.0500001)
            assert its[NAMES[figure]] == pytest.approx(wanted[NAMES[figure]], abs=0.1001)


def test_what_cannot_be_is_refused() -> None:
    """Nothing indexes out of bounds."""
    watch = Watch([{}], [{"mos": 0.0, "told_s": 0, "before": [0] * 4}])
    kernel = watch.quality._rate_kernel
    assert kernel is not None
    codecs, nobody = np.zeros((1, 2)), np.zeros(0, np.int64)
    with pytest.raises(IndexError):
        kernel(codecs, np.array([watch.table.capacity]), 0, nobody)
    with pytest.raises(ValueError, match="shapes"):
        kernel(np.zeros((0, 2)), np.array([0]), 0, nobody)
    with pytest.raises(ValueError, match="shapes"):
        kernel(codecs, np.array([0, 0]), 0, np.zeros(1, np.int64))
    c = watch.table.shared
    missing = compiled.bind("missing", c.loss_counts, c.loss_from_seq, c.loss_carry)
    assert missing is not None
    for row in (-1, watch.table.capacity):
        with pytest.raises(IndexError):
            missing(row, 0, 1)
