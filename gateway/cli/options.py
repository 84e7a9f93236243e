# SPDX-License-Identifier: GPL-2.0-or-later
"""Options that the commands which talk to a running gateway have in common."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trunkline.gateway.cli.call_text import shown
from trunkline.gateway.cli.client import URL_VARIABLE, ClientError, Gateway
from trunkline.gateway.cli.locating import connect

ApiUrl = Annotated[
    str | None,
    typer.Option("--api-url", metavar="URL", help=f"address of the gateway's API [env {URL_VARIABLE}]"),
]
TokenFile = Annotated[
    Path | None, typer.Option("--token-file", metavar="FILE", help="file with the API token")
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="find address and token by the gateway's configuration"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="one JSON object a line, for programs")]

PLAIN_WIDTH = 240
"Columns where nobody looks: a pipe has no width, and nothing may be cut off."


def console(stderr: bool = False) -> Console:
    """Colours and the terminal's width for a person, plain wide text for a pipe."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, highlight=False, emoji=False, width=None if stream.isatty() else PLAIN_WIDTH)


def failed(problem: object, exit_code: int = 1) -> typer.Exit:
    """Say what went wrong, in one line; what is returned is to be raised."""
    console(stderr=True).print(f"[red]trunkline:[/] {shown(str(problem))}", soft_wrap=True)
    return typer.Exit(exit_code)


@contextlib.contextmanager
def connected(api_url: str | None, token_file: Path | None, config_file: Path | None) -> Iterator[Gateway]:
    """A gateway to talk to; whatever goes wrong with it becomes one line and an exit code."""
    gateway = None
    try:
        gateway = connect(api_url, token_file, config_file)
        yield gateway
    except ClientError as problem:
        raise failed(problem, problem.exit_code) from None
    except BrokenPipeError:
        # `trunkline events | head`: the reader has had enough, and Python would complain at exit.
        sys.stderr.close()
        raise typer.Exit(0) from None
    finally:
        if gateway is not None:
            gateway.close()
