# SPDX-License-Identifier: GPL-2.0-or-later
"""When each of many things is next due, so that a tick in which none is costs one comparison.

A heap of lower bounds.  Deadlines move later all the time (whoever says something is not
pinged for another five seconds), and nobody is told of that: a bound that has come is
compared with what `actual` says, and moved: later, or sooner, where somebody is about to note
that.  Only a deadline that comes sooner than it was noted must be noted again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

NEVER_NS = 1 << 62
_SPARE = 64
"So many bounds that hold no more are kept, beside as many as there are that do."


def next_point(now_ns: int, period_ns: int) -> int:
    """The next multiple of a period: what is done at the same points is done in the same tick."""
    return (now_ns // period_ns + 1) * period_ns


class Deadlines:
    """Deadlines by key."""

    def __init__(self, actual: Callable[[int], int | None]) -> None:
        """`actual` says when a key that was noted is due now, None for never."""
        self._actual = actual
        self._heap: list[tuple[int, int]] = []
        "(bound, key); some bounds were replaced by sooner ones since, or their key was forgotten"
        self._bounds: dict[int, int] = {}
        self.next_ns = NEVER_NS
        "before this nothing is due"

    def note(self, key: int, due_ns: int) -> None:
        """The key is due at this time, which may be sooner than what was noted."""
        if due_ns >= self._bounds.get(key, NEVER_NS):
            return
        self._bounds[key] = due_ns
        heapq.heappush(self._heap, (due_ns, key))
        self.next_ns = min(self.next_ns, due_ns)
        if len(self._heap) > 2 * len(self._bounds) + _SPARE:
            self._heap = [(bound, key) for key, bound in self._bounds.items()]
            heapq.heapify(self._heap)

    def forget(self, key: int) -> None:
        """The key is never due any more."""
        self._bounds.pop(key, None)

    def due(self, now_ns: int) -> list[int]:
        """Keys whose time has come; they are to be noted again."""
        due: list[int] = []
        while self._settle() <= now_ns:
            key = heapq.heappop(self._heap)[1]
            del self._bounds[key]
            due.append(key)
        return due

    def soonest(self) -> int | None:
        """When the first of all is due, exactly."""
        soonest_ns = self._settle()
        return None if soonest_ns == NEVER_NS else soonest_ns

    def _settle(self) -> int:
        """Bring the first bound up to date; returns it."""
        heap, bounds = self._heap, self._bounds
        while heap:
            bound, key = heap[0]
            if bounds.get(key) == bound:
                actual = self._actual(key)
                if actual == bound:
                    break
                del bounds[key]
                if actual is not None:
                    bounds[key] = actual
                    heapq.heapreplace(heap, (actual, key))
                    continue
            heapq.heappop(heap)
        self.next_ns = heap[0][0] if heap else NEVER_NS
        return self.next_ns
