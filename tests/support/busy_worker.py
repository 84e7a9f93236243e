# SPDX-License-Identifier: GPL-2.0-or-later
"""A media worker whose time goes by as it works: its real loop and engine, with sockets that are counters here.

    worker = BusyWorker(1500, Modelled())     every packet, frame and tick takes what the model says: reproducible
    worker = BusyWorker(1500, measured())     what it takes on this machine's CPU, and the model's for system calls
    worker.run(5)                             callers begin to speak all at once, a second after their calls are up

What would be done by others (the callers, the kernel, an agent that repeats what it hears) takes no time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from support.virtual_agent import FD, MADE_UP, Frames
from support.virtual_engine import START_NS, VirtualEngine
from support.virtual_network import BASE, MS, NUMBER_BYTES, PEER, numbers_in
from trunkline.gateway.media.batch import Batch
from trunkline.gateway.media.loop import Loop
from trunkline.gateway.media.poller import MOST_FOUND
from trunkline.gateway.media.rhythm import Rhythm
from trunkline.gateway.media.worker import JITTER_MIN_MS
from trunkline.rtp.jitter import TargetParams
from trunkline.rtp.packet import HEADER_BYTES, write_headers

PACKET_NS = 20 * MS
SOCKET_PACKETS = 250
"What a UDP socket holds by default; what comes then is lost."
FIRST_FD = 10_000
"Descriptor of the socket of row 0."
PAYLOAD_BYTES = 160
LOOK_NS = 20 * MS
"How often the state of things is written down."

Rows = NDArray[np.intp]


@dataclasses.dataclass(frozen=True)
class Modelled:
    """What work takes, in ns; `measured` is the share of CPU time that counts beside it."""

    read: int = 900
    "a packet out of its socket,"
    hear: int = 2_000
    "... and all the way to the agent,"
    begin: int = 60_000
    "a packet that does not come as was expected,"
    fill: int = 10_000
    "a frame that is made up,"
    silence: int = 2_000
    "... of digital silence,"
    send: int = 3_500
    "a packet to a caller,"
    agent_byte: float = 0.0
    "a byte to or from the agent,"
    tick: int = 400_000
    "a tick."
    measured: float = 0.0


def measured(scale: float = 1.5) -> Modelled:
    """CPU time of this machine, so many times: out of sleep, caches are cold. System calls cost what the floor's do."""
    return Modelled(900, 0, 0, 0, 0, 1_700, 0.0007, 50_000, scale)


class Clock:
    """Goes on with work and sleep."""

    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._passed_ns, self._slept_ns = 0, 0
        self._cpu_ns = time.thread_time_ns()
        self._counts = bool(scale)
        self.stalls: list[tuple[int, int]] = []
        "from when to when, ns, nothing is done: others have the machine"
        self.crowded: tuple[int, int] = 0, 0
        "from when to when all work takes four times as long"

    def now(self) -> int:
        """Monotonic, ns."""
        if self._counts:
            cpu_ns = time.thread_time_ns()
            self._passed_ns += int((cpu_ns - self._cpu_ns) * self._scale)
            self._cpu_ns = cpu_ns
        return START_NS + self._passed_ns

    def cpu(self) -> int:
        """CPU time of the worker, ns."""
        return self.now() - START_NS - self._slept_ns

    def work(self, ns: float) -> None:
        """It takes so long."""
        begin, end = self.crowded
        self._passed_ns += int(ns) * (4 if begin <= START_NS + self._passed_ns < end else 1)
        self._stall()

    def sleep(self, seconds: float) -> None:
        """Nothing is done."""
        self._passed_ns += round(seconds * 1e9)
        self._slept_ns += round(seconds * 1e9)
        self._stall()

    def _stall(self) -> None:
        for begin, end in self.stalls:
            if begin <= START_NS + self._passed_ns < end:
                self._slept_ns += end - START_NS - self._passed_ns
                self._passed_ns = end - START_NS

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """What is done meanwhile is not the worker's."""
        self.now()
        counts, self._counts = self._counts, False
        try:
            yield
        finally:
            self._counts, self._cpu_ns = counts, time.thread_time_ns()


class _Engine(VirtualEngine):
    """On the worker's clock."""

    clock: Clock

    @property
    def now_ns(self) -> int:
        """Of the clock."""
        return self.clock.now()

    @now_ns.setter
    def now_ns(self, value: int) -> None:
        """It is set by nobody."""


@dataclasses.dataclass
class State:
    """How things stand at a time."""

    at_ms: int
    waiting: int
    "packets at the sockets"
    filled: int
    "frames made up so far"
    dropped: int
    sent: int
    ticks: int
    grid_ms: float
    share: float


