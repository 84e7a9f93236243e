# SPDX-License-Identifier: GPL-2.0-or-later
"""N calls at once for some seconds, each with speech both ways: losses, delays, CPU.

    SIPp           signals only
    speaker.py     speaks and listens for every call        counts and times each packet
    gateway        trunkline run
    counting_agent.py    repeats what it hears              counts and times each frame

CPU and delays are measured from when all calls are up until the callers fall silent;
losses over the whole calls.  The callers fall silent before SIPp hangs up, so every
packet sent must be found again, and every frame written heard.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np

from bench import histogram, machine, tables
from bench.matching import CallResult, match_calls, spread
from bench.rig import BenchGateway, Program, Rig
from support.waiting import wait_for

SETTLE_S = 1.5
"After the last call is up, before anything is measured."
TAIL_S = 1.0
"What is under way when the callers fall silent arrives within it."
CPU_LIMIT = 40.0
DELAY_LIMIT_MS = 5.0
COUNTS = (
    "sent",
    "lost_up",
    "sent_late",
    "flagged",
    "breaks",
    "frames",
    "echoed",
    "lost_down",
    "reordered",
    "holes",
    "missing_down",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What to run."""

    calls: int
    seconds: float = 20.0
    rate: int = 20
    "calls begun in a second"
    workers: int = 1
    agent: str = "counting"
    sample_rate_hz: int = 16000


def run(options: Options) -> dict[str, Any]:
    """Measure; returns all figures, as they go into JSON."""
    n = options.calls
    ramp_s = n / options.rate
    hold_s = ramp_s * 1.5 + SETTLE_S + options.seconds + TAIL_S + 6
    rig = Rig(
        calls=n,
        agent=options.agent,
        workers=options.workers,
        sample_rate_hz=options.sample_rate_hz,
        record=True,
    )
    timeout_s = round(hold_s + ramp_s + 30)
    with rig, rig.sipp(calls=n, rate=options.rate, hold_ms=round(hold_s * 1000), timeout_s=timeout_s) as sipp:
        gateway = rig.gateway
        wait_for(lambda: _up(gateway) >= n, f"{n} calls are up", ramp_s * 2 + 15, 0.2)
        ports = {call["id"]: int(call["media"]["local"].rpartition(":")[2]) for call in gateway.calls()}
        time.sleep(SETTLE_S)
        underruns = _underruns(gateway)
        before, span_start, meter = gateway.page(), time.monotonic_ns(), machine.Meter(rig.pids)
        time.sleep(options.seconds)
        share, span_end, after = meter.read(), time.monotonic_ns(), gateway.page()
        underruns = _underruns(gateway) - underruns
        rig.speaker.tell("quiet")
        time.sleep(TAIL_S)
        sockets = {"gateway": rig.rtp_ports, "speaker": range(rig.voice_port, rig.voice_port + 1)}
        drops = {name: machine.udp_drops(local) for name, local in sockets.items()}
        up_at_the_end = _up(gateway)
        signalling = sipp.wait()
        voice = rig.speaker.finish()
        heard = rig.agent.finish() if isinstance(rig.agent, Program) else None
    results = match_calls(voice, heard, ports, (span_start, span_end))
    figures = {
        "options": dataclasses.asdict(options),
        "signalling": signalling,
        "calls_up_at_the_end": up_at_the_end,
        "cpu": share.as_dict(),
        "socket_drops": drops,
        "underruns": underruns,
        "speaker_late": spread(voice["late_ns"] / 1e6),
        "clock_drift_ms": float(voice["clock_drift_ns"]) / 1e6,
        "gateway_up": _own(before, after, "uplink_delay_seconds"),
        "gateway_down": _own(before, after, "downlink_delay_seconds"),
        "gateway_tick": _own(before, after, "worker_tick_seconds"),
    }
    return figures | _sum(results)


def _up(gateway: BenchGateway) -> int:
    return int(gateway.status()["calls_by_state"].get("up", 0))


def _underruns(gateway: BenchGateway) -> int:
    return sum(int(call["media"]["underruns"]) for call in gateway.calls())


def _own(before: str, after: str, name: str) -> dict[str, float]:
    return histogram.summary(histogram.between(histogram.read(before, name), histogram.read(after, name)))


