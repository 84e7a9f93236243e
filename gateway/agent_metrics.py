# SPDX-License-Identifier: GPL-2.0-or-later
"""Prometheus metrics about agents: which are up, why they failed, and what became of their calls."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from trunkline.gateway import outcome

REASONS = (
    "agent_unreachable", "agent_timeout", "agent_version", "agent_protocol", "agent_rejected", "agent_lost",
    "agent_hung", "agent_flooded",
)  # fmt: skip
RESULTS = ("rescued", "none")
BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class AgentMetrics:
    """Labels are names of the configuration and our own words, all present from the start."""

    def __init__(self, registry: CollectorRegistry, agents: Iterable[str]) -> None:
        self._names = frozenset(agents)
        self._up = Gauge("trunkline_agent_up", "0 while the agent is down.", ["agent"], registry=registry)
        self._failures = Counter(
            "trunkline_agent_failures",
            "Failures of agents: connections that broke or did not come about, and calls that were not taken. "
            + "; ".join(f"{word}: {outcome.outcome(word).help}" for word in REASONS),
            ["agent", "reason"],
            registry=registry,
        )
        self._changes = Counter(
            "trunkline_agent_changes",
            "Calls whose agent was lost: another one got them (rescued), or none did in time.",
            ["result"],
            registry=registry,
        )
        self._took = Histogram(
            "trunkline_agent_change_seconds",
            "From the loss of a call's agent until the next one had taken it.",
            buckets=BUCKETS_S,
            registry=registry,
        )
        for name in self._names:
            self._up.labels(name).set(1)
            for reason in REASONS:
                self._failures.labels(name, reason)
        for result in RESULTS:
            self._changes.labels(result)

    def state(self, name: str, up: bool) -> None:
        """An agent is down, or up again."""
        if name in self._names:
            self._up.labels(name).set(1 if up else 0)

    def failed(self, name: str, reason: str) -> None:
        """An agent could not be reached, was lost, or took a call not."""
        if name in self._names:
            self._failures.labels(name, reason if reason in REASONS else outcome.OTHER).inc()

    def changed(self, found: bool, took_s: float) -> None:
        """A call whose agent was lost has another, or none."""
        self._changes.labels(RESULTS[0] if found else RESULTS[1]).inc()
        if found:
            self._took.observe(max(took_s, 0.0))
