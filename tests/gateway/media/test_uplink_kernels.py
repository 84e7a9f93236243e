# SPDX-License-Identifier: GPL-2.0-or-later
"""The uplink with its compiled kernels, all at once or step by step, and without: the same columns and frames."""

from __future__ import annotations

import contextlib
import itertools
import operator
import random
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import kernels
from support.media_rig import MS, start_message
from support.virtual_agent import MemoryPoller, MemorySocket, VirtualAgent
from trunkline.agent_bridge.wire import AudioMessage
from trunkline.codecs.registry import open_codec
from trunkline.gateway.media import agent_connecting, control, neural_voice
from trunkline.gateway.media.batch import PACKET_BYTES, Batch
from trunkline.gateway.media.columns import ROW_FIELDS, Columns
from trunkline.gateway.media.engine import Engine
from trunkline.gateway.media.table import Stream, Table
from trunkline.rtp.jitter import TargetParams
from trunkline.rtp.packet import Packet
from trunkline.rtp.payload import AUDIO_FORMATS

pytestmark = pytest.mark.skipif(not kernels.there, reason="no kernels were built")

PEER = ("192.0.2.1", 4000)
PACKET_MS = 20
CALLS: list[dict[str, Any]] = [
    {"codec": "PCMU"},
    {"codec": "PCMU", "agent": "other"},
    {"codec": "PCMA", "agent": "other"},
    {"codec": "L16/16000", "agent": "wide"},
    {"codec": "G722"},
    {"codec": "L16/44100"},
    {"codec": "PCMU", "agent": "slow"},
    {"codec": "PCMA", "turns": control.TurnParams(detector="off")},
    {"codec": "PCMU", "agent": "apart"},
    {"codec": "PCMU", "agent": "apart"},
    {"codec": "PCMU", "agent": "apart", "turns": control.TurnParams(withhold_silence=True)},
    {"codec": "PCMU", "agent": "apart", "rescue": control.RescueParams(replay_ms=200)},
    {
        "codec": "PCMU", "agent": "apart", "turns": control.TurnParams(withhold_silence=True),
        "rescue": control.RescueParams(replay_ms=400),
    },
    {"codec": "PCMU", "agent": "apart", "turns": control.TurnParams(detector="neural")},
]  # fmt: skip
"Codecs, agents, detectors; calls whose silence is withheld or whose audio is kept, beside others of the same agent."
APART = [i for i, call in enumerate(CALLS) if call.get("agent") == "apart"]
PLAIN, KEPT = APART[0], APART[3]
AGENTS = {"": (16000, 20), "other": (16000, 20), "wide": (48000, 20), "slow": (8000, 60), "apart": (24000, 20)}
"Rate and milliseconds of a frame."
LOCAL = (
    "seen", "lost_run", "held", "late_since_ns", "step", "late_counts", "late_weight", "noted_packets", "noted_ns",
    "up_history", "slip", "payload_ts", "ahead_from",
)  # fmt: skip
NEARLY = {"level_up_dbov": 1e-4, "quality": 1e-3}

ROUNDS = 60
kinds = st.sampled_from(
    ["lost", "twice", "swapped", "burst", "late", "ssrc", "leap", "pause", "marker", "short", "size"]
)
oddities = st.lists(st.tuples(st.integers(4, ROUNDS - 1), st.integers(0, len(CALLS) - 1), kinds), max_size=40)
wishes = st.lists(
    st.tuples(
        st.integers(4, ROUNDS - 1), st.sampled_from(APART[1:]), st.sampled_from(["mute", "unmute", "behind"])
    ),
    max_size=12,
)
talk = st.lists(st.sampled_from(["loud", "quiet", "silent"]), min_size=6, max_size=6)


class Network:
    """In place of the neural one."""

    def process_samples(self, samples: list[float]) -> float:
        return float(max(samples) > 0.01)

    def reset(self) -> None:
        """Nothing is kept."""


