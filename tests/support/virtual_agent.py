# SPDX-License-Identifier: GPL-2.0-or-later
"""An agent without a socket: the far end of a real `Link`, in memory and in virtual time."""

from __future__ import annotations

import copy
import errno
import itertools
import select
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge import wire
from trunkline.agent_bridge.dialect import FLAG_COMFORT_NOISE, FLAG_CONCEALED, FLAG_GAP

FD = 1000
HEADER_BYTES, AUDIO_HEADER_BYTES = 8, 8
UNREAD_BYTES = 1 << 19
"Small enough for the caches of a core."
RECORD_HEAD = np.dtype(wire.record_dtype(1).descr[:-1])
_COUNT = struct.Struct("<I")
_COUNT_AT = HEADER_BYTES + 4
_AUDIO_HEAD = struct.Struct("<I4xHxxI")
"Bytes behind the header of a message; samples of a record, and how many there are."
ANSWERED = tuple(b'{"type":"%s"' % kind for kind in (b"hello", b"start", b"ping"))
PONG = b'{"type":"pong"'
MADE_UP = FLAG_CONCEALED | FLAG_GAP | FLAG_COMFORT_NOISE


class _Message(msgspec.Struct):
    """What every control message has."""

    type: str


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
        agent, frames = self._agent, 0  # a link hands out whole messages, and an outbox keeps them whole
        for piece in pieces:
            if piece[4] != wire.AUDIO:
                for message in pieces:
                    agent.take(bytes(message))
                return sum(len(message) for message in pieces)
            frames += _COUNT.unpack_from(piece, _COUNT_AT)[0]
        data = b"".join(pieces)  # its memory is the gateway's
        agent.take_audio(data, frames)
        return len(data)

    def recv_into(self, buffer: bytearray) -> int:
        if not self.inbox:
            raise BlockingIOError(errno.EAGAIN, "nothing was said")
        n = min(len(buffer), len(self.inbox))
        with memoryview(self.inbox) as said:
            buffer[:n] = said[:n]
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


class Grouped:
    """Some calls[n], one or more, grouped: where each of them begins and ends."""

    def __init__(self, calls: NDArray[np.intp]) -> None:
        ends = np.flatnonzero(calls[1:] != calls[:-1])
        self.begins = np.concatenate([[0], ends + 1])
        self.ends = np.concatenate([ends, [len(calls) - 1]])
        self.calls = calls[self.begins]
        self.counts = self.ends - self.begins + 1


