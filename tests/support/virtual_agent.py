# SPDX-License-Identifier: GPL-2.0-or-later
"""An agent without a socket: the far end of a real `Link`, in memory and in virtual time."""

from __future__ import annotations

import errno
import itertools
import select
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge import wire
from trunkline.agent_bridge.dialect import FLAG_COMFORT_NOISE, FLAG_CONCEALED, FLAG_GAP

FD = 1000
HEADER_BYTES, AUDIO_HEADER_BYTES = 8, 8
UNREAD_BYTES = 1 << 20
"Small enough for the caches of a core."
MADE_UP = FLAG_CONCEALED | FLAG_GAP | FLAG_COMFORT_NOISE


class MemorySocket:
    """The gateway's socket: what it sends reaches the agent at once, what the agent says waits to be read."""

    family = socket.AF_INET
    more = waiting = False

    def __init__(self, agent: VirtualAgent) -> None:
        self._agent = agent
        self.inbox = bytearray()

    def fileno(self) -> int:
        return FD

    def connect_ex(self, target: object) -> int:
        return 0

    def getsockopt(self, level: int, option: int) -> int:
        return 0

    def sendmsg(self, pieces: Sequence[memoryview]) -> int:
        for piece in pieces:  # a link hands out whole messages, and an outbox keeps them whole
            self._agent.take(piece)
        return sum(len(piece) for piece in pieces)

    def recv_into(self, buffer: bytearray) -> int:
        if not self.inbox:
            raise BlockingIOError(errno.EAGAIN, "nothing was said")
        n = min(len(buffer), len(self.inbox))
        buffer[:n] = self.inbox[:n]
        del self.inbox[:n]
        return n

    def close(self) -> None:
        """The connection is over."""


class MemoryPoller:
    """`agent_link.Poller` for one memory socket."""

    def __init__(self) -> None:
        self._handler: Callable[[int], None] | None = None
        self._mask = 0

    def watch(self, fd: int, mask: int, handler: Callable[[int], None]) -> None:
        self._mask, self._handler = mask, handler

    def forget(self, fd: int) -> None:
        self._handler = None

    def turn(self, *, readable: bool) -> None:
        """One look: tell the handler what it wants to know."""
        events = self._mask & (select.EPOLLOUT | (select.EPOLLIN if readable else 0))
        if events and self._handler is not None:
            self._handler(events)


class Before:
    """The value before each one of the same call, however many calls are looked at at once."""

    def __init__(self, calls: int, first: int) -> None:
        self.last = np.full(calls, first, np.int64)
        "[calls] the newest value"

    def step(self, calls: NDArray[np.intp], values: NDArray[np.int64]) -> NDArray[np.int64]:
        """New values of calls[n], grouped by call and each call's in their order; those before them: i64[n]."""
        begins = np.diff(calls, prepend=-1) != 0
        before = np.roll(values, 1)
        before[begins] = self.last[calls[begins]]
        ends = np.append(begins[1:], True)
        self.last[calls[ends]] = values[ends]
        return before


