# SPDX-License-Identifier: GPL-2.0-or-later
"""The audio figures of a call, read from its row in a media worker's shared memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trunkline.gateway.calls.call import SHOWN, Call, Phase
from trunkline.gateway.calls.view import CallView, MediaView
from trunkline.gateway.config.addresses import bracketed
from trunkline.gateway.media.columns import Columns, delay_percentile
from trunkline.gateway.media.figures import NAMES, told
from trunkline.rtp.media_description import MediaDescription
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.payload import AUDIO_FORMATS

_FINAL_COUNTS = (
    "packets_received", "packets_sent", "packets_lost", "frames_to_agent", "frames_from_agent",
    "frames_played", "frames_concealed", "frames_gap", "frames_comfort_noise", "underruns", "peer_lost",
    "frames_withheld", "barge_ins", "underrun_ms",
)  # fmt: skip
_QUALITY = frozenset(NAMES.values()) - {"loss_percent"}
"Figures of the quality column; loss is read from its counters, which are of this moment."
_DROPS = [(drop.value, drop.name.lower()) for drop in Drop if drop is not Drop.NONE]


def media_view(call: Call, row: tuple[Columns, int] | None) -> MediaView | None:
    """What is known of the audio now; None before anything was agreed on."""
    media = call.media
    if media is None or not media.remote_host:
        return None
    view = MediaView(
        codec=media.codec,
        encryption=_encryption(call, media),
        remote=call.remote or f"{bracketed(media.remote_host)}:{media.remote_port}",
        local=call.local,
        ptime_ms=media.ptime_ms,
    )
    if row is not None:
        _fill(view, *row, AUDIO_FORMATS[media.codec].clock_hz, call.agent.sample_rate_hz)
    view.turns = call.turns.turns
    for name, value in call.turns.summary().items():
        setattr(view, name, value)
    return view


def _encryption(call: Call, media: MediaDescription) -> str | None:
    """The suite; None in the clear, and until a handshake has chosen one."""
    if media.dtls is not None:
        return call.dtls_suite or None
    return None if media.send_key is None else media.send_key.suite


def _fill(view: MediaView, columns: Columns, row: int, clock_hz: int, agent_rate_hz: int) -> None:
    def count(name: str) -> int:
        return int(getattr(columns, name)[row])

    view.packets_received, view.packets_sent = count("packets_received"), count("packets_sent")
    view.packets_lost = max(0, count("packets_lost"))
    view.loss_percent = loss_percent(view.packets_received, view.packets_lost)
    view.jitter_ms = round(float(columns.rx_jitter_ts[row]) * 1000 / clock_hz, 3)
    view.frames_to_agent, view.frames_from_agent = count("frames_to_agent"), count("frames_from_agent")
    view.frames_played, view.frames_concealed = count("frames_played"), count("frames_concealed")
    view.frames_gap, view.underruns = count("frames_gap"), count("underruns")
    view.frames_comfort_noise = count("frames_comfort_noise")
    view.frames_withheld, view.barge_ins = count("frames_withheld"), count("barge_ins")
    view.underrun_ms = round(count("underrun_ns") / 1e6)
    view.queued_ms = count("queued_samples") * 1000 // agent_rate_hz
    view.peer_lost = count("peer_lost")
    view.peer_jitter_ms = round(float(columns.peer_jitter_ms[row]), 3)
    rtt_ms = float(columns.rtt_ms[row])
    view.rtt_ms = round(rtt_ms, 3) if rtt_ms > 0 else None
    _set_quality(view, told(columns.quality[row].tolist()))
    view.uplink_ms_p50, view.uplink_ms_p99 = _delays(columns.uplink_delay[row])
    view.downlink_ms_p50, view.downlink_ms_p99 = _delays(columns.downlink_delay[row])
    drops = columns.drops[row]
    if drops.any():
        view.drops = {name: int(drops[index]) for index, name in _DROPS if drops[index]}


def finished(view: MediaView | None, stats: Mapping[str, float]) -> MediaView | None:
    """A view taken when the end began, with the worker's last figures where it has sent any."""
    if view is None or not stats:
        return view
    for name in _FINAL_COUNTS:
        if name in stats:
            setattr(view, name, max(0, int(stats[name])))
    for name in ("jitter_ms", "peer_jitter_ms"):
        if name in stats:
            setattr(view, name, round(stats[name], 3))
    if stats.get("rtt_ms"):
        view.rtt_ms = round(stats["rtt_ms"], 3)
    _set_quality(view, stats)
    view.loss_percent = loss_percent(view.packets_received, view.packets_lost)
    view.queued_ms = 0
    return view


def _set_quality(view: MediaView, figures: Mapping[str, float]) -> None:
    for name in _QUALITY & figures.keys():
        setattr(view, name, int(figures[name]) if name == "bursts" else figures[name])


def loss_percent(received: int, lost: int) -> float:
    """Share of the packets that should have come and did not."""
    return round(100 * lost / (received + lost), 3) if lost > 0 else 0.0


def _delays(histogram: Any) -> tuple[float | None, float | None]:
    half, most = delay_percentile(histogram, 0.5), delay_percentile(histogram, 0.99)
    return (None, None) if math.isnan(half) else (half, most)


def call_view(call: Call, media: MediaView | None) -> CallView:
    """The call as the API shows it."""
    return CallView(
        id=call.id,
        direction=call.direction,
        state="held" if call.holding and call.phase is Phase.UP else SHOWN[call.phase],
        caller=call.info.caller,
        called=call.info.called,
        trunk=call.trunk.name,
        route=call.info.route,
        agent=call.agent.name,
        sip_call_id=call.sip_call_id,
        created=call.created,
        answered=call.answered,
        ended=call.ended,
        cause=call.cause,
        sip_code=call.sip_code,
        sip_reason=call.sip_reason,
        detail=call.detail,
        media=media,
        agents=call.agents if len(call.agents) > 1 else [],
        attempts=call.attempts,
        variables=dict(call.variables),
        transfer=call.transfer,
    )
