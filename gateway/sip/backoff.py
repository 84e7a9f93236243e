# SPDX-License-Identifier: GPL-2.0-or-later
"""When a failed registration is tried again; no clock and no I/O."""

from __future__ import annotations

import random

FIRST_S = 1.0
LONGEST_S = 60.0
"A PBX that comes back is noticed within a minute, and a thousand gateways do not ring at its door in step."
REFUSED_S = 30.0
"Credentials do not mend themselves in seconds, and fail2ban counts."
_REFUSALS = frozenset({400, 401, 402, 403, 404, 405, 407, 420, 423})


class Backoff:
    """Doubles from one second to a minute; each delay is drawn from its upper half (RFC 5626 section 4.5)."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._failures = 0

    def failed(self, code: int, retry_after_s: float = 0.0) -> float:
        """Seconds until the next try after a failure with `code`."""
        longest = min(FIRST_S * 2.0 ** min(self._failures, 16), LONGEST_S)
        if code in _REFUSALS:
            longest = max(longest, REFUSED_S)
        self._failures += 1
        return max(self._rng.uniform(longest / 2, longest), retry_after_s)

    def succeeded(self) -> None:
        """Begin anew."""
        self._failures = 0
