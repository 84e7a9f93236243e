# SPDX-License-Identifier: GPL-2.0-or-later
"""The figures of a demo call, each with what it was measured by; no I/O."""

from __future__ import annotations

import dataclasses
import math

from trunkline.gateway.calls.view import CallView
from trunkline.gateway.demo.analysis import GOOD_CORRELATION, Analysis


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One measured value in words."""

    name: str
    value: str
    good: bool = True


def at_most(value: float | None) -> str:
    """A quantile of a histogram: the upper edge of the bucket it fell in."""
    if value is None:
        return "–"
    return f"≤ {value:g} ms"


def figures(analysis: Analysis, view: CallView | None) -> list[Figure]:
    """What a person wants to know first."""
    media = view.media if view is not None else None
    return [
        Figure("round trip of the voice, median", _ms(analysis.delay(50)), analysis.audible),
        Figure(
            "correlation, said to heard",
            f"{analysis.correlation:.3f}",
            analysis.correlation >= GOOD_CORRELATION,
        ),
        Figure("packets lost on the way back", f"{analysis.lost} of {analysis.received}", analysis.lost == 0),
        Figure("added to the agent, p99", at_most(media.uplink_ms_p99 if media else None)),
        Figure("added from the agent, p99", at_most(media.downlink_ms_p99 if media else None)),
    ]


def details(analysis: Analysis, view: CallView | None) -> list[tuple[str, list[tuple[str, str]]]]:
    """The summary: groups by who measured, each a list of name and value."""
    groups = [
        (
            "measured by the caller",
            [
                ("packets sent, came back", f"{analysis.sent}, {analysis.received}"),
                ("lost on the way back", str(analysis.lost)),
                ("round trip of the voice", _spread(analysis)),
                ("correlation, said to heard", f"{analysis.correlation:.4f} after alignment"),
                (
                    "alignment",
                    f"{analysis.lag_samples} samples, {_times(analysis.slips)} changed in the call",
                ),
                ("between packets that came", _spacing(analysis)),
            ],
        )
    ]
    if view is not None and (media := view.media) is not None:
        duration = (view.ended or view.created) - (view.answered or view.created)
        groups.append(
            (
                "measured by the gateway",
                [
                    ("duration", f"{max(0.0, duration):.1f} s, ended by {view.cause or 'nobody yet'}"),
                    ("codec", f"{media.codec}, {media.ptime_ms} ms a packet"),
                    ("packets in, out", f"{media.packets_received}, {media.packets_sent}"),
                    ("frames to agent, from agent", f"{media.frames_to_agent}, {media.frames_from_agent}"),
                    (
                        "lost, concealed, gaps",
                        f"{media.packets_lost}, {media.frames_concealed}, {media.frames_gap}",
                    ),
                    ("jitter of the caller", f"{media.jitter_ms:.2f} ms"),
                    ("added, RTP in to agent", _pair(media.uplink_ms_p50, media.uplink_ms_p99)),
                    ("added, agent to RTP out", _pair(media.downlink_ms_p50, media.downlink_ms_p99)),
                ],
            )
        )
    return groups


def _ms(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1f} ms"


def _spread(analysis: Analysis) -> str:
    if not len(analysis.delay_ms):
        return "nothing came back"
    p50, p99 = analysis.delay(50), analysis.delay(99)
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, most {float(analysis.delay_ms.max()):.1f} ms"


def _spacing(analysis: Analysis) -> str:
    if not len(analysis.spacing_ms):
        return "–"
    return f"{float(analysis.spacing_ms.min()):.1f} to {float(analysis.spacing_ms.max()):.1f} ms"


def _pair(p50: float | None, p99: float | None) -> str:
    return f"p50 {at_most(p50)}, p99 {at_most(p99)}"


def _times(count: int) -> str:
    return "never" if count == 0 else "once" if count == 1 else f"{count} times"
