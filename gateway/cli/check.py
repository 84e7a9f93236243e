# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline check`: is a configuration right, and who would get a call?

Exit codes: 0 all right, or an agent gets the call; 1 mistakes, or the call would be
refused; 2 wrong use of the command.
"""

from __future__ import annotations

import datetime as dt
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from trunkline.gateway import outcome
from trunkline.gateway.assembly import registrars, sound_problems, tls_files
from trunkline.gateway.assembly import resolve as resolve_hosts
from trunkline.gateway.certificates import CertificateError, read
from trunkline.gateway.cli.call_text import shown
from trunkline.gateway.cli.options import console
from trunkline.gateway.config import Config, ConfigError, Route, load
from trunkline.gateway.config.errors import Problem
from trunkline.gateway.config.lines import located
from trunkline.gateway.config.reference import example, reference
from trunkline.gateway.config.secrets import resolve
from trunkline.gateway.routing import RouteQuery, RouteTable, TrunkTable, Verdict

ROUTING = "Who gets a call"


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("check")(check)


def check(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="configuration to check")] = None,
    route: Annotated[
        str | None,
        typer.Option(metavar="URI", help="called URI: sip:600@pbx", rich_help_panel=ROUTING),
    ] = None,
    from_uri: Annotated[
        str, typer.Option("--from", metavar="URI", help="calling URI", rich_help_panel=ROUTING)
    ] = "",
    trunk: Annotated[
        str | None, typer.Option(metavar="NAME", help="trunk that it comes from", rich_help_panel=ROUTING)
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="or address[:port] that it comes from", rich_help_panel=ROUTING),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="'X: y'", help="header of the INVITE; repeatable", rich_help_panel=ROUTING),
    ] = None,
    secrets: Annotated[bool, typer.Option("--secrets", help="also look up passwords, tokens and certificates")] = False,
    show_example: Annotated[
        bool, typer.Option("--example", help="print a commented example and stop")
    ] = False,
    show_reference: Annotated[
        bool, typer.Option("--reference", help="print the reference of all keys (Markdown) and stop")
    ] = False,
) -> None:
    """Check a configuration file, or ask it which route would take a call and why."""
    if show_example or show_reference:
        sys.stdout.write(example() if show_example else reference())
        return
    if file is None:
        raise typer.BadParameter("name a configuration file", param_hint="FILE")
    if route is None and (from_uri or trunk or source or header):
        raise typer.BadParameter("needed with --from, --trunk, --source and --header", param_hint="--route")
    out = console()
    config = _load(file, secrets)
    if route is None:
        unseen = "; certificate and key of TLS were not read, --secrets does that" if config.tls and not secrets else ""
        out.print(f"[green]{shown(str(file))} is valid[/]: {_inventory(config)}{unseen}", soft_wrap=True)
        return
    name = _trunk_of_call(out, config, trunk, source)
    query = None
    if name is not None:
        query = RouteQuery.of_uris(name, _as_uri(route), _as_uri(from_uri), _headers(header or []))
    if query is None or not _explain(out, config, query):
        raise typer.Exit(1)


def _load(file: Path, secrets: bool) -> Config:
    """The configuration; mistakes end the program, doubts are told."""
    errors = console(stderr=True)
    try:
        config = load(file)
        doubts = config.warnings + (_look_up(config) if secrets else []) + _recordings(config)
    except (ConfigError, CertificateError) as error:
        # A line per mistake, unwrapped: editors and grep follow file:line.
        for line in str(error).splitlines():
            errors.print(f"[red]error:[/] {shown(line)}", soft_wrap=True)
        raise typer.Exit(1) from None
    if problems := sound_problems(config):
        for problem in problems:
            errors.print(f"[red]error:[/] {shown(problem)}", soft_wrap=True)
        raise typer.Exit(1)
    for doubt in doubts:
        errors.print(f"[yellow]warning:[/] {shown(doubt)}", soft_wrap=True)
    return config


def _look_up(config: Config) -> list[str]:
    """What is doubtful about passwords, tokens and certificates; raises ConfigError or CertificateError."""
    secrets = resolve(config, create_api_token=False)
    files = tls_files(config, secrets)
    problem = read(files).problem(dt.datetime.now(dt.UTC)) if files is not None else ""
    return secrets.warnings + ([f"{problem}; peers that check will refuse it"] if problem else [])


def _recordings(config: Config) -> list[str]:
    """Folders of recordings that could not be made here, tried in the nearest one that is there."""
    problems = []
    for index, route in enumerate(config.routes):
        if not route.record:
            continue
        folder = config.resolve_path(route.record)
        there = next(one for one in (folder, *folder.parents) if one.exists())
        try:
            Path(tempfile.mkdtemp(prefix=".trunkline-check-", dir=there)).rmdir()
        except OSError as error:
            reason = f"nothing can be written into {there}: {error.strerror}; its calls would not be recorded"
            problems.append(Problem(("route", index, "record"), reason))
    return [problem.text(str(config.source)) for problem in located(config.source, problems)]


def _inventory(config: Config) -> str:
    counts = ((config.trunks, "trunk"), (config.agents, "agent"), (config.routes, "route"))
    return ", ".join(f"{len(entries)} {noun}{'' if len(entries) == 1 else 's'}" for entries, noun in counts)


def _as_uri(text: str) -> str:
    """A bare number stands for a URI at nobody in particular: routes look at the user part only."""
    if not text or text.lower().startswith(("sip:", "sips:", "tel:")) or "<" in text:
        return text
    return f"sip:{text}" if "@" in text else f"sip:{text}@localhost"


def _headers(lines: list[str]) -> dict[str, str]:
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise typer.BadParameter(f"{line!r} is not 'Name: value'", param_hint="--header")
        headers[name.strip()] = value.strip()
    return headers


# --- which trunk ---------------------------------------------------------------------------


def _trunk_of_call(out: Console, config: Config, name: str | None, source: str | None) -> str | None:
    """The trunk the call comes from; None (and told) when a stranger calls."""
    if name is not None and source is not None:
        raise typer.BadParameter("give --trunk or --source, not both", param_hint="--source")
    known = ", ".join(trunk.name for trunk in config.trunks) or "none"
    if name is not None:
        if config.trunk(name) is None:
            raise typer.BadParameter(f"no trunk is named {name!r}; there are: {known}", param_hint="--trunk")
        return name
    if source is not None:
        return _trunk_of_source(out, config, source)
    if len(config.trunks) != 1:
        raise typer.BadParameter(
            f"say where the call comes from; trunks: {known}", param_hint="--trunk or --source"
        )
    return config.trunks[0].name


def _trunk_of_source(out: Console, config: Config, source: str) -> str | None:
    hosts = registrars(config.trunks)
    resolved = resolve_hosts(hosts)
    for name, addresses in resolved.items():
        if not addresses:
            out.print(
                f"[yellow]trunk {name}[/]: its registrar {shown(hosts[name])} has no address now",
                soft_wrap=True,
            )
    candidates = TrunkTable(config.trunks, resolved).candidates(source, None)
    for number, match in enumerate(candidates):
        verb = "[green]from trunk[/]" if number == 0 else "[dim]less specific: trunk[/]"
        out.print(f"{verb} {match.trunk.name}: {shown(source)} is in {match.why}", soft_wrap=True)
    if not candidates:
        entry = outcome.outcome("unknown_peer")
        out.print(
            f"[red]refused[/] with {entry.sip_code} {entry.sip_reason}: no trunk matches {shown(source)}"
        )
        return None
    return candidates[0].trunk.name


# --- which route ---------------------------------------------------------------------------


def _explain(out: Console, config: Config, query: RouteQuery) -> bool:
    """Print all routes with their reasons; whether an agent gets the call."""
    verdicts = RouteTable(config.routes).explain(query)
    taker = next((verdict for verdict in verdicts if verdict.matches), None)
    table = Table(box=None, pad_edge=False)
    for heading in ("route", "", "why"):
        table.add_column(heading, overflow="fold")
    for verdict in verdicts:
        table.add_row(verdict.route.name, _mark(verdict, taker), shown(verdict.why))
    if verdicts:
        out.print(table)
    if taker is None:
        entry = outcome.outcome("no_route")
        out.print(f"[red]refused[/] with {entry.sip_code} {entry.sip_reason}: no route takes this call")
        return False
    return _print_result(out, config, taker)


def _mark(verdict: Verdict, taker: Verdict | None) -> str:
    if verdict is taker:
        return "[green]takes it[/]"
    return "[dim]would, but comes later[/]" if verdict.matches else "[dim]no[/]"


def _print_result(out: Console, config: Config, taker: Verdict) -> bool:
    route = taker.route
    if route.agent is None:
        code = route.refuse or 0
        phrase = route.reason or outcome.reason_phrase(code)
        out.print(f"[red]refused[/] with {code} {shown(phrase)} by route {route.name}")
        return False
    agent = config.agent(route.agent)
    assert agent is not None, "checked when the file was loaded"
    form = f"{agent.dialect}, {agent.sample_rate_hz} Hz, {agent.frame_ms} ms"
    text = f"route {route.name} gives it to agent {agent.name} at {shown(agent.shown_address)} ({form})"
    out.print(f"[green]answered[/]: {text}{_others(route)}", soft_wrap=True)
    return True


def _others(route: Route) -> str:
    """What else may become of it."""
    if len(route.all_agents) == 1:
        return ""
    rest = [name for name in route.all_agents if name != route.agent]
    if route.agent_policy == "failover":
        return f", or if it fails to {', '.join(rest)}"
    backup = f", or if all fail to {', '.join(route.backup_agents)}" if route.backup_agents else ""
    others = ", ".join(name for name in route.main_agents if name != route.agent)
    return f", or by weight to {others}{backup}" if others else backup
