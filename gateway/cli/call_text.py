# SPDX-License-Identifier: GPL-2.0-or-later
"""How calls and events look on a terminal; no I/O."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.markup import escape
from rich.table import Table

from trunkline.gateway.calls.view import CallEvent, CallView, MediaView

STATE_STYLES = {
    "incoming": "cyan", "calling": "cyan", "ringing": "yellow", "early": "yellow", "answering": "yellow",
    "up": "green", "held": "magenta", "ended": "dim",
}  # fmt: skip


def clock(seconds: float) -> str:
    """A duration as a telephone shows it."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def milliseconds(value: float | None) -> str:
    """A delay, or a dash when nothing was measured."""
    if value is None:
        return "–"
    return f"{value:.2f} ms" if value < 10 else f"{value:.0f} ms"


def duration(view: CallView, now: float | None = None) -> str:
    """Time since the answer, or a dash before it."""
    if view.answered is None:
        return "–"
    return clock((view.ended or now or time.time()) - view.answered)


def quality(media: MediaView) -> str:
    """Audio in one line: enough to see that both ways work."""
    parts = [
        f"{media.codec} {media.ptime_ms} ms",
        f"packets in {media.packets_received} out {media.packets_sent}",
        f"loss {media.loss_percent:.1f} %",
        f"jitter {media.jitter_ms:.1f} ms",
    ]
    if media.uplink_ms_p99 is not None or media.downlink_ms_p99 is not None:
        up, down = milliseconds(media.uplink_ms_p99), milliseconds(media.downlink_ms_p99)
        parts.append(f"added p99 in {up} out {down}")
    return ", ".join(parts)


def calls_table(views: Sequence[CallView], plain: bool) -> Table:
    """All calls, one line each; `plain` has no frame, for pipes and logs."""
    table = Table(box=None, pad_edge=False) if plain else Table(header_style="bold", expand=False)
    for name in ("ID", "Direction", "State", "From", "To", "Trunk", "Route", "Agent"):
        table.add_column(name, no_wrap=True)
    table.add_column("Codec", no_wrap=True)
    for name in ("Time", "Loss", "Jitter"):
        table.add_column(name, justify="right", no_wrap=True)
    for view in views:
        media = view.media
        table.add_row(
            view.id[:8],
            view.direction,
            f"[{STATE_STYLES[view.state]}]{view.state}[/]",
            *(escape(text) for text in (view.caller, view.called, view.trunk, view.route or "–", view.agent)),
            media.codec if media else "–",
            duration(view),
            f"{media.loss_percent:.1f} %" if media else "–",
            f"{media.jitter_ms:.1f} ms" if media else "–",
        )
    return table


def event_line(event: CallEvent) -> str:
    """One event in one line, as markup."""
    at = datetime.fromtimestamp(event.time, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
    data = " ".join(f"{key}={value}" for key, value in event.data.items())
    return f"[dim]{at}[/] {event.call_id[:8]:8} [bold]{escape(event.event):20}[/] {escape(data)}".rstrip()


def ending(view: CallView) -> str:
    """Why a call ended: our word, and what SIP said."""
    words = [view.cause.replace("_", " ")] if view.cause else []
    if view.sip_code:
        words.append(f"SIP {view.sip_code} {view.sip_reason}".rstrip())
    return ", ".join(words) or "no reason given"
