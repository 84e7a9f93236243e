# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiled or not, what agents say leaves the same queues, packets, counters and messages behind."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import operator
import os
import socket
import time
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from unittest import mock

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from support.media_rig import MS, RecordingLink, Reply, running, start_message
from trunkline.agent_bridge import wire
from trunkline.agent_bridge.link_events import Audio
from trunkline.agent_bridge.reassembly import ProtocolViolation
from trunkline.agent_bridge.wire import record_dtype
from trunkline.codecs import compiled as of_codecs
from trunkline.codecs.compiled import Kernel
from trunkline.gateway.media import agent_speech, compiled
from trunkline.gateway.media.agent_speech import MOST_LEFT
from trunkline.gateway.media.agents import AgentLinks
from trunkline.gateway.media.columns import ROW_FIELDS, WORKER_FIELDS, Columns
from trunkline.gateway.media.control import StartStream
from trunkline.gateway.media.downlink import Downlink, PacketSink
from trunkline.gateway.media.playback import Playback
from trunkline.gateway.media.table import Stream, Table
from trunkline.gateway.media.udp import UdpSockets
from trunkline.rtp.outcomes import Drop

needs_kernels = pytest.mark.skipif(compiled.native is None, reason="nothing is compiled")

QUEUE_MS = 3000
"Unless said otherwise: what a queue would hold by default is a lot of memory for each example."
KINDS: tuple[dict[str, object], ...] = (
    {"rate_hz": 16000},
    {"rate_hz": 16000},
    {"rate_hz": 16000, "queue_ms": 120},
    {"rate_hz": 8000, "codec": "PCMA", "queue_ms": 400},
    {"rate_hz": 16000, "ptime_ms": 30},
    {"rate_hz": 16000, "codec": "G722"},
    {"rate_hz": 24000, "codec": "G722"},  # rates that are no multiples of each other
    {"rate_hz": 8000, "codec": "L16/16000"},
    {"rate_hz": 48000, "queue_ms": 200},
)
"What calls may have."
CODECS = ("PCMU", "PCMA", "G722", "L16/8000", "L16/16000")
PTIMES_MS = (10, 20, 30, 40)
"What a re-INVITE may make of any of them."
LINK = 3
UNHEARD = ("call_id", "generation", "rx_base_delay_ns")
ABSENT = len(KINDS)
"Stands for a channel that nobody has."