class BusyWorker:
    """A worker with `calls` calls."""

    def __init__(
        self, calls: int, costs: Modelled, *, talk_after_ms: int = 1000, spread_ms: float = 20.0, **start: Any
    ) -> None:
        """Callers speak `talk_after_ms` after their calls are up, their first packets within `spread_ms`."""
        self.calls, self.costs = calls, costs
        self.clock = Clock(costs.measured)
        self.begun_ns = self.clock.now()
        "when the calls began"
        with self.clock.stopped():
            rig = _Engine.__new__(_Engine)
            rig.clock = self.clock
            jitter = TargetParams(min_ns=JITTER_MIN_MS * MS)
            rig.__init__(calls, seed=3, echo=True, jitter=jitter, **start)  # type: ignore[misc]
        self.rig, self.engine = rig, rig.engine
        phase_ns = (np.arange(calls) * spread_ms * MS / calls).astype(np.int64)
        self._first_ns = self.clock.now() + talk_after_ms * MS + phase_ns
        self.read = np.zeros(calls, np.int64)
        "[calls] packets that were read, or lost before"
        self.lost = np.zeros(calls, np.int64)
        "[calls] packets that found no room"
        self.outages: list[tuple[int, int]] = []
        "of the network, from when to when, ns"
        self._turn = 0
        self._behind: NDArray[np.bool_] = np.zeros(calls, bool)
        self.sampled_row, self.sampled_age_ns = -1, 0
        self.states: list[State] = []
        self._payload = np.random.default_rng(1).integers(0, 256, PAYLOAD_BYTES, np.uint8)
        self.heard: list[tuple[Rows, NDArray[np.int64], NDArray[np.int64]]] = []
        "of frames that were said: calls, frames before them, packets"
        if rig.engine.table.formats.list[0].key.agent_rate_hz == 8000:  # else numbers do not survive
            rig.agent.on_frames = self._hear
        self._charge()
        rhythm = Rhythm(
            self.poll, self.rig.table.shared.worker, clock=self.clock.now, cpu_clock=self.clock.cpu,
            sleep=self.clock.sleep,
        )  # fmt: skip
        self.loop = Loop(self.engine, self, self, rhythm, -1, self.clock.now, self.clock.cpu)

    # -- what work takes --------------------------------------------------------------------

    def _charge(self) -> None:
        costs, rig = self.costs, self.rig
        self._wrap(rig.sockets, "send", lambda rows, *_: costs.send * len(rows), foreign=True)
        self._wrap(rig.sockets, "send_rtcp", lambda *_: costs.send, foreign=True)
        self._wrap(
            rig.agent.socket, "sendmsg", lambda pieces: costs.agent_byte * sum(map(len, pieces)), foreign=True
        )
        self._wrap(
            rig.agent.socket, "recv_into", lambda _: costs.agent_byte * len(rig.agent.socket.inbox), foreign=True
        )
        self._wrap(self.engine, "receive", lambda batch, _: costs.hear * len(batch.rows))
        self._wrap(self.engine.receiver, "receive", lambda batch, _: costs.begin * len(batch.rows))
        self._wrap(self.engine.uplink, "fill", lambda rows, *_: self._of_fills(len(rows)))
        if (onward := self.engine.timeline.onward) is not None:
            self._wrap_after(onward, "catch_up", lambda found, *_: len(found[0].filled[0]) if found and found[1] else 0)
            self._wrap_after(onward, "refill", lambda rounds, _, count, *__: int(np.minimum(count, rounds).sum()))

    def _of_fills(self, frames: int) -> float:
        """What frames take that are made up."""
        return frames * (self.costs.silence if self.engine.uplink.hurried else self.costs.fill)

    def _wrap_after(self, place: object, name: str, frames: Callable[..., int]) -> None:
        """Of what says only afterwards how many frames it has made up: `frames` takes that, and the arguments."""
        inner = getattr(place, name)

        def outer(*args: Any, **more: Any) -> Any:
            found = inner(*args, **more)
            self.clock.work(self._of_fills(frames(found, *args)))
            return found

        setattr(place, name, outer)

    def _wrap(
        self, place: object, name: str, cost: Callable[..., float], *, foreign: bool = False
    ) -> None:
        """`foreign`: what is done there itself is the rig's."""
        inner = getattr(place, name)

        def outer(*args: Any, **more: Any) -> Any:
            self.clock.work(cost(*args))
            with self.clock.stopped() if foreign else contextlib.nullcontext():
                return inner(*args, **more)

        setattr(place, name, outer)

    # -- the poller -------------------------------------------------------------------------

    @property
    def handlers(self) -> Mapping[int, Callable[[int], None]]:
        """Of the agent's connection."""
        handler = self.rig.poller._handler
        return {} if handler is None else {FD: handler}

    def _due(self, now_ns: int) -> NDArray[np.int64]:
        """[calls] packets that have come by then; what falls into an outage comes in one burst at its end."""
        for begin, end in self.outages:
            if begin <= now_ns < end:
                now_ns = begin
        return np.maximum((now_ns - self._first_ns) // PACKET_NS + 1, 0)

    def poll(self, seconds: float) -> list[tuple[int, int]]:
        """What is ready by then; if nothing is, time passes."""
        with self.clock.stopped():
            ready = self._ready()
            if not ready and seconds > 0:
                now_ns = self.clock.now()
                coming_ns = int((self._first_ns + np.maximum(self._due(now_ns), self.read) * PACKET_NS).min())
                coming_ns = max([coming_ns, *(end for begin, end in self.outages if begin <= coming_ns < end)])
                self.clock.sleep(min(max(coming_ns - now_ns, 0) / 1e9, seconds))
                ready = self._ready()
            return ready

    def _ready(self) -> list[tuple[int, int]]:
        rows = np.flatnonzero(self._due(self.clock.now()) > self.read)
        rows = np.roll(rows, -int(np.searchsorted(rows, self._turn)))
        poller = self.rig.poller
        events = poller._mask & (select.EPOLLOUT | (select.EPOLLIN if self.rig.agent.socket.inbox else 0))
        agent = [(FD, events)] if events and poller._handler is not None else []
        rows = rows[: MOST_FOUND - len(agent)]
        if len(rows):
            self._turn = int(rows[-1]) + 1
        return agent + [(FIRST_FD + row, select.EPOLLIN) for row in rows.tolist()]

    # -- the sockets ------------------------------------------------------------------------

    def receive(
        self, ready: Sequence[tuple[int, int]], *, behind: bool = False
    ) -> tuple[Batch | None, list[tuple[int, int]]]:
        """As `UdpSockets` has it."""
        with self.clock.stopped():
            rows = np.array([fd - FIRST_FD for fd, _ in ready if fd >= FIRST_FD], np.intp)
            if behind:
                rows = rows[self._behind[rows]]
            self._behind[:] = False
            self._behind[rows] = True
            others = [item for item in ready if item[0] < FIRST_FD]
            waiting = self._due(self.clock.now())[rows] - self.read[rows]
            over = np.maximum(waiting - SOCKET_PACKETS, 0)
            self.lost[rows] += over
            # The socket keeps the oldest: what found no room came last, and is counted here in their place.
            rows = rows[waiting > 0]
            batch = self._batch(rows) if len(rows) else None
            self.clock.work(self.costs.read * len(rows))
        return batch, others

    def waiting(self, ready: Sequence[tuple[int, int]]) -> Rows:
        """As `UdpSockets` has it."""
        return np.array([fd - FIRST_FD for fd, _ in ready if fd >= FIRST_FD], np.intp)

    def _batch(self, rows: Rows) -> Batch:
        number = self.read[rows]
        self.read[rows] += 1
        n, size = len(rows), HEADER_BYTES + PAYLOAD_BYTES
        packets = np.empty((n, size), np.uint8)
        packets[:, HEADER_BYTES:] = self._payload
        for i in range(NUMBER_BYTES):
            packets[:, -NUMBER_BYTES + i] = number // BASE**i % BASE
        ssrc = (rows + 1).astype(np.uint32)
        write_headers(
            packets, np.zeros(n, np.uint8), np.zeros(n, bool), number & 0xFFFF, number * PAYLOAD_BYTES, ssrc
        )
        return Batch(rows, packets, np.full(n, size, np.int32), np.ones(n, bool), [PEER] * n)

    def _hear(self, calls: Rows, frames: Frames) -> None:
        records = frames.records()
        said = (records["flags"] & MADE_UP) == 0
        place = records["position"][said].astype(np.int64) // PAYLOAD_BYTES
        self.heard.append((calls[said], place, numbers_in(records["pcm"][said])))

    def shifts(self) -> list[list[tuple[int, int]]]:
        """For each call, runs of packets with as many frames more than packets before them: [(packet, frames more)]."""
        self.rig.agent.read()
        calls, place, number = (np.concatenate(column) for column in zip(*self.heard, strict=True))
        runs: list[list[tuple[int, int]]] = []
        for call in range(self.calls):
            mine = np.flatnonzero(calls == call)
            ahead = place[mine] - number[mine]
            begins = np.flatnonzero(np.diff(ahead, prepend=1 << 40))
            runs.append([(int(number[mine[i]]), int(ahead[i])) for i in begins])
        return runs

    # -- time -------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let it work for so long."""
        end_ns = self.clock.now() + int(seconds * 1e9)
        look_ns = self.clock.now()
        self.clock._counts = bool(self.costs.measured)
        while (now_ns := self.clock.now()) < end_ns:
            self.loop.turn()
            self.clock.work(self.costs.tick)
            if now_ns >= look_ns:
                with self.clock.stopped():
                    self._look(now_ns)
                look_ns = now_ns + LOOK_NS

    def _look(self, now_ns: int) -> None:
        c = self.rig.table.shared
        self.states.append(
            State(
                (now_ns - START_NS) // MS,
                int((self._due(self.clock.now()) - self.read).sum()),
                int(c.frames_gap.sum() + c.frames_concealed.sum() + c.frames_comfort_noise.sum()),
                int(c.drops.sum()),
                int(c.packets_sent.sum()),
                int(c.worker.ticks[0]),
                self.loop.rhythm.grid_ns / MS,
                self.loop.rhythm.share,
            )
        )
