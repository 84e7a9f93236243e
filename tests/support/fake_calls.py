# SPDX-License-Identifier: GPL-2.0-or-later
"""A call service without calls: it remembers what it was asked and says what it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from trunkline.gateway.calls.view import (
    AgentView,
    CallEvent,
    CallView,
    MediaView,
    PlaceRequest,
    TransferRequest,
)

TOKEN = "correct-horse"


class Refused(Exception):
    """Shaped like call control's refusal."""

    def __init__(self, http_status: int, cause: str, detail: str) -> None:
        super().__init__(detail)
        self.http_status, self.cause, self.detail = http_status, cause, detail


class FakeService:
    """In place of call control."""

    def __init__(self) -> None:
        self.calls: dict[str, CallView] = {}
        self.asked: list[tuple[Any, ...]] = []
        self.agent_views: list[AgentView] = []
        self.refuse: Exception | None = None
        self.transfer_story: list[tuple[str, dict[str, Any]]] = []
        "events that follow on a transfer"
        self.subscribers: list[asyncio.Queue[CallEvent | None]] = []
        self.script: Callable[[FakeService, CallView], Awaitable[None]] | None = None
        "runs after a call is placed, as the far end would"

    def add(self, call_id: str, **fields: Any) -> CallView:
        """A call that exists."""
        defaults: dict[str, Any] = {
            "direction": "inbound",
            "state": "up",
            "caller": "1001",
            "called": "600",
            "trunk": "pbx",
            "route": "all",
            "agent": "echo",
            "created": time.time(),
            "media": MediaView(codec="PCMU", remote="127.0.0.1:4000", local="127.0.0.1:16384", ptime_ms=20),
        }
        self.calls[call_id] = CallView(id=call_id, **(defaults | fields))
        return self.calls[call_id]

    def change(
        self, call_id: str, event: str = "", data: dict[str, Any] | None = None, **fields: Any
    ) -> None:
        """Give a call new fields, and say so in the event stream."""
        self.calls[call_id] = self.calls[call_id].model_copy(update=fields)
        if event:
            self.publish(event, call_id, data)

    def publish(self, event: str, call_id: str = "", data: dict[str, Any] | None = None) -> None:
        """Tell all subscribers."""
        for queue in self.subscribers:
            queue.put_nowait(CallEvent(time=time.time(), call_id=call_id, event=event, data=data or {}))

    async def place(self, request: PlaceRequest) -> CallView:
        self.asked.append(("place", request))
        if self.refuse is not None:
            raise self.refuse
        call_id = f"{len(self.calls):08x}-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
        view = self.add(
            call_id, direction="outbound", state="calling", called=request.to, agent=request.agent, media=None
        )
        if self.script is not None:
            self.running = asyncio.create_task(self.script(self, view))
        return view

    def agents(self):
        return self.agent_views

    def list(self):
        return list(self.calls.values())

    def get(self, call_id: str) -> CallView:
        return self.calls[call_id]

    async def hangup(self, call_id: str, reason: str) -> None:
        self.asked.append(("hangup", call_id, reason))

    async def hangup_by_agent(self, call_id: str, reason: str) -> None:
        self.asked.append(("hangup_by_agent", call_id, reason))
        if self.refuse is not None:
            raise self.refuse
        self.change(
            call_id,
            "call.ended",
            {"cause": "api"},
            state="ended",
            cause="api",
            ended=time.time(),
            sip_code=200,
        )

    async def send_dtmf(self, call_id: str, digits: str, duration_ms: int, gap_ms: int) -> None:
        self.asked.append(("dtmf", call_id, digits, duration_ms, gap_ms))
        if self.refuse is not None:
            raise self.refuse

    async def clear_audio(self, call_id: str) -> None:
        self.asked.append(("clear", call_id))
        if self.refuse is not None:
            raise self.refuse

    async def transfer(self, call_id: str, request: TransferRequest) -> None:
        self.asked.append(("transfer", call_id, request.target, request.attended, dict(request.headers)))
        if self.refuse is not None:
            raise self.refuse
        for event, data in self.transfer_story:
            self.publish(event, call_id, data)

    async def hold(self, call_id: str, held: bool, music: str) -> None:
        self.asked.append(("hold", call_id, held, music))
        if self.refuse is not None:
            raise self.refuse

    async def set_variables(self, call_id: str, values: Mapping[str, str]) -> None:
        self.asked.append(("variables", call_id, dict(values)))
        self.change(call_id, variables=dict(values))

    async def start_recording(self, call_id: str, file: str) -> None:
        self.asked.append(("record", call_id, file))
        if self.refuse is not None:
            raise self.refuse

    async def stop_recording(self, call_id: str) -> None:
        self.asked.append(("stop recording", call_id))
        if self.refuse is not None:
            raise self.refuse

    @contextlib.asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[CallEvent]]:
        queue: asyncio.Queue[CallEvent | None] = asyncio.Queue()
        self.subscribers.append(queue)

        async def events() -> AsyncIterator[CallEvent]:
            while (event := await queue.get()) is not None:
                yield event

        try:
            yield events()
        finally:
            self.subscribers.remove(queue)

    def status(self) -> dict[str, Any]:
        return {"calls": len(self.calls)}
