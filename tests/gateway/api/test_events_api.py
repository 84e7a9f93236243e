# SPDX-License-Identifier: GPL-2.0-or-later
"""The event stream, over a real socket: its end and its start matter, and ASGITransport has neither."""

from __future__ import annotations

import asyncio
import json
import selectors
import time

import httpx
import pytest

from trunkline.gateway.api import ApiServer
from trunkline.gateway.api.events import HEARTBEAT, EventStream
from trunkline.gateway.calls.subscribers import EventHub


def serve(app, scenario):
    """Run `scenario(client, server)` against the application on a real port."""

    async def run():
        server = ApiServer(app, "127.0.0.1", 0)
        host, port = await server.start()
        headers = {"Authorization": "Bearer correct-horse"}
        try:
            async with httpx.AsyncClient(
                base_url=f"http://{host}:{port}", headers=headers, timeout=5
            ) as client:
                return await scenario(client, server)
        finally:
            await server.stop()

    return asyncio.run(run())


async def next_event(lines):
    """The next message of the stream: its event name and its decoded data."""
    name = ""
    async for line in lines:
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            return name, json.loads(line[6:])
    return None


def test_events_arrive_in_order_as_they_happen(app, service):
    """Name and data of each, and the subscription is there once the header is."""

    async def scenario(client, server):
        async with client.stream("GET", "/v1/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            service.publish("call.ringing", "a")
            service.publish("call.up", "a", {"codec": "PCMU\nx"})
            lines = answer.aiter_lines()
            return [await next_event(lines), await next_event(lines)]

    first, second = serve(app, scenario)
    assert first[0] == "call.ringing" and first[1]["call_id"] == "a"
    assert second[0] == "call.up" and second[1]["data"] == {"codec": "PCMU\nx"}


def test_one_call_can_be_asked_for(app, service):
    """Events of other calls are left out."""

    async def scenario(client, server):
        async with client.stream("GET", "/v1/events", params={"call_id": "b"}) as answer:
            service.publish("call.up", "a")
            service.publish("call.up", "b")
            return await next_event(answer.aiter_lines())

    assert serve(app, scenario)[1]["call_id"] == "b"


def test_the_stream_ends_cleanly_when_the_gateway_stops(app, service):
    """No client is left hanging, no shutdown waits for one, no subscription stays behind."""

    async def scenario(client, server):
        async with client.stream("GET", "/v1/events") as answer:
            lines = answer.aiter_lines()
            started = time.monotonic()
            stopping = asyncio.create_task(server.stop())
            rest = await next_event(lines)
            await stopping
            return rest, time.monotonic() - started

    rest, took = serve(app, scenario)
    assert rest is None and took < 2.0
    assert service.subscribers == []


def test_a_client_that_leaves_is_unsubscribed(app, service):
    """Without waiting for the next event to find out."""

    async def scenario(client, server):
        async with client.stream("GET", "/v1/events"):
            assert len(service.subscribers) == 1
        for _ in range(100):
            if not service.subscribers:
                return True
            await asyncio.sleep(0.01)
        return False

    assert serve(app, scenario)


def test_the_stream_ends_when_its_source_does(app, service):
    """Call control may close first."""

    async def scenario(client, server):
        async with client.stream("GET", "/v1/events") as answer:
            service.publish("call.up", "a")
            for queue in service.subscribers:
                queue.put_nowait(None)
            lines = answer.aiter_lines()
            return await next_event(lines), await next_event(lines)

    first, second = serve(app, scenario)
    assert first[0] == "call.up" and second is None


def test_silence_is_filled_with_comments(service):
    """A quiet stream still shows that both ends live."""

    async def run():
        sent = []
        closing = asyncio.Event()

        async def send(message):
            sent.append(message.get("body", b""))
            if sent.count(b": still here\n\n") == 2:
                closing.set()

        async def receive():
            await asyncio.sleep(60)

        stream = EventStream(service.subscribe, closing, None, heartbeat_s=0.01)
        await asyncio.wait_for(stream({}, receive, send), 5)
        return sent

    assert asyncio.run(run()).count(b": still here\n\n") == 2


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time passes only while everybody waits, and then at once: no machine is too slow for it."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = selectors.SelectSelector()
        select = selector.select

        def pass_time(timeout=None):
            self.now += timeout or 0.0
            return select(timeout and 0)  # without a timer it waits for a descriptor

        selector.select = pass_time
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def test_events_of_other_calls_do_not_postpone_the_comment():
    """The time counts from the last byte that was sent, whatever was left out since."""
    sent = []

    async def run():
        hub, closing, loop = EventHub(), asyncio.Event(), asyncio.get_running_loop()

        async def send(message):
            sent.append((loop.time(), message.get("body", b"")))

        async def receive():
            await asyncio.sleep(60)

        stream = EventStream(hub.subscribe, closing, "mine", heartbeat_s=15)
        running = asyncio.create_task(stream({}, receive, send))
        for _ in range(20):
            await asyncio.sleep(2)
            hub.publish("call.up", "other", {})
        closing.set()
        await asyncio.wait_for(running, 5)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())
    comments = [at_s for at_s, body in sent if body == HEARTBEAT]
    assert comments == pytest.approx([15, 30], abs=0.01)


def test_an_event_that_cannot_be_written_is_left_out(app, service):
    """The stream goes on; one odd event ended it for all subscribers."""

    async def scenario(client, server):
        async with client.stream("GET", "/v1/events") as answer:
            service.publish("call.up", "a", {"caller": "\ud800"})
            service.publish("call.up", "b")
            return await next_event(answer.aiter_lines())

    assert serve(app, scenario)[1]["call_id"] == "b"


def test_an_address_in_use_is_an_oserror_and_not_the_end_of_the_process(app):
    """Whoever starts the gateway can say which port it was."""

    async def scenario(client, server):
        other = ApiServer(app, "127.0.0.1", client.base_url.port)
        with pytest.raises(OSError, match="in use"):
            await other.start()

    serve(app, scenario)
