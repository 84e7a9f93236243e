# SPDX-License-Identifier: GPL-2.0-or-later
"""The metrics of finished calls' quality: one observation a call and way.

`uplink` is what we heard of the other side; `downlink` is what it reported that it heard
of us, so calls whose peer sends no RTCP are missing there.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram

from trunkline.gateway.calls.view import MediaView

WAYS = ("uplink", "downlink")

MOS_BUCKETS = (1.5, 2.0, 2.5, 3.0, 3.3, 3.6, 3.8, 4.0, 4.2, 4.3, 4.4)
"3.6, 4.0 and 4.3 bound what G.107 calls many dissatisfied, some, satisfied and very satisfied."
R_BUCKETS = (50.0, 60.0, 70.0, 75.0, 80.0, 85.0, 90.0, 92.0)
"60, 70, 80 and 90 bound what G.107 calls nearly all dissatisfied, many, some, satisfied and very satisfied."
SHARE_BUCKETS = (0.0, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5)
JITTER_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
ROUND_TRIP_BUCKETS_S = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)


class QualityHistograms:
    """Histograms over finished calls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        ways: dict[str, tuple[str, tuple[float, ...]]] = {
            "mos": ("Estimated MOS of finished calls (ITU-T G.107), 1 to 4.5.", MOS_BUCKETS),
            "loss_ratio": (
                "Packets that the network lost, of those of a finished call, 0 to 1.",
                SHARE_BUCKETS,
            ),
            "discard_ratio": ("Packets of a finished call that came too late to be heard, 0 to 1.", SHARE_BUCKETS),
            "r_factor": ("Estimated rating of finished calls (ITU-T G.107), 0 to 100.", R_BUCKETS),
            "jitter_seconds": ("Interarrival jitter at the end of finished calls (RFC 3550).", JITTER_BUCKETS_S),
        }
        meaning = "uplink: as we heard it; downlink: as the other side reported it, or by its receiver reports."
        self._by_way = {
            name: Histogram(
                f"trunkline_call_{name}", f"{text} {meaning}", ["way"], buckets=buckets, registry=registry
            )
            for name, (text, buckets) in ways.items()
        }
        times = {
            "round_trip": "Last round trip on the network of finished calls whose peer sends RTCP.",
            "burst": "Mean length of times of heavy loss in finished calls that had any (RFC 3611 4.7.2).",
            "delay": "Estimated way from the speaker to the agent at the end of finished calls.",
        }
        self._times = {
            name: Histogram(
                f"trunkline_call_{name}_seconds", text, buckets=ROUND_TRIP_BUCKETS_S, registry=registry
            )
            for name, text in times.items()
        }
        for histogram in self._by_way.values():
            for way in WAYS:
                histogram.labels(way)

    def observe(self, media: MediaView) -> None:
        """Count one finished call, in what is known of it."""
        if media.mos is not None:
            self._observe("uplink", media.mos, media.loss_percent, media.discard_percent, media.jitter_ms)
            self._rate("uplink", media.r_factor)
        if media.peer_mos is not None:
            loss, jitter = media.peer_loss_percent, media.peer_jitter_ms
            self._observe("downlink", media.peer_mos, loss, media.peer_discard_percent, jitter)
            self._rate("downlink", media.peer_r_factor)
        burst_ms = media.burst_ms if media.bursts else None
        for name, value_ms in (("round_trip", media.rtt_ms), ("burst", burst_ms), ("delay", media.delay_ms)):
            if value_ms is not None:
                self._times[name].observe(value_ms / 1000)

    def _rate(self, way: str, rating: float | None) -> None:
        if rating is not None:
            self._by_way["r_factor"].labels(way).observe(rating)

    def _observe(
        self, way: str, mos: float, loss: float | None, discard: float | None, jitter_ms: float
    ) -> None:
        values = {
            "mos": mos,
            "loss_ratio": None if loss is None else loss / 100,
            "discard_ratio": None if discard is None else discard / 100,
            "jitter_seconds": jitter_ms / 1000,
        }
        for name, value in values.items():
            if value is not None:
                self._by_way[name].labels(way).observe(value)
