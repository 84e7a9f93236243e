# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting with a deadline: tests on a busy machine poll, and say what they waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
WAIT_S = 15.0
"Much longer than anything here takes on a quiet machine; a test that fails may take so long."


def wait_for(condition: Callable[[], T], what: str, timeout_s: float = WAIT_S, step_s: float = 0.02) -> T:
    """The first true value of `condition`; AssertionError when there is none in time."""
    give_up = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= give_up:
            raise AssertionError(f"{what}: not within {timeout_s:.1f} s (last: {value!r})")
        time.sleep(step_s)
