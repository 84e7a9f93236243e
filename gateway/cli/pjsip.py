# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline pjsip build`: make PJSIP from source, once, and install it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from trunkline.gateway.cli.progress import shown_steps
from trunkline.gateway.pjsip import facts, provide
from trunkline.gateway.pjsip.build import log_path
from trunkline.gateway.pjsip.errors import PjsipError
from trunkline.gateway.pjsip.source import VARIABLE, find_source

commands = typer.Typer(no_args_is_help=True, help="Build and install PJSIP, the SIP stack.")


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(commands, name="pjsip")


# With a single command typer would make it the group itself, and `pjsip build` an error.
@commands.callback()
def group() -> None:
    """Build and install PJSIP, the SIP stack."""


@commands.command()
def build(
    source: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR_OR_TARBALL",
            envvar=VARIABLE,
            help="pjproject's source; default: Debian's source package of asterisk",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="build although the cache has the wheel")] = False,
    install: Annotated[bool, typer.Option(help="install the wheel here")] = True,
    stopgap: Annotated[
        bool, typer.Option(help="when nothing can be built, install the pjsua2-python wheel of PyPI")
    ] = True,
) -> None:
    """Build PJSIP into a wheel that is cached (2.5 minutes on two cores; seconds the second time)."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        wheel = _wheel(console, source, force=force)
        if not install:
            console.print(escape(str(wheel.path)))
            return
        console.print(escape(facts.describe(provide.install_built(wheel))))
    except PjsipError as error:
        _complain(console, error)
        # Whoever names a source wants that one, and would not notice another.
        if source is not None or not install or not stopgap:
            raise typer.Exit(1) from None
        _fall_back(console)


def _wheel(console: Console, named: Path | None, *, force: bool) -> provide.Wheel:
    with shown_steps(console) as view:
        view.step_started("find pjproject's source")
        found = False
        try:
            source = find_source(named)
            found = True
        finally:
            view.step_ended(ok=found)
        wheel = provide.provide_wheel(source, view, force=force)
    origin = f"built, log in {log_path()}" if wheel.built_now else "from the cache"
    console.print(escape(f"pjproject {source.version} of {source.path.name}: {origin}"))
    return wheel


def _fall_back(console: Console) -> None:
    try:
        found = provide.install_stopgap()
    except PjsipError as error:
        _complain(console, error)
        raise typer.Exit(1) from None
    console.print(f"[yellow]{escape(facts.describe(found))}[/]")
    if found.source == "stopgap":
        console.print(
            "It is enough for a first call, not to run: trunkline pjsip build --source PATH makes a real one."
        )


def _complain(console: Console, error: PjsipError) -> None:
    console.print(f"[red]PJSIP: {escape(error.reason)}[/]")
    console.print(f"  cure: {escape(error.cure)}")
    if error.log is not None:
        console.print(f"  log: {escape(str(error.log))}")