class Rig:
    """Agents on one connection, and callers; `native` or not."""

    def __init__(self, messages: Sequence[StartStream], native: object, *, send_silence: bool = True) -> None:
        self.now_ns = 1_000_000_000_000
        self.sent: dict[int, list[bytes]] = {}
        self.posted: list[object] = []
        self.refused: set[int] = set()
        with mock.patch.object(compiled, "native", native):
            self.table = Table(Columns(len(messages) + 1))
            self.downlink = Downlink(self.table, self.sink(), send_silence=send_silence)
            self.playback = Playback(self.table, self.downlink, self.posted.append)
            self.agents = AgentLinks(
                self.table, self.playback, mock.Mock(), lambda: self.now_ns, self.posted.append
            )
        self.messages = messages
        self.links: list[RecordingLink] = []
        "of all calls that ever were"
        self.streams = [self.call(message) for message in messages]
        self.downlink.pace._rng = SimpleNamespace(random=lambda: 0.0)  # type: ignore[assignment]

    def sink(self) -> PacketSink:
        """What takes packets."""
        return self

    def call(self, message: StartStream) -> Stream:
        """A call begins, and its agent has accepted it."""
        stream = running(self.table, message, self.now_ns)
        self.links.append(stream.link)  # type: ignore[arg-type]
        self.agents._index_of_row[stream.row] = LINK
        self.agents._speaks[stream.row] = True
        self.downlink.begin(stream.row, self.now_ns)
        return stream

    def send(
        self, rows: NDArray[np.intp], packets: NDArray[np.uint8], lengths: NDArray[np.int32] | None = None
    ) -> NDArray[np.bool_]:
        """Be the sockets."""
        assert lengths is None
        for row, packet in zip(rows.tolist(), packets, strict=True):
            if row not in self.refused:
                self.sent.setdefault(row, []).append(packet.tobytes())
        return ~np.isin(rows, list(self.refused))

    def say(self, said: Say, at: int) -> None:
        """What came in one read, to an address so far from a good one."""
        self.say_run(said.run(self, at))

    def say_run(self, run: list[Audio]) -> None:
        """The same as messages."""
        self.agents._audio(SimpleNamespace(index=LINK), run, self.now_ns)  # type: ignore[arg-type]

    def advance(self) -> None:
        """What a tick does."""
        self.downlink.advance(self.now_ns)
        if len(self.downlink.sent_rows):
            self.downlink.count_delays(0)

    def do(self, step: Step) -> None:
        """Anything else."""
        stream = self.streams[step.row]
        match step.what:
            case "run":
                for _ in range(step.n):
                    self.now_ns += 5 * MS
                    self.advance()
            case "stall":
                self.now_ns += step.n * 20 * MS
                self.advance()
            case "clear":
                self.playback.clear(stream, "x")
            case "pause":
                self.playback.pause(stream, paused=step.n % 2 == 0)
            case "hold":
                self.table.sending[step.row] = step.n % 2 == 0
            case "mute":
                self.table.mute(step.row, uplink=False, downlink=step.n % 2 == 0)
            case "mark":
                self.playback.mark(stream, "m")
            case "caller":
                self.playback.ledger.speech(stream, step.n % 2 == 0, 0, self.now_ns)
            case "refuse":
                (self.refused.discard if step.n % 2 else self.refused.add)(step.row)
            case "unspoken":
                self.agents._speaks[step.row] = step.n % 2 == 0
            case "wait":
                self.downlink.prebuffer.wait_ns[step.row] = step.n * 10 * MS
                self.downlink.prebuffer._note_longer()
            case "pace":
                self.downlink.pace.want(np.array([step.row]), step.n - 5)
            case "digit":
                self.playback.send_digits(stream, "5", 60, 40)
            case "codec" | "ptime":
                codec, ptime_ms = stream.media.codec, stream.media.ptime_ms
                if step.what == "codec":
                    codec = CODECS[step.n % len(CODECS)]
                else:
                    ptime_ms = PTIMES_MS[step.n % len(PTIMES_MS)]
                self.table.apply(stream, dataclasses.replace(stream.media, codec=codec, ptime_ms=ptime_ms))
            case "again":
                self.again(stream, self.messages[step.n % len(self.messages)])
            case "orphan":
                self.playback.orphan(stream, discard=step.n % 2 == 0)
                self.agents._index_of_row[step.row] = -1
            case "successor":
                self.succeed(prebuffer_ms=step.n * 10 if step.n % 2 else None)

    def again(self, stream: Stream, message: StartStream) -> None:
        """The call is over, and its row has another one at once, of another kind."""
        self.playback.end(stream)
        self.table.release(stream)
        new = self.call(msgspec.structs.replace(message, info=stream.start.info))
        assert new.row == stream.row
        self.streams[stream.row] = new

    def succeed(self, prebuffer_ms: int | None) -> None:
        """Whoever has lost its agent gets the next one."""
        for stream in self.streams:
            if self.agents._index_of_row[stream.row] != LINK:
                self.agents._index_of_row[stream.row] = LINK
                agent = msgspec.structs.replace(stream.start.agent, prebuffer_ms=prebuffer_ms)
                self.playback.agent_changed(stream.row, agent)

    def left(self) -> dict[str, object]:
        """All that must be the same; takes what is queued."""
        table, c = self.table, self.table.shared
        columns = {name: getattr(c, name).tolist() for name, _, _ in ROW_FIELDS if name not in UNHEARD}
        columns |= {f"worker.{name}": getattr(c.worker, name).tolist() for name, _, _ in WORKER_FIELDS}
        names = ("last_sample", "queued_since_ns", "stopped_ns", "down_history", "loud_ns", "noise_due_ns")
        columns |= {name: getattr(table, name).tolist() for name in names}
        columns["echo"] = table.echo_dbov.round(2).tolist()
        columns["least"] = self.downlink.pace._least.tolist()
        columns["first"] = self.downlink.prebuffer.first_samples.tolist()
        prebuffer = self.downlink.prebuffer
        columns["wait"] = [column.tolist() for column in (prebuffer.wait_ns, *prebuffer.arrays)]
        columns["ledger"] = [self.playback.ledger._watched.tolist(), self.playback.ledger._target.tolist()]
        columns["deadline"] = self.downlink.next_due_ns
        columns["paused"] = self.playback._paused
        for stream in self.streams:
            queue = table.formats.at(stream.row).queue
            columns[f"queue {stream.row}"] = queue.take_all(stream.row).tolist()
        for queue in {fmt.queue for fmt in table.formats.list}:
            assert queue._levels[:2].tolist() == [len(queue._pool), len(queue.count) * queue.promised]
            assert np.array_equal(np.sort(queue._free), np.arange(len(queue._pool)))
        return columns

    def told(self) -> list[list[Reply]]:
        """What agents were told, call by call."""
        return [link.said for link in self.links]


