# SPDX-License-Identifier: GPL-2.0-or-later
"""What it costs to set a call up and tear it down, in CPU time.

Calls of 100 ms from callers that say nothing, at several rates; what the processes use
while nothing happens is taken off.  In the gateway the main thread is that of call
control, and the rest is PJSIP's.  The median of several measurements is told, because
others use the machine, too.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import Any

from bench import machine, tables
from bench.rig import Rig

HOLD_MS = 100
IDLE_S = 3.0


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What to run."""

    count: int = 1000
    "calls of one measurement"
    rates: tuple[int, ...] = (50, 100, 200)
    repeat: int = 3


def run(options: Options) -> dict[str, Any]:
    """Measure; returns all figures, as they go into JSON."""
    with Rig(calls=max(options.rates) * 2 + 50, agent="echo", mute=True, silent_ms=100) as rig:
        names = {name: pid for name, pid in rig.pids.items() if name != "speaker"}
        _calls(rig, min(200, options.count), options.rates[0])  # first use of everything
        start, begun = _used(names), time.monotonic()
        time.sleep(IDLE_S)
        idle = {name: (now - start[name]) / (time.monotonic() - begun) for name, now in _used(names).items()}
        rates = [rate for rate in options.rates for _ in range(options.repeat)]
        measured = [_measure(rig, names, options.count, rate, idle) for rate in rates]
    return {"options": dataclasses.asdict(options), "idle": idle, "measured": measured}


def _measure(
    rig: Rig, names: dict[str, int], count: int, rate: int, idle: dict[str, float]
) -> dict[str, Any]:
    meter = machine.Meter(rig.pids)
    start, begun = _used(names), time.monotonic()
    signalling = _calls(rig, count, rate)
    time.sleep(0.5)
    wall = time.monotonic() - begun
    each = {
        name: (now - start[name] - idle[name] * wall) * 1000 / count for name, now in _used(names).items()
    }
    return {"rate": rate, "cpu_ms": each, "signalling": signalling, "machine": meter.read().as_dict()}


def _calls(rig: Rig, count: int, rate: int) -> dict[str, Any]:
    with rig.sipp(calls=count, rate=rate, hold_ms=HOLD_MS, timeout_s=round(count / rate * 2 + 30)) as sipp:
        return sipp.wait()


def _used(names: dict[str, int]) -> dict[str, float]:
    """CPU seconds so far; the gateway by threads."""
    used = {name: machine.cpu_s(pid) for name, pid in names.items()}
    used["gateway, call control"] = machine.main_thread_cpu_s(names["gateway"])
    used["gateway, PJSIP thread"] = used["gateway"] - used["gateway, call control"]
    return used


def render(figures: dict[str, Any]) -> str:
    """The tables."""
    measured, options = figures["measured"], figures["options"]
    rates = sorted({one["rate"] for one in measured})
    at = {rate: [one for one in measured if one["rate"] == rate] for rate in rates}
    rows: list[list[Any]] = [
        [name, *(statistics.median(one["cpu_ms"][name] for one in at[rate]) for rate in rates)]
        for name in measured[0]["cpu_ms"]
    ]
    for title, pick in (
        ("calls that failed", lambda of: sum(one["signalling"]["failed"] for one in of)),
        (
            "mean time to the answer, ms",
            lambda of: statistics.median(one["signalling"]["answer_ms"] for one in of),
        ),
        ("CPU of other processes, %", lambda of: statistics.median(one["machine"]["others"] for one in of)),
        ("idle, all cores, %", lambda of: statistics.median(one["machine"]["idle"] for one in of)),
        ("stolen by the host, %", lambda of: statistics.median(one["machine"]["steal"] for one in of)),
    ):
        rows.append([title, *(pick(at[rate]) for rate in rates)])
    head = f"ms of CPU per call, median of {options['repeat']} x {options['count']} calls of {HOLD_MS} ms"
    return "\n".join(
        [
            f"== a call set up and torn down; load {measured[-1]['machine']['load']}",
            tables.table(head, ["", *(f"{rate}/s" for rate in rates)], rows),
            tables.verdicts(verdicts(figures)),
        ]
    )


def verdicts(figures: dict[str, Any]) -> list[tuple[str, Any, str, bool]]:
    """Only that nothing failed: there is no promise about the cost."""
    failed = sum(one["signalling"]["failed"] for one in figures["measured"])
    return [("failed calls", failed, "0", not failed)]
