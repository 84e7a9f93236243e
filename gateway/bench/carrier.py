# SPDX-License-Identifier: GPL-2.0-or-later
"""What carries the calls of a run between generator and agent: a media worker, or something to compare it with."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from trunkline.agent_bridge.links import MESSAGE_DIALECTS
from trunkline.gateway.bench import machine
from trunkline.gateway.bench.errors import BenchError, RunFailed
from trunkline.gateway.bench.keys import Keys
from trunkline.gateway.bench.numbering import call_id
from trunkline.gateway.bench.plan import Plan
from trunkline.gateway.media import control
from trunkline.gateway.media.pool import MediaPool
from trunkline.gateway.media.ports import PortPair, PortPool, PortsExhausted
from trunkline.gateway.media.supervisor import WorkersFailed
from trunkline.gateway.media.table import RUNNING
from trunkline.rtp.negotiation import MediaDescription

HOST = "127.0.0.1"
PORTS = (12_000, 31_999)
"Below those that the kernel gives out by itself, from which the generator's are."
SETUP_AT_ONCE = 100
ANSWERS_PER_S = 1000
"Calls whose media begin in a second. They are set up before, so that little time passes without packets."
SETUP_S = 60.0
LOOK_S = 0.25

Progress = Callable[[int], None]
"told how many calls are up"


class Carrier(Protocol):
    """One of a run; used once."""

    @property
    def name(self) -> str:
        """Of its processes in the figures."""

    @property
    def agent_port(self) -> int:
        """TCP port at which an agent of one connection a call must listen; 0: any."""

    @property
    def pids(self) -> Sequence[int]:
        """Its processes."""

    async def start(self) -> None:
        """Be up, without calls. Raises BenchError."""

    async def connect(
        self, callers: Sequence[int], rtcp: int, agent: str, keys: Keys, progress: Progress
    ) -> list[int]:
        """All calls up; returns where each caller's RTP goes to. `callers` are their ports, `rtcp` that for all RTCP,
        `agent` an address as routes have it. Raises BenchError."""

    def check(self) -> None:
        """Raises RunFailed when it is broken."""

    def packets(self) -> tuple[int, int]:
        """RTP in and out since the start, for a live view."""

    def counters(self) -> Mapping[str, int]:
        """What it counts itself, since the start."""

    async def stop(self) -> None:
        """End everything, whatever state it is in."""


class WorkerCarrier:
    """Media workers, started and fed exactly as the gateway does it, by `media.pool`."""

    name = "media_worker"
    agent_port = 0

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._pool: MediaPool | None = None
        self._pairs: list[PortPair] = []
        self._ready: set[str] = set()
        self._changed = asyncio.Event()
        self._trouble = ""
        self._output: list[str] = []

    @property
    def _workers(self) -> MediaPool:
        assert self._pool is not None, "it has been started"
        return self._pool

    @property
    def pids(self) -> Sequence[int]:
        """Of the workers."""
        return self._workers.pids

    async def start(self) -> None:
        """Wait until all workers are ready."""
        # We hold RTP and RTCP sockets of all calls; workers get duplicates, have a connection to the agent for each
        # call but in our own dialect, and inherit the limit, as generator and agent do.
        machine.need_descriptors(3 * self._plan.calls + 200)
        self._pool = MediaPool(
            self._plan.workers, self._plan.calls, on_message=self._on_message, on_event=self._on_event
        )
        try:
            await self._pool.start()
        except WorkersFailed as error:
            raise BenchError("\n".join([str(error), *self._output[-5:]])) from None

    async def connect(
        self, callers: Sequence[int], rtcp: int, agent: str, keys: Keys, progress: Progress
    ) -> list[int]:
        """Hand the calls over a hundred at a time, then let their media begin."""
        plan = self._plan
        url = "ws" + agent.removeprefix("tcp").replace(":", "://", 1) if plan.dialect in MESSAGE_DIALECTS else ""
        params = control.AgentParams(
            "bench", agent, plan.dialect, plan.agent_rate_hz, plan.ptime_ms, connect_timeout_ms=20_000, url=url
        )
        self._open_ports()
        media_of: dict[str, MediaDescription] = {}
        limit = time.monotonic() + SETUP_S
        for number, (pair, port) in enumerate(zip(self._pairs, callers, strict=True)):
            sends, hears = keys.of_call(number)
            media = MediaDescription(
                plan.codec, plan.payload_type, plan.payload_type, HOST, port, HOST, rtcp, plan.ptime_ms,
                send_dtmf_pt=101, receive_dtmf_pt=101, dtmf_clock_hz=plan.clock_hz, send_key=sends,
                receive_key=hears,
            )  # fmt: skip
            info = control.CallInfo(call_id(number), "inbound", f"+{number}", "bench", "bench", "bench")
            start = control.StartStream(info, media, params, hold_media=True, answered=True)
            self._workers.start_stream(start, pair)
            media_of[info.call_id] = media
            await self._until(lambda: len(self._ready), number + 1 - SETUP_AT_ONCE, limit, progress)
        await self._until(lambda: len(self._ready), plan.calls, limit, progress)
        # Media begin at times that have nothing to do with each other, as with real calls: clocks that start
        # together would tick together.
        rng = random.Random(1)
        for one, media in media_of.items():
            self._workers.update(one, media)
            await asyncio.sleep(rng.uniform(0, 2 / ANSWERS_PER_S))
        await self._until(self._running, plan.calls, limit, progress)
        return [pair.rtp_port for pair in self._pairs]

    def _open_ports(self) -> None:
        ports = PortPool(HOST, *PORTS)
        try:
            for _ in range(self._plan.calls):
                self._pairs.append(ports.acquire())
        except PortsExhausted as error:
            raise BenchError(f"{error}; ask for fewer calls, or end what else uses them") from None

    def _running(self) -> int:
        return sum(int((table.state == RUNNING).sum()) for table in self._workers.tables)

    async def _until(self, count: Callable[[], int], wanted: int, limit: float, progress: Progress) -> None:
        while count() < wanted:
            self.check()
            progress(count())
            if time.monotonic() > limit:
                raise RunFailed(f"only {count()} of {self._plan.calls} calls came up in {SETUP_S:.0f} s")
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_S)

    def _on_message(self, message: control.Message) -> None:
        match message:
            case control.StreamReady(call_id=one):
                self._ready.add(one)
            case control.StreamFailed(detail=detail):
                self._trouble = self._trouble or f"a call failed: {detail}"
        self._changed.set()

    def _on_event(self, name: str, data: Mapping[str, Any]) -> None:
        match name:
            case "worker.output":
                self._output.append(str(data["line"]))
            case "worker.hung":  # the supervisor kills it, and it dies
                slept, calls = data["silent_ms"] / 1000, self._plan.calls
                why = f"the media worker did not come round for {slept:.1f} s: {calls} calls are too many here"
                self._trouble = self._trouble or why
            case "worker.died":
                why = f"the media worker died: {data['why']}"
                self._trouble = self._trouble or "\n".join([why, *self._output[-5:]])
        self._changed.set()

    def check(self) -> None:
        """Whether a worker has died or a call has failed."""
        if self._trouble:
            raise RunFailed(self._trouble)

    def packets(self) -> tuple[int, int]:
        """From the workers' own columns."""
        blocks = [table.worker for table in self._workers.tables]
        return (
            sum(int(block.packets_received[0]) for block in blocks),
            sum(int(block.packets_sent[0]) for block in blocks),
        )

    def counters(self) -> Mapping[str, int]:
        """Over all calls and workers."""
        names = ("frames_concealed", "frames_gap", "underruns", "packets_lost", "packets_reordered")
        tables = self._workers.tables
        found = {name: sum(int(getattr(table, name).sum()) for table in tables) for name in names}
        found["drops"] = sum(int(table.worker.drops.sum()) for table in tables)
        found["ticks"] = sum(int(table.worker.ticks[0]) for table in tables)
        return found

    async def stop(self) -> None:
        """Workers are killed: their calls are nobody's."""
        if self._pool is not None:
            await self._pool.stop(0)
        for pair in self._pairs:
            pair.release()
