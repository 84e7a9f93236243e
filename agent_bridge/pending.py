# SPDX-License-Identifier: MIT
"""Questions of an agent that wait for the gateway's answer: marks and clears, settled once each."""

from __future__ import annotations

import asyncio
from collections import deque

from trunkline.agent_bridge.call_types import CallEnded, Cleared, MarkReport


class Pending:
    """The marks and clears of one call. Names need not be unique: the oldest is settled first."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._marks: dict[str, deque[asyncio.Future[MarkReport]]] = {}
        self._clears: deque[tuple[str, asyncio.Future[Cleared]]] = deque()

    def mark(self, name: str) -> asyncio.Future[MarkReport]:
        """A mark has been set."""
        future: asyncio.Future[MarkReport] = asyncio.get_running_loop().create_future()
        self._marks.setdefault(name, deque()).append(future)
        return future

    def clear(self, name: str) -> asyncio.Future[Cleared]:
        """A clear has been asked for."""
        future: asyncio.Future[Cleared] = asyncio.get_running_loop().create_future()
        self._clears.append((name, future))
        return future

    @property
    def clear_names(self) -> list[str]:
        """Clears without an answer, the oldest first."""
        return [name for name, _ in self._clears]

    def settle_mark(self, report: MarkReport) -> None:
        """The fate of a mark is known."""
        waiting = self._marks.get(report.name)
        if not waiting:
            return
        future = waiting.popleft()
        if not waiting:
            del self._marks[report.name]
        if not future.done():  # the handler may have cancelled it
            future.set_result(report)

    def settle_all_marks(self, outcome: str) -> None:
        """No mark will be reported any more."""
        for name, waiting in list(self._marks.items()):
            for _ in range(len(waiting)):
                self.settle_mark(MarkReport(name, outcome, 0))

    def settle_clear(self, name: str, result: Cleared) -> bool:
        """A clear was answered; False if none of that name waits."""
        for i, (asked, future) in enumerate(self._clears):
            if asked == name:
                del self._clears[i]
                if not future.done():
                    future.set_result(result)
                return True
        return False

    def end(self, reason: str) -> None:
        """The call is over: marks say `ended`, clears raise CallEnded."""
        self.settle_all_marks("ended")
        while self._clears:
            future = self._clears.popleft()[1]
            if not future.done():
                future.set_exception(CallEnded(reason))
                future.exception()  # nobody has to look: no "exception was never retrieved" in the log
