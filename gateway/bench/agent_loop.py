# SPDX-License-Identifier: GPL-2.0-or-later
"""What agents of a bench run have in common that get one connection a call: the loop, and writing without waiting."""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections.abc import Callable

READ_BYTES = 1 << 16


class Connection:
    """One call."""

    __slots__ = ("call", "sock", "unsent", "waiting")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.call = -1
        "its number, once it is known"
        self.waiting, self.unsent = b"", b""

    def read(self) -> bool:
        """Look at the socket; False when the call is over."""
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        read_ns = time.monotonic_ns()
        return bool(data) and self.take(self.waiting + data if self.waiting else data, read_ns)

    def take(self, data: bytes, read_ns: int) -> bool:
        """What has come, behind what `waiting` had; False when the call is over."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Send as much as fits; the rest goes with the next."""
        if self.unsent:
            data = self.unsent + data
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(data)  # gone: the next read says so
        self.unsent = data[sent:]


def serve(listener: socket.socket, make: Callable[[socket.socket], Connection]) -> None:
    """Until standard input ends."""
    connections: dict[int, Connection] = {}
    poller = select.epoll()
    stdin, door = sys.stdin.fileno(), listener.fileno()
    for fd in (door, stdin):
        poller.register(fd, select.EPOLLIN)
    while True:
        for fd, _events in poller.poll():
            one = connections.get(fd)
            if one is not None:
                if not one.read():
                    poller.unregister(fd)
                    connections.pop(fd).sock.close()
            elif fd == stdin:
                if not os.read(fd, 4096):
                    return
            elif fd == door:
                sock, _ = listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections[sock.fileno()] = make(sock)
                poller.register(sock.fileno(), select.EPOLLIN)