class Sockets:
    """UDP on loopback: one for each row, and one that all of them send to."""

    def __init__(self, rows: int) -> None:
        self.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.peer.bind(("127.0.0.1", 0))
        self.ours = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(rows)]
        for sock in self.ours:
            sock.bind(("127.0.0.1", 0))
        self._row_of = {sock.getsockname(): row for row, sock in enumerate(self.ours)}
        self.no_socket = os.open(os.devnull, os.O_RDWR)
        "a descriptor at which every packet is refused"

    def received(self) -> Iterator[tuple[int, bytes]]:
        """All that has come, and from which row."""
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, source = self.peer.recvfrom(2048)
                yield self._row_of[source], packet


@functools.cache
def sockets() -> Sockets:
    """For all rigs there ever are."""
    return Sockets(len(KINDS) + 1)


class Watched:
    """Sockets; sometimes somebody wants to see what goes there."""

    def __init__(self, sockets: UdpSockets) -> None:
        self._sockets = sockets
        self.by_somebody = False

    @property
    def compiled_send(self) -> Kernel | None:
        return None if self.by_somebody else self._sockets.compiled_send

    def send(
        self, rows: NDArray[np.intp], packets: NDArray[np.uint8], lengths: NDArray[np.int32] | None = None
    ) -> NDArray[np.bool_]:
        return self._sockets.send(rows, packets, lengths)


class ShortRig(Rig):
    """One whose kernels run each other: from what was read of the connection, and down to the sockets."""

    def sink(self) -> PacketSink:
        self.watched = Watched(UdpSockets(self.table))
        return self.watched

    def call(self, message: StartStream) -> Stream:
        stream = super().call(message)
        stream.remote = sockets().peer.getsockname()
        self.table.rtp_fd[stream.row] = sockets().ours[stream.row].fileno()
        return stream

    def say(self, said: Say, at: int) -> None:
        """A read that ends with so many bytes of another message."""
        run = said.run(self)
        data = b"".join(message_of(audio) for audio in run)
        read, size = bytearray(data + message_of(run[0])[:at] + b"what was read before"), len(data) + at
        link = SimpleNamespace(index=LINK)
        taken = self.agents._take_speech(link, read, size, self.now_ns)  # type: ignore[arg-type]
        assert taken in (0, len(data))
        if not taken:  # the pool might not have room for all of it
            self.say_run(run)
        assert not self.agents.speech.left and not self.agents.speech.long

    def advance(self) -> None:
        super().advance()
        for row, packet in sockets().received():
            self.sent.setdefault(row, []).append(packet)

    def do(self, step: Step) -> None:
        super().do(step)
        if step.what == "watch":
            self.watched.by_somebody = step.n % 2 == 0
        for row in range(len(self.streams)):
            refused = row in self.refused
            self.table.rtp_fd[row] = sockets().no_socket if refused else sockets().ours[row].fileno()


def message_of(audio: Audio) -> bytes:
    """An audio message of these records."""
    zero = np.zeros(len(audio.channels), np.uint16)
    return b"".join(wire.audio_messages(audio.channels, zero.astype(np.int64), zero, audio.pcm))


@dataclasses.dataclass(frozen=True)
class Step:
    """Something happens."""

    what: str
    row: int = 0
    n: int = 0


