# SPDX-License-Identifier: GPL-2.0-or-later
"""One run: carrier, agent and generator are started, the calls set up, and the time measured.

    carrier up -> agent, generator up -> calls up -> go -> warm-up -> measured -> tail -> records

The carrier is a media worker (`carrier.py`).  What is left out is SIP.  CPU time is read at both ends
of the time whose packets are judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trunkline.gateway.bench import machine, signal
from trunkline.gateway.bench.carrier import HOST, LOOK_S, Carrier, WorkerCarrier
from trunkline.gateway.bench.generating import generator_command, start_generator
from trunkline.gateway.bench.keys import Keys
from trunkline.gateway.bench.plan import Plan
from trunkline.gateway.bench.processes import END_S, Child, python
from trunkline.gateway.bench.records import Frames, Generated, read_frames, read_generated


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """What a live view shows."""

    phase: str
    "`setting up`, `warming up`, `measuring`, `collecting`"
    calls: int
    elapsed_s: float = 0.0
    total_s: float = 0.0
    "of this phase; 0: unknown"
    packets_in: int = 0
    "that the carrier has read since it started"
    packets_out: int = 0
    cpu_percent: Mapping[str, float] = dataclasses.field(default_factory=dict)
    "of one core, so far"


Watch = Callable[[Moment], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """What a run has left behind, before anything is concluded from it."""

    plan: Plan
    carrier: str
    "name of its processes"
    generated: Generated
    frames: Frames
    cpu: machine.Cpu
    rss_mb: Mapping[str, float]
    "of each process with all calls up, at the end of the measured time"
    idle_rss_mb: float
    "of the carrier before the first call"
    counters: Mapping[str, int]
    "of the carrier, grown within the measured time"
    remarks: tuple[str, ...]


def run(
    plan: Plan, watch: Watch = lambda _: None, carrier: Callable[[Plan], Carrier] = WorkerCarrier
) -> Record:
    """Make the run; raises BenchError."""
    return asyncio.run(_run(plan, watch, carrier))


async def _run(plan: Plan, watch: Watch, make: Callable[[Plan], Carrier]) -> Record:
    """All of it, and everything is cleared away whatever happens."""
    command, remark = generator_command(plan)
    carrier, keys = make(plan), Keys.of(plan)
    with tempfile.TemporaryDirectory(prefix="tl-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        try:
            await carrier.start()
            idle = sum(map(machine.rss_mb, carrier.pids))
            agent, address, heard = await _start_agent(plan, carrier.agent_port, folder, stack)
            generator, sent = start_generator(plan, keys, command, folder)
            stack.callback(generator.kill)
            rtcp, *callers = map(int, await generator.line("ports"))
            ports = await carrier.connect(
                callers, rtcp, address, keys, lambda up: watch(Moment("setting up", up))
            )
            generator.tell(" ".join(map(str, ["go", plan.packets, plan.tail_packets, *ports])))
            (start,) = await generator.line("started")
            pids = {carrier.name: carrier.pids, "generator": [generator.pid], "agent": [agent.pid]}
            cpu, rss, counters = await _measure(plan, carrier, pids, int(start), watch)
            watch(Moment("collecting", plan.calls))
            await generator.line("done", END_S)
            await generator.finish()
            await agent.finish()
        finally:
            await carrier.stop()
        return Record(
            plan, carrier.name, read_generated(sent), read_frames(heard), cpu, rss, idle, counters,
            (remark,) if remark else (),
        )  # fmt: skip


async def _start_agent(
    plan: Plan, port: int, folder: Path, stack: contextlib.ExitStack
) -> tuple[Child, str, Path]:
    """The agent, its address as routes have it, and where it will leave its record."""
    record = folder / "heard.npz"
    native = plan.dialect == "trunkline"
    target = str(folder / "agent.sock") if native else f"{HOST}:{port}"
    kept = signal.window(plan.frame_samples, plan.agent_rate_hz)
    module = {"trunkline": "native_agent", "audiosocket": "audiosocket_agent"}.get(plan.dialect, "websocket_agent")
    words = [target, str(record), str(kept.start), str(kept.stop)]
    if module == "websocket_agent":
        words.append(plan.dialect)
    agent = Child("agent", python(module, *words), folder)
    stack.callback(agent.kill)
    said = await agent.line("ready")
    return agent, f"unix:{target}" if native else f"tcp:{HOST}:{said[0]}", record


async def _measure(
    plan: Plan, carrier: Carrier, pids: Mapping[str, Sequence[int]], start_ns: int, watch: Watch
) -> tuple[machine.Cpu, dict[str, float], dict[str, int]]:
    """CPU, memory and counters over the measured time."""
    begin, end = plan.span(start_ns)
    await _sleep(plan, carrier, "warming up", start_ns, begin, None, watch)
    meter, before = machine.Meter(pids), carrier.counters()
    await _sleep(plan, carrier, "measuring", begin, end, meter, watch)
    cpu, after = meter.read(), carrier.counters()
    rss = {name: sum(map(machine.rss_mb, of)) for name, of in pids.items()}
    return cpu, rss, {name: after[name] - before[name] for name in after}


async def _sleep(
    plan: Plan,
    carrier: Carrier,
    phase: str,
    since_ns: int,
    until_ns: int,
    meter: machine.Meter | None,
    watch: Watch,
) -> None:
    """Until then, watched."""
    total_s = (until_ns - since_ns) / 1e9
    while (left_s := (until_ns - time.monotonic_ns()) / 1e9) > 0:
        carrier.check()
        elapsed_s = max(total_s - left_s, 0.0)
        cpu = meter.read().percent() if meter and elapsed_s > LOOK_S / 2 else {}
        watch(Moment(phase, plan.calls, elapsed_s, total_s, *carrier.packets(), cpu))
        await asyncio.sleep(min(left_s, LOOK_S))
    carrier.check()
