# SPDX-License-Identifier: GPL-2.0-or-later
"""The standard set of `make bench`, side by side with Asterisk and with the floor, and the table in the README.

    PYTHONPATH=tests python -m bench.standard [--seconds 10] [--json FILE] [--only NAME] [--keep-readme]

Every run has the same generator and, in AudioSocket, the same agent; CPU is that of the carrier alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

from rich.console import Console

from bench import asterisk_side
from trunkline.gateway.bench import machine, session
from trunkline.gateway.bench.carrier import Carrier, WorkerCarrier
from trunkline.gateway.bench.errors import BenchError, RunFailed
from trunkline.gateway.bench.figures import faults, figures, generator_trouble
from trunkline.gateway.bench.floor import RATE_HZ, FloorCarrier
from trunkline.gateway.bench.plan import Plan
from trunkline.gateway.bench.show import Show
from trunkline.gateway.media import compiled

README = pathlib.Path(__file__).resolve().parents[2] / "gateway/bench/README.md"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
SECONDS = 10.0
CODEC_CALLS = (200,)
"Opus fills a core with some hundreds"
BUSY_PERCENT = 20.0
"Of a core, used by others: beyond it the delays are theirs as well, and the table says so."


@dataclasses.dataclass(frozen=True, slots=True)
class Contestant:
    """Rows of the table."""

    name: str
    title: str
    dialect: str
    carrier: Callable[[Plan], Carrier]
    calls: tuple[int, ...]
    codec: str = "PCMU"
    srtp: str = ""


def _ours(name: str, what: str, **kind: str) -> Contestant:
    """Another codec, or SRTP."""
    return Contestant(name, f"trunkline, {what}", "trunkline", WorkerCarrier, CODEC_CALLS, **kind)


class NumpyCarrier(WorkerCarrier):
    """Workers without compiled kernels."""

    async def start(self) -> None:
        """As it is, but for the environment that they inherit."""
        with mock.patch.dict(os.environ, {compiled.SWITCH: "0"}):
            await super().start()


CONTESTANTS = (
    Contestant("trunkline", "trunkline", "trunkline", WorkerCarrier, (100, 200, 500, 1000, 1500, 2000)),
    Contestant("numpy", "trunkline without compiled kernels", "trunkline", NumpyCarrier, (200, 1000)),
    *(_ours(name, name, codec=name) for name in ("PCMA", "G722", "L16/16000", "OPUS")),
    *(_ours("SRTP", f"SRTP {suite}", srtp=suite) for suite in ("AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM")),
    Contestant("audiosocket", "trunkline, AudioSocket", "audiosocket", WorkerCarrier, (100, 200)),
    Contestant("asterisk", "Asterisk, AudioSocket", "audiosocket", asterisk_side.AsteriskCarrier, (100, 200)),
    Contestant("floor", "floor, one connection", "trunkline", FloorCarrier, (500, 1000, 2000)),
    Contestant("floor-audiosocket", "floor, AudioSocket", "audiosocket", FloorCarrier, (100, 200)),
)


def measure(one: Contestant, calls: int, seconds: float, show: Show) -> dict[str, Any]:
    """Figures of a run, or `error` with why there are none."""
    rate = RATE_HZ[one.dialect]
    plan = Plan(
        calls, one.codec, dialect=one.dialect, agent_rate_hz=rate, seconds=seconds, srtp=one.srtp
    )
    row: dict[str, Any] = {"contestant": one.name, "title": one.title, "calls": calls, "agent_rate_hz": rate}
    try:
        return row | figures(session.run(plan, show.update, one.carrier))
    except BenchError as error:  # a worker that ends under too many calls is an answer; all else is no measurement
        return row | {"error": str(error), "measured": isinstance(error, RunFailed)}


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """In markdown."""
    heads = ["", "calls", "CPU of what carries the calls, µs per call and second", "to the agent, p50 / p99 ms"]
    heads += ["to the caller, p50 / p99 ms", "lost", "later than 20 ms"]
    lines = [f"| {' | '.join(heads)} |", "|---|--:|--:|--:|--:|--:|--:|"]
    for row in rows:
        head = f"| {row['title']}, {row['agent_rate_hz'] // 1000} kHz | {row['calls']:,} "
        if "error" in row:
            why = row["error"].splitlines()[0].replace("|", "/")
            lines.append(f"{head}| did not hold: {why} | | | | |")
            continue
        cost = row["cpu_us_per_call_second"][row["carrier"]]
        lines.append(
            f"{head}| {cost:.0f} | {_pair(row['uplink_ms'])} | {_pair(row['downlink_ms'])} "
            f"| {row['lost_frames']:,} | {row['late_frames']:,} |"
        )
    return lines


def _pair(spread: dict[str, Any]) -> str:
    return "-" if spread["p50"] is None else f"{spread['p50']:.1f} / {spread['p99']:.1f}"


def provenance(rows: Sequence[dict[str, Any]], seconds: float, today: dt.date) -> list[str]:
    """Where the figures come from, and what they are worth."""
    here = machine.describe()
    done = [row for row in rows if "error" not in row]
    busy = max((row["others_cpu_percent"] for row in done), default=0.0)
    given = "" if seconds == SECONDS else f' ARGS="--seconds {seconds:g}"'
    kernel = ".".join(here["kernel"].split(".")[:2])
    text = (
        f"`make bench{given}` on {today.isoformat()}, {here['cpu']}, {here['cores']} cores, Linux {kernel}; PCMU "
        f"in the clear where nothing else is said, 20 ms, {seconds:g} s measured after 2 s of warm-up."
    )
    troubled = [f"{row['title']} at {row['calls']}" for row in done if generator_trouble(row)]
    lines = [text]
    if busy > BUSY_PERCENT:
        lines.append(
            f"Other programs used up to {busy:.0f} % of a core meanwhile: delays and losses are theirs, too."
        )
    if troubled:
        lines.append(f"The generator itself did not keep up in: {', '.join(troubled)}.")
    return lines


def replaced(text: str, lines: Sequence[str]) -> str:
    """The README with another table between its markers; ValueError when it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README lacks {BEGIN} ... {END}")
    return "\n".join([before + BEGIN, *lines, END]) + after


