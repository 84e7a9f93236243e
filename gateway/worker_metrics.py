# SPDX-License-Identifier: GPL-2.0-or-later
"""The media workers' part of the metrics: read from their columns when somebody asks.

A worker does not count for Prometheus: its table is in shared memory, and a scrape
reads it there, so the media path pays nothing for being watched.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trunkline.gateway.media.columns import DELAY_EDGES_US, Columns
from trunkline.gateway.media.load import LoadMeter
from trunkline.rtp.outcomes import Drop


class WorkerCollector(Collector):
    """Metrics of the media workers, made from their columns when somebody asks."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.tables: dict[int, Columns] = {}
        self.loads: Sequence[LoadMeter] = ()
        self.restarts: Callable[[], Sequence[int]] = tuple
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """One family after the other; each has a sample per worker."""
        yield from self._gauges()
        for name, column, text in _COUNTERS:
            family = CounterMetricFamily(f"trunkline_{name}", text, labels=["worker"])
            for index, table in self.tables.items():
                family.add_metric([str(index)], float(getattr(table.worker, column)[0]))
            yield family
        yield self._restarts()
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
        yield from self._loads()

    def _loads(self) -> Iterator[Metric]:
        load = GaugeMetricFamily(
            "trunkline_worker_load_ratio",
            "Share of the last second in which the worker used its core, or was late; 1 is all of it.",
            labels=["worker"],
        )
        overloaded = GaugeMetricFamily(
            "trunkline_worker_overloaded",
            "1 while the worker gets no new calls because of its load (limits.max_worker_load).",
            labels=["worker"],
        )
        for index, meter in enumerate(self.loads):
            load.add_metric([str(index)], meter.load)
            overloaded.add_metric([str(index)], float(meter.overloaded))
        yield from (load, overloaded)

    def _restarts(self) -> Metric:
        family = CounterMetricFamily(
            "trunkline_worker_restarts",
            "How often a worker died or hung, and another took its place and its calls.",
            labels=["worker"],
        )
        for index, count in enumerate(self.restarts()):
            family.add_metric([str(index)], float(count))
        return family

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


DROP_TEXTS = "; ".join(f"{name.lower()}: {text}" for name, text in enum_docs(Drop).items())

# Metric name without prefix, column of the worker, help text.
_COUNTERS = [
    ("worker_ticks", "ticks", "Ticks of the media loop."),
    ("rtp_packets_received", "packets_received", "RTP packets that arrived."),
    ("rtp_packets_sent", "packets_sent", "RTP packets that were sent."),
    ("agent_frames_sent", "frames_to_agent", "Frames that went to agents."),
    ("agent_frames_received", "frames_from_agent", "Frames' worth of audio that came from agents."),
    ("agent_frames_withheld", "frames_withheld", "Frames of silence that routes keep from agents (withhold_silence)."),
    ("barge_ins", "barge_ins", "Callers who interrupted an agent on a route that clears or pauses it then."),
    ("agent_underruns", "underruns", "Times that an agent's speech ran dry and went on within half a second."),
    ("agent_replays_refused", "replays_refused", "Calls without replay, as the worker's memory for it was full."),
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
