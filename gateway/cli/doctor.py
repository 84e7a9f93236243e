# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline doctor`: what this machine has and lacks, each with its cure.

Exit codes: 0 calls can work (there may be warnings), 1 a call could not work.
"""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trunkline.gateway.cli.call_text import shown
from trunkline.gateway.doctor import Finding, Level, examine

MARKS = {Level.OK: "[green]ok  [/]", Level.WARN: "[yellow]warn[/]", Level.FAIL: "[red]fail[/]"}


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("doctor")(doctor)


def doctor(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", metavar="FILE", help="measure against this configuration, not the defaults"
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object, for programs")] = False,
) -> None:
    """Say what this machine has and lacks for carrying calls, with a cure for each lack."""
    findings = examine(config)
    works = all(finding.level is not Level.FAIL for finding in findings)
    if json:
        typer.echo(as_json(findings, works=works))
    else:
        _print(findings, works=works)
    raise typer.Exit(0 if works else 1)


def as_json(findings: list[Finding], *, works: bool) -> str:
    """`{"works": bool, "findings": [{"name", "level", "found", "cure"}]}`."""
    rows = [
        {"name": finding.name, "level": finding.level.value, "found": finding.found, "cure": finding.cure}
        for finding in findings
    ]
    return json_text.dumps({"works": works, "findings": rows}, indent=2)


def _print(findings: list[Finding], *, works: bool) -> None:
    # No wrapping: a cure is to be copied into a shell.
    console = Console(highlight=False, soft_wrap=True)
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        console.print(f"{MARKS[finding.level]} {shown(finding.name):{width}}  {shown(finding.found)}")
        if finding.cure:
            console.print(f"{'':{width + 5}}  [dim]cure:[/] {shown(finding.cure)}")
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    warnings = _counted(counts[Level.WARN], "warning")
    if works:
        console.print(f"Calls can work; {warnings}.")
    else:
        console.print(
            f"[red]A call could not work:[/] {_counted(counts[Level.FAIL], 'failure')}, {warnings}."
        )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count or 'no'} {noun}s"
