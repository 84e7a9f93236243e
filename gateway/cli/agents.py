# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline agents`: the agents of a running gateway, as calls have found them."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from rich.table import Table

from trunkline.gateway.calls.view import AgentView
from trunkline.gateway.cli.call_text import as_json, clock, shown
from trunkline.gateway.cli.options import ApiUrl, ConfigFile, Json, TokenFile, connected, console


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("agents")(agents)


def agents(
    json: Json = False,
    api_url: ApiUrl = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
) -> None:
    """List the agents: which are up, since when, their calls, and why others are down."""
    out = console()
    with connected(api_url, token_file, config) as gateway:
        views = gateway.agents()
    if json:
        for view in views:
            print(as_json(view), flush=True)
    elif views:
        out.print(_table(views, plain=not out.is_terminal))
    else:
        out.print("no agents")


def _table(views: Sequence[AgentView], plain: bool) -> Table:
    table = Table(box=None, pad_edge=False) if plain else Table(header_style="bold", expand=False)
    for name in ("Agent", "State", "Since", "Calls", "Failures", "Why"):
        table.add_column(name, justify="right" if name in ("Since", "Calls", "Failures") else "left", overflow="fold")
    for view in views:
        state = "[green]up[/]" if view.up else "[red]down[/]"
        if not view.tried:
            state = "[dim]not tried yet[/]"
        if view.avoided_s > 0:
            state += f", avoided for {view.avoided_s:.0f} s"
        why = f"{view.reason}: {view.detail}" if view.reason else ""
        failures = sum(view.failures.values())
        table.add_row(shown(view.name), state, clock(view.since_s), str(view.calls), str(failures), shown(why))
    return table
