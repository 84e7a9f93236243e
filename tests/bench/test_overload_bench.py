# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench of overload measures what it says, of few calls here."""

from __future__ import annotations

import pytest

from bench import overload


def test_a_worker_with_time_to_spare_is_never_behind() -> None:
    calls, scale, share, behind_ms, caught_up_ms, filled, dropped = overload.measure(20, 1.0, 1.0)
    assert (calls, scale, filled, dropped) == (20, 1.0, 0.0, "none")
    assert isinstance(share, float) and 0 < share < 0.7
    assert isinstance(behind_ms, float) and behind_ms < 60
    assert caught_up_ms == 0 or isinstance(caught_up_ms, int)


def test_one_with_more_to_do_than_there_is_time_for_is() -> None:
    """A hundred times as slow: some cores' worth of speech, and before it, time to spare."""
    *_, behind_ms, caught_up_ms, _filled, _dropped = overload.measure(150, 100.0, 1.0)
    assert isinstance(behind_ms, float) and behind_ms > 60 and caught_up_ms == "no"


def test_cost_of_beginnings_is_of_seconds_of_speech() -> None:
    calls, first_us, third_us, more_us = overload.beginnings(20)
    assert calls == 20 and isinstance(first_us, float) and isinstance(third_us, float)
    assert first_us > 100 and third_us > 100
    assert more_us == pytest.approx(first_us - third_us)
