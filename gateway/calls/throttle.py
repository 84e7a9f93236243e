# SPDX-License-Identifier: GPL-2.0-or-later
"""At most one log line in an interval for each subject, with a count of those left out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

MAX_SUBJECTS = 1000
"Whoever forges source addresses must not fill our memory; the oldest subject is forgotten."


class Throttle:
    """Counts what it holds back."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._seen: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def allow(self, subject: Hashable, now: float) -> int | None:
        """How many were held back since the last line, when one may be written now; else None."""
        since, suppressed = self._seen.get(subject, (float("-inf"), 0))
        if now - since < self._interval_s:
            self._seen[subject] = (since, suppressed + 1)
            return None
        self._seen[subject] = (now, 0)
        self._seen.move_to_end(subject)
        if len(self._seen) > MAX_SUBJECTS:
            self._seen.popitem(last=False)
        return suppressed
