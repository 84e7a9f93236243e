# SPDX-License-Identifier: MIT
"""Fixtures of the bridge's tests: coroutines as tests, and a conversation of both protocol ends."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from trunkline.agent_bridge import wire
from trunkline.agent_bridge.dialect import StartInfo
from trunkline.agent_bridge.link_events import LinkEvent
from trunkline.agent_bridge.native import NativeLink

SECOND_NS = 1_000_000_000


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine, in a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def run() -> None:
        async with asyncio.timeout(20):
            await pyfuncitem.obj(**wanted)

    asyncio.run(run())
    return True


def _info(call_id: str = "00000000-0000-4000-8000-000000000001", **more: Any) -> StartInfo:
    given: dict[str, Any] = {
        "direction": "inbound",
        "caller": "+4930123456",
        "called": "600",
        "trunk": "pbx",
        "route": "sales",
        "headers": {"X-Tenant": "acme"},
        "metadata": {"language": "de"},
        "sample_rate_hz": 16000,
        "frame_ms": 20,
    }
    return StartInfo(call_id=call_id, **(given | more))


@pytest.fixture
def info() -> Callable[..., StartInfo]:
    """Builds what an agent learns of a call."""
    return _info


def readable(events: Any) -> list[Any]:
    """Events with arrays as lists, so that they can be compared."""
    return [
        (type(e).__name__, *(v.tolist() if isinstance(v, np.ndarray) else v for v in _values(e)))
        for e in events
    ]


def _values(event: Any) -> list[Any]:
    """Fields in their order; those that are seldom set are left out while they are not."""
    seldom = {"sample_rate_hz": 0, "headers": {}, "answer": True, "parting": False}
    values = {name: getattr(event, name) for name in event.__dataclass_fields__}
    return [v for name, v in values.items() if name not in seldom or v != seldom[name]]


@pytest.fixture(name="readable")
def readable_fixture() -> Callable[[Any], list[Any]]:
    """Turns events into comparable tuples."""
    return readable


class Conversation:
    """A NativeLink, and a hand that writes what an agent would."""

    def __init__(self, token: str | None = None) -> None:
        """Connected at time 0, before any hello of the agent."""
        self.now_ns = 0
        self.link = NativeLink(token)
        self.link.connected(0)

    def agent(self, kind: str, **fields: Any) -> list[LinkEvent]:
        """The agent says a control message."""
        return list(self.link.receive(wire.control_message(kind, **fields), self.now_ns))

    def agent_audio(self, channels: list[int], pcm: Any) -> list[LinkEvent]:
        """The agent says audio: a row of samples for each channel."""
        n = len(channels)
        rows = np.array(pcm, np.int16).reshape(n, -1)
        zeros = np.zeros(n, np.int64)
        data = b"".join(wire.audio_messages(np.array(channels), zeros, zeros.astype(np.uint16), rows))
        return list(self.link.receive(data, self.now_ns))

    def said(self) -> list[dict[str, Any]]:
        """Control messages that the gateway has said since the last look."""
        data = b"".join(self.link.data_to_send())
        messages = wire.reassembler().messages(data)
        return [dict(wire.parse_control(payload)) for kind, payload in messages if kind == wire.CONTROL]

    def up(self, *channels: int) -> Conversation:
        """Shake hands, and start calls that the agent takes."""
        self.agent("hello", version=1, agent="test")
        for channel in channels:
            self.link.start(channel, _info(f"call-{channel}"), self.now_ns)
            self.agent("accept", channel=channel)
        self.said()
        return self


@pytest.fixture
def talk() -> Conversation:
    """A link that has just connected."""
    return Conversation()


@pytest.fixture
def talk_with() -> Callable[..., Conversation]:
    """Makes such links with arguments."""
    return Conversation


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - conditions are about things that have no event
            await asyncio.sleep(0.005)


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Awaitable[None]]:
    """Waits for something that happens soon."""
    return _until
