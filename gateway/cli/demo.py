# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline demo`, which `make run` calls: see and hear a call within seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trunkline.gateway.cli import watching
from trunkline.gateway.cli.call_text import shown
from trunkline.gateway.cli.client import ClientError
from trunkline.gateway.cli.options import console
from trunkline.gateway.demo.conduct import Options
from trunkline.gateway.demo.conduct import demo as conduct
from trunkline.gateway.demo.errors import DemoError
from trunkline.gateway.redaction import printable

OUT = Path("trunkline-demo")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("demo")(demo)


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="where WAV, picture and logs go")] = OUT,
    seconds: Annotated[
        float | None, typer.Option(min=2, max=600, help="length of the call; by default the clip once, 9 s")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="end after the call instead of leaving the gateway up")
    ] = False,
    lan: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="listen on this address of the machine, and admit calls from its network"
        ),
    ] = None,
    sip_port: Annotated[int, typer.Option(min=0, max=65535, help="SIP port, if free; 0 takes any")] = 5060,
    api_port: Annotated[int, typer.Option(min=0, max=65535, help="API port, if free; 0 takes any")] = 8070,
) -> None:
    """Bring up a gateway with an echo agent, place a real call through them, and show what happens.

    Exit codes: 0 the caller heard the own voice; 1 a program failed or the call was not answered;
    3 the call was answered, but what came back was not what was said; 130 interrupted before the end.
    """
    screen = console()
    options = Options(out, seconds, once, lan, sip_port, api_port)
    worked = True
    with watching.terminating():
        try:
            worked = conduct(options, screen)
        except KeyboardInterrupt:
            screen.print("interrupted; everything is cleared away")
            raise typer.Exit(watching.INTERRUPTED) from None
        except (DemoError, ClientError) as problem:
            screen.print(f"[red]The demo failed:[/] {shown(str(problem))}", soft_wrap=True)
            if log := getattr(problem, "log", ""):
                screen.print("[dim]last lines of its log:[/]")
                screen.print(printable(log, multiline=True), markup=False, soft_wrap=True)
            raise typer.Exit(1) from None
    if not worked:
        raise typer.Exit(3)
