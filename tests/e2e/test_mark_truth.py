# SPDX-License-Identifier: GPL-2.0-or-later
"""Marks at a real receiver: by the kernel's time stamps, no report comes before its packet."""

from __future__ import annotations

from bench.marks import measure


def test_no_mark_is_reported_before_its_last_sample_has_arrived() -> None:
    """A gateway, an agent that marks all it says, a telephone: each mark once, in order, played, never early."""
    load, marks, least_ms, half_ms, _, _ = measure(0, 1, 40)
    assert load == 0 and marks >= 36
    assert least_ms >= 0
    assert half_ms < 20
