# SPDX-License-Identifier: GPL-2.0-or-later
"""Usual ticks that are done at once leave the same behind as those that are done step by step."""

from __future__ import annotations

import contextlib
import dataclasses
import select
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import kernels
from support.media_rig import MS
from support.socket_worker import FEW, SocketWorker
from support.talker import Talker
from trunkline.agent_bridge.dialect import FLAG_CONCEALED
from trunkline.gateway.media import control, loop, usual_ticks
from trunkline.gateway.media.agent_asks import AgentFailed
from trunkline.gateway.media.columns import ROW_FIELDS
from trunkline.rtp.packet import Packet

pytestmark = pytest.mark.skipif(not kernels.there, reason="no kernels were built")

CALLS, PACKET_MS = 15, 20
ROUNDS = 30
UNTIMED = ("flow", "call_id", "uplink_delay", "downlink_delay")


@pytest.fixture(autouse=True, scope="module")
def few() -> Iterator[None]:
    """Three packets a tick are a crowd."""
    limits = dataclasses.replace(loop.LIMITS, few=FEW)
    with mock.patch.multiple(loop, FEW_SOCKETS=FEW, LIMITS=limits):
        yield


@dataclasses.dataclass
class Odd:
    """What happens besides."""

    round: int
    call: int
    what: str


class Far(Talker):
    """A caller who speaks now and then."""

    def __init__(self, call: int) -> None:
        super().__init__(call, 65_530 - call)
        self._rng, self.payload_type = np.random.default_rng(call), 0

    def next(self, size: int = 160) -> Packet:
        loudness = 0xFF if self.sequence // 10 % 3 else 0x90  # silence, or not
        payload = self._rng.integers(loudness & 0xF0, loudness + 1, size, np.uint8).tobytes()
        return dataclasses.replace(super().next(size), payload_type=self.payload_type, payload=payload)

    def packets(self, kind: str) -> list[Packet | bytes]:
        if kind == "codec":
            self.payload_type = 8
        return super().packets(kind)


OF_CALLERS = ["lost", "twice", "swapped", "burst", "ssrc", "leap", "short", "other size", "marker", "event"]
OF_AGENTS = ["speak", "mark", "clear", "mute", "flood", "deaf", "hears", "narrow", "ends"]
OTHERS = ["report", "interrupt", "hang up", "hold", "codec"]
odd = st.builds(
    Odd,
    st.integers(3, ROUNDS - 1),
    st.integers(0, CALLS - 1),
    st.sampled_from([*OF_CALLERS, *OF_AGENTS, *OTHERS]),
)


Packets = list[list[list[Packet | bytes]]]
"Of each call, in each round."


def prepare(worker: SocketWorker, fars: Packets, odds: Sequence[Odd]) -> None:
    """All that will happen."""
    worker.on_control = lambda data: obey(worker, data)
    for number, rounds in enumerate(fars):
        for turn, packets in enumerate(rounds):
            at_ms = 20 + turn * PACKET_MS + number % 5 * 4 + 1
            for place, packet in enumerate(packets):
                worker.at(
                    at_ms + place * 0.1,
                    lambda number=number, packet=packet: worker.say(number, bytes(packet)),
                )  # type: ignore[misc]
    for each in odds:
        worker.at(20 + each.round * PACKET_MS + 2, lambda each=each: happen(worker, each))  # type: ignore[misc]


def happen(worker: SocketWorker, odd: Odd) -> None:
    call, agent = odd.call, worker.agent
    channel = list(agent.channels)[call] if len(agent.channels) > call else 0
    match odd.what:
        case "speak" | "flood" if channel:
            pcm = np.random.default_rng(odd.round).integers(-9000, 9000, (1, 320), np.int16)
            for _ in range(5 if odd.what == "speak" else 250):
                agent.speak(np.array([call]), pcm)
        case "mark":
            agent.say("mark", channel=channel, name="m")
        case "clear":
            agent.say("clear", channel=channel)
        case "mute":
            agent.say("mute", channel=channel, uplink=odd.round % 2 == 0, downlink=odd.round % 3 == 0)
        case "report":
            worker.report(call, bytes.fromhex("80c80006") + bytes(24))
        case "deaf" | "hears":
            worker.deaf = odd.what == "deaf"
        case "narrow":
            worker.narrow()
        case "ends":
            worker.end_agent()
        case "interrupt" | "hang up" | "hold" | "codec":
            worker.theirs.send(bytes([OTHERS.index(odd.what), call, odd.round]))


