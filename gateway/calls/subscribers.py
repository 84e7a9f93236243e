# SPDX-License-Identifier: GPL-2.0-or-later
"""Who follows the events: a bounded queue for each, so that a slow reader delays nobody.

A subscriber that does not keep up loses the oldest events, and finds a notice of how
many in their place.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from trunkline.gateway.calls.view import CallEvent

QUEUE_EVENTS = 1000
"Ten seconds of 100 calls a second starting or ending; about 0.5 MB."


class Subscription:
    """Events from now on, as an asynchronous iterator and context manager."""

    def __init__(self, hub: EventHub, size: int) -> None:
        self._hub = hub
        self._size = size
        self._events: deque[CallEvent] = deque()
        self._lost = 0
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    def push(self, event: CallEvent) -> None:
        """Append; the oldest goes when there is no room."""
        if len(self._events) >= self._size:
            self._events.popleft()
            self._lost += 1
        self._events.append(event)
        self._wake()

    def close(self) -> None:
        """No more events; the iterator ends after those that it has."""
        self._closed = True
        self._hub.remove(self)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CallEvent:
        while not self._events:
            if self._closed:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._lost:
            lost, self._lost = self._lost, 0
            return CallEvent(time=time.time(), event="events.lost", data={"count": lost})
        return self._events.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class EventHub:
    """Hands each event to all subscribers."""

    def __init__(self, queue_events: int = QUEUE_EVENTS) -> None:
        self._queue_events = queue_events
        self._subscriptions: set[Subscription] = set()

    def subscribe(self) -> Subscription:
        """A new subscriber, from the next event on."""
        subscription = Subscription(self, self._queue_events)
        self._subscriptions.add(subscription)
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """Forget a subscriber."""
        self._subscriptions.discard(subscription)

    def close(self) -> None:
        """End all subscriptions."""
        for subscription in list(self._subscriptions):
            subscription.close()

    def publish(self, event: str, call_id: str, data: Mapping[str, Any]) -> None:
        """Tell everybody. Costs nothing while nobody listens."""
        if self._subscriptions:
            message = CallEvent(time=time.time(), call_id=call_id, event=event, data=dict(data))
            for subscription in self._subscriptions:
                subscription.push(message)

    def __len__(self) -> int:
        return len(self._subscriptions)
