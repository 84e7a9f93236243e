# SPDX-License-Identifier: GPL-2.0-or-later
"""An agent without a socket: the far end of a real `Link`, in memory and in virtual time."""

from __future__ import annotations

import copy
import errno
import itertools
import select
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from trunkline.agent_bridge import wire
from trunkline.agent_bridge.dialect import FLAG_COMFORT_NOISE, FLAG_CONCEALED, FLAG_GAP

FD = 1000
HEADER_BYTES, AUDIO_HEADER_BYTES = 8, 8
UNREAD_BYTES = 1 << 20
"Small enough for the caches of a core."
RECORD_HEAD = np.dtype(wire.record_dtype(1).descr[:-1])
_SIZE = _COUNT = struct.Struct("<I")
_COUNT_AT = HEADER_BYTES + 4
ANSWERED = tuple(b'{"type":"%s"' % kind for kind in (b"hello", b"start", b"ping"))
PONG = b'{"type":"pong"'
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
        agent = self._agent  # a link hands out whole messages, and an outbox keeps them whole
        for piece in pieces:
            if piece[4] != wire.AUDIO:
                for message in pieces:
                    agent.take(bytes(message))
                return sum(len(message) for message in pieces)
        data = b"".join(pieces)  # its memory is the gateway's
        agent.take_audio(data)
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
        "audio messages"
        self._unread_bytes = 0
        self._untold: list[bytes] = []
        "payloads of control messages that want no answer"
        self._frames = np.zeros(calls, np.int64)
        self._made_up = np.zeros(calls, np.int64)
        self._next_position = Before(calls, 0)
        self._misplaced = 0
        self._control: list[Mapping[str, Any]] = []
        self.on_audio: Callable[[NDArray[np.intp], NDArray[np.void]], None] | None = None
        "called (calls[n], records[n]) for what comes at once, in its order"
        self.on_frames: Callable[[NDArray[np.intp], Frames], None] | None = None
        "called (calls[n], frames) for many messages: grouped by call, and each call's in their order"
        self.on_message: Callable[[bytes, bool], None] = lambda data, audio: None
        "called with each control message, and with audio messages, as they come"
        self.on_heads: Callable[[bytes], None] = lambda heads: None
        "called with frames without their samples, in the order in which they came"

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
            messages = msgspec.json.decode(b"[" + b",".join(self._untold) + b"]")
            assert all(isinstance(message["type"], str) for message in messages)
            self._control += messages
            self._untold = []
        return self._control

    def take(self, message: bytes) -> None:
        """One whole message of the gateway's."""
        if message[4] == wire.AUDIO:
            self.take_audio(message)
            return
        self.on_message(message, False)
        payload = message[HEADER_BYTES:]
        if payload.startswith(ANSWERED):
            self._answer(wire.parse_control(payload))
        elif not payload.startswith(PONG):
            self._untold.append(payload)

    def take_audio(self, messages: bytes) -> None:
        """Whole messages with frames."""
        self.on_message(messages, True)
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
        data, self._unread, self._unread_bytes = b"".join(self._unread), [], 0
        if len(self._untold) > UNREAD_BYTES >> 10:
            assert self.control
        if not data:
            return
        starts = np.array(_begins(data), np.int64)
        samples, counts = _heads(data, starts)
        begins = np.flatnonzero(
            np.diff(samples, prepend=-1)
        ).tolist()  # records of one message are of one length
        for first, end in itertools.pairwise([*begins, len(starts)]):
            alike = Frames(data, starts[first:end], counts[first:end], int(samples[first]))
            self._hear(alike)

    def _hear(self, frames: Frames) -> None:
        """Frames of one length, in the order in which they came."""
        heads, samples = frames.heads, frames.samples
        self.on_heads(heads.tobytes())
        calls = self._index[heads["channel"] & 0xFFFF]
        if self.on_audio is not None:
            self.on_audio(calls.astype(np.intp), frames.records())
        order = np.argsort(calls, kind="stable")  # of 16 bits: by their digits, in no time
        calls, grouped = calls[order].astype(np.intp), frames.part(order)
        self._frames += np.bincount(calls, minlength=len(self._frames))
        made_up = (grouped.heads["flags"] & MADE_UP) > 0
        self._made_up += np.bincount(calls[made_up], minlength=len(self._frames))
        ends = grouped.heads["position"].astype(np.int64) + samples
        before = self._next_position.step(calls, ends)
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
    """Records of one length within bytes that came; their samples stay where they are until somebody asks."""

    def __init__(
        self, data: bytes, starts: NDArray[np.int64], counts: NDArray[np.int64], samples: int
    ) -> None:
        """`starts` is where audio messages begin in `data`, `counts` how many records they have."""
        self.samples = samples
        self._dtype = wire.record_dtype(samples)
        before = np.cumsum(counts) - counts
        place = np.arange(int(counts.sum())) - np.repeat(before, counts)
        self._data = np.frombuffer(data, np.uint8)
        self._at = (
            np.repeat(starts + HEADER_BYTES + AUDIO_HEADER_BYTES, counts) + place * self._dtype.itemsize
        )
        self.heads = self._bytes(0, RECORD_HEAD.itemsize).view(RECORD_HEAD)[:, 0]
        "records without their samples"

    def _bytes(self, offset: int, size: int) -> NDArray[np.uint8]:
        """So many bytes of each record, [n, size]."""
        return sliding_window_view(self._data, size)[self._at + offset]

    def part(self, which: NDArray[np.intp]) -> Frames:
        """Some of them, in this order."""
        part = copy.copy(self)
        part._at, part.heads = self._at[which], self.heads[which]
        return part

    def tails(self, samples: int) -> NDArray[np.int16]:
        """The last samples of each, [n, samples]."""
        return self._bytes(self._dtype.itemsize - 2 * samples, 2 * samples).view("<i2")

    def records(self) -> NDArray[np.void]:
        """All of them, copied."""
        return self._bytes(0, self._dtype.itemsize).view(self._dtype)[:, 0]


def frame_count(data: bytes) -> int:
    """Records in whole audio messages."""
    return sum(_COUNT.unpack_from(data, start + _COUNT_AT)[0] for start in _begins(data))


def _begins(data: bytes) -> list[int]:
    """Where each message begins."""
    starts, at, end = [], 0, len(data)
    size_at = _SIZE.unpack_from
    while at < end:
        starts.append(at)
        at += HEADER_BYTES + size_at(data, at)[0]
    assert at == end, "messages are whole"
    return starts


def _heads(data: bytes, starts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Samples of a record, and number of records, of each audio message."""
    head = sliding_window_view(np.frombuffer(data, np.uint8), AUDIO_HEADER_BYTES)[starts + HEADER_BYTES]
    samples, counts = head.view("<u2")[:, 0].astype(np.int64), head.view("<u4")[:, 1].astype(np.int64)
    sizes = np.diff(starts, append=len(data)) - HEADER_BYTES - AUDIO_HEADER_BYTES
    assert (sizes == counts * (RECORD_HEAD.itemsize + 2 * samples)).all(), (
        "a message says how many records it has"
    )
    return samples, counts
