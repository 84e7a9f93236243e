# SPDX-License-Identifier: GPL-2.0-or-later
"""Readiness of a worker's descriptors, by epoll."""

from __future__ import annotations

import select
from collections.abc import Callable


class EpollPoller:
    """`agent_link.Poller` on an epoll object."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self._masks: dict[int, int] = {}

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
        """Let `epoll` name fd when it is readable; no handler: RTP is read in batches."""
        if fd not in self._masks:
            self.epoll.register(fd, select.EPOLLIN)
            self._masks[fd] = select.EPOLLIN

    def forget(self, fd: int) -> None:
        """Stop watching; must precede the close."""
        self.handlers.pop(fd, None)
        if self._masks.pop(fd, None) is not None:
            self.epoll.unregister(fd)
