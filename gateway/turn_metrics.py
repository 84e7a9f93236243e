# SPDX-License-Identifier: GPL-2.0-or-later
"""The metrics of turns: how long callers wait for an answer, and for whom."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Histogram

BUCKETS_S = (0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
"People answer each other after 200 ms; after a second a caller says hello again."
_TEXTS = {
    "agent": "The agent's part of turns: from its being told that the caller has stopped to its first sample.",
    "gateway": "Our part of turns: detection of the end of speech, prebuffer, packet clock.",
    "total": "From the last sample of the caller's speech to the first packet of the agent's answer.",
}


class TurnHistograms:
    """Histograms over turns."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._parts = {
            f"{name}_ms": Histogram(
                f"trunkline_turn_{name}_seconds", text, buckets=BUCKETS_S, registry=registry
            )
            for name, text in _TEXTS.items()
        }
        self._parts["barge_in_ms"] = Histogram(
            "trunkline_barge_in_seconds",
            "From the first sample of a caller who interrupts to the last packet of the agent's speech.",
            buckets=BUCKETS_S,
            registry=registry,
        )

    def observe(self, turn: Mapping[str, float]) -> None:
        """Count one turn, in what is known of it."""
        for name, histogram in self._parts.items():
            if name in turn:
                histogram.observe(turn[name] / 1000)
