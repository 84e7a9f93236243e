# SPDX-License-Identifier: GPL-2.0-or-later
"""An echo agent that counts: every frame of every call, with the time at which it was read.

    python -m bench.counting_agent --listen /path/agent.sock [--record FILE]

It speaks the agent protocol (agent_bridge/PROTOCOL.md) with code of its own, and
repeats what it hears, beginning with the first frame that is a packet of the caller's:
those before it are the gateway's, flagged as a gap.  From then on the n-th frame
written is the n-th that the caller hears, whatever the gateway does in between.

The time of reading is taken when `recv` has returned the last byte of a message, the
time of writing before `send`.  Prints `ready`; the end of standard input ends it.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import struct
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER = struct.Struct("<IBBH")
AUDIO = struct.Struct("<HHI")
CONTROL_TYPE, AUDIO_TYPE = 1, 2
CONCEALED, COMFORT_NOISE, GAP = 2, 4, 8
NOT_THE_CALLER = CONCEALED | COMFORT_NOISE | GAP
READ_BYTES = 1 << 20


class Log:
    """What came, in columns; one entry a batch."""

    def __init__(self, keep: bool) -> None:
        self.keep = keep
        self.call_ids: list[str] = []
        self.starts: list[tuple[bool, int, int]] = []
        "of each call in `call_ids`: resumed, position, gap_ms"
        self.batches: list[tuple[NDArray[np.int64], NDArray[Any], NDArray[np.float32], int, int]] = []
        "index of the call, records without samples, mean magnitude, time read, time written"

    def save(self, path: str) -> None:
        """For `matching.py`."""
        calls = [batch[0] for batch in self.batches] or [np.zeros(0, np.int64)]
        sizes = [len(batch[0]) for batch in self.batches]

        def of(index: int, dtype: Any) -> NDArray[Any]:
            return np.repeat(np.array([batch[index] for batch in self.batches], dtype), sizes)

        def field(name: str, dtype: Any) -> NDArray[Any]:
            return np.concatenate([batch[1][name] for batch in self.batches] or [np.zeros(0, dtype)])

        np.savez(
            path, call_ids=np.array(self.call_ids), call=np.concatenate(calls), flags=field("flags", np.uint16),
            starts=np.array(self.starts, np.int64).reshape(-1, 3),
            position=field("position", np.uint64).astype(np.int64), samples=field("samples", np.int64),
            level=np.concatenate([batch[2] for batch in self.batches] or [np.zeros(0, np.float32)]),
            read_ns=of(3, np.int64), write_ns=of(4, np.int64),
        )  # fmt: skip


class Connection:
    """One connection of the gateway: a media worker's."""

    def __init__(self, sock: socket.socket, log: Log) -> None:
        self.sock = sock
        self._log = log
        self._waiting = bytearray()
        self.unsent = bytearray()
        self.mask = select.EPOLLIN
        "what the poller watches"
        self._begun: dict[int, int] = {}
        "channel -> index of its call, from its start to its stop"
        self._speaking: set[int] = set()

    def read(self) -> bool:
        """What has come; False when the gateway has closed."""
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        read_ns = time.monotonic_ns()
        if not data:
            return False
        if self._waiting:
            self._waiting += data
            data = bytes(self._waiting)
        place = 0
        while len(data) - place >= HEADER.size:
            size, kind, _, _ = HEADER.unpack_from(data, place)
            end = place + HEADER.size + size
            if end > len(data):
                break
            if kind == AUDIO_TYPE:
                self._audio(data[place:end], read_ns)
            else:
                self._control(json.loads(data[place + HEADER.size : end]))
            place = end
        self._waiting = bytearray(data[place:])
        return True

    def _audio(self, message: bytes, read_ns: int) -> None:
        samples, _, count = AUDIO.unpack_from(message, HEADER.size)
        kind = np.dtype(
            [("channel", "<u4"), ("flags", "<u2"), ("_", "<u2"), ("position", "<u8"), ("pcm", "<i2", samples)]
        )
        records = np.frombuffer(message, kind, count, HEADER.size + AUDIO.size)
        channels = records["channel"].tolist()
        if not self._speaking.issuperset(channels):
            real = (records["flags"] & NOT_THE_CALLER) == 0
            self._speaking.update(records["channel"][real].tolist())
        spoken = np.array([channel in self._speaking for channel in channels])
        if not spoken.all():
            chosen = records[spoken].tobytes()
            body = AUDIO.pack(samples, 0, int(spoken.sum())) + chosen
            message = HEADER.pack(len(body), AUDIO_TYPE, 0, 0) + body if chosen else b""
        write_ns = time.monotonic_ns()
        self.write(message)
        if self._log.keep:
            head = np.zeros(count, [("flags", np.uint16), ("position", np.uint64), ("samples", np.int64)])
            head["flags"], head["position"], head["samples"] = records["flags"], records["position"], samples
            level = np.abs(records["pcm"].astype(np.float32)).mean(axis=1)
            calls = np.array([self._begun.get(channel, -1) for channel in channels], np.int64)
            self._log.batches.append((calls, head, level, read_ns, write_ns))

    def _control(self, message: dict[str, Any]) -> None:
        channel = message.get("channel", -1)
        match message["type"]:
            case "hello":
                self._say(type="hello", version=1, agent="counting")
            case "start":
                self._begun[channel] = len(self._log.call_ids)
                self._log.call_ids.append(message["call"]["call_id"])
                resumed, gap_ms = bool(message.get("resumed")), int(message.get("gap_ms", 0))
                self._log.starts.append((resumed, int(message["position"]), gap_ms))
                self._say(type="accept", channel=channel)
            case "stop":
                self._begun.pop(channel, None)
                self._speaking.discard(channel)
            case "ping":
                self._say(type="pong")

    def _say(self, **message: Any) -> None:
        payload = json.dumps(message).encode()
        self.write(HEADER.pack(len(payload), CONTROL_TYPE, 0, 0) + payload)

    def write(self, message: bytes) -> None:
        """Send as much as fits; the rest waits, and reading goes on (PROTOCOL.md, section 2)."""
        self.unsent += message
        if self.unsent:
            try:
                del self.unsent[: self.sock.send(self.unsent)]
            except BlockingIOError:
                pass
            except OSError:
                self.unsent.clear()


