# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline bench`: how many calls this machine carries, and what one costs.

Exit codes: 0 nothing was lost (or something fits), 1 a run could not be made, 2 wrong options, 3 frames were lost
(or nothing fits), 130 interrupted.
"""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline.gateway.bench import limit as limits
from trunkline.gateway.bench import plot as plots
from trunkline.gateway.bench import session
from trunkline.gateway.bench.errors import BenchError, RunFailed, WrongOption
from trunkline.gateway.bench.figures import faults, figures
from trunkline.gateway.bench.plan import DEFAULT_RATE_HZ, DIALECTS, MAX_CALLS, WARM_UP_S, Plan
from trunkline.gateway.bench.show import Show, summary
from trunkline.gateway.cli.call_text import shown
from trunkline.gateway.cli.options import console
from trunkline.gateway.cli.watching import INTERRUPTED, terminating
from trunkline.rtp.payload import AUDIO_FORMATS
from trunkline.rtp.sdes import SUITES

WRONG, LOST = 2, 3


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("bench")(bench)


def bench(
    calls: Annotated[
        str,
        typer.Option(
            metavar="N[,N...]", help="calls at once; several are run in turn; with --find-limit, where it begins"
        ),
    ] = "100",
    codec: Annotated[str, typer.Option(metavar="NAME", help=f"codec on the line: {', '.join(AUDIO_FORMATS)}")] = "PCMU",
    srtp: Annotated[
        str, typer.Option(metavar="SUITE", help=f"encrypt, by {', '.join(SUITES)}; needs libsrtp2 for the callers")
    ] = "",
    ptime: Annotated[
        int | None,
        typer.Option(metavar="MS", help="packet time: 10, 20, 30, 40 or 60; by default 20, or what the codec has"),
    ] = None,
    dialect: Annotated[
        str, typer.Option(metavar="NAME", help=f"protocol of the agent: {', '.join(DIALECTS)}")
    ] = "trunkline",
    agent_rate: Annotated[
        int | None,
        typer.Option(
            metavar="HZ", help="PCM at the agent: 8000, 16000, 24000, 48000; by default as usual in the dialect"
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(help=f"measured, after {WARM_UP_S:g} s of warm-up; 1 to 3600")] = 10.0,
    loss: Annotated[
        float, typer.Option(metavar="PERCENT", help="of the callers' packets that the network loses, 0 to 20")
    ] = 0.0,
    workers: Annotated[int, typer.Option(min=1, max=64, help="media worker processes")] = 1,
    find_limit: Annotated[
        bool,
        typer.Option(
            "--find-limit", help="find the most calls with p99 below 5 ms both ways and nothing lost, in up to 14 runs"
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="figures as JSON, for programs")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="draw the figures: .png, .svg or .pdf; needs matplotlib, trunkline[demo]"
        ),
    ] = None,
) -> None:
    """Carry calls through a real media worker on this machine's loopback, and say what they cost.

    A load generator speaks RTP for every caller and an agent repeats what it hears; both are processes of their
    own, whose CPU is counted apart. No SIP is spoken: the gateway process, one for all workers, comes on top.

    Exit codes: 0 nothing was lost (with --find-limit: something fits); 1 a run could not be made; 2 wrong options;
    3 frames were lost (with --find-limit: nothing fits); 130 interrupted.
    """
    screen, failed = console(stderr=json), False
    try:
        rate = DEFAULT_RATE_HZ.get(dialect, 16000) if agent_rate is None else agent_rate
        ptime_ms = _ptime_of(codec.upper()) if ptime is None else ptime
        options = (codec.upper(), ptime_ms, dialect, rate, seconds, workers, srtp.upper(), loss)
        plans = [Plan(n, *options) for n in _numbers(calls)]
        if find_limit:
            _one_number(plans)
        if plot is not None:
            plots.check(plot)
        with terminating(), Show(screen) as show:
            if find_limit:
                done = _search(plans[0], show, as_json=json)
            else:
                done, failed = _run_all(plans, show, as_json=json)
        if plot is not None and done:
            plots.draw(plot, done)
            screen.print(f"drawn: {shown(str(plot))}", soft_wrap=True)
    except KeyboardInterrupt:
        screen.print("interrupted; everything is cleared away")
        raise typer.Exit(INTERRUPTED) from None
    except BenchError as problem:
        console(stderr=True).print(f"[red]trunkline bench:[/] {shown(str(problem))}", soft_wrap=True)
        raise typer.Exit(WRONG if isinstance(problem, WrongOption) else 1) from None
    if failed:
        raise typer.Exit(1)
    if not done or (not find_limit and any(faults(one) for one in done)):
        raise typer.Exit(LOST)


def _run_all(plans: list[Plan], show: Show, *, as_json: bool) -> tuple[list[dict[str, Any]], bool]:
    """All runs, whatever becomes of each; the figures of those that came to their end, and whether one did not."""
    done: list[dict[str, Any]] = []
    told: list[dict[str, Any]] = []
    for plan in plans:
        try:
            done.append(_measure(plan, show, quiet=as_json))
            told.append(done[-1])
        except BenchError as problem:
            if len(plans) == 1:
                raise
            told.append({"calls": plan.calls, "error": str(problem)})
            show.console.print(f"[red]{plan.calls} calls:[/] {shown(str(problem))}", soft_wrap=True)
    if as_json:
        typer.echo(json_text.dumps(told[0] if len(told) == 1 else told, indent=2))
    return done, len(done) < len(plans)


def _ptime_of(codec: str) -> int:
    """20 ms, where the codec has such packets."""
    times = AUDIO_FORMATS[codec].packet_times_ms if codec in AUDIO_FORMATS else ()
    return 20 if 20 in times or not times else times[0]


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise WrongOption(
            f"--calls {text!r}: it takes a number, or several with commas: 100,500,1000"
        ) from None


def _one_number(plans: list[Plan]) -> None:
    if len(plans) > 1:
        raise WrongOption("--find-limit takes one number of --calls, where the search begins")


def _measure(plan: Plan, show: Show, *, quiet: bool) -> dict[str, Any]:
    """One run, and what a person wants to know of it."""
    one = figures(session.run(plan, show.update))
    if not quiet:
        show.result(one, summary(one))
    return one


def _search(plan: Plan, show: Show, *, as_json: bool) -> list[dict[str, Any]]:
    """Find the limit; returns the figures of all its runs that came to an end, by calls."""

    any_done: list[int] = []

    def measure(calls: int) -> limits.Step:
        try:
            one = _measure(plan.with_calls(calls), show, quiet=True)
        except RunFailed as error:  # too many calls can end a worker: that is an answer, too
            step = limits.Step(calls, limits.Verdict.TOO_MANY, str(error).splitlines()[0])
        except BenchError as error:  # of this machine, not of the worker; what was found before stands
            if not any_done:
                raise
            step = limits.Step(calls, limits.Verdict.UNCLEAR, str(error).splitlines()[0])
        else:
            step = limits.Step(calls, *limits.judge(one), one)
            any_done.append(calls)
        show.step(step)
        return step

    found = limits.find_limit(measure, plan.calls, MAX_CALLS)
    runs = [step.figures for step in found.steps if step.figures is not None]
    if as_json:
        told = {
            "limit": found.calls,
            "bounded_by": found.bounded_by,
            "steps": [
                {"calls": step.calls, "verdict": step.verdict.value, "why": step.why} for step in found.steps
            ],
        }
        typer.echo(json_text.dumps({**(found.best or {}), **told, "runs": runs}, indent=2))
    else:
        show.limit(found)
    return sorted(runs, key=lambda one: int(one["calls"])) if found.calls else []
