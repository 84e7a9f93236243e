# SPDX-License-Identifier: GPL-2.0-or-later
"""A media worker is killed (SIGKILL) under N calls with speech: how long each caller hears nothing, and what is lost.

The speaker records every packet that each caller gets, with the kernel's time; the agent
every frame, with its position and flags.  So nothing here is the gateway's own word: a
call is lost when its packets do not come back, and continues when its SSRC, sequence
numbers and timestamps do.

`kills` above 1 kill each successor as soon as it carries the calls.  With more than one
worker, that is how a place comes to be given up and its calls move to the others.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import machine, tables
from bench.rig import BenchGateway, Program, Rig
from support.waiting import wait_for

SETTLE_S = 3.0
"Between the last call's answer and the kill, and between the last recovery and the end."
BETWEEN_S = 0.3
"From a successor's readiness to its own end, with `kills` above 1."
TAIL_S = 1.0
WATCHED_NS = 2_000_000_000
"A gap that begins later after the last kill has another reason."
LIMIT_MS = 1000.0
SILENCE = 0xFF
HEADER_BYTES = 12


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What to run."""

    calls: int
    workers: int = 1
    kills: int = 1
    rate: int = 50
    "calls begun in a second"
    seconds: float = 5.0
    "from the last kill to the end"


def run(options: Options) -> dict[str, Any]:
    """Measure; returns all figures, as they go into JSON."""
    n = options.calls
    hold_s = n / options.rate * 1.5 + SETTLE_S + options.seconds + 5 * options.kills + TAIL_S + 6
    rig = Rig(calls=n, agent="counting", workers=options.workers, record=True)
    timeout_s = round(hold_s + n / options.rate + 30)
    with rig, rig.sipp(calls=n, rate=options.rate, hold_ms=round(hold_s * 1000), timeout_s=timeout_s) as sipp:
        gateway = rig.gateway
        wait_for(lambda: _up(gateway) >= n, f"{n} calls are up", n / options.rate * 2 + 15, 0.2)
        time.sleep(SETTLE_S)
        meter = machine.Meter(rig.pids)
        kills = _kill(gateway, options.kills)
        time.sleep(options.seconds)
        cpu = meter.read().as_dict()
        up_at_the_end = _up(gateway)
        rig.speaker.tell("quiet")
        time.sleep(TAIL_S)
        drops = machine.udp_drops(rig.rtp_ports)
        restarted = [line for line in gateway.log() if str(line.get("event", "")).startswith("worker.")]
        signalling = sipp.wait()
        voice = rig.speaker.finish()
        assert isinstance(rig.agent, Program)
        heard = rig.agent.finish()
    return {
        "options": dataclasses.asdict(options),
        "signalling": signalling,
        "calls_up_at_the_end": up_at_the_end,
        "cpu": cpu,
        "socket_drops": drops,
        "kills": len(kills),
        "events": [
            {
                key: line[key]
                for key in ("event", "worker", "streams", "took_ms", "moved", "why")
                if key in line
            }
            for line in restarted
        ],
        "callers": of_callers(voice, kills[0], kills[-1]),
        "agent": of_agent(heard, kills[-1]),
    }


def _up(gateway: BenchGateway) -> int:
    return int(gateway.status()["calls_by_state"].get("up", 0))


def _kill(gateway: BenchGateway, count: int) -> list[int]:
    """Kill the worker at the first place so often; returns when."""
    times = []
    for number in range(count):
        pid = _first_worker(gateway)
        times.append(time.monotonic_ns())
        os.kill(pid, signal.SIGKILL)
        if number + 1 < count:
            wait_for(lambda gone=pid: _first_worker(gateway) not in (0, gone), "a successor", 15, 0.02)
            time.sleep(BETWEEN_S)
    return times


def _first_worker(gateway: BenchGateway) -> int:
    """Its process id, 0 while there is none."""
    first = next(iter(gateway.status()["workers"]["each"]), None)
    return int(first["pid"]) if first and first["ready"] else 0


