# SPDX-License-Identifier: GPL-2.0-or-later
"""One run: worker, agent and generator are started, the calls handed over, and the time measured.

    worker up -> agent, generator up -> calls handed to the worker -> go -> warm-up -> measured -> tail -> records

The worker is started and fed exactly as the gateway does it, by `media.pool`; what is left out
is SIP.  CPU time is read at both ends of the time whose packets are judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trunkline.gateway.bench import machine, signal
from trunkline.gateway.bench.errors import BenchError, RunFailed
from trunkline.gateway.bench.generating import HOST, generator_command, start_generator
from trunkline.gateway.bench.numbering import call_id
from trunkline.gateway.bench.plan import Plan
from trunkline.gateway.bench.processes import END_S, Child, python
from trunkline.gateway.bench.records import Frames, Generated, read_frames, read_generated
from trunkline.gateway.media import control
from trunkline.gateway.media.pool import MediaPool
from trunkline.gateway.media.ports import PortPair, PortPool, PortsExhausted
from trunkline.gateway.media.supervisor import WorkersFailed
from trunkline.gateway.media.table import RUNNING
from trunkline.rtp.negotiation import MediaDescription

PORTS = (12_000, 31_999)
"Below those that the kernel gives out by itself, from which the generator's are."
SETUP_AT_ONCE = 100
ANSWERS_PER_S = 1000
"Calls whose media begin in a second. They are set up before, so that little time passes without packets."
SETUP_S = 60.0
LOOK_S = 0.25


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """What a live view shows."""

    phase: str
    "`setting up`, `warming up`, `measuring`, `collecting`"
    elapsed_s: float
    total_s: float
    "of this phase; 0: unknown"
    calls: int
    packets_in: int = 0
    "that workers have read since they started"
    packets_out: int = 0
    cpu_percent: Mapping[str, float] = dataclasses.field(default_factory=dict)
    "of one core, so far"


Watch = Callable[[Moment], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """What a run has left behind, before anything is concluded from it."""

    plan: Plan
    generated: Generated
    frames: Frames
    cpu: machine.Cpu
    rss_mb: Mapping[str, float]
    "of each process with all calls up, at the end of the measured time"
    idle_rss_mb: float
    "of the workers together before the first call"
    worker: Mapping[str, int]
    "counters of the workers, grown within the measured time"
    remarks: tuple[str, ...]


def run(plan: Plan, watch: Watch = lambda _: None) -> Record:
    """Make the run; raises BenchError."""
    return asyncio.run(_Session(plan, watch).run())


class _Session:
    def __init__(self, plan: Plan, watch: Watch) -> None:
        self._plan, self._watch = plan, watch
        self._ready: set[str] = set()
        self._changed = asyncio.Event()
        self._trouble = ""
        self._over = False
        self._remarks: list[str] = []
        self._output: list[str] = []

    async def run(self) -> Record:
        """All of it, and everything is cleared away whatever happens."""
        plan = self._plan
        # The parent holds RTP and RTCP sockets of all calls; workers get duplicates of theirs and an agent
        # connection for each call in AudioSocket, and inherit the limit.
        machine.need_descriptors(3 * plan.calls + 200)
        command, remark = generator_command(plan.calls)
        self._remarks += [remark] if remark else []
        with tempfile.TemporaryDirectory(prefix="tl-bench-") as name, contextlib.ExitStack() as stack:
            folder = Path(name)
            pool = MediaPool(plan.workers, plan.calls, on_message=self._on_message, on_event=self._on_event)
            try:
                await pool.start()
                idle = sum(machine.rss_mb(pid) for pid in pool.pids)
                agent, address, heard = await _start_agent(plan, folder, stack)
                generator, sent = start_generator(plan, command, folder)
                stack.callback(generator.kill)
                rtcp, *callers = map(int, await generator.line("ports"))
                pairs = _open_ports(plan.calls, stack)
                await self._hand_over(pool, pairs, callers, rtcp, address)
                go = [plan.packets, plan.tail_packets, *(pair.rtp_port for pair in pairs)]
                generator.tell("go " + " ".join(map(str, go)))
                (start,) = await generator.line("started")
                pids = {"media_worker": pool.pids, "generator": [generator.pid], "agent": [agent.pid]}
                measured = await self._measure(pool, pids, int(start))
                self._say("collecting", 0.0)
                await generator.line("done", END_S)
                await generator.finish()
                self._over = True
                await agent.finish()
            except WorkersFailed as error:
                raise BenchError("\n".join([str(error), *self._output[-5:]])) from None
            finally:
                self._over = True
                await pool.stop(0)
            return Record(
                plan, read_generated(sent), read_frames(heard), *measured[:2], idle, measured[2],
                tuple(self._remarks),
            )  # fmt: skip

    # --- before ------------------------------------------------------------------------------

    async def _hand_over(
        self, pool: MediaPool, pairs: list[PortPair], callers: list[int], rtcp: int, address: str
    ) -> None:
        """Start all streams, a hundred at a time, and wait until the agent has taken each."""
        plan = self._plan
        agent = control.AgentParams(
            "bench", address, plan.dialect, plan.agent_rate_hz, plan.ptime_ms, connect_timeout_ms=20_000
        )
        media_of: dict[str, MediaDescription] = {}
        limit = time.monotonic() + SETUP_S
        for number, (pair, port) in enumerate(zip(pairs, callers, strict=True)):
            media = MediaDescription(
                plan.codec, plan.payload_type, plan.payload_type, HOST, port, HOST, rtcp, plan.ptime_ms,
                send_dtmf_pt=101, receive_dtmf_pt=101, dtmf_clock_hz=plan.clock_hz,
            )  # fmt: skip
            info = control.CallInfo(call_id(number), "inbound", f"+{number}", "bench", "bench", "bench")
            pool.start_stream(control.StartStream(info, media, agent, hold_media=True), pair)
            media_of[info.call_id] = media
            await self._until(lambda up=number + 1 - SETUP_AT_ONCE: len(self._ready) >= up, limit)  # type: ignore[misc]
        await self._until(lambda: len(self._ready) >= plan.calls, limit)
        # Media begin at times that have nothing to do with each other, as with real calls: clocks that start
        # together would tick together.
        rng = random.Random(1)
        for one, media in media_of.items():
            pool.update(one, media)
            await asyncio.sleep(rng.uniform(0, 2 / ANSWERS_PER_S))
        await self._until(lambda: _running(pool) >= plan.calls, limit)

    async def _until(self, condition: Callable[[], bool], limit: float) -> None:
        while not condition():
            self._check()
            self._say("setting up", 0.0, calls=len(self._ready))
            if time.monotonic() > limit:
                raise RunFailed(
                    f"only {len(self._ready)} of {self._plan.calls} calls came up in {SETUP_S:.0f} s"
                )
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_S)
        self._check()

    def _on_message(self, message: control.Message) -> None:
        match message:
            case control.StreamReady(call_id=one):
                self._ready.add(one)
                self._changed.set()
            case control.StreamFailed(detail=detail) if not self._over:
                self._trouble = self._trouble or f"a call failed: {detail}"
                self._changed.set()

    def _on_event(self, name: str, data: Mapping[str, Any]) -> None:
        if name == "worker.output":
            self._output.append(str(data["line"]))
        elif name in ("worker.died", "worker.hung") and not self._over:
            why = f"the media worker died: {data.get('why')}"
            if name == "worker.hung":  # the supervisor kills it then
                why = f"the media worker did not come round for {data['silent_ms'] / 1000:.1f} s: {self._plan.calls} calls are too many"
            self._trouble = self._trouble or "\n".join([why, *self._output[-5:]])
            self._changed.set()

    def _check(self) -> None:
        if self._trouble:
            raise RunFailed(self._trouble)

    # --- meanwhile ---------------------------------------------------------------------------

    async def _measure(
        self, pool: MediaPool, pids: Mapping[str, list[int]], start_ns: int
    ) -> tuple[machine.Cpu, dict[str, float], dict[str, int]]:
        begin, end = self._plan.span(start_ns)
        await self._sleep_until(begin, "warming up", start_ns, pool, None)
        meter, before = machine.Meter(pids), _counters(pool)
        await self._sleep_until(end, "measuring", begin, pool, meter)
        cpu, after = meter.read(), _counters(pool)
        rss = {name: sum(map(machine.rss_mb, of)) for name, of in pids.items()}
        return cpu, rss, {name: after[name] - before[name] for name in after}

    async def _sleep_until(
        self, until_ns: int, phase: str, since_ns: int, pool: MediaPool, meter: machine.Meter | None
    ) -> None:
        total_s = (until_ns - since_ns) / 1e9
        while (left_s := (until_ns - time.monotonic_ns()) / 1e9) > 0:
            self._check()
            tables = pool.tables
            self._say(
                phase, max(total_s - left_s, 0.0), total_s, self._plan.calls,
                sum(int(table.worker.packets_received[0]) for table in tables),
                sum(int(table.worker.packets_sent[0]) for table in tables),
                meter.read().percent() if meter and total_s - left_s > LOOK_S / 2 else {},
            )  # fmt: skip
            await asyncio.sleep(min(left_s, LOOK_S))
        self._check()

    def _say(
        self, phase: str, elapsed_s: float, total_s: float = 0.0, calls: int | None = None,
        packets_in: int = 0, packets_out: int = 0, cpu: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        up = self._plan.calls if calls is None else calls
        self._watch(Moment(phase, elapsed_s, total_s, up, packets_in, packets_out, cpu or {}))


def _counters(pool: MediaPool) -> dict[str, int]:
    """What the workers have counted so far, over all calls."""
    names = ("frames_concealed", "frames_gap", "underruns", "packets_lost", "packets_reordered")
    found = {name: sum(int(getattr(table, name).sum()) for table in pool.tables) for name in names}
    found["drops"] = sum(int(table.worker.drops.sum()) for table in pool.tables)
    found["ticks"] = sum(int(table.worker.ticks[0]) for table in pool.tables)
    return found


def _running(pool: MediaPool) -> int:
    return sum(int((table.state == RUNNING).sum()) for table in pool.tables)


def _open_ports(calls: int, stack: contextlib.ExitStack) -> list[PortPair]:
    ports = PortPool(HOST, *PORTS)
    pairs = []
    for _ in range(calls):
        try:
            pair = ports.acquire()
        except PortsExhausted as error:
            raise BenchError(f"{error}; ask for fewer calls, or end what else uses them") from None
        stack.callback(pair.release)
        pairs.append(pair)
    return pairs


async def _start_agent(plan: Plan, folder: Path, stack: contextlib.ExitStack) -> tuple[Child, str, Path]:
    """The agent, its address as the worker wants it, and where it will leave its record."""
    record = folder / "heard.npz"
    native = plan.dialect == "trunkline"
    target = str(folder / "agent.sock") if native else f"{HOST}:0"
    kept = signal.window(plan.frame_samples, plan.agent_rate_hz)
    module = "native_agent" if native else "audiosocket_agent"
    agent = Child("agent", python(module, target, str(record), str(kept.start), str(kept.stop)), folder)
    stack.callback(agent.kill)
    said = await agent.line("ready")
    return agent, f"unix:{target}" if native else f"tcp:{HOST}:{said[0]}", record
