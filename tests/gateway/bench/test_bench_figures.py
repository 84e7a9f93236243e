# SPDX-License-Identifier: GPL-2.0-or-later
"""Figures of a run: what is counted, when it says nothing, and what a search concludes from it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from support import played_bench as played
from trunkline.gateway.bench import figures as f
from trunkline.gateway.bench.limit import Verdict, judge
from trunkline.gateway.bench.machine import Cpu
from trunkline.gateway.bench.session import Record

KEYS = {
    "calls", "codec", "dialect", "seconds", "cpu_us_per_call_second", "uplink_ms", "downlink_ms", "lost_frames",
    "late_frames", "rss_mb_per_call",
}  # fmt: skip


def record(delay_ms: float = 2.0, **generated: object) -> Record:
    plan = played.plan()
    sent = dataclasses.replace(played.generated(plan), **generated)  # type: ignore[arg-type]
    used = {"media_worker": 2_400_000, "generator": 1_200_000, "agent": 600_000, "bench": 12_000}
    rss = {"media_worker": 46.0, "generator": 3.0, "agent": 40.0}
    frames = played.frames(plan, sent, delay_ms)
    return Record(plan, "media_worker", sent, frames, Cpu(4.0, used, 0.4), rss, 40.0, {}, ())


def test_the_figures_that_programs_read() -> None:
    """Keys as the documentation has them; CPU by process, per call and second."""
    one = f.figures(record())
    assert set(one) >= KEYS
    assert one["cpu_us_per_call_second"] == {
        "media_worker": 200.0, "generator": 100.0, "agent": 50.0, "bench": 1.0,
    }  # fmt: skip
    assert one["others_cpu_percent"] == 10.0
    assert {"p50", "p99", "p999"} <= set(one["uplink_ms"]) & set(one["downlink_ms"])
    assert one["uplink_ms"]["p50"] == one["uplink_ms"]["p999"] == 2.0
    assert one["rss_mb_per_call"] == 2.0
    assert (one["lost_frames"], one["late_frames"]) == (0, 0)
    assert sum(one["uplink"]["histogram"]["count"]) == one["uplink_ms"]["count"] == 600
    assert judge(one) == (Verdict.FITS, "")


def test_late_is_beyond_a_packet_time_and_slow_beyond_five_ms() -> None:
    one = f.figures(record(delay_ms=20.5))
    assert one["late_frames"] == 600 and one["lost_frames"] == 0
    assert judge(one) == (Verdict.TOO_MANY, "p99 to the agent 20.5 ms")
    assert f.figures(record(delay_ms=19.5))["late_frames"] == 0


def test_a_late_generator_makes_a_bad_run_unclear_and_a_good_one_stays_good() -> None:
    bad = record(delay_ms=9.0)
    bad.generated.sent_ns[:, ::5] += 8 * played.MS
    verdict, why = judge(f.figures(bad))
    assert verdict is Verdict.UNCLEAR and "8.0 ms late" in why


def test_neighbours_that_have_the_machine_make_a_bad_run_unclear() -> None:
    busy = dataclasses.replace(record(delay_ms=9.0), cpu=Cpu(4.0, {"media_worker": 1}, 4.0 * 100))
    verdict, why = judge(f.figures(busy))
    assert verdict is Verdict.UNCLEAR and "other programs used 10000 % of a core" in why and "9.0 ms" in why


def test_lost_and_wrong_frames_are_told_in_words() -> None:
    hurt = record()
    hurt.frames.flags[played.LEAD + 150] = played.CONCEALED
    hurt.frames.window[played.LEAD + 160] = 0
    one = f.figures(hurt)
    assert f.faults(one) == [
        "2 frames lost on the way to the agent",
        "1 frames at the agent that are not what was said",
    ]


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ({"unrecorded": 3}, "3 not be recorded"),
        ({"send_errors": 2}, "2 packets could not be sent"),
        ({"clock_drift_ns": 3_600_000_000_000}, "clock was set"),
    ],
)
def test_other_troubles_of_the_generator(trouble: dict[str, int], words: str) -> None:
    assert words in f.generator_trouble(f.figures(record(**trouble)))


def test_percentiles_are_of_all_values() -> None:
    values = np.arange(10_000) / 100
    assert f.spread(values) == {"p50": 49.995, "p99": 98.99, "p999": 99.89, "max": 99.99, "count": 10_000}
    assert f.spread(np.zeros(0)) == {"p50": None, "p99": None, "p999": None, "max": None, "count": 0}
