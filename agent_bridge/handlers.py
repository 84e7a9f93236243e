# SPDX-License-Identifier: MIT
"""The life of a handler: it runs beside its call, and neither outlives the other for long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from trunkline.agent_bridge.call import Call
from trunkline.agent_bridge.call_types import CallEnded

Handler = Callable[[Call], Awaitable[None]]

LINGER_S = 10.0
"How long a handler may go on after its call has ended."

log = logging.getLogger("trunkline.agent")


class Handlers:
    """The handlers that run, and other tasks of an agent."""

    def __init__(self, handler: Handler) -> None:
        """None runs."""
        self._handler = handler
        self.tasks: set[asyncio.Task[None]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run it as a task that is not forgotten."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def cancel(self) -> None:
        """End them all."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def run(self, call: Call) -> None:
        """Let the handler have its call."""
        handler = asyncio.ensure_future(self._handler(call))
        over = asyncio.ensure_future(call.ended())
        try:
            await asyncio.wait([handler, over], return_when=asyncio.FIRST_COMPLETED)
            if not handler.done():
                await asyncio.wait([handler], timeout=LINGER_S)
            if not handler.done():
                log.warning("call %s: its handler goes on after %.0f s and is cancelled", call.id, LINGER_S)
            else:
                await _done(call, None if handler.cancelled() else handler.exception())
        finally:
            handler.cancel()
            over.cancel()


async def _done(call: Call, error: BaseException | None) -> None:
    if error is None:
        await asyncio.gather(*call._utterances, return_exceptions=True)
        if call.answered or call.state == "early" or call.info.direction == "outbound":  # else nobody will hear it
            await call.mark("trunkline: handler returned")
        call.hangup("agent is done")
    elif not (isinstance(error, CallEnded) and call.stopped):
        log.error("call %s: the handler failed", call.id, exc_info=error)
        call.hangup("agent error")
