# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run amounts to: one object of figures, which `--json` prints as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.bench import machine
from trunkline.gateway.bench.matching import match_down, match_up
from trunkline.gateway.bench.session import Record

DELAY_LIMIT_MS = 5.0
"p99 of the added delay, one way, that the project promises."
GENERATOR_LIMIT_MS = 5.0
"A generator that is later than this (p99) has not had its share of the CPU: the run says nothing of the worker."
EDGES_MS = np.concatenate([np.arange(0, 10, 0.25), np.arange(10, 50, 1.0), [50, 75, 100, 200, 500, 1000]])
"Of the delay histograms."

BUSY_SHARE = 0.25
"Of all cores: when other programs use more, what is slow or lost may be their doing."

Real = NDArray[np.float64]


def figures(record: Record) -> dict[str, Any]:
    """Everything that is known of the run."""
    plan, generated = record.plan, record.generated
    up, down = match_up(plan, generated, record.frames), match_down(plan, generated)
    begin, end = plan.span(generated.start_ns)
    due = generated.due_ns(plan.packet_ns)
    of = (due >= begin) & (due < end)
    behind = (generated.sent_ns - due)[of & (generated.sent_ns > 0)] / 1e6
    late_ms = float(plan.ptime_ms)
    late_up, late_down = int((up.delay_ms > late_ms).sum()), int((down.delay_ms > late_ms).sum())
    growth_mb = record.rss_mb[record.carrier] - record.idle_rss_mb
    return {
        "calls": plan.calls,
        "codec": plan.codec,
        "srtp": plan.srtp,
        "loss_percent": plan.loss_percent,
        "dialect": plan.dialect,
        "seconds": plan.seconds,
        "cpu_us_per_call_second": record.cpu.us_per_call_second(plan.calls),
        "uplink_ms": spread(up.delay_ms),
        "downlink_ms": spread(down.delay_ms),
        "lost_frames": up.lost + down.lost,
        "late_frames": late_up + late_down,
        "rss_mb_per_call": round(growth_mb / plan.calls, 4),
        "ptime_ms": plan.ptime_ms,
        "agent_rate_hz": plan.agent_rate_hz,
        "workers": plan.workers,
        "late_bound_ms": late_ms,
        "uplink": {
            "packets": up.sent, "lost": up.lost, "late": late_up, "sent_too_late": up.sent_late,
            "flagged": up.flagged, "wrong": up.wrong, "position_breaks": up.breaks,
            "left_out": up.left_out, "made_up": up.made_up, "held_ms": spread(up.held_ms),
            "unmatched_calls": up.unmatched_calls, "moved_calls": up.moved_calls, "histogram": histogram(up.delay_ms),
        },
        "downlink": {
            "packets": down.heard, "lost": down.lost, "late": late_down, "silent": down.silent,
            "unmatched_calls": down.unmatched_calls, "histogram": histogram(down.delay_ms),
        },
        "generator": {
            "behind_ms": spread(behind), "send_errors": generated.send_errors,
            "unrecorded": generated.unrecorded, "clock_drift_ms": generated.clock_drift_ns / 1e6,
            "rtcp_heard": generated.reports_heard,
        },
        "cpu_percent": record.cpu.percent(),
        "others_cpu_percent": record.cpu.others_percent,
        "rss_mb": {name: round(value, 1) for name, value in record.rss_mb.items()},
        "carrier": record.carrier,
        "idle_rss_mb": round(record.idle_rss_mb, 1),
        "counters": dict(record.counters),
        "machine": machine.describe(),
        "remarks": list(record.remarks),
    }  # fmt: skip


def spread(values: Real) -> dict[str, Any]:
    """p50, p99, p99.9 and the slowest, of all values; None when there is none."""
    if not len(values):
        return {"p50": None, "p99": None, "p999": None, "max": None, "count": 0}
    found = np.percentile(values, [50, 99, 99.9, 100])
    names = ("p50", "p99", "p999", "max")
    return {name: round(float(one), 3) for name, one in zip(names, found, strict=True)} | {
        "count": len(values)
    }


def histogram(values: Real) -> dict[str, list[float]]:
    """Counts below each edge and not below the one before; what is beyond the last edge counts there."""
    counts, _ = np.histogram(np.clip(values, 0, EDGES_MS[-1] - 1e-9), EDGES_MS)
    return {"below_ms": EDGES_MS[1:].tolist(), "count": counts.tolist()}


def faults(one: dict[str, Any]) -> list[str]:
    """What went wrong with the frames, in words; empty when nothing did."""
    up, down = one["uplink"], one["downlink"]
    found = [
        (up["lost"], "lost on the way to the agent"),
        (down["lost"], "lost on the way to the caller"),
        (up["wrong"], "at the agent that are not what was said"),
    ]
    told = [f"{count} frames {what}" for count, what in found if count]
    calls = up["unmatched_calls"], down["unmatched_calls"]
    if any(calls):
        told.append(f"{calls[0]} calls whose frames, {calls[1]} whose echo, are not what was said")
    return told


def generator_trouble(one: dict[str, Any]) -> str:
    """Why the run says nothing of the worker, or nothing."""
    generator = one["generator"]
    behind = generator["behind_ms"]["p99"]
    if behind is None:
        return "the generator has sent nothing"
    if behind > GENERATOR_LIMIT_MS:
        return f"the generator itself was {behind:.1f} ms late (p99): this machine is too small or too busy"
    if generator["unrecorded"] or generator["send_errors"]:
        return (
            f"{generator['send_errors']} packets could not be sent, {generator['unrecorded']} not be recorded"
        )
    if abs(generator["clock_drift_ms"]) > 1:
        return "the system's clock was set during the run"
    return ""


def disturbance(one: dict[str, Any]) -> str:
    """Why what went wrong may be nobody's fault but the neighbours', or nothing."""
    others, cores = one["others_cpu_percent"], one["machine"]["cores"]
    if others <= 100 * BUSY_SHARE * cores:
        return ""
    return f"other programs used {others:.0f} % of a core (of {cores}) meanwhile"


def slow(one: dict[str, Any]) -> list[str]:
    """Ways whose p99 is beyond what is promised."""
    ways = [("to the agent", one["uplink_ms"]["p99"]), ("to the caller", one["downlink_ms"]["p99"])]
    return [
        f"p99 {where} {'unknown' if p99 is None else f'{p99:.1f} ms'}"
        for where, p99 in ways
        if p99 is None or p99 >= DELAY_LIMIT_MS
    ]