def outcome(rows: Sequence[dict[str, Any]]) -> tuple[list[str], int]:
    """What does not fit here, in words, and the exit code: 1 if a run could not be made.

    That so many calls are too many for this machine is what the table is there to tell, and no failure.
    """
    told = []
    for row in rows:
        wrong = [row["error"].splitlines()[0]] if "error" in row else faults(row)
        if wrong:
            told.append(f"{row['title']}, {row['calls']} calls: {'; '.join(wrong)}")
    return told, int(any("error" in row and not row["measured"] for row in rows))


def main(arguments: list[str] | None = None) -> int:
    """The program; exit code 1 when a run could not be made."""
    parser = argparse.ArgumentParser(prog="bench.standard")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--json", type=pathlib.Path, help="all figures")
    parser.add_argument("--only", action="append", choices=list(dict.fromkeys(one.name for one in CONTESTANTS)))
    parser.add_argument("--calls", type=int, action="append", help="instead of the standard numbers")
    parser.add_argument("--keep-readme", action="store_true", help="print the table only")
    options = parser.parse_args(arguments)
    chosen = [one for one in CONTESTANTS if not options.only or one.name in options.only]
    if why := asterisk_side.available():
        print(f"without Asterisk: {why}", file=sys.stderr)
        chosen = [one for one in chosen if one.name != "asterisk"]
    rows = []
    with Show(Console(file=sys.stderr)) as show:
        for one in chosen:
            for calls in options.calls or one.calls:
                show.console.print(f"[bold]{one.title}[/], {calls} calls")
                rows.append(measure(one, calls, options.seconds, show))
                time.sleep(1.0)
    lines = [*table(rows), "", *provenance(rows, options.seconds, dt.datetime.now(dt.UTC).date())]
    print("\n".join(lines))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    if not options.keep_readme:
        README.write_text(replaced(README.read_text(encoding="utf-8"), lines), encoding="utf-8")
    told, code = outcome(rows)
    for line in told:
        print(f"does not fit here, or could not be measured: {line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
