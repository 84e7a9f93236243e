# SPDX-License-Identifier: GPL-2.0-or-later
"""The typer application: commands are added by the modules that hold them.

A module is imported only when its command is asked for, or when all are listed:
`trunkline doctor` shall not wait for FastAPI, nor fail because of it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

COMMANDS = {
    "demo": ("demo",),
    "run": ("run",),
    "check": ("check",),
    "calls": ("calls", "call", "hangup", "dtmf", "events"),
    "deciding": ("transfer", "hold", "resume"),
    "agent": ("agent",),
    "agents": ("agents",),
    "doctor": ("doctor",),
    "bench": ("bench",),
    "pjsip": ("pjsip",),
    "record": ("record", "replay"),
}
"""modules of this package, in the order that help shows, and the commands that each registers"""


def build_app(arguments: Sequence[str]) -> typer.Typer:
    """The application with the commands that `arguments` may call."""
    app = typer.Typer(
        name="trunkline",
        help="The open, self-hosted layer between telephone calls and AI agents.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for module in modules_for(arguments):
        importlib.import_module(f"trunkline.gateway.cli.{module}").register(app)
    return app


def modules_for(arguments: Sequence[str]) -> list[str]:
    """The one module that has the command, or all of them when it is unknown: help, completion, a slip."""
    asked = next((word for word in arguments if not word.startswith("-")), "")
    return [module for module, commands in COMMANDS.items() if asked in commands] or list(COMMANDS)


def run() -> None:
    """Run the program on sys.argv."""
    build_app(sys.argv[1:])()


def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=lambda wanted: _show_version(wanted=wanted))
    ] = False,
) -> None:
    """The open, self-hosted layer between telephone calls and AI agents."""


def _show_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"trunkline {importlib.metadata.version('trunkline')}")
        raise typer.Exit
