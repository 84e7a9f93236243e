# SPDX-License-Identifier: GPL-2.0-or-later
"""Readiness of a worker's descriptors, by epoll."""

from __future__ import annotations

import math
import select
from collections.abc import Callable

import numpy as np

from trunkline.gateway.media import compiled

MOST_FOUND = 4096
"Descriptors that are named at a time: all of them, nearly always. Else the kernel begins with the others next time."
EVENT_BYTES = 16
"Room for a `struct epoll_event`; on x86-64 it has 12."


class Found:
    """What a look has found, as the kernel has it: valid until the next one, and read by `UdpSockets.receive`."""

    def __init__(self) -> None:
        self.events = np.zeros((MOST_FOUND, EVENT_BYTES), np.uint8)
        self.count = 0

    def __len__(self) -> int:
        return self.count


Ready = Found | list[tuple[int, int]]
"Descriptors and their events; pairs of numbers where nothing is compiled."


class EpollPoller:
    """`agent_link.Poller` on an epoll object."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self._masks: dict[int, int] = {}
        self.found = Found()
        self.kernel = compiled.bind("ready", self.epoll.fileno(), self.found.events)
        "called (ms) it fills in `found.events`, and returns how many there are; None where nothing is compiled"

    def poll(self, seconds: float) -> Ready:
        """What is ready, now or within so many seconds."""
        if self.kernel is None:
            return self.epoll.poll(seconds, MOST_FOUND)
        self.found.count = self.kernel(math.ceil(seconds * 1000))
        return self.found

    def poll_some(self, most: int) -> list[tuple[int, int]]:
        """Of what is ready now, so many; another time others."""
        return self.epoll.poll(0, most)

    def watch(self, fd: int, mask: int, handler: Callable[[int], None]) -> None:
        """Call handler(events) when fd is ready."""
        self.handlers[fd] = handler
        if self._masks.get(fd) == mask:
            return
        if fd in self._masks:
            self.epoll.modify(fd, mask)
        else:
            self.epoll.register(fd, mask)
        self._masks[fd] = mask

    def watch_silently(self, fd: int) -> None:
        """Let `poll` name fd when it is readable; no handler: RTP is read in batches."""
        if fd not in self._masks:
            self.epoll.register(fd, select.EPOLLIN)
            self._masks[fd] = select.EPOLLIN

    def forget(self, fd: int) -> None:
        """Stop watching; must precede the close."""
        self.handlers.pop(fd, None)
        if self._masks.pop(fd, None) is not None:
            self.epoll.unregister(fd)
