# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo on the terminal: a picture that lives, or plain lines where nobody looks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from trunkline.gateway.calls.view import CallView
from trunkline.gateway.cli.call_text import STATE_STYLES, duration, shown
from trunkline.gateway.demo.figures import at_most

BARS = " ▁▂▃▄▅▆▇█"
PLAIN_EVERY_S = 2.0


class Show:
    """Steps before the call, then the call itself."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: Live | None = None
        self._told_at = 0.0
        self._state = ""

    def step(self, text: str) -> None:
        """Something is done."""
        self.console.print(f"[green]✔[/] {text}", soft_wrap=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=10, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(
        self,
        view: CallView | None,
        progress: dict[str, Any],
        levels: Sequence[tuple[float, float]],
        total_s: float,
    ) -> None:
        """Show this moment."""
        if self._live is not None:
            self._live.update(call_panel(view, progress, levels, total_s, self.console.width))
            return
        state = view.state if view else "dialling"
        if state != self._state or time.monotonic() - self._told_at >= PLAIN_EVERY_S:
            self._state, self._told_at = state, time.monotonic()
            self.console.print(plain_line(view, progress))


def plain_line(view: CallView | None, progress: dict[str, Any]) -> str:
    """One moment in one line."""
    if view is None:
        return "  dialling"
    line = f"  {view.state:9} {duration(view):>5}  caller sent {progress['sent']} heard {progress['received']} packets"
    if media := view.media:
        line += (
            f"; gateway in {media.packets_received} out {media.packets_sent}, frames to agent {media.frames_to_agent}"
            f" back {media.frames_from_agent}, loss {media.loss_percent:.1f} %, jitter {media.jitter_ms:.1f} ms,"
            f" added p99 in {at_most(media.uplink_ms_p99)} out {at_most(media.downlink_ms_p99)}"
        )
    return line


def call_panel(
    view: CallView | None,
    progress: dict[str, Any],
    levels: Sequence[tuple[float, float]],
    total_s: float,
    width: int,
) -> RenderableType:
    """The call at this moment."""
    state = view.state if view else "calling"
    title = Text.assemble(("● ", STATE_STYLES[state]), (state, f"bold {STATE_STYLES[state]}"))
    if view is not None:
        title.append(f"  {duration(view)} of 0:{total_s:02.0f}", "dim")
    voices = _voices(levels, max(20, min(100, width - 22)))
    return Panel(
        Group(_way(view, progress), Text(), voices, Text(), _numbers(view)), title=title, title_align="left"
    )


def _way(view: CallView | None, progress: dict[str, Any]) -> RenderableType:
    """Caller, gateway, agent, and what has passed between them."""
    media = view.media if view else None
    table = Table.grid(padding=(0, 1), expand=False)
    table.add_row(
        "[bold]caller[/]", f"[cyan]── {progress['sent']:>5} packets ──▶[/]", "[bold]gateway[/]",
        f"[cyan]── {media.frames_to_agent if media else 0:>5} frames ──▶[/]",
        f"[bold]agent {shown(view.agent)}[/]" if view else "[bold]agent[/]",
    )  # fmt: skip
    table.add_row(
        f"[dim]{shown(view.caller) if view else '1001'}[/]",
        f"[green]◀── {progress['received']:>5} packets ──[/]",
        f"[dim]{shown(view.route) if view else ''}[/]",
        f"[green]◀── {media.frames_from_agent if media else 0:>5} frames ──[/]",
        "[dim]another process[/]",
    )
    return table


def _voices(levels: Sequence[tuple[float, float]], width: int) -> RenderableType:
    """What was said and heard lately, as bars, ten a second."""
    recent = list(levels)[-width:]
    table = Table.grid(padding=(0, 1))
    table.add_row("[dim]  said[/]", Text(bars([said for said, _ in recent]), "cyan", no_wrap=True))
    table.add_row("[dim] heard[/]", Text(bars([heard for _, heard in recent]), "green", no_wrap=True))
    return table


def bars(values: Sequence[float]) -> str:
    """Levels from 0 to 1 as block characters; the quietest third of mu-law's scale is silence."""
    scaled = [max(0.0, (value - 0.3) / 0.7) for value in values]
    return "".join(BARS[min(len(BARS) - 1, round(value * (len(BARS) - 1)))] for value in scaled)


def _numbers(view: CallView | None) -> RenderableType:
    if view is None or view.media is None:
        return Text("no audio yet", "dim")
    media = view.media
    table = Table.grid(padding=(0, 3))
    pairs = [
        ("codec", shown(f"{media.codec} {media.ptime_ms} ms")),
        ("loss", f"{media.loss_percent:.1f} %"),
        ("jitter", f"{media.jitter_ms:.1f} ms"),
        ("added to agent", f"p50 {at_most(media.uplink_ms_p50)}  p99 {at_most(media.uplink_ms_p99)}"),
        ("added from agent", f"p50 {at_most(media.downlink_ms_p50)}  p99 {at_most(media.downlink_ms_p99)}"),
    ]
    for _ in pairs:
        table.add_column(no_wrap=True)
    table.add_row(*(f"[dim]{name}[/]" for name, _ in pairs))
    table.add_row(*(value for _, value in pairs))
    return table
