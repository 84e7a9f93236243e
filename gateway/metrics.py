# SPDX-License-Identifier: GPL-2.0-or-later
"""All Prometheus metrics, in one place.

What call control does is counted through the `Metrics` facade.  What media
workers do is not counted again: `worker_metrics.py` reads it from their columns.

Every label has few values: our own words (`outcome.py`, `Drop`), names from the
configuration, worker numbers.  Nothing that a peer sends becomes a label.

All methods run in the event loop; the facade is idempotent per call, since a
call can end from several sides at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from trunkline.gateway import outcome
from trunkline.gateway.agent_metrics import AgentMetrics
from trunkline.gateway.calls.view import MediaView
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.load import LoadMeter
from trunkline.gateway.quality_metrics import QualityHistograms
from trunkline.gateway.turn_metrics import TurnHistograms
from trunkline.gateway.worker_metrics import WorkerCollector

DIRECTIONS = ("inbound", "outbound")
DIGIT_METHODS = ("rfc4733", "info", "inband")
TRANSFER_KINDS = ("blind", "attended")
TRANSFER_RESULTS = ("done", "failed", "ended")
REGISTER_RESULTS = ("ok", "refused", "unreachable")

SETUP_BUCKETS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60)
"Ours takes milliseconds; beyond a second it is the ringing of an outbound call."

DURATION_BUCKETS_S = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)


class Metrics:
    """What the rest of the gateway calls; `render` is the page of `/metrics`."""

    def __init__(
        self,
        trunks: Iterable[str] = (),
        version: str = "",
        clock: Callable[[], int] = time.monotonic_ns,
        agents: Iterable[str] = (),
        kernels: str = "",
    ) -> None:
        """`trunks` are those that register, whose names become labels, as those of `agents` do; `clock` in ns."""
        self.registry = CollectorRegistry()
        self._trunks = frozenset(trunks)
        self._active: dict[str, str] = {}
        self._answered: set[str] = set()
        self._workers = WorkerCollector(clock)
        self.registry.register(self._workers)
        self._create()
        self._tell_build(version, kernels)
        self._agents = AgentMetrics(self.registry, agents)
        self.agent_state = self._agents.state
        self.agent_failed = self._agents.failed
        self.agent_changed = self._agents.changed

    def _create(self) -> None:
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
        self._quality = QualityHistograms(registry)
        self._turns = TurnHistograms(registry)
        self._registered = Gauge(
            "trunkline_registered",
            "1 while the trunk is registered at its peer.",
            ["trunk"],
            registry=registry,
        )
        self._registrations = Counter(
            "trunkline_registrations", "Answers to REGISTER.", ["trunk", "result"], registry=registry
        )
        self._certificate = Gauge(
            "trunkline_certificate_expiry_timestamp_seconds",
            "When the certificate of the TLS transport expires, in seconds since 1970; 0 without one.",
            registry=registry,
        )
        self._certificate_reloads = Counter(
            "trunkline_certificate_reloads",
            "Certificates read again while running, by result.",
            ["result"],
            registry=registry,
        )
        self._digits = Counter(
            "trunkline_dtmf_digits",
            "Keys that other parties pressed (received, each once), and digits sent to them, by method.",
            ["direction", "method"],
            registry=registry,
        )
        self._transfers = Counter(
            "trunkline_transfers",
            "Calls that we asked the peer to hand on (REFER), by kind and result; ended: the call was over first.",
            ["kind", "result"],
            registry=registry,
        )
        self._recordings = Counter(
            "trunkline_recordings", "Recordings of calls that have ended, by how.", ["outcome"], registry=registry
        )
        self._recorded_octets = Counter(
            "trunkline_recorded_bytes", "Bytes that recordings of calls have written.", registry=registry
        )
        self._unauthorized = Counter(
            "trunkline_api_unauthorized",
            "Requests of the API without credentials, or with wrong ones, by which were wanted: bearer, twilio.",
            ["credentials"],
            registry=registry,
        )
        self._create_labels()

    def _tell_build(self, version: str, kernels: str) -> None:
        build = Gauge(
            "trunkline_build_info",
            "Always 1; labels are the version, and what the loops of media workers are: compiled, numpy.",
            ["version", "kernels"],
            registry=self.registry,
        )
        build.labels(version or "unknown", kernels or "unknown").set(1)

    def _create_labels(self) -> None:
        """Every combination that can come. Any word may end a call, and many can refuse one."""
        for direction in DIRECTIONS:
            for collector in (self._started, self._active_gauge, self._setup, self._duration):
                collector.labels(direction)
        for how in ("complete", "limit", "failed"):
            self._recordings.labels(how)
        for kind in ("bearer", "twilio"):
            self._unauthorized.labels(kind)
        for result in ("ok", "refused"):
            self._certificate_reloads.labels(result)
        for word in (*outcome.OUTCOMES, outcome.OTHER):
            self._refused.labels(word)
            for direction in DIRECTIONS:
                self._ended.labels(direction, word)
        for kind in TRANSFER_KINDS:
            for result in TRANSFER_RESULTS:
                self._transfers.labels(kind, result)
        for method in DIGIT_METHODS:
            for direction in ("received", "sent"):
                self._digits.labels(direction, method)
        for trunk in self._trunks:
            self._registered.labels(trunk)
            for result in REGISTER_RESULTS:
                self._registrations.labels(trunk, result)

    def transfer(self, kind: str, result: str) -> None:
        """What a transfer came to."""
        self._transfers.labels(kind, result).inc()

    def certificate_expires(self, at_s: float) -> None:
        """The certificate that the TLS transport shows from now on."""
        self._certificate.set(at_s)

    def certificate_reloaded(self, *, ok: bool) -> None:
        """Its files were read again."""
        self._certificate_reloads.labels("ok" if ok else "refused").inc()

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

    def call_quality(self, media: MediaView) -> None:
        """How the audio of a call was, at its end; told once a call."""
        self._quality.observe(media)

    def turn(self, turn: Mapping[str, float]) -> None:
        """The caller spoke and the agent answered: what it took, in ms by name."""
        self._turns.observe(turn)

    def refused(self, cause: str) -> None:
        """An INVITE was refused and no call came to be."""
        self._refused.labels(outcome.label(cause)).inc()

    def digit_received(self, method: str) -> None:
        """The other party pressed a key."""
        self._digits.labels("received", method).inc()

    def digits_sent(self, method: str, count: int) -> None:
        """Digits went to the other party: as RTP events or tones, or by an INFO that it took."""
        self._digits.labels("sent", method).inc(count)

    def recorded(self, outcome: str, octets: int) -> None:
        """A recording's file is closed: `complete`, full (`limit`), or could not be written (`failed`)."""
        self._recordings.labels(outcome).inc()
        self._recorded_octets.inc(octets)

    def unauthorized(self, kind: str) -> None:
        """A request of the API had no credentials, or wrong ones."""
        self._unauthorized.labels(kind).inc()

    def registration(self, trunk: str, registered: bool, code: int = 0) -> None:
        """A REGISTER was answered (`code` 200 or other) or not at all (0 or 408)."""
        name = trunk if trunk in self._trunks else outcome.OTHER
        self._registered.labels(name).set(1 if registered else 0)
        result = "ok" if registered else "refused" if code not in (0, 408, 503) else "unreachable"
        self._registrations.labels(name, result).inc()

    def watch_worker(self, index: int, columns: Columns) -> None:
        """Read this worker's table at each scrape; a successor replaces it under its number."""
        self._workers.tables[index] = columns

    def watch_loads(self, loads: Sequence[LoadMeter]) -> None:
        """How busy each worker is, by its number."""
        self._workers.loads = loads

    def watch_restarts(self, restarts: Callable[[], Sequence[int]]) -> None:
        """How often each worker has been replaced, by its number, asked at each scrape."""
        self._workers.restarts = restarts

    def render(self) -> bytes:
        """The page in Prometheus' text format, version 0.0.4."""
        return generate_latest(self.registry)


def _outcome_texts(*kinds: str) -> str:
    """Meaning of each cause, for the help line of a metric."""
    entries = (entry for entry in outcome.OUTCOMES.values() if entry.kind in kinds)
    return "; ".join(f"{entry.word}: {entry.help}" for entry in entries)
