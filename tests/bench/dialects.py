# SPDX-License-Identifier: GPL-2.0-or-later
"""What a call costs in each dialect, the worker's CPU and the agent's: a table for the README.

    PYTHONPATH=tests python -m bench.dialects [--calls 100,500] [--seconds 5] [--only NAME] [--keep-readme]
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from trunkline.gateway.bench import machine, session
from trunkline.gateway.bench.errors import BenchError
from trunkline.gateway.bench.figures import figures
from trunkline.gateway.bench.plan import DEFAULT_RATE_HZ, DIALECTS, Plan

README = pathlib.Path(__file__).resolve().parents[2] / "README.md"
BEGIN, END = "<!-- bench-dialects:begin -->", "<!-- bench-dialects:end -->"
HEADS = ("dialect", "Hz", "calls", "gateway's worker", "agent", "lost", "later than 20 ms", "others' CPU, % of a core")


def measure(dialect: str, calls: int, seconds: float) -> dict[str, Any]:
    """One run; `error` if it could not be made."""
    rate = DEFAULT_RATE_HZ.get(dialect, 16000)
    try:
        one = figures(session.run(Plan(calls, dialect=dialect, agent_rate_hz=rate, seconds=seconds)))
    except BenchError as error:
        one = {"error": str(error).splitlines()[0]}
    return {"dialect": dialect, "calls": calls, "agent_rate_hz": rate} | one


def line(one: dict[str, Any]) -> str:
    """A row of the table."""
    head = f"| {one['dialect']} | {one['agent_rate_hz']:,} | {one['calls']} |"
    if "error" in one:
        return f"{head} did not hold: {one['error'].replace('|', '/')} | | | | |"
    cost = one["cpu_us_per_call_second"]
    worker, agent = cost[one["carrier"]], cost["agent"]
    lost, late, others = one["lost_frames"], one["late_frames"], one["others_cpu_percent"]
    return f"{head} {worker:.0f} | {agent:.0f} | {lost:,} | {late:,} | {others:.0f} |"


def table(lines: Sequence[str], seconds: float, calls: str, load: float) -> list[str]:
    """With where it comes from."""
    here, today = machine.describe(), dt.datetime.now(dt.UTC).date().isoformat()
    how = (
        f'`make bench-dialects ARGS="--calls {calls} --seconds {seconds:g}"` on {today}, {here["cpu"]}, '
        f"{here['cores']} cores, load average {load:.0f} at the start; PCMU on the line, 20 ms."
    )
    return [f"| {' | '.join(HEADS)} |", "|---|--:|--:|--:|--:|--:|--:|--:|", *lines, "", how]


def main(arguments: list[str] | None = None) -> int:
    """The program; exit code 1 when a run could not be made."""
    parser = argparse.ArgumentParser(prog="bench.dialects")
    parser.add_argument("--calls", default="100,500")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", choices=DIALECTS)
    parser.add_argument("--keep-readme", action="store_true", help="print the table only")
    options = parser.parse_args(arguments)
    load, done = os.getloadavg()[0], []
    for calls in map(int, options.calls.split(",")):
        for dialect in [options.only] if options.only else DIALECTS:
            done.append(measure(dialect, calls, options.seconds))
            print(line(done[-1]), flush=True)
    if not options.keep_readme and not options.only:
        text = README.read_text()
        before, begin, rest = text.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            print(f"the README lacks {BEGIN} ... {END}", file=sys.stderr)
            return 1
        lines = table([line(one) for one in done], options.seconds, options.calls, load)
        README.write_text("\n".join([before + BEGIN, *lines, END]) + after)
    return int(any("error" in one for one in done))


if __name__ == "__main__":
    sys.exit(main())