def _sum(results: list[CallResult]) -> dict[str, Any]:
    totals: dict[str, Any] = {name: sum(getattr(one, name) for one in results) for name in COUNTS}
    totals["matched"] = sum(not one.mismatched for one in results)
    for name in ("up_ms", "down_ms", "late_ms"):
        totals[name] = spread(np.concatenate([getattr(one, name) for one in results] or [np.zeros(0)]))
    return totals


def render(figures: dict[str, Any]) -> str:
    """The tables."""
    options, cpu, counting = figures["options"], figures["cpu"], figures["options"]["agent"] == "counting"
    title = (
        f"{options['calls']} calls at once, {options['seconds']:g} s, {options['workers']} worker(s), "
        f"agent {options['agent']} at {options['sample_rate_hz']} Hz"
    )
    counts = [["SIP calls that failed", figures["signalling"]["failed"]]]
    counts += [["calls up when the callers fell silent", figures["calls_up_at_the_end"]]]
    counts += [["packets the callers sent", figures["sent"]]]
    if counting:
        counts += [["  that no frame at the agent stands for", figures["lost_up"]]]
        counts += [["    sent too late by the caller itself", figures["sent_late"]]]
        counts += [["  frames concealed or gap meanwhile", figures["flagged"]]]
        counts += [["  breaks in the positions", figures["breaks"]]]
        counts += [["frames the agent wrote", figures["echoed"]], ["  never heard", figures["missing_down"]]]
        counts += [["calls whose audio is what was said", figures["matched"]]]
    counts += [["sequence numbers missing on the way back", figures["lost_down"]]]
    counts += [["packets without speech amid the echo", figures["holes"]]]
    counts += [["  underruns that the gateway counted", figures["underruns"]]]
    drops = figures["socket_drops"]
    counts += [
        ["datagrams dropped at full sockets (gateway, speaker)", f"{drops['gateway']}, {drops['speaker']}"]
    ]
    delays = [
        tables.spread_row("up: packet leaves caller -> frame read by agent", figures["up_ms"]),
        tables.spread_row("  the gateway's own (kernel -> agent's socket)", figures["gateway_up"]),
        tables.spread_row("down: frame written -> packet arrives, raw", figures["down_ms"]),
        tables.spread_row("  beyond the packet clock", figures["late_ms"]),
        tables.spread_row("  the gateway's own (due -> kernel)", figures["gateway_down"]),
        tables.spread_row("tick of a worker", figures["gateway_tick"]),
        tables.spread_row("speaker behind its own schedule", figures["speaker_late"]),
    ]
    shares = [[name, percent] for name, percent in cpu["of"].items()]
    shares += [["other processes", cpu["others"]], ["idle, all cores", cpu["idle"]]]
    shares += [["stolen by the host", cpu["steal"]]]
    return "\n".join(
        [
            f"== {title}",
            tables.table("calls and frames", ["", "count"], counts),
            tables.table("delays, ms", ["", "p50", "p99", "max", "n"], delays),
            tables.table(f"CPU, % of one of {cpu['cores']} cores; load {cpu['load']}", ["", "%"], shares),
            tables.verdicts(verdicts(figures)),
        ]
    )


def verdicts(figures: dict[str, Any]) -> list[tuple[str, Any, str, bool]]:
    """Against what the project promises."""
    ours = {name: value for name, value in figures["cpu"]["of"].items() if name != "speaker"}
    busiest = max(ours, key=lambda name: ours[name])
    entries: list[tuple[str, Any, str, bool]] = [
        ("failed calls", figures["signalling"]["failed"], "0", not figures["signalling"]["failed"]),
        ("packets lost on the way back", figures["lost_down"], "0", not figures["lost_down"]),
        (f"busiest process ({busiest}), % of a core", ours[busiest], "40", ours[busiest] <= CPU_LIMIT),
    ]
    late = figures["late_ms"].get("p99_ms", float("nan"))
    entries.append(("down beyond the packet clock, p99 ms", late, "5", late < DELAY_LIMIT_MS))
    if figures["options"]["agent"] == "counting":
        lost = figures["lost_up"] - figures["sent_late"] + figures["breaks"]
        up = figures["up_ms"].get("p99_ms", float("nan"))
        entries.append(("frames lost at the agent", lost, "0", not lost))
        entries.append(("up, p99 ms", up, "5", up < DELAY_LIMIT_MS))
        every = figures["matched"] == figures["options"]["calls"]
        entries.append(("calls whose audio is what was said", figures["matched"], "all", every))
    return entries
