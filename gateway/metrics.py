# SPDX-License-Identifier: GPL-2.0-or-later
"""All Prometheus metrics, in one place.

What call control does is counted through the `Metrics` facade.  What media
workers do is not counted again: a collector reads their columns in shared memory
at the moment of the scrape, so the media path pays nothing for being watched.

Every label has few values: our own words (`outcome.py`, `Drop`), names from the
configuration, worker numbers.  Nothing that a peer sends becomes a label.

All methods run in the event loop; the facade is idempotent per call, since a
call can end from several sides at once.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trunkline.gateway import outcome
from trunkline.gateway.media.columns import DELAY_EDGES_US, Columns
from trunkline.rtp.outcomes import Drop

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
DIRECTIONS = ("inbound", "outbound")

SETUP_BUCKETS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60)
"Ours takes milliseconds; beyond a second it is the ringing of an outbound call."

DURATION_BUCKETS_S = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)


class Metrics:
    """What the rest of the gateway calls; `render` is the page of `/metrics`."""

    def __init__(
        self, trunks: Iterable[str] = (), version: str = "", clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """`trunks` are the names that may become labels; `clock` gives monotonic ns."""
        self.registry = CollectorRegistry()
        self._trunks = frozenset(trunks)
        self._active: dict[str, str] = {}
        self._answered: set[str] = set()
        self._workers = WorkerCollector(clock)
        self.registry.register(self._workers)
        self._create(version)

    def _create(self, version: str) -> None:
        """The collectors, each with all its label values present from the start.

        A counter that appears only with its first event hides that event from `rate()`.
        """
        registry = self.registry
        self._started = Counter(
            "trunkline_calls_started",
            "Calls that were begun: admitted or placed.",
            ["direction"],
            registry=registry,
        )
        self._ended = Counter(
            "trunkline_calls_ended",
            f"Calls that are over, by cause. {_outcome_texts('failed', 'ended')}",
            ["direction", "cause"],
            registry=registry,
        )
        self._refused = Counter(
            "trunkline_calls_refused",
            f"INVITEs that never became a call, by cause. {_outcome_texts('refused')}",
            ["cause"],
            registry=registry,
        )
        self._active_gauge = Gauge(
            "trunkline_calls_active", "Calls now, from INVITE to the end.", ["direction"], registry=registry
        )
        self._setup = Histogram(
            "trunkline_call_setup_seconds",
            "From INVITE to answer, ringing included.",
            ["direction"],
            buckets=SETUP_BUCKETS_S,
            registry=registry,
        )
        self._duration = Histogram(
            "trunkline_call_duration_seconds",
            "From answer to end, of answered calls.",
            ["direction"],
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        self._registered = Gauge(
            "trunkline_registered",
            "1 while the trunk is registered at its peer.",
            ["trunk"],
            registry=registry,
        )
        self._registrations = Counter(
            "trunkline_registrations", "Answers to REGISTER.", ["trunk", "result"], registry=registry
        )
        build = Gauge(
            "trunkline_build_info", "Always 1; the version is a label.", ["version"], registry=registry
        )
        build.labels(version or "unknown").set(1)
        for direction in DIRECTIONS:
            for collector in (self._started, self._active_gauge, self._setup, self._duration):
                collector.labels(direction)
        for word, entry in outcome.OUTCOMES.items():
            if entry.kind == "refused":
                self._refused.labels(word)

    def call_started(self, call_id: str, direction: str) -> None:
        """A call was admitted or is being placed."""
        if call_id in self._active:
            return
        self._active[call_id] = direction
        self._started.labels(direction).inc()
        self._active_gauge.labels(direction).inc()

    def call_answered(self, call_id: str, setup_s: float) -> None:
        """It was answered, `setup_s` seconds after its INVITE."""
        direction = self._active.get(call_id)
        if direction is None or call_id in self._answered:
            return
        self._answered.add(call_id)
        self._setup.labels(direction).observe(max(0.0, setup_s))

    def call_ended(self, call_id: str, cause: str, duration_s: float = 0.0) -> None:
        """It is over; `duration_s` counts from the answer and is ignored if there was none."""
        direction = self._active.pop(call_id, None)
        if direction is None:
            return
        self._active_gauge.labels(direction).dec()
        self._ended.labels(direction, outcome.label(cause)).inc()
        if call_id in self._answered:
            self._answered.discard(call_id)
            self._duration.labels(direction).observe(max(0.0, duration_s))

    def refused(self, cause: str) -> None:
        """An INVITE was refused and no call came to be."""
        self._refused.labels(outcome.label(cause)).inc()

    def registration(self, trunk: str, registered: bool, code: int = 0) -> None:
        """A REGISTER was answered (`code` 200 or other) or not at all (0 or 408)."""
        name = trunk if trunk in self._trunks else outcome.OTHER
        self._registered.labels(name).set(1 if registered else 0)
        result = "ok" if registered else "refused" if code not in (0, 408, 503) else "unreachable"
        self._registrations.labels(name, result).inc()

    def watch_worker(self, index: int, columns: Columns) -> None:
        """Read this worker's table at each scrape; a successor replaces it under its number."""
        self._workers.tables[index] = columns

    def forget_worker(self, index: int) -> None:
        """Its memory will be unmapped."""
        self._workers.tables.pop(index, None)

    def render(self) -> bytes:
        """The page in Prometheus' text format, version 0.0.4."""
        return generate_latest(self.registry)