def of_callers(voice: Mapping[str, NDArray[Any]], first_ns: int, last_ns: int) -> dict[str, Any]:
    """What each caller's packets say: gaps from the first kill on, and whether the stream is the same one.

    Columns of `voice` are those that `speaker.py` writes: packets[n, bytes], heard_call[n], heard_ns[n].
    """
    calls, at, packets = voice["heard_call"], voice["heard_ns"], voice["packets"]
    ports = voice["ports"]
    sequence = packets[:, 2].astype(np.int64) << 8 | packets[:, 3]
    stamp = packets[:, 4:8].astype(np.int64) @ np.array([1 << 24, 1 << 16, 1 << 8, 1])
    speech = (packets[:, HEADER_BYTES:] != SILENCE).any(axis=1)
    gaps, gap_at, packets_back, speech_back, lost_numbers, bad_stamps = [], [], [], [], 0, 0
    silent = 0
    for call in np.unique(calls):
        mine = np.flatnonzero(calls == call)
        after = mine[at[mine] > first_ns]
        since = np.diff(at[mine])
        since = since * ((at[mine][1:] > first_ns) & (at[mine][:-1] < last_ns + WATCHED_NS))
        gaps.append(float(since.max(initial=0)) / 1e6)
        if len(since):
            gap_at.append((at[mine][int(since.argmax())] - first_ns) / 1e6)
        # The first packet behind the longest gap is that of the successor.
        step = np.flatnonzero(np.diff(at[after], prepend=first_ns) > 30_000_000)
        if not len(after) or at[after[-1]] < last_ns + 1_000_000_000:
            silent += 1
            continue
        back = after[step[0]] if len(step) else after[0]
        packets_back.append((at[back] - first_ns) / 1e6)
        spoken = after[(at[after] >= at[back]) & speech[after]]
        if len(spoken):
            speech_back.append((at[spoken[0]] - first_ns) / 1e6)
        steps = np.diff(sequence[mine]) & 0xFFFF
        lost_numbers += int((steps - 1)[steps < 0x8000].sum())
        moved = np.diff(stamp[mine]) & 0xFFFFFFFF
        bad_stamps += int(((moved % 160 != 0) | (moved < 160 * steps) | (moved > 8000 * 30)).sum())
    return {
        "streams": len(np.unique(calls)),
        "gateway_ports": len(set(ports.tolist())),
        "silent_afterwards": silent,
        "gap_ms": _spread(gaps),
        "gap_begins_ms": _spread(gap_at),
        "packets_back_ms": _spread(packets_back),
        "speech_back_ms": _spread(speech_back),
        "calls_with_speech_again": len(speech_back),
        "sequence_numbers_missing": lost_numbers,
        "timestamps_out_of_step": bad_stamps,
    }


def of_agent(heard: Mapping[str, NDArray[Any]], kill_ns: int) -> dict[str, Any]:
    """What the agent got of each call after the last kill: when, from which position, and whether it was told."""
    ordinals: dict[str, list[int]] = {}
    for index, name in enumerate(heard["call_ids"]):
        ordinals.setdefault(str(name), []).append(index)
    back, jumps, told, gaps = [], [], 0, []
    for indices in ordinals.values():
        resumed, position, gap_ms = heard["starts"][indices[-1]]
        rows = np.flatnonzero(heard["call"] == indices[-1])
        if len(indices) < 2 or not len(rows):
            continue
        if heard["read_ns"][rows[0]] > kill_ns:
            back.append((heard["read_ns"][rows[0]] - kill_ns) / 1e6)
        told += bool(resumed and heard["position"][rows[0]] == position)
        gaps.append(float(gap_ms))
        before = np.flatnonzero(heard["call"] == indices[-2])
        if len(before):
            expected = heard["position"][before[-1]] + heard["samples"][before[-1]]
            jumps.append(int(heard["position"][rows[0]] - expected))
    return {
        "calls": len(ordinals),
        "offered_again": len(gaps),
        "frames_back_ms": _spread(back),
        "told_of_the_gap": told,
        "told_gap_ms": _spread(gaps),
        "positions_jump_samples": [min(jumps, default=0), max(jumps, default=0)],
    }


