# SPDX-License-Identifier: GPL-2.0-or-later
"""What asyncio has to say when nobody awaits it: a log line, and no flood of them.

Without a descriptor left, asyncio tries to accept as many connections as may wait and
tells of each failure, once a second: 128 tracebacks, which took half a core.
"""

from __future__ import annotations

import asyncio
import errno
import time
from typing import Any

from trunkline.gateway import logs

INTERVAL_S = 10.0
"One line in so long about the same lack."

log = logs.get_logger("trunkline.gateway")


class LoopErrors:
    """Handler for `loop.set_exception_handler`."""

    def __init__(self) -> None:
        self._told_at = -INTERVAL_S

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """One error that reached the loop."""
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in (errno.EMFILE, errno.ENFILE):
            loop.default_exception_handler(context)
            return
        now = time.monotonic()
        if now - self._told_at >= INTERVAL_S:
            self._told_at = now
            log.error(
                "limits.descriptors_exhausted",
                detail="no descriptor is left to accept a connection with; they wait",
                cure="raise `ulimit -n`, or see who holds so many connections to the API or to SIP over TCP",
            )