@dataclasses.dataclass(frozen=True)
class Say:
    """A run of messages: who speaks in each, how many samples, how loud."""

    messages: tuple[tuple[tuple[int, ...], int, int], ...]

    def run(self, rig: Rig, at: int = 0) -> list[Audio]:
        """As the connection has it: views of what was read, that begin at any address."""
        out = []
        for rows, samples, loud in self.messages:
            dtype = record_dtype(samples)
            data = bytearray(len(rows) * dtype.itemsize + at)
            records = np.frombuffer(data, dtype, len(rows), at)
            channels = [rig.streams[row].channel if row < ABSENT else 0x7FFF_FFF0 for row in rows]
            records["channel"] = channels
            wave = np.sin(np.arange(len(rows) * samples) * 0.2) * loud
            records["pcm"] = wave.reshape(len(rows), samples).astype(np.int16)
            out.append(Audio(records["channel"], records["pcm"]))
        return out


lengths = st.one_of(st.sampled_from([160, 320, 480, 640, 960]), st.integers(1, 2500))
message = st.tuples(
    st.lists(st.integers(0, ABSENT), min_size=1, max_size=14).map(tuple), lengths, st.sampled_from([0, 50, 9000])
)
everybody = st.tuples(st.just(tuple(range(ABSENT))), st.just(320), st.sampled_from([0, 9000]))
says = st.builds(Say, st.lists(st.one_of(message, everybody), min_size=1, max_size=4).map(tuple))
others = st.builds(
    Step,
    st.sampled_from(
        ["run", "run", "run", "run", "caller", "caller", "stall", "clear", "pause", "hold", "mute", "mark"]
        + ["refuse", "unspoken", "wait", "watch", "pace", "digit", "codec", "ptime", "again", "orphan", "successor"]
    ),
    st.integers(0, ABSENT - 1),
    st.integers(1, 12),
)
TALK = [Say(((tuple(range(ABSENT)), 960, 9000),)), Step("run", 0, 6)]
HELD_BACK = [
    *TALK, Step("stall", 0, 12), Step("stall", 0, 12), Step("stall", 0, 12), Step("pause", 0, 2),
    Say((((0,), 320, 9000), ((0,), 320, 9000))), Step("wait", 0, 12), Step("run", 0, 4),
    Say((((0,), 2240, 9000),)), Step("pause", 0, 1), Step("run", 0, 12),
]  # fmt: skip
"One that learns to wait while its speech may not begin: what came first of it is known all the same."
PACED = [
    *(Step("pace", row, 4 + 2 * (row % 2)) for row in range(ABSENT)),
    Say(((tuple(range(ABSENT)), 1920, 9000), (tuple(range(ABSENT)), 1920, 50))), Step("run", 0, 12), *TALK,
]  # fmt: skip
"Quiet blocks come twice or go: none of them is the next one when this begins."
WAITS = [Step("wait", 0, 6), *TALK, Step("run", 0, 12), *TALK, Step("run", 0, 3), *TALK]
"One that waits, runs dry and goes on: what it would have needed is seen when it speaks."


@needs_kernels
@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(says, others), min_size=1, max_size=40),
    st.integers(0, 3),
    st.sampled_from([True, True, False]),
)
@example(TALK * 4 + [Step("run", 0, 12)] * 6, 0, True)
@example(TALK * 4 + [Step("refuse", 1, 2)] + TALK * 4, 1, True)
@example(TALK + [Step("caller", 0, 2), Step("caller", 0, 1), Step("run", 0, 12)] + TALK, 2, True)
@example(TALK + [Step("codec", 0, 2), Step("ptime", 0, 2), *TALK, Step("ptime", 1, 3)] + TALK, 3, True)
@example(TALK + [Step("again", 0, 3), *TALK, Step("again", 3, 6), Step("codec", 3, 4)] + TALK, 1, False)
@example(TALK + [Step("orphan", 0, 1), Step("orphan", 1, 2), *TALK, Step("successor", 0, 9)] + TALK, 2, True)
@example(HELD_BACK, 0, True)
@example([*TALK, *PACED, Step("pause", 2, 2), *PACED, Step("run", 0, 12)], 0, True)
@example(WAITS, 0, True)
@example(TALK + [Step("watch", 0, 2), Step("refuse", 1, 2), *TALK, Step("watch", 0, 1)] + TALK * 2, 0, True)
def test_both_ways_leave_the_same_behind(steps: list[Say | Step], at: int, send_silence: bool) -> None:
    """Any speech in any pieces, for calls of all formats, with all that may happen to them."""
    messages = [start_message(**{"queue_ms": QUEUE_MS} | kind) for kind in KINDS]  # type: ignore[arg-type]
    rigs = [
        ShortRig(messages, compiled.native, send_silence=send_silence),
        Rig(messages, compiled.native, send_silence=send_silence),
        Rig(messages, None, send_silence=send_silence),
    ]
    for step in steps:
        for rig in rigs:
            if isinstance(step, Say):
                rig.say(step, at)
            else:
                rig.do(step)
    *compiled_ones, long = rigs
    by_call = operator.attrgetter("call_id")  # the order of rows is nobody's business
    wanted = long.left()
    for short in compiled_ones:
        assert short.sent == long.sent
        assert short.told() == long.told()
        assert sorted(short.posted, key=by_call) == sorted(long.posted, key=by_call)
        left = short.left()
        assert {name: left[name] for name in left if left[name] != wanted[name]} == {}


