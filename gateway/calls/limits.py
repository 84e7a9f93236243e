# SPDX-License-Identifier: GPL-2.0-or-later
"""How many calls there may be, in all and on a trunk, and how fast new ones may come.

A place is taken when a call is admitted and given back when it has ended for good.
Thread-safe: inbound calls are admitted on the SIP thread, all else is the event loop's.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter


@dataclasses.dataclass(frozen=True, slots=True)
class LimitHit:
    """Which limit refuses a call."""

    cause: str
    "limit_calls, limit_trunk, limit_rate, overloaded or draining"
    detail: str


class Limits:
    """Counts calls; 0 stands for unlimited."""

    def __init__(self, max_calls: int, calls_per_second: float = 0) -> None:
        """`calls_per_second` is for inbound calls; a burst may have one second's worth, at least one call."""
        self.max_calls = max_calls
        self.calls_per_second = calls_per_second
        self.draining = False
        "the gateway is about to end: no new calls"
        self.overload = ""
        "why there is no time for another call, as a sentence; empty while there is"
        self.calls = 0
        self._by_trunk: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._allowance = max(calls_per_second, 1.0)
        self._refilled = time.monotonic()

    def admit(
        self, trunk: str, trunk_limit: int, *, inbound: bool, now: float | None = None
    ) -> LimitHit | None:
        """Take a place on `trunk`; or say which limit forbids it, and take nothing."""
        with self._lock:
            if self.draining:
                return LimitHit("draining", "the gateway is shutting down")
            if self.overload:
                return LimitHit("overloaded", self.overload)
            if self.max_calls and self.calls >= self.max_calls:
                return LimitHit("limit_calls", f"all {self.max_calls} calls of limits.max_calls are up")
            if trunk_limit and self._by_trunk[trunk] >= trunk_limit:
                return LimitHit("limit_trunk", f"all {trunk_limit} calls of trunk {trunk} are up")
            if inbound and not self._within_rate(time.monotonic() if now is None else now):
                rate = f"{self.calls_per_second:g}"
                return LimitHit("limit_rate", f"more than {rate} new calls a second (calls_per_second)")
            self.calls += 1
            self._by_trunk[trunk] += 1
            return None

    def release(self, trunk: str) -> None:
        """Give the place back, once per call."""
        with self._lock:
            self.calls -= 1
            self._by_trunk[trunk] -= 1

    def _within_rate(self, now: float) -> bool:
        """Token bucket, one second deep."""
        if not self.calls_per_second:
            return True
        refill = (now - self._refilled) * self.calls_per_second
        self._allowance = min(self._allowance + refill, max(self.calls_per_second, 1.0))
        self._refilled = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True
