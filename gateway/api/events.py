# SPDX-License-Identifier: GPL-2.0-or-later
"""The event stream: Server-Sent Events (WHATWG HTML, 9.2), one message per CallEvent.

    event: call.up
    data: {"time": 1760000000.1, "call_id": "…", "event": "call.up", "data": {…}}

Written as a response of its own rather than as a generator, for two reasons.
The subscription is made before the 200 leaves, so a client that has seen the
header misses nothing that happens after it.  And the stream must end by itself
when the gateway stops: a server that waits for its connections to finish would
wait for ever for one that never does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from trunkline.gateway import logs
from trunkline.gateway.calls.view import CallEvent

log = logs.get_logger("trunkline.api")

HEARTBEAT_S = 15.0
"Proxies cut a silent connection after 30 to 60 s; a comment line keeps it, and finds dead clients."
HEARTBEAT = b": still here\n\n"

Subscribe = Callable[[], AbstractAsyncContextManager[AsyncIterator[CallEvent]]]


def encode(event: CallEvent) -> bytes:
    """One event as an SSE message; JSON has no raw line break, so one data line holds it."""
    name = "".join(c for c in event.event if c.isprintable())
    return f"event: {name}\ndata: {event.model_dump_json()}\n\n".encode()


class EventStream(Response):
    """Sends events until the client leaves, the source ends or the gateway closes."""

    media_type = "text/event-stream"

    def __init__(
        self,
        subscribe: Subscribe,
        closing: asyncio.Event,
        call_id: str | None,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        # A length would end the stream before it began.
        self.raw_headers = [h for h in self.raw_headers if h[0] != b"content-length"]
        self.subscribe = subscribe
        self.closing = closing
        self.call_id = call_id
        self.heartbeat_s = heartbeat_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.subscribe() as events:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await _send(send, b": trunkline events\n\n")
            over = [
                asyncio.create_task(_disconnected(receive)),
                asyncio.create_task(self.closing.wait()),
            ]
            try:
                await self._forward(aiter(events), over, send)
            finally:
                for task in over:
                    task.cancel()
            with contextlib.suppress(OSError):
                await _send(send, b"", more=False)

    async def _forward(
        self, events: AsyncIterator[CallEvent], over: list[asyncio.Task[bool]], send: Send
    ) -> None:
        following, loop = asyncio.ensure_future(anext(events, None)), asyncio.get_running_loop()
        # Of the last byte: events that are filtered out keep no connection alive.
        sent_at = loop.time()
        try:
            while True:
                left_s = max(0.0, sent_at + self.heartbeat_s - loop.time())
                done, _ = await asyncio.wait(
                    {following, *over}, timeout=left_s, return_when="FIRST_COMPLETED"
                )
                if done and following not in done:
                    return
                message = b""
                if following in done:
                    event = following.result()
                    if event is None:
                        return
                    message = self._message(event)
                    following = asyncio.ensure_future(anext(events, None))
                if not message and loop.time() - sent_at >= self.heartbeat_s:
                    message = HEARTBEAT
                if message:
                    await _send(send, message)
                    sent_at = loop.time()
        finally:
            following.cancel()
            # Its own end must be awaited: the subscription behind it is about to be closed.
            await asyncio.gather(following, return_exceptions=True)

    def _message(self, event: CallEvent) -> bytes:
        """What is sent of an event: nothing when it is not asked for, or cannot be written."""
        if self.call_id is not None and event.call_id != self.call_id:
            return b""
        try:
            return encode(event)
        except Exception:  # one odd event must not end everybody's stream
            log.exception("api.event_skipped", call_id=event.call_id, name=event.event)
            return b""


async def _send(send: Send, body: bytes, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _disconnected(receive: Receive) -> bool:
    while (await receive())["type"] != "http.disconnect":
        pass
    return True
