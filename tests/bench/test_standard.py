# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of `make bench`: it holds what was measured, says what was not, and stays between its markers."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from bench import standard


def row(**fields: Any) -> dict[str, Any]:
    spread = {"p50": 1.24, "p99": 3.46}
    return {
        "contestant": "trunkline", "title": "trunkline", "agent_rate_hz": 16000, "calls": 1000,
        "carrier": "media_worker", "cpu_us_per_call_second": {"media_worker": 401.6, "agent": 20.0},
        "uplink_ms": spread, "downlink_ms": spread, "lost_frames": 0, "late_frames": 1234,
        "others_cpu_percent": 3.0,
        "generator": {"behind_ms": {"p99": 0.3}, "unrecorded": 0, "send_errors": 0, "clock_drift_ms": 0.0},
    } | fields  # fmt: skip


def test_a_row_is_what_was_measured_and_a_run_that_failed_is_told() -> None:
    lines = standard.table([row(), row(calls=2000, error="the media worker died: signal SIGKILL\nmore")])
    assert lines[2] == "| trunkline, 16 kHz | 1,000 | 402 | 1.2 / 3.5 | 1.2 / 3.5 | 0 | 1,234 |"
    assert lines[3].startswith(
        "| trunkline, 16 kHz | 2,000 | did not hold: the media worker died: signal SIGKILL |"
    )
    assert len({line.count("|") for line in lines}) == 1, "every row has all columns"


def test_the_table_says_where_its_figures_come_from_and_when_they_are_doubtful() -> None:
    today = dt.date(2026, 1, 2)
    quiet = standard.provenance([row()], 10, today)
    assert (
        len(quiet) == 1
        and quiet[0].startswith("`make bench` on 2026-01-02, ")
        and "10 s measured" in quiet[0]
    )
    late = {"behind_ms": {"p99": 9.0}, "unrecorded": 0, "send_errors": 0, "clock_drift_ms": 0.0}
    busy = standard.provenance([row(others_cpu_percent=80.0), row(generator=late, calls=5)], 10, today)
    assert "80 % of a core" in busy[1] and busy[2].endswith("trunkline at 5.")


def test_calls_that_do_not_fit_are_a_result_and_a_run_that_could_not_be_made_is_none() -> None:
    fine = {"lost": 0, "wrong": 0, "unmatched_calls": 0}
    good = row(uplink=fine, downlink=fine)
    lost = row(calls=2000, uplink=fine | {"lost": 7}, downlink=fine)
    died = row(calls=9000, error="the media worker died\nmore", measured=True)
    told, code = standard.outcome([good, lost, died])
    assert code == 0
    assert told == [
        "trunkline, 2000 calls: 7 frames lost on the way to the agent", "trunkline, 9000 calls: the media worker died",
    ]  # fmt: skip
    assert standard.outcome([good, row(error="no compiler", measured=False)])[1] == 1


def test_only_what_lies_between_the_markers_is_replaced() -> None:
    text = f"a\n{standard.BEGIN}\nold\n{standard.END}\nb\n"
    once = standard.replaced(text, ["new", ""])
    assert once == f"a\n{standard.BEGIN}\nnew\n\n{standard.END}\nb\n"
    assert standard.replaced(once, ["new", ""]) == once
    with pytest.raises(ValueError, match="lacks"):
        standard.replaced("no markers", [])


def test_the_readme_has_the_markers_and_names_the_command() -> None:
    text = standard.README.read_text(encoding="utf-8")
    assert standard.replaced(text, []) != text or f"{standard.BEGIN}\n{standard.END}" in text
    assert "trunkline bench" in text