@needs_kernels
@pytest.mark.parametrize("kind", [Rig, ShortRig])
def test_the_usual_case_takes_the_short_way(monkeypatch: pytest.MonkeyPatch, kind: type[Rig]) -> None:
    """Speech and silence of all calls whose rates allow it reach the sockets without the code for other cases."""
    messages = [start_message(**each) for each in KINDS if each["rate_hz"] != 24000]  # type: ignore[arg-type]
    rig = kind(messages, compiled.native)
    speakers = (0, 1, 3, 4, 5)  # the others say nothing, ever
    rig.say(Say(((speakers, 1600, 9000),)), 0)
    rig.do(Step("run", 0, 8))  # talkspurts begin
    before = {row: len(packets) for row, packets in rig.sent.items()}
    for name in ("push", "_send_due"):
        monkeypatch.setattr(rig.downlink, name, None)
    for _ in range(6):
        rig.say(Say(((speakers, 320, 9000),)), 0)
        rig.do(Step("run", 0, 4))
    sent = [len(packets) - before[row] for row, packets in sorted(rig.sent.items())]
    assert sent == [6, 6, 6, 6, 4, 6, 6, 6]
    assert rig.table.shared.frames_played[[2, 6]].tolist() == [0, 0]


@needs_kernels
def test_who_waits_for_a_quiet_block_takes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every packet of theirs is looked at, and those that are loud go with all others."""
    rig = ShortRig([start_message(**kind) for kind in KINDS[:2]], compiled.native)  # type: ignore[arg-type]
    rig.say(Say((((0, 1), 3200, 9000),)), 0)
    rig.do(Step("run", 0, 8))
    rig.downlink.pace.want(np.array([0, 1]), np.array([1, -1]))
    long_way = mock.Mock(wraps=rig.downlink._send_due)
    monkeypatch.setattr(rig.downlink, "_send_due", long_way)
    rig.do(Step("run", 0, 12))
    assert not long_way.called
    rig.say(Say((((0, 1), 960, 50),)), 0)
    rig.do(Step("run", 0, 40))
    c = rig.table.shared
    assert [call.args[1].tolist() for call in long_way.call_args_list[:1]] == [[0, 1]]
    assert (c.frames_left_out[:2].tolist(), c.frames_repeated[:2].tolist()) == ([1, 0], [0, 1])
    assert c.down_position[:2].tolist() == [4160, 4160]


@needs_kernels
def test_a_usual_tick_is_two_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of G.711, in two encodings and packet times: one for what was read, one for all packets that are due."""
    kinds = (KINDS[0], KINDS[0], KINDS[3], KINDS[4])
    messages = [start_message(**{"queue_ms": QUEUE_MS} | kind) for kind in kinds]  # type: ignore[arg-type]
    rig = ShortRig(messages, compiled.native)
    speakers = tuple(range(len(kinds)))
    rig.say(Say(((speakers, 1600, 9000),)), 0)
    rig.do(Step("run", 0, 8))
    before = rig.table.shared.frames_played.copy()
    rounds, speech = rig.downlink.packet_round, rig.agents.speech
    for stage, names in (
        (rounds, ["_finish", "_bind"]), (rig.downlink, ["_advance_rest"]), (rig.agents, ["_audio", "_push"]),
        (speech, ["take", "settle", "_finish_read", "_bind_all"]), (rig.playback, ["_on_sent"]),
    ):  # fmt: skip
        for name in names:
            monkeypatch.setattr(stage, name, None)
    for _ in range(12):
        rig.say(Say((((0, 1, 3), 320, 9000), ((2,), 160, 9000))), 0)
        rig.do(Step("run", 0, 4))
    assert (rig.table.shared.frames_played - before).tolist() == [12, 12, 12, 8, 0]


