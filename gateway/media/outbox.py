# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes that wait for a socket which takes them when it can."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence
from typing import Protocol

IOV_MAX = 512
"Pieces in one sendmsg; the kernel takes 1024."


class Sink(Protocol):
    """The part of a socket that is needed here."""

    def sendmsg(self, buffers: Sequence[bytes | memoryview], /) -> int:
        """Take some of the bytes and say how many; BlockingIOError if none now."""


class Outbox:
    """A queue of buffers, written without a copy; `waiting_since_ns` tells a slow reader from a dead one."""

    def __init__(self, least_bytes: int = 1) -> None:
        """A socket that takes less than `least_bytes`, and not all that waits, has not got on."""
        self._least_bytes = least_bytes
        self._taken_bytes = 0
        self._pieces: collections.deque[memoryview] = collections.deque()
        self.size_bytes = 0
        self.waiting_since_ns = 0
        "when the socket last got on, or when the first of what waits was put in"

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._pieces)

    def put(self, pieces: Iterable[bytes | memoryview], now_ns: int) -> None:
        """Append buffers, which must not change from now on."""
        if not self._pieces:
            self.waiting_since_ns, self._taken_bytes = now_ns, 0
        for piece in pieces:
            view = memoryview(piece).cast("B")
            self._pieces.append(view)
            self.size_bytes += len(view)

    def write(self, sock: Sink, now_ns: int) -> None:
        """Write as much as the socket takes; raises OSError when it takes nothing ever more."""
        while self._pieces:
            pieces = [self._pieces[i] for i in range(min(len(self._pieces), IOV_MAX))]
            try:
                sent = sock.sendmsg(pieces)
            except (BlockingIOError, InterruptedError):
                return
            self._take(sent)
            self._taken_bytes += sent
            if self._taken_bytes >= self._least_bytes or not self._pieces:
                self.waiting_since_ns, self._taken_bytes = now_ns, 0

    def _take(self, sent: int) -> None:
        self.size_bytes -= sent
        while sent:
            first = self._pieces[0]
            if sent < len(first):
                self._pieces[0] = first[sent:]
                return
            sent -= len(first)
            self._pieces.popleft()

    def clear(self) -> None:
        """Forget what waits."""
        self._pieces.clear()
        self.size_bytes = 0
