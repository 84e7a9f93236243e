# SPDX-License-Identifier: GPL-2.0-or-later
"""Thousands of calls that come and go, in rounds: what fails, and what is left behind.

After each round everything must be as it was before the first: descriptors, sockets,
threads, RTP ports, calls.  Memory is compared from round to round, because the first
round also fills pools and caches that are meant to stay.  Each look comes after a
pause in which SIP's timers (64 x T1 = 32 s, RFC 3261 17) have run out and the gateway
has given free memory back to the kernel (every 30 s, gateway/memory.py).
"""

from __future__ import annotations

import dataclasses
import re
import time
from typing import Any

from bench import machine, tables
from bench.rig import Rig
from support import processes

COUNTED = ("descriptors", "udp_sockets", "threads")
RSS_BYTES_PER_CALL = 100
"Growth of memory in the last round that is still taken for noise: 1 MB in 10,000 calls."
NO_MEDIA_S = 10
"A call that SIPp has given up without a BYE ends by itself then: `no_media`."
SMALLEST_GROWTH_KB = 512
"... and never less than this: pages come and go."


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What to run."""

    count: int = 10_000
    rate: int = 100
    rounds: int = 3
    hold_s: float = 1.0
    wait_s: float = 70.0
    mute: bool = False


def run(options: Options) -> dict[str, Any]:
    """Measure; returns all figures, as they go into JSON."""
    at_once = round(options.rate * (options.hold_s + 2)) + 20
    rounds: list[dict[str, Any]] = []
    # The speaker must fall silent soon after a call: its port will be another call's.
    with Rig(
        calls=at_once, agent="echo", mute=options.mute, silent_ms=100, no_media_timeout_s=NO_MEDIA_S
    ) as rig:
        names = {name: pid for name, pid in rig.pids.items() if name != "speaker"}
        before = snapshot(rig, names)
        for _ in range(options.rounds):
            meter = machine.Meter(rig.pids)
            length_s = options.count / options.rate
            with rig.sipp(
                calls=options.count,
                rate=options.rate,
                hold_ms=round(options.hold_s * 1000),
                timeout_s=round(length_s * 1.5 + options.hold_s + 30),
            ) as sipp:
                signalling = sipp.wait()
            share = meter.read()
            rig.speaker.tell("quiet")  # or calls that SIPp has given up would be kept alive by their audio
            time.sleep(options.wait_s)
            if not options.mute:
                rig.speaker.tell("speak")
            rounds.append({"signalling": signalling, "cpu": share.as_dict(), "left": snapshot(rig, names)})
        restarts = rig.gateway.status()["workers"]["restarts"]
    return {"options": dataclasses.asdict(options), "before": before, "rounds": rounds, "restarts": restarts}


def snapshot(rig: Rig, names: dict[str, int]) -> dict[str, Any]:
    """What each process holds, and what the gateway says it has."""
    found: dict[str, Any] = {}
    for name, pid in names.items():
        usage = processes.usage(pid)
        found[name] = {**{one: getattr(usage, one) for one in COUNTED}, "rss_kb": usage.rss_kb}
    status, page = rig.gateway.status(), rig.gateway.page()
    ended = re.findall(r'^trunkline_calls_ended_total\{cause="(\w+)",.*\} (\S+)$', page, re.M)
    found["status"] = {
        "calls": status["calls"],
        "ports": status["ports"]["in_use"],
        "streams": status["workers"]["streams"],
        "active": sum(float(one) for one in re.findall(r"^trunkline_calls_active\{.*\} (\S+)$", page, re.M)),
    }
    found["causes"] = {cause: float(count) for cause, count in ended if float(count)}
    return found


def render(figures: dict[str, Any]) -> str:
    """The tables."""
    options, rounds, before = figures["options"], figures["rounds"], figures["before"]
    numbers = [str(i + 1) for i in range(len(rounds))]
    counted = [name for name in rounds[0]["signalling"] if name != "error"]
    calls = [[name, *(one["signalling"][name] for one in rounds)] for name in counted]
    calls += [
        [f"CPU of {name}, %", *(one["cpu"]["of"][name] for one in rounds)] for name in rounds[0]["cpu"]["of"]
    ]
    about = {
        "others": "CPU of other processes, %",
        "idle": "idle, all cores, %",
        "steal": "stolen by the host, %",
    }
    for name, title in (about | {"load": "load"}).items():
        calls.append([title, *(one["cpu"][name] for one in rounds)])
    held = []
    for name, first in before.items():
        if name != "causes":
            for what, value in first.items():
                held.append([f"{name}: {what}", value, *(one["left"][name][what] for one in rounds)])
    causes = sorted({cause for one in rounds for cause in one["left"]["causes"]})
    ends = [[cause, *(int(one["left"]["causes"].get(cause, 0)) for one in rounds)] for cause in causes]
    title = (
        f"{options['rounds']} round(s) of {options['count']} calls of {options['hold_s']:g} s at {options['rate']} a "
        f"second{', silent callers' if options['mute'] else ''}; looked at {options['wait_s']:g} s after each"
    )
    return "\n".join(
        [
            f"== {title}",
            tables.table("calls", ["round", *numbers], calls),
            tables.table("how they ended, all rounds so far", ["", *numbers], ends),
            tables.table("held", ["", "before", *numbers], held),
            *([] if not any(e := one["signalling"]["error"] for one in rounds) else [f"\n{e[:2000]}"]),
            tables.verdicts(verdicts(figures)),
        ]
    )


def verdicts(figures: dict[str, Any]) -> list[tuple[str, Any, str, bool]]:
    """Growth, process by process."""
    before, rounds, count = figures["before"], figures["rounds"], figures["options"]["count"]
    last = rounds[-1]["left"]
    failed = sum(one["signalling"]["failed"] for one in rounds)
    strange = sum(calls for cause, calls in last["causes"].items() if cause != "caller_hangup")
    entries: list[tuple[str, Any, str, bool]] = [
        ("failed calls", failed, "0", not failed),
        ("calls that ended otherwise than by the caller", int(strange), "0", not strange),
        ("workers restarted", figures["restarts"], "0", not figures["restarts"]),
    ]
    entries += [(f"{what} left", int(value), "0", not value) for what, value in last["status"].items()]
    # The first round may open what then stays (a connection to the agent), so later ones are compared with it.
    first, since, allowed = (rounds[0]["left"], "round 1", 0) if len(rounds) > 1 else (before, "the start", 2)
    for name in (name for name in before if name not in ("status", "causes")):
        for what in COUNTED:
            grown = last[name][what] - first[name][what]
            entries.append((f"{name}: {what} more than after {since}", grown, str(allowed), grown <= allowed))
        if len(rounds) > 1:
            grown_kb = last[name]["rss_kb"] - rounds[-2]["left"][name]["rss_kb"]
            limit = max(SMALLEST_GROWTH_KB, count * RSS_BYTES_PER_CALL / 1024)
            entries.append(
                (f"{name}: kB more in the last round", grown_kb, f"{limit:.0f}", grown_kb <= limit)
            )
    return entries
