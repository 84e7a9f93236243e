# SPDX-License-Identifier: GPL-2.0-or-later
"""Deadlines of the SIP thread: a heap that its loop asks before each wait; no clock of its own."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Callable


@dataclasses.dataclass(slots=True)
class Timer:
    """One deadline; `cancel` is all that may be done with it."""

    action: Callable[[], None] | None

    def cancel(self) -> None:
        """Forget it; the entry leaves the heap when it is due."""
        self.action = None


class Timers:
    """Deadlines in ns of whatever clock the caller uses."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timer]] = []
        self._order = itertools.count()

    def at(self, when_ns: int, action: Callable[[], None]) -> Timer:
        """Run `action` once at or after `when_ns`."""
        timer = Timer(action)
        heapq.heappush(self._heap, (when_ns, next(self._order), timer))
        return timer

    def next_deadline_ns(self) -> int | None:
        """When the earliest one is due."""
        while self._heap and self._heap[0][2].action is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now_ns: int) -> list[Callable[[], None]]:
        """Take out the actions whose time has come, earliest first."""
        actions = []
        while self._heap and self._heap[0][0] <= now_ns:
            timer = heapq.heappop(self._heap)[2]
            if timer.action is not None:
                actions.append(timer.action)
                timer.action = None
        return actions
