# SPDX-License-Identifier: MIT
"""A bounded queue with one reader, an end, and next to no cost per item.

`asyncio.Queue` costs three times as much per item, has no end before Python 3.13, and
makes the writer choose between waiting and an exception when it is full; here the
oldest item gives way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """Items for one task that iterates over them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[T] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._over = False
        self.skipped: type | None = None
        "items of this class are for a reader that asks for it, and not handed out"

    def put(self, item: T) -> bool:
        """Append; False when the oldest item had to go for it."""
        fits = len(self._items) < self._limit
        if not fits:
            self._items.popleft()
        self._items.append(item)
        self._wake()
        return fits

    def put_newest(self, item: T) -> bool:
        """Append in place of those of the same class that nobody has taken: only the newest is of use."""
        if self._items:
            self._items = deque(one for one in self._items if type(one) is not type(item))
        return self.put(item)

    @property
    def oldest(self) -> T:
        """The item that comes next; there must be one."""
        return self._items[0]

    @oldest.setter
    def oldest(self, item: T) -> None:
        self._items[0] = item

    @property
    def empty(self) -> bool:
        """Everything has been taken."""
        return not self._items

    @property
    def reader_waits(self) -> bool:
        """Everything has been taken, and the reader is done with it: it asks for more."""
        return not self._items and self._waiter is not None and not self._waiter.done()

    @property
    def waiting(self) -> tuple[T, ...]:
        """What nobody has taken yet."""
        return tuple(self._items)

    def end(self) -> None:
        """No more items: the reader gets what is left, then the end."""
        self._over = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Inbox[T]:
        return self

    async def __anext__(self) -> T:
        while True:
            while not self._items:
                if self._over:
                    raise StopAsyncIteration
                if self._waiter is not None and not self._waiter.done():
                    raise RuntimeError("two tasks read the same call: only one can")
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
            item = self._items.popleft()
            if item.__class__ is not self.skipped:
                return item