def _spread(values: list[float]) -> dict[str, float]:
    if not values:
        return {"count": 0}
    array = np.array(values)
    return {
        "count": len(values),
        "p50_ms": float(np.median(array)),
        "p99_ms": float(np.percentile(array, 99)),
        "max_ms": float(array.max()),
    }


def render(figures: dict[str, Any]) -> str:
    """The tables."""
    options, callers, agent = figures["options"], figures["callers"], figures["agent"]
    title = f"{options['calls']} calls on {options['workers']} worker(s), killed {figures['kills']} time(s)"
    delays = [
        tables.spread_row("kill -> packets to the caller again", callers["packets_back_ms"]),
        tables.spread_row("kill -> speech to the caller again", callers["speech_back_ms"]),
        tables.spread_row("longest gap between packets to a caller", callers["gap_ms"]),
        tables.spread_row("  which begins so long after the kill", callers["gap_begins_ms"]),
        tables.spread_row("gap that the agent is told of", agent["told_gap_ms"]),
        tables.spread_row("last kill -> frames to the agent again", agent["frames_back_ms"]),
    ]
    counts = [
        ["streams that the callers saw (SSRC, port)", callers["streams"]],
        ["calls silent afterwards", callers["silent_afterwards"]],
        ["calls with speech again", callers["calls_with_speech_again"]],
        ["sequence numbers that never came", callers["sequence_numbers_missing"]],
        ["timestamps out of step", callers["timestamps_out_of_step"]],
        ["calls offered to the agent again", agent["offered_again"]],
        ["  and told of the gap", agent["told_of_the_gap"]],
        ["samples that the agent's positions jump by, least and most", str(agent["positions_jump_samples"])],
        ["datagrams dropped at full RTP sockets", figures["socket_drops"]],
        ["calls up at the end", figures["calls_up_at_the_end"]],
        ["SIP calls that failed", figures["signalling"]["failed"]],
    ]
    events = [[f"{one.pop('event')}", str(one)] for one in map(dict, figures["events"])]
    return "\n".join(
        [
            f"== {title}; load {figures['cpu']['load']}",
            tables.table("delays, ms", ["", "p50", "p99", "max", "n"], delays),
            tables.table("calls", ["", "count"], counts),
            tables.table("what the log says", ["", ""], events),
            tables.verdicts(verdicts(figures)),
        ]
    )


def verdicts(figures: dict[str, Any]) -> list[tuple[str, Any, str, bool]]:
    """Against what the project promises."""
    n, callers, agent = figures["options"]["calls"], figures["callers"], figures["agent"]
    hit = max((one["streams"] for one in figures["events"] if one["event"] == "worker.died"), default=0)
    entries: list[tuple[str, Any, str, bool]] = [
        ("failed calls", figures["signalling"]["failed"], "0", not figures["signalling"]["failed"]),
        ("streams that the callers saw", callers["streams"], str(n), callers["streams"] == n),
        ("calls with speech again", callers["calls_with_speech_again"], str(n),
         callers["calls_with_speech_again"] == n),
        ("timestamps out of step", callers["timestamps_out_of_step"], "0", not callers["timestamps_out_of_step"]),
        ("calls offered to the agent again", agent["offered_again"], str(hit), agent["offered_again"] == hit),
        ("calls whose agent was told of the gap", agent["told_of_the_gap"], str(hit),
         agent["told_of_the_gap"] == hit),
    ]  # fmt: skip
    if figures["options"]["kills"] == 1:
        worst = callers["packets_back_ms"].get("max_ms", float("nan"))
        entries.append(("kill to packets again, the last call, ms", worst, "1000", worst < LIMIT_MS))
    return entries