def serve(listener: socket.socket, log: Log) -> None:
    """Until standard input ends."""
    connections: dict[int, Connection] = {}
    poller = select.epoll()
    for source in (listener, sys.stdin):
        poller.register(source.fileno(), select.EPOLLIN)
    while True:
        for fd, events in poller.poll():
            if fd == sys.stdin.fileno():
                if not os.read(fd, 4096):
                    return
            elif fd == listener.fileno():
                sock, _ = listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                connections[sock.fileno()] = Connection(sock, log)
                poller.register(sock.fileno(), select.EPOLLIN)
            else:
                one = connections[fd]
                if events & select.EPOLLOUT:
                    one.write(b"")
                if events & ~select.EPOLLOUT and not one.read():
                    poller.unregister(fd)
                    connections.pop(fd).sock.close()
                    continue
                mask = select.EPOLLIN | (select.EPOLLOUT if one.unsent else 0)
                if mask != one.mask:
                    one.mask = mask
                    poller.modify(fd, mask)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="bench.counting_agent")
    parser.add_argument("--listen", required=True, help="path of the Unix socket")
    parser.add_argument("--record", default="", help="file for what was heard (.npz)")
    options = parser.parse_args()
    log = Log(bool(options.record))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(options.listen)
        listener.listen()
        print("ready", flush=True)
        serve(listener, log)
    if options.record:
        log.save(options.record)


if __name__ == "__main__":
    main()
