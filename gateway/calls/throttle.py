# SPDX-License-Identifier: GPL-2.0-or-later
"""At most one log line in an interval for each subject; those held back are counted, and told later."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any

MAX_SUBJECTS = 1000
"Whoever forges source addresses must not fill our memory; the oldest subject is forgotten."


@dataclasses.dataclass(slots=True)
class _Entry:
    since: float
    facts: Mapping[str, Any]
    "of the latest line, written or not"
    held_back: int = 0


class Throttle:
    """Decides which lines are written; writes none itself."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._seen: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._forgotten: list[tuple[int, Mapping[str, Any]]] = []

    def allow(self, subject: Hashable, now: float, facts: Mapping[str, Any]) -> int | None:
        """How many were held back since the last line, when one may be written now; else None."""
        entry = self._seen.get(subject)
        if entry is not None and now - entry.since < self._interval_s:
            entry.held_back += 1
            entry.facts = facts
            return None
        self._seen[subject] = _Entry(now, facts)
        self._seen.move_to_end(subject)
        if len(self._seen) > MAX_SUBJECTS:
            _, oldest = self._seen.popitem(last=False)
            self._note(oldest)
        return entry.held_back if entry is not None else 0

    def flush(self, now: float) -> list[tuple[int, Mapping[str, Any]]]:
        """Counts, with the latest facts, of subjects that have been quiet since their interval ended."""
        while self._seen:
            subject, entry = next(iter(self._seen.items()))
            if now - entry.since < self._interval_s:
                break
            del self._seen[subject]
            self._note(entry)
        told, self._forgotten = self._forgotten, []
        return told

    def _note(self, entry: _Entry) -> None:
        if entry.held_back:
            self._forgotten.append((entry.held_back, entry.facts))
