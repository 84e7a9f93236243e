# SPDX-License-Identifier: GPL-2.0-or-later
"""A worker process in reserve: started, everything imported, waiting for a place.

A start from nothing takes 0.2 s on a quiet machine and seconds on a busy one, and needs
descriptors and a fork that may not be had just when a worker has died.  The spare costs
the memory of an idle worker (40 MB, of which libraries share much).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.worker_process import WorkerProcess

DELAY_S = 1.0
"From the use of one to the start of the next: the calls of the dead worker need the CPU first."
RETRY_S = 30.0
"The same after one has died by itself, or could not be started."
NUMBER = -1
"Index of the worker that has no place, in log lines."


class Spare:
    """At most one waiting process; `start` is told how to make one."""

    def __init__(
        self, make: Callable[[int, None], WorkerProcess], on_event: Callable[[str, Mapping[str, Any]], None]
    ) -> None:
        """`make(index, None)` starts a process without a table; raises OSError."""
        self._make, self._on_event = make, on_event
        self.process: WorkerProcess | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self, delay_s: float = 0.0) -> None:
        """Have one, from now or in a while on."""
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._start)

    def _start(self) -> None:
        try:
            self.process = self._make(NUMBER, None)
        except OSError as error:
            self._lost({"why": f"cannot be started: {error}"})

    def take(self, index: int, columns: Columns) -> WorkerProcess | None:
        """It works at this place from now on, and the next one is on its way; None when there is none."""
        process = self.process
        if process is None or not process.adopt(index, columns):
            return None
        self.process = None
        self.start(DELAY_S)
        return process

    def exited(self, process: WorkerProcess, why: str) -> bool:
        """Whether it was the spare that has ended."""
        if process is not self.process:
            return False
        self._lost({"pid": process.pid, "why": why})
        return True

    def _lost(self, data: Mapping[str, Any]) -> None:
        self.process = None
        if self._timer is not None:
            self._on_event("worker.no_spare", data)
            self.start(RETRY_S)

    def stop(self) -> None:
        """End it; no other follows."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.process is not None:
            self.process.kill()
