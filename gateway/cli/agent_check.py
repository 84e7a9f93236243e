# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline agent check`: plays the gateway's part against an agent, and says what it does wrong and the cure.

The cases are `trunkline.agent_bridge.conformance`, which agents' authors may use in their own tests.  Exit codes:
0 nothing is wrong, 1 something is, 2 wrong use of the command.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import ssl
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from trunkline.agent_bridge.conformance import ADVICE, CASES, LEFT_OUT, PASSED, WRONG, Report, Verdict, check
from trunkline.agent_bridge.dialect import LinkSettings
from trunkline.agent_bridge.links import DEFAULT_RATES_HZ, DIALECTS, AddressError
from trunkline.gateway.cli.options import console

TOKEN_VARIABLE = "TRUNKLINE_AGENT_TOKEN"
PASSWORD_VARIABLE = "TRUNKLINE_AGENT_PASSWORD"
_SIGNS = {PASSED: "[green]ok[/]", WRONG: "[bold red]wrong[/]", ADVICE: "[yellow]advice[/]", LEFT_OUT: "[dim]-[/]"}


def agent_check(
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="unix:/path, tcp:host:port, ws://... or wss://...")
    ] = "",
    dialect: Annotated[str, typer.Option(help="what the agent speaks")] = DIALECTS[0],
    rate: Annotated[
        int, typer.Option(help="sample rate in Hz; default as in a configuration: 16000, or the dialect's own")
    ] = 0,
    case: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="only this case; repeatable")
    ] = None,
    username: Annotated[
        str, typer.Option(help="ws, wss: user of basic authentication; password in $TRUNKLINE_AGENT_PASSWORD")
    ] = "",
    ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="wss: whose certificates are believed (PEM)")
    ] = None,
    cases: Annotated[bool, typer.Option("--cases", help="list the cases and stop")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Check an agent: does it do what its protocol says?

    Plays the gateway's part over the real wire, with calls of noise, for some 20 seconds. An agent that asks
    for a token must find it in $TRUNKLINE_AGENT_TOKEN, here as there.
    """
    out = console()
    if cases:
        for one in CASES:
            out.print(f"{one.name:18} {one.what}", highlight=False)
        return
    if not address:
        raise typer.BadParameter("where does the agent listen?", param_hint="ADDRESS")
    settings = LinkSettings(
        sample_rate_hz=rate or DEFAULT_RATES_HZ.get(dialect, 16000),
        token=os.environ.get(TOKEN_VARIABLE),
        username=username,
        password=os.environ.get(PASSWORD_VARIABLE) if username else None,
    )
    try:
        tls = ssl.create_default_context(cafile=str(ca)) if ca else None
        report = asyncio.run(
            check(
                address,
                dialect=dialect,
                settings=settings,
                tls=tls,
                only=case or (),
                on_verdict=lambda verdict: None if as_json else _show(out, verdict),
            )
        )
    except (AddressError, ValueError, OSError) as problem:
        typer.echo(f"trunkline agent check: {problem}", err=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(json.dumps({"passed": report.passed, **dataclasses.asdict(report)}))
    else:
        out.print(_summary(report), highlight=False)
    raise typer.Exit(0 if report.passed else 1)


def _show(out: Console, verdict: Verdict) -> None:
    """One case, as soon as it is known."""
    sign = _SIGNS[verdict.outcome] + " " * (7 - len(verdict.outcome if verdict.outcome != LEFT_OUT else "-"))
    if verdict.outcome == PASSED:
        sign = f"{_SIGNS[PASSED]}     "
    out.print(f"{sign}[bold]{verdict.case:18}[/] {verdict.what}", highlight=False)
    for text in (verdict.problem, verdict.cure and f"-> {verdict.cure}"):
        if text:
            out.print(f"{'':26}{escape(text)}", highlight=False, soft_wrap=True)


def _summary(report: Report) -> str:
    count = {outcome: sum(v.outcome == outcome for v in report.verdicts) for outcome in _SIGNS}
    said = f"{count[PASSED]} passed, {count[WRONG]} wrong, {count[ADVICE]} with advice, {count[LEFT_OUT]} left out"
    if count[WRONG]:
        return f"[red]{said}[/]"
    if not count[PASSED]:
        return f"[yellow]{said}: nothing could be seen of this agent[/]"
    return f"[green]{said}[/]"