class WorkerCollector(Collector):
    """Metrics of the media workers, made from their columns when somebody asks."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.tables: dict[int, Columns] = {}
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """One family after the other; each has a sample per worker."""
        yield from self._gauges()
        for name, column, text in _COUNTERS:
            family = CounterMetricFamily(f"trunkline_{name}", text, labels=["worker"])
            for index, table in self.tables.items():
                family.add_metric([str(index)], float(getattr(table.worker, column)[0]))
            yield family
        yield self._drops()
        for name, column, text in _HISTOGRAMS:
            histogram = HistogramMetricFamily(f"trunkline_{name}", text, labels=["worker"])
            for index, table in self.tables.items():
                buckets, total = cumulative(getattr(table.worker, column))
                histogram.add_metric([str(index)], buckets, total)
            yield histogram

    def _gauges(self) -> Iterator[Metric]:
        now_ns = self._clock()
        age = GaugeMetricFamily(
            "trunkline_worker_heartbeat_age_seconds", "Since the worker's last tick.", labels=["worker"]
        )
        slowest = GaugeMetricFamily(
            "trunkline_worker_tick_max_seconds", "Longest tick since the worker started.", labels=["worker"]
        )
        streams = GaugeMetricFamily(
            "trunkline_worker_streams", "Calls that the worker carries.", labels=["worker"]
        )
        links = GaugeMetricFamily(
            "trunkline_worker_agent_links", "Open connections to agents.", labels=["worker"]
        )
        for index, table in self.tables.items():
            worker = table.worker
            if worker.heartbeat_ns[0]:
                age.add_metric([str(index)], max(0, now_ns - int(worker.heartbeat_ns[0])) / 1e9)
            slowest.add_metric([str(index)], float(worker.tick_max_us[0]) / 1e6)
            streams.add_metric([str(index)], float(worker.streams[0]))
            links.add_metric([str(index)], float(worker.agent_links[0]))
        yield from (age, slowest, streams, links)

    def _drops(self) -> Metric:
        family = CounterMetricFamily(
            "trunkline_media_drops",
            f"Packets and frames that did not become audio, by reason. {DROP_TEXTS}",
            labels=["worker", "reason"],
        )
        for index, table in self.tables.items():
            for reason in Drop:
                if reason is not Drop.NONE:
                    count = float(table.worker.drops[reason])
                    family.add_metric([str(index), reason.name.lower()], count)
        return family


def cumulative(histogram: NDArray[Any]) -> tuple[list[tuple[str, float]], float]:
    """Counts per bucket, in columns' microsecond edges, as Prometheus wants them.

    Returns cumulative counts by upper edge in seconds, and an estimate of the sum: the
    columns keep no sum, so each value is taken for the middle of its bucket, and those
    beyond the last edge for that edge.
    """
    edges = DELAY_EDGES_US / 1e6
    running = histogram.cumsum()
    buckets = [(repr(float(edge)), float(count)) for edge, count in zip(edges, running, strict=False)]
    buckets.append(("+Inf", float(running[-1])))
    lower = [0.0, *edges[:-1]]
    middles = [(low + high) / 2 for low, high in zip(lower, edges, strict=True)] + [float(edges[-1])]
    return buckets, float((histogram * middles).sum())


def enum_docs(enumeration: type[Any]) -> dict[str, str]:
    """The bare strings under the members of an enum, by member name; empty without the source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(enumeration)))
    except OSError:
        return {}
    assert isinstance(tree.body[0], ast.ClassDef)
    docs: dict[str, str] = {}
    member = ""
    for node in tree.body[0].body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            member = node.targets[0].id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and member:
            docs[member] = " ".join(str(node.value.value).split())
    return docs


def _outcome_texts(*kinds: str) -> str:
    """Meaning of each cause, for the help line of a metric."""
    entries = (entry for entry in outcome.OUTCOMES.values() if entry.kind in kinds)
    return "; ".join(f"{entry.word}: {entry.help}" for entry in entries)


DROP_TEXTS = "; ".join(f"{name.lower()}: {text}" for name, text in enum_docs(Drop).items())

# Metric name without prefix, column of the worker, help text.
_COUNTERS = [
    ("worker_ticks", "ticks", "Ticks of the media loop."),
    ("rtp_packets_received", "packets_received", "RTP packets that arrived."),
    ("rtp_packets_sent", "packets_sent", "RTP packets that were sent."),
    ("agent_frames_sent", "frames_to_agent", "Frames that went to agents."),
    ("agent_frames_received", "frames_from_agent", "Frames' worth of audio that came from agents."),
]
_HISTOGRAMS = [
    ("worker_tick_seconds", "tick_duration", "Duration of a tick. The sum is estimated from the buckets."),
    (
        "uplink_delay_seconds",
        "uplink_delay",
        "Time added from a packet's arrival in the kernel to the agent's socket. The sum is estimated.",
    ),
    (
        "downlink_delay_seconds",
        "downlink_delay",
        "Time added from when a packet was due to the kernel. The sum is estimated.",
    ),
]