@needs_kernels
def test_whoever_waits_takes_the_short_way_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that learned to wait, and those with them: nothing of what they say is read again."""
    rig = ShortRig([start_message(rate_hz=16000, queue_ms=QUEUE_MS) for _ in range(4)], compiled.native)
    for row in (1, 3):
        rig.do(Step("wait", row, 6))
    everybody = Say((((0, 1, 2, 3), 320, 9000),))
    for name in ("_audio", "_push"):
        monkeypatch.setattr(rig.agents, name, None)
    monkeypatch.setattr(rig.agents.speech, "_finish_read", None)
    for _ in range(4):
        rig.say(everybody, 0)
    queue = rig.table.formats.at(0).queue
    assert queue.queued_samples(np.arange(4)).tolist() == [1280] * 4


def records(samples: int, rows: int = 1) -> tuple[NDArray[np.uint32], NDArray[np.int16]]:
    return np.zeros(rows, np.uint32), np.zeros((rows, samples), np.int16)


def leading_audio(data: bytes) -> int:
    """Bytes of the whole messages of audio at the beginning, by the code that reads them everywhere else."""
    at = 0
    with contextlib.suppress(ProtocolViolation):
        for kind, payload in wire.reassembler().messages(data):
            if kind != wire.AUDIO:
                break
            wire.parse_audio(payload)
            at += 8 + len(payload)
    return at


@needs_kernels
@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 90)), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 1 << 12), st.integers(0, 255)), max_size=3),
    st.integers(0, 1 << 12),
)
@example([(1, 80)], [(3, 255)], 0)  # 4 GiB
@example([(1, 80)], [(12, 255), (13, 255), (14, 255), (15, 255)], 0)  # as many records
@example([(1, 80), (2, 80)], [], 1)
@example([(1, 80), (2, 80)], [(4, 1)], 0)
def test_of_a_read_only_whole_and_right_messages_are_taken(
    messages: list[tuple[int, int]], changes: list[tuple[int, int]], cut: int
) -> None:
    """Whatever an agent writes: the kernel takes as much of it as Python would, and from nowhere else."""
    rig = Rig([start_message(rate_hz=16000, queue_ms=QUEUE_MS)], compiled.native)
    channels = np.full(3, rig.streams[0].channel, np.uint32)
    pcm = np.arange(300, dtype=np.int16).reshape(3, 100)
    data = bytearray()
    for count, samples in messages:
        data += message_of(Audio(channels[:count], pcm[:count, :samples]))
    size = len(data) - cut % len(data)
    for place, value in changes:
        data[place % len(data)] = value
    link = SimpleNamespace(index=LINK)
    taken = rig.agents._take_speech(link, data, size, rig.now_ns)  # type: ignore[arg-type]
    assert taken == leading_audio(bytes(data[:size]))


@needs_kernels
def test_a_read_of_many_tiny_records_is_taken_in_parts() -> None:
    """There is room for so many findings; what is behind them is for the next tick."""
    rig = Rig([start_message(rate_hz=16000)], compiled.native)
    one = message_of(Audio(np.full(100, rig.streams[0].channel, np.uint32), np.ones((100, 1), np.int16)))
    assert taken_in_parts(rig, one * 90) == [-81 * len(one), 9 * len(one)]  # 8,192 records
    assert rig.table.formats.at(0).queue.queued_samples(np.array([0])).tolist() == [9000]
    too_many = message_of(Audio(np.full(8193, rig.streams[0].channel, np.uint32), np.ones((8193, 1), np.int16)))
    assert taken_in_parts(rig, one + too_many) == [-len(one), 0]


@needs_kernels
def test_of_a_read_so_many_messages_are_left_and_the_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python reads only those, each once; what other calls say is taken by the kernel, in the same message even."""
    kinds = *KINDS[2:5], *[KINDS[2]] * 20  # who have room
    rig = Rig([start_message(**kind) for kind in kinds], compiled.native)  # type: ignore[arg-type]
    full, other, third = (np.array([stream.channel], np.uint32) for stream in rig.streams[:3])
    parse = mock.Mock(wraps=wire.parse_audio)
    monkeypatch.setattr(agent_speech, "parse_audio", parse)
    both = np.concatenate([full, other, full])
    said = [Audio(full, np.ones((1, 2239), np.int16))]  # no more fits
    for i in range(3 * MOST_LEFT // 2):
        said.append(Audio(other, np.array([[i]], np.int16)))
        said.append(Audio(both, np.full((3, 1), i, np.int16)))
        said.append(Audio(third, np.array([[i]], np.int16)))
    data = [message_of(audio) for audio in said]
    taken, parsed, n = taken_in_parts(rig, b"".join(data)), parse.call_count, 3 * MOST_LEFT
    assert taken == [-sum(map(len, data[:n])), sum(map(len, data[n:]))]
    assert parsed == MOST_LEFT  # two blocks are dropped, and there is room for less than one
    queues = [rig.table.formats.at(row).queue for row in range(3)]
    count = range(3 * MOST_LEFT // 2)
    twice = [i for i in count for _ in range(2)]
    assert queues[1].take_all(1).tolist() == twice
    assert queues[2].take_all(2).tolist() == list(count)
    assert queues[0].take_all(0).tolist() == [1] * 1920 + twice[640 - 319 :]
    assert rig.table.shared.drops[0, Drop.AGENT_OVERFLOW] == 2


def taken_in_parts(rig: Rig, data: bytes) -> list[int]:
    """What was taken in each tick until nothing was left for the next."""
    link, rest, taken = SimpleNamespace(index=LINK), memoryview(bytearray(data)), []
    while not taken or taken[-1] < 0:
        taken.append(rig.agents._take_speech(link, rest, len(rest), rig.now_ns))  # type: ignore[arg-type]
        rest = rest[-taken[-1] :]
        rig.now_ns += 5 * MS
    return taken


@needs_kernels
def test_delays_are_counted_where_packets_leave() -> None:
    """With the clock of the machine, once for each packet, those of silent calls too."""
    rig = ShortRig([start_message(rate_hz=16000) for _ in range(3)], compiled.native)
    rig.downlink.packet_round._monotonic = True
    rig.table.shared.tx_due_ns[:3] = rig.now_ns = time.monotonic_ns()
    rig.downlink.next_due_ns = 0
    before = int(rig.table.shared.worker.downlink_delay.sum())
    rig.downlink.advance(rig.now_ns)
    assert not len(rig.downlink.sent_rows)
    assert rig.table.shared.downlink_delay.sum(axis=1).tolist() == [1, 1, 1, 0]
    assert rig.table.shared.worker.downlink_delay.sum() - before == 3
    rig.refused.add(1)
    rig.do(Step("mark"))  # whatever sets descriptors
    rig.downlink.advance(rig.now_ns + 20 * MS)
    assert rig.downlink.sent_rows.tolist() == [0, 1, 2]


@needs_kernels
def test_kernels_run_those_they_were_given_and_no_others() -> None:
    """What is bound to be run is checked when it is bound, and stays alive."""
    table = Table(Columns(2))
    due = compiled.native.bind("due", table.shared.send, 0)
    for wrong in ((due,), (object(),), (of_codecs.native.bind("level"),), due):
        with pytest.raises(TypeError, match='tuple of kernels "said"'):
            compiled.native.bind("said_in", wrong)


@needs_kernels
def test_arrays_that_do_not_go_together_are_refused() -> None:
    """A mistake of ours is an exception, whatever lies behind the end of an array."""
    rig = Rig([start_message(rate_hz=16000)], compiled.native)
    rig.say(Say((((0,), 320, 0),)), 0)
    said = rig.agents.speech._kernels[0]
    channel, pcm = records(320, 2)
    short, room = np.zeros(1, np.int64), np.zeros(2, np.int64)
    with pytest.raises(ValueError, match="do not go together"):
        said(LINK, 1, 0, 0, channel, pcm, short, room, room, room)
    with pytest.raises(ValueError, match="do not go together"):
        said(LINK, 1, 0, 0, channel, pcm[:1], room, room, room, room)
    rig.do(Step("run", 0, 8))
    speak = rig.downlink._speaking._kernels[0]
    assert speak is not None
    rows, none, opens = np.zeros(2, np.intp), np.zeros((0, 0), np.int16), np.zeros(2, bool)
    with pytest.raises(ValueError, match="do not go together"):
        speak(rows, 0, np.zeros((2, 171), np.uint8), none, room, room, opens, room)
    with pytest.raises(ValueError, match="do not go together"):
        speak(rows, 0, np.zeros((1, 200), np.uint8), none, room, room, opens, room)
    with pytest.raises(IndexError):
        speak(rows + 99, 0, np.zeros((2, 200), np.uint8), none, room, room, opens, room)


@needs_kernels
def test_a_round_of_what_does_not_go_together_is_refused() -> None:
    """Counts beyond the end of an array, kernels that are missing, rows that are not there."""
    rig = ShortRig([start_message(rate_hz=16000)], compiled.native)
    rig.do(Step("run", 0, 8))
    packets = rig.downlink.packet_round
    play, leave = packets._play, packets._leave
    assert play is not None
    assert leave is not None
    running, now_ns = rig.table.running, rig.now_ns
    with pytest.raises(IndexError):
        play(running + 99, now_ns, True, False)
    for place, count in ((0, 99), (6, 99), (6, -1)):  # how many are due, and what was made of the first format
        packets._notes[:] = 0
        packets._notes[place] = count
        with pytest.raises(ValueError, match="do not go together"):
            leave(running, now_ns, False)
    packets._notes[:] = 0
    assert leave(running, now_ns, False) == rig.table.shared.tx_due_ns[0]
    bound = packets._packets, np.array([172], np.int32), packets._made, packets._samples
    rest = packets._sent, packets._notes, packets._due, packets._late_ns
    nothing = compiled.native.bind("leave", (), (), (), (), *bound, *rest)
    with pytest.raises(ValueError, match="do not go together"):
        nothing(running, now_ns, False)


@needs_kernels
def test_reads_are_refused_whose_notes_have_no_room() -> None:
    """Bytes that are not there, columns too short; a format that no kernel is for is nobody's."""
    rig = ShortRig([start_message(rate_hz=16000)], compiled.native)
    said = Say((((0,), 320, 0),))
    rig.say(said, 0)
    speech, data, queue = rig.agents.speech, message_of(*said.run(rig)), rig.table.formats.at(0).queue
    good = {
        "said": tuple(speech._kernels), "of_row": rig.table.formats.of_row, "said_of": np.zeros(1, np.int64),
        "marked": np.zeros(1, np.uint8), "left": speech._read, "places": np.zeros((1, 3), np.int64),
        "notes": np.zeros(5, np.int64),
    }  # fmt: skip

    def take(size: int, **changes: object) -> int:
        bound = [part for name, it in (good | changes).items() for part in (it if name == "left" else [it])]
        return int(compiled.native.bind("said_in", *bound)(LINK, 99, 0, rig.now_ns, bytearray(data), size))

    for size, changes in (
        (len(data) + 1, {}), (-1, {}), (len(data), {"notes": np.zeros(4, np.int64)}),
        (len(data), {"places": np.zeros((0, 3), np.int64)}), (len(data), {"places": np.zeros((1, 2), np.int64)}),
        (len(data), {"marked": np.zeros(0, np.uint8)}),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="fewer bytes"):
            take(size, **changes)
    for changes in (
        {"said_of": np.array([1])}, {"said_of": np.array([-1])}, {"said_of": np.zeros(0, np.int64)},
        {"of_row": np.array([-1, 0], np.int16)}, {"of_row": np.array([9, 0], np.int16)},
        {"of_row": np.zeros(0, np.int16)},
    ):  # fmt: skip
        assert take(len(data), **changes) == len(data)
    assert queue.queued_samples(np.array([0])).tolist() == [320]
    assert take(len(data)) == len(data)
    assert queue.queued_samples(np.array([0])).tolist() == [640]
