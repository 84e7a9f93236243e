# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench on the terminal: a picture that lives while it measures, then the figures."""

from __future__ import annotations

import time
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from trunkline.gateway.bench.figures import disturbance, faults, generator_trouble, slow
from trunkline.gateway.bench.limit import Limit, Step, Verdict
from trunkline.gateway.bench.session import Moment

PLAIN_EVERY_S = 5.0
NAMES = {
    "media_worker": "media worker",
    "generator": "load generator",
    "agent": "agent",
    "bench": "bench itself",
}


class Show:
    """Where the bench stands, and what has come of it."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: Live | None = None
        self._told_at = 0.0
        self._phase = ""
        self._before: Moment | None = None
        self._rates = (0.0, 0.0)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, moment: Moment) -> None:
        """Show this moment."""
        before = self._before
        if before is not None and before.phase == moment.phase and moment.elapsed_s > before.elapsed_s:
            past_s = moment.elapsed_s - before.elapsed_s
            self._rates = (
                (moment.packets_in - before.packets_in) / past_s,
                (moment.packets_out - before.packets_out) / past_s,
            )
        self._before = moment
        if self._live is not None:
            self._live.update(picture(moment, self._rates))
        elif moment.phase != self._phase or time.monotonic() - self._told_at >= PLAIN_EVERY_S:
            self._phase, self._told_at = moment.phase, time.monotonic()
            self.console.print(plain_line(moment))

    def result(self, one: dict[str, Any], text: str) -> None:
        """The figures of a run."""
        self.console.print(_heading(one))
        self.console.print(_costs(one))
        self.console.print(_delays(one))
        for line in text.splitlines():
            self.console.print(line, soft_wrap=True)

    def step(self, step: Step) -> None:
        """One step of a search."""
        colour = {Verdict.FITS: "green", Verdict.TOO_MANY: "red", Verdict.UNCLEAR: "yellow"}[step.verdict]
        told = f"[{colour}]{step.calls:>6} calls  {step.verdict.value}[/]"
        if step.figures is not None:
            up, down = step.figures["uplink_ms"]["p99"], step.figures["downlink_ms"]["p99"]
            cost = step.figures["cpu_us_per_call_second"]["media_worker"]
            told += (
                f"  p99 {_ms(up)} to the agent, {_ms(down)} back; worker {cost:.0f} µs per call and second"
            )
        self.console.print(told + (f"  [dim]{escape(step.why)}[/]" if step.why else ""), soft_wrap=True)

    def limit(self, found: Limit) -> None:
        """What a search has found."""
        self.console.print(
            f"[bold]{found.calls} calls[/] fit with p99 below 5 ms both ways and nothing lost; "
            f"[dim]{escape(found.bounded_by)}[/]",
            soft_wrap=True,
        )


def picture(moment: Moment, rates: tuple[float, float]) -> RenderableType:
    """A run at this moment."""
    title = Text.assemble((f"{moment.calls} calls", "bold"), f"  {moment.phase}")
    if not moment.total_s:
        return title
    table = Table.grid(padding=(0, 2))
    table.add_row("[dim]packets a second[/]", f"in {rates[0]:.0f}   out {rates[1]:.0f}")
    for name, percent in moment.cpu_percent.items():
        bar = ProgressBar(total=100, completed=min(percent, 100), width=30)
        table.add_row(f"[dim]{NAMES.get(name, name)}[/]", f"{percent:5.1f} % of a core", bar)
    title.append(f"  {moment.elapsed_s:.0f} of {moment.total_s:.0f} s", "dim")
    return Group(title, ProgressBar(total=moment.total_s, completed=moment.elapsed_s, width=60), table)


def plain_line(moment: Moment) -> str:
    """The same where nobody looks."""
    line = f"  {moment.calls} calls  {moment.phase}"
    if moment.total_s:
        line += f"  {moment.elapsed_s:.0f} of {moment.total_s:.0f} s"
    if moment.cpu_percent:
        shares = [f"{NAMES.get(name, name)} {percent:.0f} %" for name, percent in moment.cpu_percent.items()]
        line += "  CPU of a core: " + ", ".join(shares)
    return line


def _heading(one: dict[str, Any]) -> str:
    srtp = f", {one['srtp']}" if one["srtp"] else ""
    loss = f", {one['loss_percent']:g} % lost on the way" if one["loss_percent"] else ""
    return (
        f"[bold]{one['calls']} calls[/], {one['codec']} at {one['ptime_ms']} ms{srtp}{loss}, {one['dialect']} dialect "
        f"at {one['agent_rate_hz'] // 1000} kHz, {one['seconds']:g} s"
    )


def _costs(one: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("process", "CPU µs per call and second", "% of a core", "memory MB"):
        table.add_column(name, justify="left" if name == "process" else "right", header_style="dim")
    for name, cost in one["cpu_us_per_call_second"].items():
        memory = one["rss_mb"].get(name)
        table.add_row(
            NAMES.get(name, name), f"{cost:.0f}", f"{one['cpu_percent'][name]:.1f}",
            "" if memory is None else f"{memory:.0f}",
        )  # fmt: skip
    table.add_row("others on this machine", "", f"{one['others_cpu_percent']:.1f}", "", style="dim")
    return table


def _delays(one: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("added delay, ms", "p50", "p99", "p99.9", "max", "frames", "late", "lost"):
        table.add_column(name, justify="left" if name.startswith("added") else "right", header_style="dim")
    for name, way in (("to the agent", "uplink"), ("to the caller", "downlink")):
        spread = one[f"{way}_ms"]
        cells = [_number(spread[key]) for key in ("p50", "p99", "p999", "max")]
        table.add_row(name, *cells, str(spread["count"]), str(one[way]["late"]), str(one[way]["lost"]))
    behind = one["generator"]["behind_ms"]
    cells = [_number(behind[key]) for key in ("p50", "p99", "p999", "max")]
    table.add_row("generator behind its schedule", *cells, str(behind["count"]), "", "", style="dim")
    return table


def summary(one: dict[str, Any]) -> str:
    """The rest in sentences, with markup."""
    lines = [f"memory of the worker: {1000 * one['rss_mb_per_call']:.0f} kB per call"]
    lines += [f"[red]{escape(fault)}[/]" for fault in faults(one)]
    lines += [f"[yellow]{escape(what)}[/]" for what in slow(one)]
    if one["downlink"]["silent"]:
        lines.append(
            f"{one['downlink']['silent']} packets to callers were silent: the echo came too late for them"
        )
    if late := one["uplink"]["sent_too_late"]:
        lines.append(
            f"{late} packets were sent too late by the generator itself; they are not counted as lost"
        )
    if one["loss_percent"]:
        up = one["uplink"]
        p50, p99 = _ms(up["held_ms"]["p50"]), _ms(up["held_ms"]["p99"])
        lines.append(
            f"{up['left_out']} packets were left out on purpose, and {up['made_up']} frames made up for them; what "
            f"came behind them was held back, and is not in the delays above: p50 {p50}, p99 {p99}"
        )
    if moved := one["uplink"]["moved_calls"]:
        lines.append(f"[yellow]{moved} calls have more or fewer frames than packets: the worker was behind[/]")
    if trouble := generator_trouble(one):
        lines.append(f"[yellow]{trouble}; the figures say little of the worker[/]")
    elif busy := disturbance(one):
        lines.append(f"[yellow]{busy}: delays and losses may be theirs; CPU per call says more[/]")
    lines += [f"[yellow]{remark}[/]" for remark in one["remarks"]]
    return "\n".join(lines)


def _ms(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} ms"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