class VirtualAgent:
    """Accepts every call; keeps count of frames; `on_audio` sees them.

    Frames are looked at by the thousand: when there are so many, or somebody asks for a figure.
    """

    def __init__(self, calls: int, *, echo: bool = False) -> None:
        self.socket = MemorySocket(self)
        self._echo = echo
        self.channels: dict[int, int] = {}
        "channel -> call, in the order of their start"
        self._index = np.full(1 << 16, -1, np.int16)
        "by the low half of a channel, its row"
        self._unread: list[bytes] = []
        "payloads of audio messages"
        self._unread_bytes = 0
        self._frames = np.zeros(calls, np.int64)
        self._made_up = np.zeros(calls, np.int64)
        self._next_position = Before(calls, 0)
        self._misplaced = 0
        self.control: list[Mapping[str, Any]] = []
        self.on_audio: Callable[[NDArray[np.intp], NDArray[np.void]], None] | None = None
        "called (calls[n], records[n]) for each audio message, at once"
        self.on_frames: Callable[[NDArray[np.intp], NDArray[np.void]], None] | None = None
        "called (calls[n], records[n]) for many messages: grouped by call, and each call's in their order"
        self.on_message: Callable[[memoryview], None] = lambda message: None
        "called with each message as it comes"
        self.on_heads: Callable[[NDArray[np.uint8]], None] = lambda heads: None
        "called with frames without their samples, [n, bytes], in the order in which they came"

    @property
    def frames(self) -> NDArray[np.int64]:
        """[calls] frames that came."""
        self.read()
        return self._frames

    @property
    def made_up(self) -> NDArray[np.int64]:
        """[calls] frames that no packet brought: concealed, comfort noise, gap."""
        self.read()
        return self._made_up

    @property
    def next_position(self) -> NDArray[np.int64]:
        """[calls] where the next frame must lie."""
        self.read()
        return self._next_position.last

    @property
    def misplaced(self) -> int:
        """Frames whose position does not continue the one before."""
        self.read()
        return self._misplaced

    def take(self, message: memoryview) -> None:
        """One whole message of the gateway's."""
        self.on_message(message)
        if message[4] != wire.AUDIO:
            payload = message[HEADER_BYTES:]
            self._answer(wire.parse_control(payload))
            return
        if self._echo:
            self.socket.inbox += message
        self._unread.append(bytes(message[HEADER_BYTES:]))  # its memory is the gateway's
        self._unread_bytes += len(message)
        if self.on_audio is not None or self._unread_bytes > UNREAD_BYTES:
            self.read()

    def _answer(self, message: Mapping[str, Any]) -> None:
        match message["type"]:
            case "hello":
                self.say("hello", version=1, agent="virtual")
            case "start":
                channel = int(message["channel"])
                self._index[channel & 0xFFFF] = self.channels[channel] = len(self.channels)
                self.say("accept", channel=channel)
            case "ping":
                self.say("pong")
            case "pong":
                pass
            case _:
                self.control.append(message)

    def read(self) -> None:
        """Look at all that has come."""
        unread, self._unread, self._unread_bytes = self._unread, [], 0
        for head, alike in itertools.groupby(unread, lambda payload: payload[:2]):
            samples, payloads = int.from_bytes(head, "little"), list(alike)
            self._hear(_records(payloads, wire.record_dtype(samples)))

    def _hear(self, records: NDArray[np.void]) -> None:
        """Frames of one length, in the order in which they came."""
        head = records.dtype.itemsize - records["pcm"].shape[1] * 2
        self.on_heads(np.ascontiguousarray(records.view(np.uint8).reshape(len(records), -1)[:, :head]))
        calls = self._index[records["channel"] & 0xFFFF]
        if self.on_audio is not None:
            self.on_audio(calls.astype(np.intp), records)
        order = np.argsort(calls, kind="stable")  # of 16 bits: by their digits, in no time
        calls, records = calls[order].astype(np.intp), records[order]
        self._frames += np.bincount(calls, minlength=len(self._frames))
        made_up = (records["flags"] & MADE_UP) > 0
        self._made_up += np.bincount(calls[made_up], minlength=len(self._frames))
        ends = records["position"].astype(np.int64) + records["pcm"].shape[1]
        before = self._next_position.step(calls, ends)
        self._misplaced += int((ends - records["pcm"].shape[1] != before).sum())
        if self.on_frames is not None:
            self.on_frames(calls, records)

    def say(self, kind: str, **fields: Any) -> None:
        """A control message."""
        self.socket.inbox += wire.control_message(kind, **fields)

    def speak(self, calls: NDArray[np.intp], pcm: NDArray[np.int16]) -> None:
        """One record of pcm[n, samples] for each call."""
        channels = np.array(list(self.channels), np.uint32)[calls]
        nothing = np.zeros(len(calls), np.int64)
        for message in wire.audio_messages(channels, nothing, nothing.astype(np.uint16), pcm):
            self.socket.inbox += message


def _records(payloads: list[bytes], dtype: np.dtype[np.void]) -> NDArray[np.void]:
    """All records of audio payloads whose records have as many samples."""
    counts = np.frombuffer(b"".join([payload[4:8] for payload in payloads]), "<u4")
    sizes = np.array([len(payload) for payload in payloads]) - AUDIO_HEADER_BYTES
    assert (sizes == counts * dtype.itemsize).all(), "a message says how many records it has"
    return np.frombuffer(b"".join([memoryview(payload)[AUDIO_HEADER_BYTES:] for payload in payloads]), dtype)
