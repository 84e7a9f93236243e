# SPDX-License-Identifier: GPL-2.0-or-later
"""An agent without a socket: the far end of a real `Link`, in memory and in virtual time."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge import wire
from trunkline.agent_bridge.dialect import FLAG_COMFORT_NOISE, FLAG_CONCEALED, FLAG_GAP

FD = 1000
HEADER_BYTES = 8
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


class VirtualAgent:
    """Accepts every call; keeps count of frames; `on_audio` and `on_control` see what comes."""

    def __init__(self, calls: int, *, echo: bool = False) -> None:
        self.socket = MemorySocket(self)
        self._echo = echo
        self.channels: dict[int, int] = {}
        "channel -> call, in the order of their start"
        self._index = np.full(1 << 16, -1, np.int64)
        "by the low half of a channel, its row"
        self.frames = np.zeros(calls, np.int64)
        self.made_up = np.zeros(calls, np.int64)
        "frames that no packet brought: concealed, comfort noise, gap"
        self.next_position = np.zeros(calls, np.int64)
        self.misplaced = 0
        "frames whose position does not continue the one before"
        self.control: list[Mapping[str, Any]] = []
        self.on_audio: Callable[[NDArray[np.intp], NDArray[np.void]], None] = lambda calls, records: None
        "called (calls[n], records[n]) for each audio message"
        self.on_bytes: Callable[[memoryview], None] = lambda data: None

    def take(self, message: memoryview) -> None:
        """One whole message of the gateway's."""
        self.on_bytes(message)
        payload = message[HEADER_BYTES:]
        if message[4] == wire.AUDIO:
            self._hear(payload)
            if self._echo:
                self.socket.inbox += message
        else:
            self._answer(wire.parse_control(payload))

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

    def _hear(self, payload: memoryview) -> None:
        records = wire.parse_audio(payload)
        calls = self._index[records["channel"] & 0xFFFF]
        self.frames[calls] += 1  # a message of the gateway has at most one frame of a call
        self.made_up[calls] += (records["flags"] & MADE_UP) > 0
        positions = records["position"].astype(np.int64)
        self.misplaced += int((positions != self.next_position[calls]).sum())
        self.next_position[calls] = positions + records["pcm"].shape[1]
        self.on_audio(calls, records)

    def say(self, kind: str, **fields: Any) -> None:
        """A control message."""
        self.socket.inbox += wire.control_message(kind, **fields)

    def speak(self, calls: NDArray[np.intp], pcm: NDArray[np.int16]) -> None:
        """One record of pcm[n, samples] for each call."""
        channels = np.array(list(self.channels), np.uint32)[calls]
        nothing = np.zeros(len(calls), np.int64)
        for message in wire.audio_messages(channels, nothing, nothing.astype(np.uint16), pcm):
            self.socket.inbox += message
