# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests with no credentials, or wrong ones: counted, and told in the log, though not one by one.

Whoever tries tokens leaves a line a minute, and a client with an old token can be found by its address.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from trunkline.gateway import logs

log = logs.get_logger("trunkline.api")

PAUSE_S = 60.0
"Between two lines for one kind of credentials; those between are counted in the next."
BEARER, TWILIO = "bearer", "twilio"


class Strangers:
    """Of one gateway."""

    def __init__(self, count: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        """`count` counts one, by the kind of credentials that was wanted."""
        self._count, self._clock = count, clock
        self._told_s: dict[str, float] = {}
        self._untold: dict[str, int] = {}

    def refused(self, kind: str, client: str) -> None:
        """One more; `client` is its address."""
        self._count(kind)
        requests = self._untold.get(kind, 0) + 1
        now_s = self._clock()
        if now_s - self._told_s.get(kind, -PAUSE_S) < PAUSE_S:
            self._untold[kind] = requests
            return
        self._told_s[kind], self._untold[kind] = now_s, 0
        log.warning("api.unauthorized", credentials=kind, client=client, requests=requests)
