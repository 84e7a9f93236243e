# SPDX-License-Identifier: GPL-2.0-or-later
"""The event stream: order, slow readers, the end."""

from __future__ import annotations

import asyncio

from trunkline.gateway.calls.subscribers import EventHub


def test_every_subscriber_gets_every_event_in_order_from_its_start_on() -> None:
    """Nothing is replayed, nothing is shared."""

    async def scenario() -> None:
        hub = EventHub()
        hub.publish("early", "", {})
        async with hub.subscribe() as one, hub.subscribe() as two:
            for number in range(3):
                hub.publish("call.dtmf", "id", {"number": number})
            for events in (one, two):
                assert [(await anext(events)).data["number"] for _ in range(3)] == [0, 1, 2]
        assert len(hub) == 0

    asyncio.run(scenario())


def test_a_slow_reader_loses_the_oldest_and_is_told_how_many() -> None:
    """It delays nobody, and it knows."""

    async def scenario() -> None:
        hub = EventHub(queue_events=5)
        async with hub.subscribe() as events:
            for number in range(12):
                hub.publish("call.dtmf", "id", {"number": number})
            notice = await anext(events)
            assert (notice.event, notice.data) == ("events.lost", {"count": 7})
            assert [(await anext(events)).data["number"] for _ in range(5)] == [7, 8, 9, 10, 11]

    asyncio.run(scenario())


def test_a_waiting_reader_ends_when_the_hub_is_closed() -> None:
    """The gateway's end ends the streams; what was queued is still delivered."""

    async def scenario() -> None:
        hub = EventHub()
        subscription = hub.subscribe()
        reader = asyncio.create_task(collect(subscription))
        await asyncio.sleep(0)
        hub.publish("last", "", {})
        hub.close()
        assert await asyncio.wait_for(reader, 1) == ["last"]

    async def collect(subscription: object) -> list[str]:
        return [event.event async for event in subscription]  # type: ignore[attr-defined]

    asyncio.run(scenario())
