# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent of a bench run, for our own dialect: repeats all it hears, and writes down when it came.

    python -m trunkline.gateway.bench.native_agent PATH RECORD FROM TO

It listens on the Unix socket PATH and keeps samples FROM..TO of each frame.  A read brings the audio of
many calls, and all of it goes back as it is, in one write: echoing costs a system call, not a loop.
Says "ready"; the end of standard input ends it, and it writes RECORD.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge import wire
from trunkline.gateway.bench.numbering import call_number
from trunkline.gateway.bench.records import Frames, join, write_frames

BUFFER_BYTES = 8 << 20
HEADER_BYTES = 8
AUDIO_HEADER_BYTES = 8
RECORD_HEAD = np.dtype([("channel", "<u4"), ("flags", "<u2"), ("reserved", "<u2"), ("position", "<u8")])


class Log:
    """What came on one connection, a batch at a time; put together at the end."""

    def __init__(self, kept: slice) -> None:
        self._kept = slice(kept.start * 2 + RECORD_HEAD.itemsize, kept.stop * 2 + RECORD_HEAD.itemsize)
        self.batches: list[tuple[NDArray[np.uint8], NDArray[np.uint8], int]] = []
        self.channels: dict[int, int] = {}
        "channel -> number of its call"

    def add(self, payload: memoryview, read_ns: int) -> None:
        """An audio payload."""
        count = int.from_bytes(payload[4:8], "little")
        records = np.frombuffer(payload, np.uint8, -1, AUDIO_HEADER_BYTES).reshape(count, -1)
        self.batches.append(
            (records[:, : RECORD_HEAD.itemsize].copy(), records[:, self._kept].copy(), read_ns)
        )

    def frames(self) -> Frames:
        """Everything."""
        sizes = [len(head) for head, _, _ in self.batches]
        width = self._kept.stop - self._kept.start
        empty = (np.zeros((0, RECORD_HEAD.itemsize), np.uint8), np.zeros((0, width), np.uint8), 0)
        batches = self.batches or [empty]
        head = np.concatenate([batch[0] for batch in batches]).view(RECORD_HEAD)[:, 0]
        window = np.concatenate([batch[1] for batch in batches]).view("<i2")
        read_ns = np.repeat(np.array([batch[2] for batch in self.batches], np.int64), sizes)
        of = np.full(int(head["channel"].max(initial=0)) + 1, -1, np.int64)
        for channel, number in self.channels.items():
            if channel < len(of):
                of[channel] = number
        return Frames(
            of[head["channel"]], read_ns, window, head["position"].astype(np.int64), head["flags"].copy()
        )


class Connection:
    """One connection of a media worker."""

    def __init__(self, sock: socket.socket, log: Log) -> None:
        self.sock = sock
        self._log = log
        self._buffer = bytearray(BUFFER_BYTES)
        self._filled = 0
        self.unsent = bytearray()
        self.mask = select.EPOLLIN

    def read(self) -> bool:
        """What has come; False when the other side has closed."""
        view = memoryview(self._buffer)
        try:
            got = self.sock.recv_into(view[self._filled :])
        except BlockingIOError:
            return True
        except OSError:
            return False
        read_ns = time.monotonic_ns()
        if not got:
            return False
        end = self._filled + got
        place = echoed = 0
        while end - place >= HEADER_BYTES:
            size = int.from_bytes(view[place : place + 4], "little")
            body, after = place + HEADER_BYTES, place + HEADER_BYTES + size
            if after > end:
                break
            if view[place + 4] == wire.AUDIO:
                self._log.add(view[body:after], read_ns)
            else:
                self.write(view[echoed:place])
                echoed = after
                self._control(wire.parse_control(view[body:after]))
            place = after
        self.write(view[echoed:place])
        self._buffer[: end - place] = view[place:end]
        self._filled = end - place
        return True

    def _control(self, message: Any) -> None:
        match message["type"]:
            case "hello":
                self.write(wire.control_message("hello", version=1, agent="bench"))
            case "start":
                self._log.channels[message["channel"]] = call_number(message["call"]["call_id"])
                self.write(wire.control_message("accept", channel=message["channel"]))
            case "ping":
                self.write(wire.control_message("pong"))

    def write(self, data: bytes | memoryview) -> None:
        """Send as much as fits; the rest waits, and reading goes on (PROTOCOL.md, section 2)."""
        if self.unsent:
            self.unsent += data
            del self.unsent[: self._send(self.unsent)]
        elif len(data):
            self.unsent += data[self._send(data) :]

    def _send(self, data: bytes | bytearray | memoryview) -> int:
        """Bytes that are done with."""
        if not len(data):
            return 0
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:  # gone: the next read says so
            return len(data)


def serve(listener: socket.socket, kept: slice) -> list[Log]:
    """Until standard input ends; returns what each connection has brought."""
    connections: dict[int, Connection] = {}
    logs: list[Log] = []
    poller = select.epoll()
    for fd in (listener.fileno(), sys.stdin.fileno()):
        poller.register(fd, select.EPOLLIN)
    while True:
        for fd, events in poller.poll():
            if fd == sys.stdin.fileno():
                if not os.read(fd, 4096):
                    return logs
            elif fd == listener.fileno():
                sock, _ = listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
                logs.append(Log(kept))
                connections[sock.fileno()] = Connection(sock, logs[-1])
                poller.register(sock.fileno(), select.EPOLLIN)
            else:
                _attend(poller, connections, fd, events)


def _attend(poller: select.epoll, connections: dict[int, Connection], fd: int, events: int) -> None:
    one = connections[fd]
    if events & select.EPOLLOUT:
        one.write(b"")
    if events & ~select.EPOLLOUT and not one.read():
        poller.unregister(fd)
        connections.pop(fd).sock.close()
        return
    mask = select.EPOLLIN | (select.EPOLLOUT if one.unsent else 0)
    if mask != one.mask:
        one.mask = mask
        poller.modify(fd, mask)


def main(arguments: list[str]) -> None:
    """The program."""
    path, record = arguments[:2]
    first, last = map(int, arguments[2:])
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.setblocking(False)
        print("ready", flush=True)
        logs = serve(listener, slice(first, last))
    write_frames(Path(record), join([log.frames() for log in logs or [Log(slice(first, last))]]))


if __name__ == "__main__":
    main(sys.argv[1:])
