# SPDX-License-Identifier: MIT
"""A transfer that is under way: `await` it for its end, or iterate over its steps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any

from trunkline.agent_bridge.call_events import TransferProgress
from trunkline.agent_bridge.inbox import Inbox


class Transferring:
    """Made by `Call.transfer`."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._steps: Inbox[TransferProgress] = Inbox(64)
        self._outcome: asyncio.Future[TransferProgress] = asyncio.get_running_loop().create_future()
        self.begun = False
        "the gateway has taken it up"

    def __await__(self) -> Generator[Any, None, TransferProgress]:
        """How it ended: `done`, `failed`, or `ended` with the call."""
        return asyncio.shield(self._outcome).__await__()

    def __aiter__(self) -> AsyncIterator[TransferProgress]:
        """Each step, the last one included."""
        return self._steps

    def told(self, progress: TransferProgress) -> None:
        """By the call: a step."""
        self.begun = True
        self._steps.put(progress)
        if progress.final:
            self._steps.end()
            if not self._outcome.done():
                self._outcome.set_result(progress)
