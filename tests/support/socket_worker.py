# SPDX-License-Identifier: GPL-2.0-or-later
"""A media worker's loop with real sockets and a clock that goes on when it sleeps: what comes, comes at its time.

    worker = SocketWorker(calls, folder, at_once=True)    usual ticks by the kernel for them, but for its sleep
    worker.at(ms, lambda: worker.say(call, packet))       then a caller sends something
    worker.run(ms)
    worker.heard, worker.callers[call].heard              records that the agent got, packets that a caller got
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from support.media_rig import MS, start_message
from support.virtual_agent import VirtualAgent
from trunkline.gateway.media import control, usual_ticks
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.engine import Engine
from trunkline.gateway.media.loop import Loop
from trunkline.gateway.media.poller import EpollPoller, Ready
from trunkline.gateway.media.rhythm import Rhythm
from trunkline.gateway.media.table import Stream, Table
from trunkline.gateway.media.udp import UdpSockets
from trunkline.gateway.media.usual_ticks import UsualTicks
from trunkline.rtp.jitter import TargetParams

START_NS = 1_000_000_000_000
HOST = "127.0.0.1"
FEW = 2
"Sockets that are ready at most, and the tick is none for the kernel; a real worker has more."
_SIZE = struct.Struct("<I")
Arrays = Any


class Caller:
    """The far end of a call: its sockets for RTP and RTCP."""

    def __init__(self) -> None:
        self.rtp, self.rtcp = (bound() for _ in range(2))
        self.heard: list[bytes] = []

    def listen(self) -> None:
        """Take what has come."""
        while data := receive(self.rtp):
            self.heard.append(data)
        while receive(self.rtcp):
            pass


def bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HOST, 0))
    sock.setblocking(False)
    return sock


def receive(sock: socket.socket, size: int = 1 << 16) -> bytes:
    try:
        return sock.recv(size)
    except BlockingIOError:
        return b""


class SocketWorker:
    """Calls of one agent."""

    def __init__(
        self, calls: int, folder: Path, *, at_once: bool, real: bool = False, hang_timeout_ms: int = 5000, **start: Any
    ) -> None:
        """`real`: the clock is the machine's, and so is the sleep; what happens, happens in a thread."""
        self._hang_timeout_ms = hang_timeout_ms
        self.real = real
        self.now_ns = self.end_ns = self.begun_ns = time.monotonic_ns() if real else START_NS
        self._clock = time.monotonic_ns if real else lambda: self.now_ns
        cpu_clock = time.thread_time_ns if real else lambda: 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self.table, self.poller, self.reports = Table(Columns(calls + 2)), EpollPoller(), EpollPoller()
        self.sockets = UdpSockets(self.table)
        self.posted: list[control.Message] = []
        self.engine = Engine(
            self.table, self.sockets, self.poller, self._clock, self.posted.append, random.Random(1),
            jitter=TargetParams(), wall_offset_ns=0,
        )  # fmt: skip
        self.engine.downlink.packet_round._monotonic = True  # delays are nobody's concern here
        self.engine.downlink.pace.is_turn = lambda: True  # type: ignore[method-assign]
        self.engine.on_running = self._listen
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.on_control: Callable[[bytes], None] = lambda data: None
        self.poller.watch(self._ours.fileno(), select.EPOLLIN, lambda events: self.on_control(self._ours.recv(100)))
        worker = self.table.shared.worker
        poll, sleep = (self.poller.poll, time.sleep) if real else (self._poll, self._sleep)
        rhythm = Rhythm(poll, worker, clock=self._clock, cpu_clock=cpu_clock, sleep=sleep)
        ticks = UsualTicks if real else _VirtualTicks
        self.usual = ticks(self.engine, self.sockets, self.poller, rhythm, self._ours.fileno()) if at_once else None
        if isinstance(self.usual, _VirtualTicks):
            self.usual.worker = self
        self.loop = Loop(
            self.engine, self.sockets, self.poller, rhythm, self._ours.fileno(), self._clock, cpu_clock,
            usual=self.usual, reports=self.reports,
        )  # fmt: skip
        self.agent, self._agent_bytes = VirtualAgent(calls), bytearray()
        self.heard: list[np.ndarray] = []
        self.agent.on_audio = lambda calls, records: self.heard.append(records.copy())
        self._connection: socket.socket | None = None
        self.deaf = self.over = False
        "the agent reads nothing; it has gone"
        self.path = folder / f"agent-{at_once}"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._listener.setblocking(False)
        self.callers = [Caller() for _ in range(calls)]
        self.streams = [self._call(number, caller, start) for number, caller in enumerate(self.callers)]

    def _call(self, number: int, caller: Caller, start: dict[str, Any]) -> Stream:
        ports = {"remote_port": caller.rtp.getsockname()[1], "remote_rtcp_port": caller.rtcp.getsockname()[1]}
        message = start_message(16000, remote_host=HOST, remote_rtcp_host=HOST, **ports, **start)
        info = msgspec.structs.replace(message.info, call_id=f"00000000-0000-0000-0000-{number:012}")
        address, hang_ms = f"unix:{self.path}", self._hang_timeout_ms
        agent = msgspec.structs.replace(message.agent, address=address, hang_timeout_ms=hang_ms)
        message = msgspec.structs.replace(message, info=info, agent=agent)
        stream = self.table.take(message, bound(), bound())
        self.sockets.add(stream)
        self.engine.start(stream, self._clock())
        return stream

    def _listen(self, stream: Stream) -> None:
        self.poller.watch_silently(stream.rtp.fileno())
        assert stream.rtcp is not None
        self.reports.watch(stream.rtcp.fileno(), select.EPOLLIN, lambda _: self._report(stream))

    def _report(self, stream: Stream) -> None:
        if (datagram := self.sockets.receive_rtcp(stream)) is not None:
            self.engine.receive_rtcp(stream, datagram[0], datagram[1], self._clock())

    def hang_up(self, call: int) -> None:
        """As a worker ends a call."""
        stream = self.streams[call]
        self.engine.stop(stream, "bye", self._clock())
        self.sockets.remove(stream)
        for sock in stream.sockets:
            self.poller.forget(sock.fileno())
            self.reports.forget(sock.fileno())
            sock.close()

    # -- what comes -------------------------------------------------------------------------

    def at(self, ms: float, event: Callable[[], None]) -> None:
        """So long after the start this happens; not before now."""
        heapq.heappush(self._events, (self.begun_ns + int(ms * MS), next(self._number), event))

    def say(self, call: int, packet: bytes) -> None:
        """A caller sends RTP."""
        stream = self.streams[call]
        if stream.rtp.fileno() >= 0:
            self.callers[call].rtp.sendto(packet, stream.rtp.getsockname())

    def report(self, call: int, packet: bytes) -> None:
        """... or RTCP."""
        stream = self.streams[call]
        if stream.rtcp is not None and stream.rtcp.fileno() >= 0:
            self.callers[call].rtcp.sendto(packet, stream.rtcp.getsockname())

    def narrow(self) -> None:
        """The kernel takes little at once for the agent, and then nothing for a while."""
        link = next((stream.link for stream in self.streams if stream.link is not None), None)
        if link is not None and isinstance(link._socket, socket.socket):
            link._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)

    def end_agent(self) -> None:
        """It closes its connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection, self.over = None, True

    def _carry(self) -> None:
        """Between the gateway and its agent, and to the callers."""
        for caller in self.callers:
            caller.listen()
        if self._connection is None:
            if self.over:
                return
            try:
                self._connection = self._listener.accept()[0]
            except BlockingIOError:
                return
            self._connection.setblocking(False)
        while not self.deaf and (data := receive(self._connection)):
            self._agent_bytes += data
        while len(self._agent_bytes) >= 8:
            size = 8 + _SIZE.unpack_from(self._agent_bytes)[0]
            if len(self._agent_bytes) < size:
                break
            self.agent.take(bytes(self._agent_bytes[:size]))
            del self._agent_bytes[:size]
        if self.agent.socket.inbox:
            with contextlib.suppress(BlockingIOError):  # the rest when the gateway has read some
                del self.agent.socket.inbox[: self._connection.send(self.agent.socket.inbox)]

    # -- time -------------------------------------------------------------------------------

    def run(self, ms: float) -> None:
        """Let time pass."""
        self.end_ns = self.begun_ns + int(ms * MS)
        if not self.real:
            while self.now_ns < self.end_ns:
                self.loop.turn()
            return
        others = threading.Thread(target=self._happen)
        others.start()
        try:
            while time.monotonic_ns() < self.end_ns:
                self.loop.turn()
        finally:
            self.end_ns = 0
            others.join()

    def _happen(self) -> None:
        while time.monotonic_ns() < self.end_ns:
            self.sleep_until(time.monotonic_ns())
            time.sleep(0.001)

    def sleep_until(self, then_ns: int) -> None:
        """What comes meanwhile has come."""
        self._carry()
        while self._events and self._events[0][0] <= then_ns:
            at_ns, _, event = heapq.heappop(self._events)
            self.now_ns = max(self.now_ns, at_ns)
            event()
            self._carry()
        self.now_ns = max(self.now_ns, then_ns)

    def _sleep(self, seconds: float) -> None:
        self.sleep_until(self.now_ns + round(seconds * 1e9))

    def _poll(self, seconds: float) -> Ready:
        end_ns = self.now_ns + round(seconds * 1e9)
        while not len(ready := self.poller.poll(0)) and self.now_ns < end_ns:
            self.sleep_until(min(end_ns, self._events[0][0] if self._events else end_ns))
        return ready

    def close(self) -> None:
        """Everything."""
        ours = [sock for stream in self.streams for sock in stream.sockets]
        theirs = [sock for caller in self.callers for sock in (caller.rtp, caller.rtcp)]
        for sock in [*ours, *theirs, self._ours, self.theirs, self._listener]:
            sock.close()
        if self._connection is not None:
            self._connection.close()
        self.engine.agents.close_all()
        for poller in (self.poller, self.reports):
            poller.epoll.close()


class _VirtualTicks(UsualTicks):
    """`native/ticks.c` in Python, with the test's clock, and with the draws that `Loop` would have made."""

    worker: SocketWorker

    def __init__(self, *everything: Any) -> None:
        super().__init__(*everything)
        self.stops: list[int] = []
        "of each tick: where the kernel has stopped"

    def _in_a_row(self, tick: Any, ready: Any) -> Any:
        def ticks(
            events: Arrays, running: Arrays, link: int, message: Arrays, samples: int, fd: int, data: Arrays,
            again: int, stop_fd: int, plays: int, look: int, run: int, runs: int, grid_ns: int, begun_ns: int,
            until_ns: int, attend_ns: int, raster_ns: int, play_ns: int, handled_ns: int, listen_ns: int, _few: int,
            _hurried_ns: int, _tolerated_ns: int,
        ) -> int:  # fmt: skip
            worker, uplink = self.worker, self._engine.uplink
            lateness = self._engine.receiver.lateness
            now_ns, agents_ns, heard = begun_ns, handled_ns, False
            self._tick[usual_ticks._NEXT_NS] = play_ns
            for k in itertools.count():
                wanted_ns = (now_ns // grid_ns + 1) * grid_ns
                worker.sleep_until(wanted_ns)
                now_ns, found = worker.now_ns, ready(0)
                notes = [now_ns, wanted_ns, now_ns - wanted_ns, 0, worker.now_ns, found]
                if found <= FEW:
                    self._notes[:-1] = [*notes, 0, heard, agents_ns, 0, 0, k]
                    return usual_ticks._NOT_BEGUN
                play_ns = int(self._tick[usual_ticks._NEXT_NS])
                hears = now_ns >= play_ns or now_ns - agents_ns >= listen_ns
                agents_ns = now_ns if hears else agents_ns
                at = tick(
                    events, found, look + k, now_ns, now_ns // raster_ns * raster_ns, running, link, uplink.voice.turn,
                    uplink.background.turn, lateness.turn, message, samples, fd, data, again, run + k * runs, runs,
                    hears, hears, stop_fd, plays, play_ns, k == 0,
                )  # fmt: skip
                self.stops.append(at)
                self._notes[:-1] = [*notes, hears, heard, agents_ns, hears, 0, k + 1]
                if at != usual_ticks._PACKETS_TAKEN:
                    if self._tick[0]:
                        lateness.all_now()
                        uplink.draw()
                    heard |= bool(self._tick[5])
                    self._notes[7] = heard
                if at != usual_ticks._ALL_DONE or (hears and self._tick[2]) or now_ns >= attend_ns:
                    return at
                if worker.now_ns >= min(until_ns, worker.end_ns):
                    return at | 1 << usual_ticks._STOP_BITS
                worker.table.shared.worker.ticks[0] += 1
            raise AssertionError

        return ticks