class Before:
    """The value before each one of the same call, however many calls are looked at at once."""

    def __init__(self, calls: int, first: int) -> None:
        self.last = np.full(calls, first, np.int64)
        "[calls] the newest value"

    def step(self, of: Grouped, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """New values[n], each call's in their order; those before them: i64[n]."""
        before = np.empty(len(values), np.int64)
        before[1:] = values[:-1]
        before[of.begins] = self.last[of.calls]
        self.last[of.calls] = values[of.ends]
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
        "audio messages"
        self._unread_bytes = 0
        self._untold: list[bytes] = []
        "payloads of control messages that want no answer,"
        self._checked = 0
        "and how many of them have been checked"
        self._frames = np.zeros(calls, np.int64)
        self._made_up = np.zeros(calls, np.int64)
        self._next_position = Before(calls, 0)
        self._misplaced = 0
        self._control: list[Mapping[str, Any]] = []
        self.on_audio: Callable[[NDArray[np.intp], NDArray[np.void]], None] | None = None
        "called (calls[n], records[n]) for what comes at once, in its order"
        self.on_frames: Callable[[NDArray[np.intp], Frames], None] | None = None
        "called (calls[n], frames) for many messages: grouped by call, and each call's in their order"
        self.on_message: Callable[[bytes], None] = lambda data: None
        "called with each control message,"
        self.on_count: Callable[[int], None] = lambda frames: None
        "and with how many frames there are in others, as they come"
        self.on_records: Callable[[bytes], None] = lambda records: None
        "called with whole frames, for many messages, in the order in which they came,"
        self.on_heads: Callable[[bytes], None] = lambda heads: None
        "and with them without their samples"

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

    @property
    def control(self) -> list[Mapping[str, Any]]:
        """What the gateway has said, but for frames and what was answered."""
        if self._untold:
            self._control += msgspec.json.decode(b"[" + b",".join(self._untold) + b"]")
            self._checked, self._untold = 0, []
        return self._control

    def _check(self) -> None:
        """Control messages are JSON, and have a type."""
        msgspec.json.decode(b"[" + b",".join(self._untold[self._checked :]) + b"]", type=list[_Message])
        self._checked = len(self._untold)

    def take(self, message: bytes) -> None:
        """One whole message of the gateway's."""
        if message[4] == wire.AUDIO:
            self.take_audio(message, _COUNT.unpack_from(message, _COUNT_AT)[0])
            return
        self.on_message(message)
        payload = message[HEADER_BYTES:]
        if payload.startswith(ANSWERED):
            self._answer(wire.parse_control(payload))
        elif not payload.startswith(PONG):
            self._untold.append(payload)

    def take_audio(self, messages: bytes, frames: int) -> None:
        """Whole messages with so many frames."""
        self.on_count(frames)
        if self._echo:
            self.socket.inbox += messages
        self._unread.append(messages)
        self._unread_bytes += len(messages)
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

    def read(self) -> None:
        """Look at all that has come."""
        unread, self._unread, self._unread_bytes = self._unread, [], 0
        if len(self._untold) > self._checked:
            self._check()
        alike: list[memoryview] = []
        before = 0
        for records, samples in itertools.chain.from_iterable(map(_records, unread)):
            if samples != before and alike:
                self._hear(Frames(b"".join(alike), before))
                alike = []
            alike.append(records)
            before = samples  # records of one message are of one length
        if alike:
            self._hear(Frames(b"".join(alike), before))

    def _hear(self, frames: Frames) -> None:
        """Frames of one length, in the order in which they came."""
        heads, samples = frames.heads, frames.samples
        self.on_records(frames.whole)
        self.on_heads(heads.tobytes())
        calls = self._index[heads["channel"] & 0xFFFF]
        assert calls.min() >= 0, "frames are of calls that it has"
        if self.on_audio is not None:
            self.on_audio(calls.astype(np.intp), frames.records())
        order = np.argsort(calls, kind="stable")  # of 16 bits: by their digits, in no time
        calls, grouped = calls[order].astype(np.intp), frames.part(order)
        of = Grouped(calls)
        self._frames[of.calls] += of.counts
        made_up = (grouped.heads["flags"] & MADE_UP) > 0
        self._made_up += np.bincount(calls[made_up], minlength=len(self._frames))
        ends = grouped.heads["position"].astype(np.int64) + samples
        before = self._next_position.step(of, ends)
        self._misplaced += int(np.count_nonzero(ends - samples != before))
        if self.on_frames is not None:
            self.on_frames(calls, grouped)

    def say(self, kind: str, **fields: Any) -> None:
        """A control message."""
        self.socket.inbox += wire.control_message(kind, **fields)

    def speak(self, calls: NDArray[np.intp], pcm: NDArray[np.int16]) -> None:
        """One record of pcm[n, samples] for each call."""
        channels = np.array(list(self.channels), np.uint32)[calls]
        nothing = np.zeros(len(calls), np.int64)
        for message in wire.audio_messages(channels, nothing, nothing.astype(np.uint16), pcm):
            self.socket.inbox += message


class Frames:
    """Records of one length."""

    def __init__(self, whole: bytes, samples: int) -> None:
        """`whole` are records of so many samples, in the order in which they came."""
        self.samples, self.whole = samples, whole
        self._records = np.frombuffer(whole, wire.record_dtype(samples))
        self._which: NDArray[np.intp] | None = None
        "which of these they are; None: all"
        size = self._records.itemsize
        heads = np.frombuffer(whole, np.uint8).reshape(-1, size)[:, : RECORD_HEAD.itemsize]
        self.heads = np.ascontiguousarray(heads).view(RECORD_HEAD)[:, 0]
        "records without their samples"

    def part(self, which: NDArray[np.intp]) -> Frames:
        """Some of them, in this order."""
        part = copy.copy(self)
        part._which = which if self._which is None else self._which[which]
        part.heads = self.heads[which]
        return part

    def tails(self, samples: int) -> NDArray[np.int16]:
        """The last samples of each, [n, samples]."""
        tails = self._records["pcm"][:, -samples:]
        return tails if self._which is None else tails[self._which]

    def records(self) -> NDArray[np.void]:
        """All of them, copied."""
        return self._records.copy() if self._which is None else self._records[self._which]


def _records(messages: bytes) -> Iterator[tuple[memoryview, int]]:
    """Records of each of these audio messages, and how many samples each record has."""
    at, end, view = 0, len(messages), memoryview(messages)
    while at < end:
        size, samples, count = _AUDIO_HEAD.unpack_from(messages, at)
        begin, at = at + HEADER_BYTES + AUDIO_HEADER_BYTES, at + HEADER_BYTES + size
        assert at - begin == count * (RECORD_HEAD.itemsize + 2 * samples), "a message says how many records it has"
        yield view[begin:at], samples
    assert at == end, "messages are whole"
