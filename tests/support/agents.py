# SPDX-License-Identifier: GPL-2.0-or-later
"""Agents for tests: written with the SDK, on an event loop of their own in a thread, keeping all they hear."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import numpy as np

from support.audio import Pcm
from support.waiting import WAIT_S, wait_for
from trunkline.agent_bridge import Agent, Call, Dtmf, Frame
from trunkline.agent_bridge.call_events import CallEvent

Script = Callable[[Call, "Heard"], Awaitable[None]]


@dataclasses.dataclass
class Heard:
    """One call, as the agent had it."""

    call: Call
    frames: list[Frame] = dataclasses.field(default_factory=list)
    events: list[CallEvent] = dataclasses.field(default_factory=list)

    @property
    def pcm(self) -> Pcm:
        """All audio in one piece."""
        return np.concatenate([frame.pcm for frame in self.frames]) if self.frames else np.zeros(0, np.int16)

    @property
    def digits(self) -> str:
        """Keys that the caller pressed."""
        return "".join(event.digit for event in self.events if isinstance(event, Dtmf))

    def assert_timeline(self) -> None:
        """Exactly one frame for each packet time, each where the one before it ended."""
        positions = [frame.position for frame in self.frames]
        lengths = {len(frame.pcm) for frame in self.frames}
        assert lengths == {self.call.sample_rate * self.call.info.frame_ms // 1000}, (
            f"frame lengths {lengths}"
        )
        step, first = len(self.frames[0].pcm), positions[0]
        assert positions == list(range(first, first + len(positions) * step, step))


HEAD_START_MS = 120
"Said before the echo, so that a pause of a busy machine leaves no hole in what follows."


async def echo(call: Call, heard: Heard) -> None:
    """Say what is heard."""
    call.play(np.zeros(call.sample_rate * HEAD_START_MS // 1000, np.int16))
    async for frame in call:
        heard.frames.append(frame)
        call.play(frame.pcm)


async def listen(call: Call, heard: Heard) -> None:
    """Say nothing."""
    async for frame in call:
        heard.frames.append(frame)


def say(pcm: Pcm, then_hang_up: bool = False) -> Script:
    """Say this at once, faster than real time, and listen."""

    async def script(call: Call, heard: Heard) -> None:
        call.play(pcm)
        played = call.mark("said")
        if then_hang_up:
            await played
            call.hangup("said all")
        await listen(call, heard)

    return script


class AgentHost:
    """An agent that listens on `address` while the context is entered."""

    def __init__(self, address: str, script: Script = echo, **options: Any) -> None:
        """`options` are those of the SDK's Agent."""
        self.address, self.script = address, script
        self.calls: list[Heard] = []
        self.refusal: tuple[int, str] | None = None
        "SIP code and reason with which calls are refused from now on"
        self.offer_delay_s = 0.0
        "how long it thinks before it takes a call"
        self._options = options
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="agent", daemon=True)
        self.agent: Agent | None = None

    async def _handle(self, call: Call) -> None:
        heard = Heard(call)
        call.on_event(heard.events.append)
        self.calls.append(heard)
        await self.script(call, heard)

    async def _consider(self, call: Call) -> None:
        await asyncio.sleep(self.offer_delay_s)
        if self.refusal is not None:
            call.reject(*self.refusal)

    async def _open(self) -> None:
        options = {"on_offer": self._consider, **self._options}
        self.agent = Agent(self._handle, **options)
        await self.agent.listen(self.address)

    def run(self, action: Callable[[], Any]) -> Any:
        """Do something on the agent's own thread; returns what it returns."""

        async def act() -> Any:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(WAIT_S)

    def wait_call(self, call_id: str = "") -> Heard:
        """The call of that id, or the latest, as soon as it is there."""

        def found() -> Heard | None:
            return next((one for one in reversed(self.calls) if call_id in ("", one.call.id)), None)

        return wait_for(found, f"call {call_id} at the agent")  # type: ignore[return-value]

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(WAIT_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.agent is not None:
            asyncio.run_coroutine_threadsafe(self.agent.close(), self._loop).result(WAIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