def obey(worker: SocketWorker, data: bytes) -> None:
    """What the gateway says: it is heard before packets leave."""
    what, call, turn = OTHERS[data[0]], data[1], data[2]
    stream = worker.streams[call]
    if stream.rtp.fileno() < 0:
        return
    match what:
        case "interrupt":
            worker.engine.playback.clear(stream)
        case "hang up":
            worker.hang_up(call)
        case "hold":
            worker.engine.update(stream, dataclasses.replace(stream.media, send=turn % 2 == 0), worker.now_ns)
        case "codec":
            alaw = dataclasses.replace(stream.media, codec="PCMA", send_pt=8, receive_pt=8)
            worker.engine.update(stream, alaw, worker.now_ns)


def compare(one: SocketWorker, other: SocketWorker) -> None:
    for name in [name for name, _, _ in ROW_FIELDS if name not in UNTIMED]:
        np.testing.assert_array_equal(
            getattr(one.table.shared, name), getattr(other.table.shared, name), name
        )
    np.testing.assert_array_equal(one.table.shared.flow, other.table.shared.flow)
    for name in ("packets_received", "packets_sent", "frames_to_agent", "frames_from_agent", "drops"):
        np.testing.assert_array_equal(
            getattr(one.table.shared.worker, name), getattr(other.table.shared.worker, name), name
        )
    for mine, others in zip(one.callers, other.callers, strict=True):
        assert mine.heard == others.heard
    assert one.agent.control == other.agent.control
    assert [without_address(message) for message in one.posted] == [without_address(m) for m in other.posted]
    for mine, others in zip(records(one), records(other), strict=True):
        np.testing.assert_array_equal(mine, others)


def without_address(message: control.Message) -> control.Message:
    return (
        msgspec.structs.replace(message, address="") if isinstance(message, control.MediaStarted) else message
    )


def records(worker: SocketWorker) -> list[np.ndarray]:
    """What the agent got of each call."""
    heard = np.concatenate(worker.heard)
    return [heard[heard["channel"] == channel] for channel in worker.agent.channels]


def plain(rounds: int = ROUNDS) -> Packets:
    """Nothing is odd."""
    return [[far.packets("plain") for _ in range(rounds)] for far in (Far(call) for call in range(CALLS))]


@contextlib.contextmanager
def running(
    packets: Packets, odds: Sequence[Odd] = (), *, at_once: bool = True, **how: Any
) -> Iterator[SocketWorker]:
    """A worker to which all this will happen."""
    with tempfile.TemporaryDirectory() as folder:
        worker = SocketWorker(CALLS, Path(folder), at_once=at_once, **how)
        try:
            prepare(worker, packets, odds)
            yield worker
        finally:
            worker.close()


@contextlib.contextmanager
def both(odds: list[Odd], ms: float) -> Iterator[tuple[SocketWorker, SocketWorker]]:
    """A worker with the kernel and one without, after the same."""
    script = {(each.round, each.call): each.what for each in odds if each.what in [*OF_CALLERS, "codec"]}
    packets = [
        [far.packets(script.get((turn, call), "plain")) for turn in range(ROUNDS)]
        for call, far in enumerate(Far(call) for call in range(CALLS))
    ]
    with running(packets, odds) as one, running(packets, odds, at_once=False) as other:
        one.run(ms)
        other.run(ms)
        yield one, other


@given(st.lists(odd, max_size=25))
@settings(max_examples=15, deadline=None)
def test_ticks_at_once_leave_the_same_behind(odds: list[Odd]) -> None:
    """Every column, and all that the agent and the callers got, whatever they do."""
    with both(odds, 20 + ROUNDS * PACKET_MS + 100) as (one, other):
        compare(one, other)