@pytest.fixture(autouse=True, scope="module")
def network() -> Iterator[None]:
    with mock.patch.multiple(neural_voice, available=lambda: True, _load=Network):
        yield


class Far:
    """A caller's telephone: its packets, whatever becomes of them on the way."""

    def __init__(self, row: int, codec: str) -> None:
        self.codec, self._rng = open_codec(codec, 1), np.random.default_rng(row)
        self._clock, self._pt = AUDIO_FORMATS[codec].clock_hz, 96 if codec.startswith("L16") else row % 90
        self._sequence, self._timestamp, self._ssrc = 65_530 - row, 2**32 - 3000 * (row + 1), row + 7
        self._phase = 0

    @property
    def payload_type(self) -> int:
        return self._pt

    def _next(self, loudness: str, ms: int = PACKET_MS, *, marker: bool = False) -> bytes:
        rate = self.codec.sample_rate_hz
        t = np.arange(self._phase, self._phase + rate * ms // 1000) / rate
        self._phase += len(t)
        peak = {"loud": 9000, "quiet": 60, "silent": 0}[loudness]
        sound = peak * np.sum([np.sin(2 * np.pi * 130 * k * t) / k for k in range(1, 9)], axis=0)
        sound += self._rng.normal(0, peak / 20, len(t))
        data, _ = self.codec.encode(np.zeros(1, np.intp), np.round(sound)[None].astype(np.int16))
        sequence, timestamp = self._sequence & 0xFFFF, self._timestamp & 0xFFFFFFFF
        packet = Packet(self._pt, sequence, timestamp, self._ssrc, data[0].tobytes(), marker=marker)
        self._sequence += 1
        self._timestamp += ms * self._clock // 1000
        return bytes(packet)

    def packets(self, kind: str, loudness: str) -> list[bytes]:
        """What arrives of one packet time or so."""
        match kind:
            case "lost":
                self._next(loudness)
                return []
            case "twice":
                return [self._next(loudness)] * 2
            case "swapped":
                first = self._next(loudness)
                return [self._next(loudness), first]
            case "burst":
                return [self._next(loudness) for _ in range(5)]
            case "late":
                return []
            case "ssrc":
                self._ssrc += 100
                return [self._next(loudness) for _ in range(3)]
            case "leap":
                self._timestamp += 10 * self._clock
            case "pause":
                self._timestamp += PACKET_MS * self._clock // 1000
                return []
            case "marker":
                return [self._next(loudness, marker=True)]
            case "short":
                return [self._next(loudness)[:9]]
            case "size":
                return [self._next(loudness, 10)]
        return [self._next(loudness)]


class Poller:
    """Of all agents' sockets."""

    def __init__(self) -> None:
        self._pollers: dict[int, MemoryPoller] = {}

    def watch(self, fd: int, mask: int, handler: Callable[[int], None]) -> None:
        self._pollers.setdefault(fd, MemoryPoller()).watch(fd, mask, handler)

    def forget(self, fd: int) -> None:
        self._pollers.pop(fd)

    def turn(self, sockets: list[MemorySocket]) -> None:
        for sock in sockets:
            self._pollers[sock.fileno()].turn(readable=bool(sock.inbox))


class Side:
    """An engine, its agents, and all that they hear."""

    def __init__(
        self, calls: list[dict[str, Any]], fars: list[Far], *, compiled: bool = True, at_once: bool = True
    ) -> None:
        self.now_ns = 1_000_000_000_000
        self._compiled = compiled
        self._poller = Poller()
        self.agents = {name: VirtualAgent(len(calls)) for name in AGENTS}
        self.heard: list[tuple[str, np.ndarray]] = []
        for fd, (name, agent) in enumerate(self.agents.items()):
            agent.socket.fileno = lambda fd=fd: fd  # type: ignore[method-assign]
            agent.on_audio = lambda _, records, name=name: self.heard.append((name, records.copy()))
        with self._chosen():
            self.table = Table(Columns(len(calls) + 2))
            self.engine = Engine(
                self.table, self, self._poller, lambda: self.now_ns, lambda message: None, random.Random(1),
                jitter=TargetParams(), wall_offset_ns=0,
            )  # fmt: skip
            with mock.patch.object(agent_connecting, "open_socket", self._open):
                together = zip(calls, fars, strict=True)
                self.streams = [self._call(i, call, far) for i, (call, far) in enumerate(together)]
        self.written, self.usual = np.zeros((2, self.table.capacity), np.int64)
        "frames of each row that a kernel wrote as records, and packets that were taken at once"
        frames, usual = self.engine.agents._frames, self.engine.express.usual
        self._message_to, self._take = frames.message_to, usual.take
        frames.message_to = self.engine.agents.message_to = self._watched_message  # type: ignore[method-assign]
        usual.take = self._watched_take if at_once else _take_none  # type: ignore[method-assign]
        for _ in range(3):
            self.tick(0)

    def _watched_message(self, index: int, count: int, samples: int) -> AudioMessage | None:
        message = self._message_to(index, count, samples)
        if message is not None:
            message.then += (self._note_written,)
        return message

    def _note_written(self, records: np.ndarray) -> None:
        rows = self.table.rows_of(records["channel"])
        assert not (self.table.muted_up_rows[rows] | self.engine.agents.replay.behind[rows]).any()
        self.written[rows] += 1

    def _watched_take(self, batch: Batch, now_ns: int, *, waited: bool) -> int:
        left = self._take(batch, now_ns, waited=waited)
        usual = self.engine.express.usual
        rest = batch.rows[usual.places[:left]] if left < len(batch.rows) else batch.rows
        taken = usual._taken[: len(batch.rows) - left]
        assert sorted([*rest.tolist(), *taken.tolist()]) == sorted(batch.rows.tolist())
        self.usual[taken] += 1
        return left

    def wish(self, call: int, what: str) -> None:
        """Of the agent; or it cannot take its frames now, and gets them out of the ring, if there is one."""
        row = self.streams[call].row
        if what == "behind":
            one = np.array([row], np.intp)
            self.engine.agents.replay.hold(one, self.table.shared.up_position[one])
        else:
            self.table.mute(row, uplink=what == "mute", downlink=False)

    def _open(self, address: str) -> tuple[MemorySocket, str]:
        return self.agents[address.removeprefix("unix:/")].socket, address

    def _call(self, number: int, call: dict[str, Any], far: Far) -> Stream:
        name = call.get("agent", "")
        rate_hz, frame_ms = AGENTS[name]
        codec, pt = call["codec"], far.payload_type
        message = start_message(
            rate_hz, frame_ms, turns=call.get("turns", control.TurnParams()),
            rescue=call.get("rescue", control.RescueParams()), codec=codec, send_pt=pt, receive_pt=pt,
        )  # fmt: skip
        info = msgspec.structs.replace(message.info, call_id=f"00000000-0000-0000-0000-{number:012}")
        agent = msgspec.structs.replace(message.agent, address=f"unix:/{name}")
        message = msgspec.structs.replace(message, info=info, agent=agent)
        stream = self.table.take(message, None, None)  # type: ignore[arg-type]
        self.engine.start(stream, self.now_ns)
        return stream

    def heard_by(self, agent: str) -> np.ndarray:
        """All records; which of two calls gets its frames first is nobody's promise, but of one call their order is."""
        records = np.concatenate([records for name, records in self.heard if name == agent])
        return records[np.argsort(records["channel"], kind="stable")]

    def told(self, agent: str) -> list[dict[str, Any]]:
        """All other messages, likewise."""
        return sorted(self.agents[agent].control, key=lambda message: message.get("channel", -1))

    def _chosen(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._compiled else kernels.without_kernels()

    def tick(self, ms: float) -> None:
        with self._chosen():
            self.now_ns += int(ms * MS)
            self._poller.turn([agent.socket for agent in self.agents.values()])
            self.engine.tick(self.now_ns)

    def batch(self, packets: list[tuple[int, bytes]]) -> Batch:
        """One packet of each of these calls."""
        rows = np.array([self.streams[call].row for call, _ in packets], np.intp)
        data = np.full((len(packets), PACKET_BYTES), 0xA5, np.uint8)
        for line, (_, packet) in zip(data, packets, strict=True):
            line[: len(packet)] = np.frombuffer(packet, np.uint8)
        lengths = np.array([len(packet) for _, packet in packets], np.int32)
        return Batch(rows, data, lengths, np.ones(len(packets), bool), [PEER] * len(packets))

    def receive(self, packets: list[tuple[int, bytes]]) -> None:
        """They arrive."""
        with self._chosen():
            self.engine.receive(self.batch(packets), self.now_ns)

    # -- sockets ----------------------------------------------------------------------------

    def send(self, rows: Any, packets: Any, lengths: Any = None) -> np.ndarray:
        return np.ones(len(rows), bool)

    def send_rtcp(self, _stream: Stream, _data: bytes) -> bool:
        return True

    def send_reports(self, rows: Any, packets: Any) -> None:
        pass

    def send_datagram(self, _stream: Stream, _data: bytes) -> bool:
        return True


def _take_none(batch: Batch, now_ns: int, *, waited: bool) -> int:
    """Everything step by step."""
    return len(batch.rows)


@given(oddities, talk, wishes, st.integers(0, 19))
@settings(max_examples=12, deadline=None)
def test_kernels_leave_the_same_behind(
    odd: list[tuple[int, int, str]], talk: list[str], wishes: list[tuple[int, int, str]], first_ms: int
) -> None:
    """Columns to the last bit, levels within 1e-4 dB, a call's frames in order with the same flags, PCM within 1.

    All at once or step by step, all of it is the same to the last bit.
    """
    fars = [Far(row, call["codec"]) for row, call in enumerate(CALLS)]
    what = {(turn, call): kind for turn, call, kind in odd}
    sides = Side(CALLS, fars), Side(CALLS, fars, at_once=False), Side(CALLS, fars, compiled=False)
    one, steps, other = sides
    for turn in range(ROUNDS):
        for _, call, wish in (one for one in wishes if one[0] == turn):
            for side in sides:
                side.wish(call, wish)
        waiting = [
            far.packets(what.get((turn, call), "plain"), talk[turn * len(talk) // ROUNDS])
            for call, far in enumerate(fars)
        ]
        while any(waiting):
            batch = [(call, packets.pop(0)) for call, packets in enumerate(waiting) if packets]
            for side in sides:
                side.receive(batch)
        for ms in (first_ms + 0.1, PACKET_MS - first_ms - 0.1):
            for side in sides:
                side.tick(ms)
    compare(one, other)
    compare(one, steps, exact=True)
    plain = one.streams[PLAIN].row
    assert one.usual[plain] and one.written[plain] >= steps.written[plain] > 0
    assert not other.written.any() and not other.usual.any() and not steps.usual.any()


def test_calls_that_need_more_than_a_kernel_leave_it_to_the_others() -> None:
    """One of its agent's calls is muted, of one silence is withheld, one is kept for the next agent, or is behind."""
    fars = [Far(row, call["codec"]) for row, call in enumerate(CALLS)]
    sides = Side(CALLS, fars), Side(CALLS, fars, at_once=False), Side(CALLS, fars, compiled=False)
    one, steps, other = sides
    rows = [one.streams[call].row for call in APART]
    plain, muted, withheld, kept, both, neural = rows
    for side in sides:
        side.wish(APART[1], "mute")
    for turn in range(ROUNDS):
        if turn == ROUNDS // 2:
            for side in sides:
                side.wish(KEPT, "behind")
        packets = [
            (call, packet)
            for call, far in enumerate(fars)
            for packet in far.packets("plain", "loud" if turn >= 20 else "quiet")
        ]
        for side in sides:
            side.receive(packets)
            side.tick(PACKET_MS)
    compare(one, other)
    compare(one, steps, exact=True)
    frames = one.table.shared.frames_to_agent
    assert frames[plain] > ROUNDS - 10 and one.written[plain] == frames[plain]
    assert frames[muted] > ROUNDS - 10 and not one.written[muted]
    assert 20 < one.written[withheld] < one.written[plain] - 5, "speech goes straight, silence does not"
    assert one.written[plain] - 5 < one.written[kept] < one.written[plain]
    assert not one.usual[neural] and one.written[neural] > ROUNDS - 10
    assert one.usual[plain] > ROUNDS - 10 and not one.usual[muted] and 20 < one.usual[withheld] < one.usual[plain]
    speeches = [said for said in one.told("apart") if said["type"] == "speech"]
    assert {one.streams[call].channel for call in (PLAIN, APART[-1])} <= {said["channel"] for said in speeches}
    assert one.engine.agents.replay.rows == 2 and one.table.shared.frames_withheld[[withheld, both]].all()


@pytest.mark.parametrize("refusing", [{"", "slow"}, {"other"}, {"apart"}, {"", "other", "wide", "slow"}])
def test_connections_that_take_no_messages_do_not_stop_the_others(refusing: set[str]) -> None:
    """Nor does a format without a kernel that a batch begins with: all that can be is taken at once, and as it was."""
    fars = [Far(row, call["codec"]) for row, call in enumerate(CALLS)]
    sides = Side(CALLS, fars), Side(CALLS, fars, at_once=False)
    rng = random.Random(len(refusing))
    one = sides[0]
    shut = {one.streams[call].link.index for call in range(len(CALLS)) if CALLS[call].get("agent", "") in refusing}  # type: ignore[union-attr]
    for side in sides:
        message_to = side.engine.agents.message_to
        side.engine.agents.message_to = lambda index, count, samples, to=message_to: (  # type: ignore[method-assign]
            None if index in shut else to(index, count, samples)
        )
    for _ in range(ROUNDS):
        order = rng.sample(range(len(CALLS)), len(CALLS))
        packets = [(call, packet) for call in order for packet in fars[call].packets("plain", "loud")]
        for side in sides:
            side.receive(packets)
            side.tick(PACKET_MS)
    compare(*sides, exact=True)
    for call, stream in zip(CALLS, one.streams, strict=True):
        name, codec = call.get("agent", ""), call["codec"]
        kinds = set(call) <= {"codec", "agent"} and codec in ("PCMU", "PCMA") and name != "slow"
        may = kinds and name not in refusing
        assert one.usual[stream.row] > ROUNDS - 10 if may else not one.usual[stream.row] or not kinds, call


def test_what_does_not_fit_together_is_refused() -> None:
    """... by the kernel for the usual packet, before it has touched anything."""
    fars = [Far(row, call["codec"]) for row, call in enumerate(CALLS)]
    side = Side(CALLS, fars)
    for _ in range(3):
        side.receive([(call, packet) for call in (0, 1) for packet in fars[call].packets("plain", "loud")])
        side.tick(PACKET_MS)
    usual, n = side.engine.express.usual, 2
    assert usual.take(side.batch([(0, fars[0].packets("plain", "loud")[0])]), side.now_ns, waited=False) == 0
    side.tick(PACKET_MS)
    packets = [(call, fars[call].packets("plain", "loud")[0]) for call in (0, 1)]
    batch, before = side.batch(packets), side.table.shared.flow.copy()
    good = {
        "rows": batch.rows, "packets": batch.packets, "lengths": batch.lengths, "named": batch.named,
        "now_ns": side.now_ns, "count": n, "link": 0, "beyond": -1, "learns": 1, "listens": 1,
        "message": np.empty(16 + n * (16 + 2 * 320), np.uint8),
    }  # fmt: skip
    for wrong in (
        {"message": good["message"][:-1]}, {"message": good["message"][::2]}, {"message": np.empty(0, np.uint8)},
        {"count": 3}, {"count": -1}, {"count": 1 << 40}, {"lengths": batch.lengths[:1]}, {"named": batch.named[:1]},
        {"packets": batch.packets[:1]}, {"rows": batch.rows[:1]},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="usual"):
            usual._ways[0].kernel(*(good | wrong).values())
    with pytest.raises(IndexError):
        usual._ways[0].kernel(*(good | {"rows": np.array([0, side.table.capacity])}).values())
    for nowhere in (-1, -2):  # which is to say that nothing is taken, so nothing needs room
        anywhere = good | {"link": nowhere, "message": np.empty(0, np.uint8)}
        assert usual._ways[0].kernel(*anywhere.values()) == n and usual._elsewhere.tolist() == [0, 0, 0]
    usual.places[0] = 2  # of a batch of 2
    with pytest.raises(ValueError, match="usual"):
        usual._ways[0].kernel(*(good | {"count": 1}).values())
    np.testing.assert_array_equal(before, side.table.shared.flow)
    short = good | {"packets": np.ascontiguousarray(batch.packets[:, :100])}  # as if cut off by the kernel
    assert usual._ways[0].kernel(*short.values()) == n
    assert usual._ways[0].kernel(*good.values()) & 0x7FFF == 1, "the other one is on another connection"
    assert usual._elsewhere.tolist() == [0, 1, 1]


def compare(one: Side, other: Side, *, exact: bool = False) -> None:
    """`exact`: to the last bit, where two ways do the same sums."""
    near, last_place = (0.0, 0) if exact else (1e-3, 1)
    a, b = one.table.shared, other.table.shared
    for name in [name for name, _, _ in ROW_FIELDS]:
        np.testing.assert_allclose(
            getattr(a, name), getattr(b, name), rtol=0, atol=0 if exact else NEARLY.get(name, 0), err_msg=name
        )
    for name in ("packets_received", "frames_to_agent", "drops", "frames_withheld"):
        np.testing.assert_array_equal(getattr(a.worker, name), getattr(b.worker, name), name)
    for name in LOCAL:
        np.testing.assert_array_equal(getattr(one.table, name), getattr(other.table, name), name)
    np.testing.assert_allclose(one.table.noise_dbov, other.table.noise_dbov, rtol=0, atol=near)
    np.testing.assert_array_equal(one.table.background, other.table.background)
    np.testing.assert_array_equal(one.table.noise_known, other.table.noise_known)
    np.testing.assert_allclose(
        one.engine.uplink.voice._state, other.engine.uplink.voice._state, rtol=0, atol=near, err_msg="voices"
    )
    for mine, its in zip(one.table.formats.list, other.table.formats.list, strict=True):
        np.testing.assert_array_equal(mine.line_history, its.line_history)
    for who in ("receiver.lateness", "uplink.voice", "uplink.background"):
        assert draws(one, who) == draws(other, who), who
    for name in AGENTS:
        for said, same in zip(one.told(name), other.told(name), strict=True):
            assert said == pytest.approx(same, abs=near) if said["type"] == "speech" else said == same
    for mine, its in zip(one.engine.agents.replay._rings, other.engine.agents.replay._rings, strict=True):
        np.testing.assert_array_equal(mine._label, its._label)
        assert abs(mine._audio.astype(int) - its._audio).max() <= last_place
    for name in AGENTS:
        records, others = one.heard_by(name), other.heard_by(name)
        for field in ("channel", "flags", "reserved", "position"):
            np.testing.assert_array_equal(records[field], others[field])
        apart = records["pcm"].astype(int) - others["pcm"]
        assert abs(apart).max() <= last_place
    assert sum(len(records) for _, records in one.heard) > 30 * len(one.streams)


def draws(side: Side, who: str) -> list[bool]:
    """Whether it is the turn of the next batches."""
    drawing = operator.attrgetter(who)(side.engine)
    coming = list(itertools.islice(drawing.turns, 64))
    drawing.turns = itertools.chain(coming, drawing.turns)
    return [drawing.turn, *coming]
