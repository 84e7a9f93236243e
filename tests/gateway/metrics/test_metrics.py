# SPDX-License-Identifier: GPL-2.0-or-later
"""What is scraped is what happened: calls through the facade, media out of the workers' columns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from trunkline.gateway.calls.view import MediaView
from trunkline.gateway.media.columns import DELAY_BUCKETS, DELAY_EDGES_US, Columns
from trunkline.gateway.metrics import DIRECTIONS, REGISTER_RESULTS, Metrics
from trunkline.gateway.outcome import OTHER, OUTCOMES
from trunkline.gateway.worker_metrics import DROP_TEXTS, cumulative, enum_docs
from trunkline.rtp.outcomes import Drop

NOW_NS = 50_000_000_000


@pytest.fixture
def metrics() -> Metrics:
    """A facade that knows the trunk `pbx`."""
    return Metrics(["pbx"], "1.2.3", clock=lambda: NOW_NS, kernels="compiled")


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """One sample of the page."""
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return None


def test_a_call_is_counted_once_however_often_its_end_is_told(metrics: Metrics) -> None:
    """A BYE and a dead agent can both end it."""
    for _ in range(2):
        metrics.call_started("a", "inbound")
    metrics.call_started("b", "outbound")
    assert value(metrics, "trunkline_calls_active", direction="inbound") == 1
    for _ in range(2):
        metrics.call_answered("a", 0.03)
    metrics.call_ended("a", "caller_hangup", 12.0)
    metrics.call_ended("a", "agent_lost", 12.0)
    metrics.call_ended("never", "caller_hangup", 1.0)
    assert value(metrics, "trunkline_calls_started_total", direction="inbound") == 1
    assert value(metrics, "trunkline_calls_active", direction="inbound") == 0
    assert value(metrics, "trunkline_calls_active", direction="outbound") == 1
    assert value(metrics, "trunkline_calls_ended_total", direction="inbound", cause="caller_hangup") == 1
    assert value(metrics, "trunkline_calls_ended_total", direction="inbound", cause="agent_lost") == 0
    assert value(metrics, "trunkline_call_setup_seconds_count", direction="inbound") == 1
    assert value(metrics, "trunkline_call_setup_seconds_bucket", direction="inbound", le="0.05") == 1
    assert value(metrics, "trunkline_call_duration_seconds_sum", direction="inbound") == 12


def test_a_call_that_was_never_answered_has_no_duration(metrics: Metrics) -> None:
    """Its zero would pull the average down."""
    metrics.call_started("a", "outbound")
    metrics.call_ended("a", "busy")
    assert value(metrics, "trunkline_call_duration_seconds_count", direction="outbound") == 0
    assert value(metrics, "trunkline_calls_ended_total", direction="outbound", cause="busy") == 1


def test_ended_calls_leave_nothing_behind(metrics: Metrics) -> None:
    """The facade keeps ids only of calls that exist."""
    sizes = []
    for number in range(300):
        metrics.call_started(str(number), "inbound")
        metrics.call_answered(str(number), 0.1)
        metrics.call_ended(str(number), "caller_hangup", 1)
        sizes.append(len(metrics.render()) if number in (9, 299) else 0)
    assert not metrics._active
    assert not metrics._answered
    assert abs(sizes[299] - sizes[9]) < 200


def test_labels_are_bounded_whatever_comes(metrics: Metrics) -> None:
    """Words and trunks that nobody knows share one label."""
    for number in range(50):
        metrics.refused(f"word{number}")
        metrics.registration(f"trunk{number}", False, 403)
    assert value(metrics, "trunkline_calls_refused_total", cause="other") == 50
    assert value(metrics, "trunkline_registrations_total", trunk="other", result="refused") == 50
    assert "word1" not in metrics.render().decode()


def test_refusals_are_there_before_the_first(metrics: Metrics) -> None:
    """`rate()` needs a zero to see the first one."""
    for entry in OUTCOMES.values():
        if entry.kind == "refused":
            assert value(metrics, "trunkline_calls_refused_total", cause=entry.word) == 0
    metrics.refused("no_route")
    assert value(metrics, "trunkline_calls_refused_total", cause="no_route") == 1


def test_every_end_and_every_registration_is_there_before_the_first(metrics: Metrics) -> None:
    """`rate()` and an alert on a trunk that never registered need the zero."""
    for direction in DIRECTIONS:
        for word in (*OUTCOMES, OTHER):
            assert value(metrics, "trunkline_calls_ended_total", direction=direction, cause=word) == 0
    assert value(metrics, "trunkline_calls_refused_total", cause=OTHER) == 0
    assert value(metrics, "trunkline_registered", trunk="pbx") == 0
    for result in REGISTER_RESULTS:
        assert value(metrics, "trunkline_registrations_total", trunk="pbx", result=result) == 0


def test_registration_state(metrics: Metrics) -> None:
    """Now, and how REGISTERs went: refused by the peer, or not answered."""
    metrics.registration("pbx", True, 200)
    assert value(metrics, "trunkline_registered", trunk="pbx") == 1
    metrics.registration("pbx", False, 403)
    metrics.registration("pbx", False, 408)
    metrics.registration("pbx", False)
    assert value(metrics, "trunkline_registered", trunk="pbx") == 0
    results = {result: value(metrics, "trunkline_registrations_total", trunk="pbx", result=result)
               for result in ("ok", "refused", "unreachable")}  # fmt: skip
    assert results == {"ok": 1, "refused": 1, "unreachable": 2}


def test_quality_of_finished_calls(metrics: Metrics) -> None:
    """What we heard and what the peer reported apart; what is not known is not counted."""
    base = MediaView(codec="PCMU", remote="", local="", ptime_ms=20)
    metrics.call_quality(base)
    heard = {"mos": 4.1, "loss_percent": 1.2, "discard_percent": 0.0, "jitter_ms": 3.0, "rtt_ms": 42.0}
    heard |= {"r_factor": 85.0, "bursts": 2, "burst_ms": 140.0, "delay_ms": 70.0}
    peer = {"peer_mos": 2.4, "peer_loss_percent": 12.0, "peer_jitter_ms": 60.0, "peer_r_factor": 48.0}
    metrics.call_quality(base.model_copy(update=heard | peer))
    for name, way, count, total in [
        ("mos", "uplink", 1, 4.1), ("mos", "downlink", 1, 2.4),
        ("loss_ratio", "uplink", 1, 0.012), ("loss_ratio", "downlink", 1, 0.12),
        ("discard_ratio", "uplink", 1, 0.0), ("discard_ratio", "downlink", 0, 0.0),
        ("jitter_seconds", "uplink", 1, 0.003), ("jitter_seconds", "downlink", 1, 0.06),
        ("r_factor", "uplink", 1, 85.0), ("r_factor", "downlink", 1, 48.0),
    ]:  # fmt: skip
        assert value(metrics, f"trunkline_call_{name}_count", way=way) == count, (name, way)
        assert value(metrics, f"trunkline_call_{name}_sum", way=way) == pytest.approx(total), (name, way)
    assert value(metrics, "trunkline_call_mos_bucket", way="downlink", le="2.5") == 1
    assert value(metrics, "trunkline_call_mos_bucket", way="uplink", le="4.0") == 0
    for name, total in (("round_trip", 0.042), ("burst", 0.14), ("delay", 0.07)):
        assert value(metrics, f"trunkline_call_{name}_seconds_sum") == pytest.approx(total)
    metrics.call_quality(base.model_copy(update=heard | {"bursts": 0, "burst_ms": 0.0}))
    assert value(metrics, "trunkline_call_burst_seconds_count") == 1, (
        "a call without bursts has no length of them"
    )


def test_worker_columns_are_read_at_each_scrape(metrics: Metrics) -> None:
    """Nobody reports them: the memory is the message."""
    columns = Columns(4)
    metrics.watch_worker(3, columns)
    columns.worker.heartbeat_ns[0] = NOW_NS - 250_000_000
    columns.worker.ticks[0] = 7
    columns.worker.tick_max_us[0] = 1500
    columns.worker.streams[0] = 2
    columns.worker.drops[Drop.LATE] = 9
    assert value(metrics, "trunkline_worker_heartbeat_age_seconds", worker="3") == 0.25
    assert value(metrics, "trunkline_worker_ticks_total", worker="3") == 7
    assert value(metrics, "trunkline_worker_tick_max_seconds", worker="3") == 0.0015
    assert value(metrics, "trunkline_worker_streams", worker="3") == 2
    assert value(metrics, "trunkline_media_drops_total", worker="3", reason="late") == 9
    columns.worker.ticks[0] = 8
    assert value(metrics, "trunkline_worker_ticks_total", worker="3") == 8


def test_restarts_are_asked_for_at_each_scrape(metrics: Metrics) -> None:
    """A worker that was never replaced counts 0, so that the first time shows in a rate."""
    counts = [0, 2]
    metrics.watch_restarts(lambda: counts)
    assert value(metrics, "trunkline_worker_restarts_total", worker="0") == 0
    assert value(metrics, "trunkline_worker_restarts_total", worker="1") == 2
    counts[0] = 1
    assert value(metrics, "trunkline_worker_restarts_total", worker="0") == 1


def test_a_worker_that_has_not_ticked_has_no_age(metrics: Metrics) -> None:
    """Zero is no time of a heartbeat: its age would be that of the machine."""
    metrics.watch_worker(0, Columns(1))
    assert value(metrics, "trunkline_worker_heartbeat_age_seconds", worker="0") is None


def test_delays_become_histograms_in_seconds(metrics: Metrics) -> None:
    """The bucket of 300 us and the one beyond the last edge."""
    columns = Columns(1)
    columns.worker.uplink_delay[3] = 5
    columns.worker.uplink_delay[-1] = 1
    metrics.watch_worker(0, columns)
    bucket = "trunkline_uplink_delay_seconds_bucket"
    assert value(metrics, bucket, worker="0", le="0.0002") == 0
    assert value(metrics, bucket, worker="0", le="0.0003") == 5
    assert value(metrics, bucket, worker="0", le="1.0") == 5
    assert value(metrics, bucket, worker="0", le="+Inf") == 6
    assert value(metrics, "trunkline_uplink_delay_seconds_count", worker="0") == 6


@given(st.lists(st.integers(0, 10**9), min_size=DELAY_BUCKETS, max_size=DELAY_BUCKETS))
def test_cumulative_counts_agree_with_a_loop(counts: list[int]) -> None:
    """Never falling, ending with the total; the estimated sum lies between the edges' sums."""
    buckets, total = cumulative(np.array(counts, dtype=np.int64))
    assert [count for _, count in buckets] == [sum(counts[: n + 1]) for n in range(DELAY_BUCKETS)]
    edges = [*(DELAY_EDGES_US / 1e6), float(DELAY_EDGES_US[-1]) / 1e6]
    lower = [0.0, *edges[:-1]]
    assert sum(n * low for n, low in zip(counts, lower, strict=True)) <= total * (1 + 1e-9)
    assert total <= sum(n * high for n, high in zip(counts, edges, strict=True)) * (1 + 1e-9)


def test_every_drop_has_its_text_in_the_help() -> None:
    """The words under the enum's members are what a dashboard shows."""
    docs = enum_docs(Drop)
    assert set(docs) == {reason.name for reason in Drop if reason is not Drop.NONE}
    for name, text in docs.items():
        assert f"{name.lower()}: {text}" in DROP_TEXTS


def test_the_page_is_what_prometheus_reads(metrics: Metrics) -> None:
    """Every family has a help text and a name of ours."""
    metrics.watch_worker(0, Columns(1))
    families = list(text_string_to_metric_families(metrics.render().decode()))
    assert len(families) > 15
    assert [family.name for family in families if not family.documentation] == []
    assert [family.name for family in families if not family.name.startswith("trunkline_")] == []
    assert value(metrics, "trunkline_build_info", version="1.2.3", kernels="compiled") == 1