def test_most_ticks_are_usual() -> None:
    """Packets of all calls, an agent that speaks with all of them: few ticks are anybody else's."""
    odds = [Odd(turn, call, "speak") for turn in (3, 8, 13, 18, 23) for call in range(CALLS)]
    with both(odds, 20 + ROUNDS * PACKET_MS) as (one, other):
        compare(one, other)
        assert one.usual is not None
        stops, ticks = one.usual.stops, int(one.table.shared.worker.ticks[0])
        assert len(stops) > 0.6 * ticks
        assert stops.count(usual_ticks._ALL_DONE) > 0.8 * len(stops)
        assert sum(len(records) for records in one.heard) > 0.9 * CALLS * ROUNDS
        assert int(one.table.shared.frames_played.sum()) > 0.8 * CALLS * 25


def test_on_the_machines_own_clock() -> None:
    """With the sleep in it: all is heard, what is due leaves, and the ticks are counted as others are."""
    odds = [Odd(turn, call, "speak") for turn in (3, 8, 13, 18) for call in range(CALLS)]
    with running(plain(), odds, real=True) as worker:
        assert worker.usual is not None
        runs: list[int] = []
        run, counters, c = worker.usual.run, worker.table.shared.worker, worker.table.shared
        rows = [stream.row for stream in worker.streams]

        def counted(*of_run: Any) -> tuple[Any, int]:
            before = int(counters.ticks[0])
            found, done = run(*of_run)
            runs.append(int(counters.ticks[0]) - before)
            return found, done

        worker.usual.run = counted  # type: ignore[method-assign]
        for again in range(1, 20):  # others may have the machine
            worker.run(20 + again * ROUNDS * PACKET_MS)
            if (c.packets_received[rows] == ROUNDS).all() and (c.frames_played[rows] >= 15).all():
                break
        worker._carry()
        heard = [of_call[of_call["flags"] & FLAG_CONCEALED == 0] for of_call in records(worker)]
        assert sum(len(of_call) for of_call in heard) >= CALLS * ROUNDS
        assert (c.packets_received[rows] == ROUNDS).all()
        assert (c.frames_played[rows] >= 15).all()
        assert sum(runs) > 0, "several in one go"
        assert int(counters.tick_duration.sum()) == int(counters.ticks[0])
        assert counters.heartbeat_ns[0] > worker.begun_ns + 500 * MS
        assert (worker.table.noted_ns[rows] > worker.begun_ns + 200 * MS).any(), "some had their turn"
        for caller in worker.callers:
            numbers = [Packet.parse(data).sequence for data in caller.heard]
            assert len(numbers) > 15 and (np.diff(np.array(numbers)) % 65_536 == 1).all()


def test_a_tick_that_comes_late_is_nobodys() -> None:
    """... here: who was stalled has other things to do; and none is begun of what few sockets have."""
    packets = plain(200)
    with running(packets, real=True) as worker:
        usual, rhythm = worker.usual, worker.loop.rhythm
        assert usual is not None
        for ms in range(300, 4000, 50):
            worker.run(ms)
            if usual.may():
                break
        assert usual.may()
        received = int(worker.table.shared.packets_received.sum())
        for call in range(CALLS):
            worker.say(call, bytes(packets[call][-1][0]))
        rhythm.begun_ns = time.monotonic_ns() - 50 * MS
        found, done = usual.run(loop.LIMITS, 0, 1 << 62)
        assert done == usual_ticks.NOTHING and len(found) >= CALLS
        assert rhythm.late_ns > loop.HURRIED_NS and rhythm.begun_ns > time.monotonic_ns() - 1000 * MS
        assert int(worker.table.shared.packets_received.sum()) == received


class Flood:
    """Sockets of RTCP that always have more, half a millisecond of it each time."""

    def __init__(self, worker: SocketWorker) -> None:
        self.worker = worker
        self.handlers = {1: self.read}
        self.reads: list[int] = []

    def poll_some(self, most: int) -> list[tuple[int, int]]:
        return [(1, select.EPOLLIN)] * most

    def read(self, _: int) -> None:
        self.reads.append(self.worker.now_ns)
        self.worker.now_ns += MS // 2


def test_a_flood_of_reports_takes_a_tenth_of_the_time() -> None:
    """... and where the worker is behind it waits, as other reports do."""
    with running(plain(75)) as worker:
        flood = Flood(worker)
        worker.loop._reports = flood
        worker.run(1000)
        spent = len(flood.reads) * MS // 2
        assert 30 * MS < spent < 130 * MS
        runs = np.diff(np.flatnonzero(np.diff([0, *flood.reads]) > MS))
        assert runs.max() <= 5, "2 ms at a time"
        worker.engine.hurry(True, True)
        before, worker.loop._reports_ns = len(flood.reads), worker.now_ns
        worker.loop._hear_reports(worker.now_ns + 900 * MS)
        assert len(flood.reads) == before
        worker.loop._hear_reports(worker.now_ns + 1000 * MS)
        assert len(flood.reads) > before


