# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory of N calls that are up with speech both ways: what each process has grown by, divided by N.

    RSS   pages that the process has in memory
    PSS   the same, with pages that several processes share divided among them
    USS   pages that are its own alone

Read from /proc/PID/smaps_rollup; what was there before the first call is taken off.
Socket buffers are the kernel's and in none of these; what of them is in use is told apart.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import time
from typing import Any

from bench import tables
from bench.rig import Rig
from support.waiting import wait_for

SETTLE_S = 5.0
IDLE_S = 3.0
"The spare worker has been started by then."
LIMIT_KB = 256.0
KINDS = ("rss", "pss", "uss")
OURS = ("gateway", "worker", "spare")


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What to run."""

    calls: int
    rate: int = 50
    agent: str = "counting"
    mute: bool = False


def run(options: Options) -> dict[str, Any]:
    """Measure; returns all figures, as they go into JSON."""
    n = options.calls
    hold_s = n / options.rate * 1.5 + SETTLE_S + 6
    with Rig(calls=n, agent=options.agent, mute=options.mute) as rig:
        time.sleep(IDLE_S)
        pids = {**rig.pids, "spare": int(rig.gateway.status()["workers"]["spare"])}
        idle = {name: memory(pid) for name, pid in pids.items()}
        kernel_idle = kernel_kb()
        timeout_s = round(hold_s + n / options.rate + 30)
        with rig.sipp(calls=n, rate=options.rate, hold_ms=round(hold_s * 1000), timeout_s=timeout_s) as sipp:
            wait_for(lambda: _up(rig) >= n, f"{n} calls are up", n / options.rate * 2 + 15, 0.2)
            time.sleep(SETTLE_S)
            up = {name: memory(pid) for name, pid in pids.items()}
            kernel = {name: value - kernel_idle[name] for name, value in kernel_kb().items()}
            signalling = sipp.wait()
    return {
        "options": dataclasses.asdict(options),
        "idle": idle,
        "up": up,
        "kernel": kernel,
        "signalling": signalling,
    }


def _up(rig: Rig) -> int:
    return int(rig.gateway.status()["calls_by_state"].get("up", 0))


def memory(pid: int) -> dict[str, int]:
    """RSS, PSS and USS of a process in kB."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = {name: int(kb) for name, kb in re.findall(r"^(\w+):\s+(\d+) kB", text, re.M)}
    return {"rss": found["Rss"], "pss": found["Pss"], "uss": found["Private_Clean"] + found["Private_Dirty"]}


def kernel_kb() -> dict[str, int]:
    """What the kernel holds of datagrams that wait, and of its own objects (both of the whole machine)."""
    page_kb = 4
    waiting = re.search(r"^UDP: .*mem (\d+)", pathlib.Path("/proc/net/sockstat").read_text(), re.M)
    slab = re.search(r"^SUnreclaim:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text(), re.M)
    return {
        "datagrams that wait at UDP sockets": page_kb * int(waiting[1]) if waiting else 0,
        "kernel objects (sockets, descriptors, epoll)": int(slab[1]) if slab else 0,
    }


def per_call(figures: dict[str, Any], kind: str) -> dict[str, float]:
    """Growth of each process, in kB a call."""
    n = figures["options"]["calls"]
    return {name: (figures["up"][name][kind] - figures["idle"][name][kind]) / n for name in figures["up"]}


def render(figures: dict[str, Any]) -> str:
    """The tables."""
    options = figures["options"]
    growth = {kind: per_call(figures, kind) for kind in KINDS}
    rows = [
        [
            name,
            *(figures["idle"][name][kind] / 1024 for kind in ("rss", "pss")),
            *(figures["up"][name][kind] / 1024 for kind in ("rss", "pss")),
            *(growth[kind][name] for kind in KINDS),
        ]
        for name in figures["up"]
    ]
    head = ["", "idle RSS, MB", "PSS", "up RSS, MB", "PSS", "kB a call: RSS", "PSS", "USS"]
    kernel = [[name, value / 1024, value / options["calls"]] for name, value in figures["kernel"].items()]
    return "\n".join(
        [
            f"== {options['calls']} calls up, agent {options['agent']}{', silent callers' if options['mute'] else ''}",
            tables.table("memory of processes", head, rows),
            tables.table("growth in the kernel, whole machine", ["", "MB", "kB a call"], kernel),
            tables.verdicts(verdicts(figures)),
        ]
    )


def verdicts(figures: dict[str, Any]) -> list[tuple[str, Any, str, bool]]:
    """Against what the project promises."""
    ours = sum(value for name, value in per_call(figures, "pss").items() if name in OURS)
    failed = figures["signalling"]["failed"]
    return [
        ("kB a call over gateway and worker, PSS", ours, f"{LIMIT_KB:.0f}", ours <= LIMIT_KB),
        ("failed calls", failed, "0", not failed),
    ]
