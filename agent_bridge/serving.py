# SPDX-License-Identifier: MIT
"""An agent as a whole program, in one line: until Ctrl-C hangs up, or SIGTERM lets its calls go on elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import Any

from trunkline.agent_bridge.agent import Agent
from trunkline.agent_bridge.handlers import Handler

log = logging.getLogger("trunkline.agent")


async def serve(
    handler: Handler, address: str, *, mode: int = 0o600, grace_s: float = 0.0, **options: Any
) -> None:
    """Run an agent until this is cancelled (Ctrl-C), which hangs up; `options` are those of `Agent`.

    SIGTERM makes it leave without hanging up: no more calls, `grace_s` for those that are up to end, and the
    rest is handed over to the agent that the gateway finds for them (`Agent.finish`).
    """
    async with Agent(handler, **options) as agent:
        told_to_leave = asyncio.Event()
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread
            loop.add_signal_handler(signal.SIGTERM, told_to_leave.set)
        try:
            log.info("listening on %s", await agent.listen(address, mode))
            await told_to_leave.wait()
            await agent.finish(grace_s)
        finally:
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.remove_signal_handler(signal.SIGTERM)
