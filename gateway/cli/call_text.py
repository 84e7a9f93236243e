# SPDX-License-Identifier: GPL-2.0-or-later
"""How calls and events look on a terminal; no I/O.

Numbers, names, reasons and digits are a peer's words: all of them pass through `shown`,
or they could clear the screen, or write a line that looks like ours.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import BaseModel
from rich.markup import escape
from rich.table import Table

from trunkline.gateway.calls.view import CallEvent, CallView, MediaView
from trunkline.gateway.redaction import printable

STATE_STYLES = {
    "incoming": "cyan", "calling": "cyan", "ringing": "yellow", "early": "yellow", "answering": "yellow",
    "up": "green", "held": "magenta", "ended": "dim",
}  # fmt: skip


WIDE_COLUMNS = 120
"Below, a table has only what tells calls apart: with all columns, none of them could be read."


def shown(text: str) -> str:
    """Anybody's words as markup that shows them, and does nothing else."""
    return escape(printable(text))


def as_json(model: BaseModel) -> str:
    """One line of ASCII, so that a peer's words are as harmless on a terminal as in a pipe."""
    return json.dumps(json.loads(model.model_dump_json()), separators=(",", ":"))


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
    """Audio in one line, as markup: enough to see that both ways work."""
    parts = [
        f"{media.codec} {media.ptime_ms} ms",
        *([media.encryption] if media.encryption else []),
        f"packets in {media.packets_received} out {media.packets_sent}",
        f"loss {media.loss_percent:.1f} %",
        f"jitter {media.jitter_ms:.1f} ms",
    ]
    if media.mos is not None:
        heard = f", peer {media.peer_mos:.1f}" if media.peer_mos is not None else ""
        parts.append(f"MOS {media.mos:.1f}{heard}")
    if media.rtt_ms is not None:
        parts.append(f"round trip {milliseconds(media.rtt_ms)}")
    if media.uplink_ms_p99 is not None or media.downlink_ms_p99 is not None:
        up, down = milliseconds(media.uplink_ms_p99), milliseconds(media.downlink_ms_p99)
        parts.append(f"added p99 in {up} out {down}")
    if media.turns:
        agent, gateway = milliseconds(media.turn_agent_ms_p50), milliseconds(media.turn_gateway_ms_p50)
        parts.append(f"{media.turns} turns, agent {agent}, gateway {gateway}")
    return shown(", ".join(parts))


def calls_table(views: Sequence[CallView], plain: bool, width: int = WIDE_COLUMNS) -> Table:
    """All calls, one line each; `plain` has no frame, for pipes and logs. `width` is the terminal's."""
    wide = width >= WIDE_COLUMNS
    table = Table(box=None, pad_edge=False) if plain else Table(header_style="bold", expand=False)
    for name in _WIDE if wide else _NARROW:
        right = name in ("Time", "Loss", "Jitter", "MOS")
        # In a narrow table long numbers are folded: what one looks for is often at their end.
        folded = not wide and name in ("From", "To", "Agent")
        table.add_column(
            name,
            justify="right" if right else "left",
            no_wrap=not folded,
            overflow="fold" if folded else "ellipsis",
        )
    for view in views:
        cells = _cells(view)
        table.add_row(*(cells[name] for name in (_WIDE if wide else _NARROW)))
    return table


_NARROW = ("ID", "State", "From", "To", "Agent", "Time")
_WIDE = (
    "ID", "Direction", "State", "From", "To", "Trunk", "Route", "Agent", "Codec", "Time", "Loss", "Jitter",
    "MOS",
)  # fmt: skip


def _cells(view: CallView) -> dict[str, str]:
    """A call's columns, as markup."""
    media = view.media
    return {
        "ID": shown(view.id[:8]),
        "Direction": view.direction,
        "State": f"[{STATE_STYLES[view.state]}]{view.state}[/]",
        "From": shown(view.caller),
        "To": shown(view.called),
        "Trunk": shown(view.trunk),
        "Route": shown(view.route or "–"),
        "Agent": shown(view.agent),
        "Codec": shown(media.codec + (" encrypted" if media.encryption else "")) if media else "–",
        "Time": duration(view),
        "Loss": f"{media.loss_percent:.1f} %" if media else "–",
        "Jitter": f"{media.jitter_ms:.1f} ms" if media else "–",
        "MOS": f"{media.mos:.1f}" if media and media.mos is not None else "–",
    }


def event_line(event: CallEvent) -> str:
    """One event in one line, as markup."""
    at = datetime.fromtimestamp(event.time, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
    data = " ".join(f"{key}={value}" for key, value in event.data.items())
    head = f"[dim]{at}[/] {shown(event.call_id[:8]):8} [bold]{shown(event.event):20}[/]"
    return f"{head} {shown(data)}".rstrip()


def ending(view: CallView) -> str:
    """Why a call ended: our word, what SIP said, and what else is known; as markup."""
    words = [view.cause.replace("_", " ")] if view.cause else []
    if view.sip_code:
        words.append(f"SIP {view.sip_code} {view.sip_reason}".rstrip())
    text = ", ".join(words) or "no reason given"
    return shown(f"{text}: {view.detail}" if view.detail else text)