@pytest.mark.parametrize("at_once", [True, False])
def test_an_agent_that_says_nothing_more_is_found_out(at_once: bool) -> None:
    """It takes what it gets, and answers no ping: those who ask whether it could be heard must not keep it alive."""
    with running(plain(75), at_once=at_once, hang_timeout_ms=500) as worker:
        worker.at(300, lambda: setattr(worker.agent, "take", lambda message: None))
        worker.run(700)
        assert not [message for message in worker.posted if isinstance(message, AgentFailed)]
        worker.run(1200)
        failed = [message.reason for message in worker.posted if isinstance(message, AgentFailed)]
        assert failed == ["agent_hung"]


@pytest.mark.parametrize("at_once", [True, False])
def test_an_agent_that_has_just_spoken_is_alive(at_once: bool) -> None:
    """In the very tick in which it would be dead."""
    odds = [Odd(turn, 3, "speak") for turn in range(10, 70, 9)]  # each 180 ms
    with running(plain(75), odds, at_once=at_once, hang_timeout_ms=200) as worker:
        take = worker.agent.take
        worker.at(
            150,
            lambda: setattr(
                worker.agent, "take", lambda message: None if b"ping" in message else take(message)
            ),
        )
        worker.run(20 + 70 * PACKET_MS)
        assert not [message for message in worker.posted if isinstance(message, AgentFailed)]


def test_a_new_format_gets_its_kernel() -> None:
    """Though all that is asked for it is a few packets that are left: no other tick may come for long."""
    odds = [Odd(5, call, "codec") for call in range(CALLS)]
    with both(odds, 20 + ROUNDS * PACKET_MS) as (one, other):
        compare(one, other)
        assert one.usual is not None
        assert len(one.engine.express.usual._ways) == len(one.table.formats.list) == 2
        assert one.usual.stops.count(usual_ticks._ALL_DONE) > 30


@pytest.mark.parametrize("broken", ["look", "ticks"])
def test_what_fails_is_done_step_by_step(broken: str) -> None:
    """One tick is lost; it is not tried again."""
    with running(plain()) as worker:
        worker.run(200)
        assert worker.usual is not None
        worker.usual.forget()
        if broken == "look":
            worker.usual._look = mock.Mock(side_effect=ZeroDivisionError)  # type: ignore[method-assign]
        else:
            worker.usual._kernel = mock.Mock(side_effect=ZeroDivisionError)
        with pytest.raises(ZeroDivisionError):
            worker.run(300)
        worker.run(20 + ROUNDS * PACKET_MS + 100)
        assert not worker.usual.may()
        rows = [stream.row for stream in worker.streams]
        assert (worker.table.shared.packets_received[rows] == ROUNDS).all()
        assert sum(len(of_call) for of_call in records(worker)) >= CALLS * (ROUNDS - 1)


def test_whoever_else_is_ready_is_heard_before_packets_leave() -> None:
    """Another agent, say, whose speech is just in time."""
    heard: dict[bool, list[int]] = {True: [], False: []}
    for at_once, seen in heard.items():
        with running(plain(), at_once=at_once) as worker, contextlib.ExitStack() as stack:
            ours, theirs = (stack.enter_context(sock) for sock in socket.socketpair())

            def hear(
                _: int, ours: socket.socket = ours, seen: list[int] = seen, worker: SocketWorker = worker
            ) -> None:
                ours.recv(10)
                seen.append(int(worker.table.shared.packets_sent.sum()))

            worker.poller.watch(ours.fileno(), select.EPOLLIN, hear)
            for turn in range(3, ROUNDS):
                worker.at(20 + turn * PACKET_MS - 7, lambda theirs=theirs: theirs.send(b"!"))  # type: ignore[misc]
            worker.run(20 + ROUNDS * PACKET_MS)
    assert heard[True] == heard[False]
    assert len(heard[True]) == ROUNDS - 3
