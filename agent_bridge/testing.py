# SPDX-License-Identifier: MIT
"""A gateway for the tests of agents: calls without SIP, RTP or a telephone.

    async with Agent(echo) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(caller="+4930123456")
        call.say(np.zeros(16000, np.int16))
        heard = await call.hear(16000)
        call.hang_up()

It speaks to the agent with the gateway's own protocol code.  What the agent says is
"played" at once, or, with `playback="manual"`, by `play_out()`, so that a test decides
when a mark is reached and how much a clear finds in the queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from types import TracebackType
from typing import Any, Self

from trunkline.agent_bridge.agent import Agent
from trunkline.agent_bridge.connecting import open_streams
from trunkline.agent_bridge.dialect import Link, LinkSettings, StartInfo
from trunkline.agent_bridge.link_events import Accepted, Audio, LinkEvent, LinkFailed, LinkUp, Rejected
from trunkline.agent_bridge.links import create_link
from trunkline.agent_bridge.testing_call import DoubleCall

TIMEOUT_S = 5.0
"For everything that a test waits for; agents on the same machine need milliseconds."

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

__all__ = ["CallRejected", "DoubleCall", "GatewayDouble"]


class CallRejected(Exception):
    """The agent did not take the call; `event` says why."""

    def __init__(self, event: Rejected) -> None:
        super().__init__(f"{event.code} {event.reason}")
        self.event = event


class GatewayDouble:
    """One connection to an agent; use it as an async context manager."""

    def __init__(self, connect: Callable[[], Awaitable[Streams]], link: Link) -> None:
        """Use `of` or `to`."""
        self.link = link
        self.failure: LinkFailed | None = None
        "why the connection ended"
        self.agent_name: str | None = None
        "what the agent called itself in its hello"
        self._connect = connect
        self._served: tuple[Agent, socket.socket] | None = None
        self._calls: dict[int, DoubleCall] = {}
        self._answers: dict[int, Accepted | Rejected] = {}
        self._changed = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    def of(cls, agent: Agent, **options: Any) -> GatewayDouble:
        """To an agent in this process, over a socket pair; options: dialect, token, sample_rate_hz."""
        ours, theirs = socket.socketpair()
        link = create_link(options.pop("dialect", "trunkline"), LinkSettings(**options))
        double = cls(lambda: asyncio.open_connection(sock=ours), link)
        double._served = agent, theirs
        return double

    @classmethod
    def to(cls, address: str, **options: Any) -> GatewayDouble:
        """To an agent that listens at `unix:/path`, `tcp:host:port` or `ws://...`; options as in `of`."""
        if address.startswith(("ws://", "wss://")):
            options.setdefault("url", address)
        link = create_link(options.pop("dialect", "trunkline"), LinkSettings(**options))
        return cls(lambda: open_streams(address), link)

    async def __aenter__(self) -> Self:
        """Connect, and wait for the handshake; raises ConnectionError when it fails."""
        if self._served is not None:
            await self._served[0].serve_socket(self._served[1])
        reader, self._writer = await self._connect()
        self._tasks = [asyncio.ensure_future(self._read(reader)), asyncio.ensure_future(self._tick())]
        self.link.connected(time.monotonic_ns())
        self.write()
        await self.until(lambda: self.agent_name is not None or self.failure is not None, "the handshake")
        if self.failure is not None:
            raise ConnectionError(self.failure.detail)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        for task in self._tasks:
            task.cancel()
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(ConnectionError):
                await self._writer.wait_closed()

    async def call(
        self,
        *,
        caller: str = "caller",
        called: str = "called",
        call_id: str = "",
        sample_rate_hz: int = 16000,
        frame_ms: int = 20,
        playback: str = "instant",
        barge_in: str = "tell",
        forbid: Collection[str] = (),
        **more: Any,
    ) -> DoubleCall:
        """Offer a call, and wait until the agent takes it; or raise CallRejected. `more`: of StartInfo.

        `barge_in` is what happens when the caller speaks: `off`, `tell`, `clear`, `pause`. `forbid` names what the
        route does not let its agents do: `transfer`, `hold`, `early_media`, `dtmf`, `mute`, `hangup`, `variables`.
        """
        given: dict[str, Any] = {"direction": "inbound", "trunk": "", "route": "", "headers": {}, "metadata": {}}
        info = StartInfo(
            call_id=call_id or str(uuid.uuid4()),
            caller=caller,
            called=called,
            sample_rate_hz=sample_rate_hz,
            frame_ms=frame_ms,
            **(given | more),
        )
        return await self.offer(info, playback=playback, barge_in=barge_in, forbid=forbid)

    async def offer(self, info: StartInfo, **options: Any) -> DoubleCall:
        """The same with all that an agent is told made by the test; `options`: playback, barge_in, forbid."""
        channel = len(self._calls) + 1
        call = self._calls[channel] = DoubleCall(self, channel, info, **options)
        self.link.start(channel, info, time.monotonic_ns())
        self.write()
        await self.until(lambda: channel in self._answers, "an answer to the call")
        answer = self._answers[channel]
        if isinstance(answer, Rejected):
            raise CallRejected(answer)
        return call

    def lose(self) -> None:
        """Break the connection off, as when the gateway's media process dies."""
        if self._writer is not None:
            self._writer.transport.abort()

    def write(self) -> None:
        """Send what the link has to say."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.writelines(self.link.data_to_send())

    async def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait for a condition that the agent brings about; TimeoutError says `what` did not come."""
        deadline = asyncio.get_running_loop().time() + TIMEOUT_S
        while not true():
            self._changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                end = f"; the connection is over: {self.failure.detail}" if self.failure else ""
                raise TimeoutError(f"{what}: not within {TIMEOUT_S:.0f} s{end}") from None

    async def _read(self, reader: asyncio.StreamReader) -> None:
        data = b"-"
        while data:
            try:
                data = await reader.read(1 << 18)
            except ConnectionError:
                data = b""
            self._take(self.link.receive(data, time.monotonic_ns()))
            while self.link.unread:
                self._take(self.link.resume(time.monotonic_ns()))

    async def _tick(self) -> None:
        """The link's time: coarse is enough here, its time-outs are seconds."""
        while True:
            deadline_ns, now_ns = self.link.next_deadline_ns, time.monotonic_ns()
            if deadline_ns is not None and deadline_ns <= now_ns:
                self._take(self.link.handle_timeout(now_ns))
            await asyncio.sleep(0.01)

    def _take(self, events: Sequence[LinkEvent]) -> None:
        for event in events:
            match event:
                case LinkUp(agent):
                    self.agent_name = agent
                case LinkFailed():
                    self.failure = event
                case Accepted(channel, answer):
                    self._answers[channel] = event
                    if not answer:
                        self._calls[channel].state = "offered"
                case Rejected(channel):
                    self._answers[channel] = event
                case Audio(channels, pcm):
                    for i, channel in enumerate(channels.tolist()):
                        if channel in self._calls:
                            self._calls[channel]._take_audio(self.link, pcm[i])
                case _:
                    self._calls[event.channel]._carry_out(self.link, event)
        self.write()
        self._changed.set()
