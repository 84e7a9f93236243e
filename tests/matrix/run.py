# SPDX-License-Identifier: GPL-2.0-or-later
"""`make matrix`: every cell with SIPp and with Asterisk, and a table of what was heard.

    PYTHONPATH=tests python -m matrix.run [WORD ...] [--at-once N]      words choose cells: sipp G722 in GCM128

Exit code 1 when a cell failed.  Nothing is written but the table.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from matrix import calling, rig
from matrix.cells import DEMANDS, PEERS, SHORT_SUITE, Cell, all_cells, why_not
from matrix.rig import Outcome

WAYS = ((True, "in"), (False, "out"))


def chosen(words: Sequence[str]) -> list[Cell]:
    """Cells whose names have all the words, or all cells."""
    return [one for one in all_cells() if set(words) <= set(str(one).split())]


def grid(peer: str, cells: Sequence[Cell], outcomes: dict[int, Outcome]) -> Table:
    """Codec and packet time down, way of SRTP across; each cell inbound and outbound."""
    whom = "SIPp and a telephone by FFmpeg and libsrtp" if peer == "sipp" else "Asterisk"
    table = Table(title=f"with {whom}: in/out")
    suites = [suite for suite in SHORT_SUITE if any(one.suite == suite for one in cells)]
    for head in ("codec", "ms", *(SHORT_SUITE[suite] for suite in suites)):
        table.add_column(head, justify="right" if head == "ms" else "left")
    of = {(one.codec, one.ptime_ms, one.suite, one.inbound): one for one in cells if one.peer == peer}
    for codec, ptime in dict.fromkeys((one.codec, one.ptime_ms) for one in of.values()):
        texts = []
        for suite in suites:
            marks = [_mark(of.get((codec, ptime, suite, inbound)), outcomes) for inbound, _ in WAYS]
            texts.append("/".join(marks))
        table.add_row(codec, str(ptime), *texts)
    return table


def _mark(cell: Cell | None, outcomes: dict[int, Outcome]) -> str:
    if cell is None:
        return " "
    if why_not(cell):
        return "[dim]-[/]"
    one = outcomes.get(cell.number)
    if one is None:
        return "?"
    if one.problems:
        return "[red]NO[/]"
    return "ok" if not one.earlier else f"ok[dim]({len(one.earlier) + 1})[/]"


def impossible(cells: Sequence[Cell]) -> Table:
    """What the dashes stand for."""
    table = Table("why not", "cells", title="-")
    reasons: dict[str, list[Cell]] = {}
    for one in cells:
        if why := why_not(one):
            reasons.setdefault(f"{one.peer}: {why}", []).append(one)
    for why, of in reasons.items():
        table.add_row(why, str(len(of)))
    return table


def sound(outcomes: Sequence[Outcome]) -> Table:
    """The worst of each codec, and what is asked."""
    table = Table(title="the worst of each codec; correlation, SNR of 300 to 3300 Hz, correlation above 4 kHz")
    for head in ("codec", "peer", "calls", "caller to agent", "agent to caller", "at least"):
        table.add_column(head)
    for codec, demand in DEMANDS.items():
        for peer in PEERS:
            of = [one for one in outcomes if (one.cell.codec, one.cell.peer) == (codec, peer) and not one.problems]
            if not of:
                continue
            asked = f"{demand.correlation:g}, {demand.snr_db:g} dB" + (f", {demand.wide:g}" if demand.wide else "")
            table.add_row(codec, peer, str(len(of)), _worst(of, "up"), _worst(of, "down"), asked)
    return table


def _worst(of: Sequence[Outcome], way: str) -> str:
    found = [getattr(one, way) for one in of]
    text = f"{min(one.narrow.correlation for one in found):.4f}, {min(one.narrow.snr_db for one in found):.1f} dB"
    wide = DEMANDS[of[0].cell.codec].wide
    return text + (f", {min(one.wide for one in found):.2f}" if wide else "")


def main(arguments: list[str] | None = None) -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="matrix.run")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--at-once", type=int, default=calling.AT_ONCE[0])
    options = parser.parse_args(arguments)
    cells = chosen(options.words)
    wanted = [one for one in cells if not why_not(one)]
    console, begun = Console(), time.monotonic()
    if not wanted:
        console.print("no such cell that could be: see tests/matrix/cells.py")
        return 2
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar, rig.started(wanted) as running:
        task = bar.add_task("calls", total=len(wanted))
        outcomes = calling.run_all(running, wanted, lambda one: bar.advance(task), options.at_once)
    by_number = {one.cell.number: one for one in outcomes}
    for peer in PEERS:
        if any(one.peer == peer for one in cells):
            console.print(grid(peer, cells, by_number))
    console.print(impossible(cells))
    console.print(sound(outcomes))
    failed = [one for one in outcomes if one.problems]
    for one in failed:
        console.print(f"[red]{one.cell}[/]: {'; '.join(one.problems)}", soft_wrap=True, highlight=False)
    for one in outcomes:
        for why in one.earlier if not one.problems else []:
            console.print(f"[dim]{one.cell}, made again: {why}[/]", soft_wrap=True, highlight=False)
    again = sum(bool(one.earlier) for one in outcomes)
    console.print(
        f"{len(outcomes)} calls, {len(failed)} failed, {again} made again, {time.monotonic() - begun:.0f} s"
    )
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
