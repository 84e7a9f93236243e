# SPDX-License-Identifier: GPL-2.0-or-later
"""What the demo tells at its end: the figures, the files, and how to call it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table

from trunkline.gateway.calls.view import CallView
from trunkline.gateway.cli.call_text import shown
from trunkline.gateway.demo import advice
from trunkline.gateway.demo.analysis import Analysis
from trunkline.gateway.demo.figures import details
from trunkline.gateway.demo.stage import SERVICE, Stage

WHO_DID_WHAT = (
    "Who did what: SIPp the caller's SIP; the demo's own RTP program the caller's voice, the recording and the time "
    "stamps; `trunkline run` everything between; `trunkline agent echo` the answer."
)


def tell(console: Console, analysis: Analysis, view: CallView | None, out: Path) -> None:
    """The summary, the WAV and the picture."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for title, rows in details(analysis, view):
        table.add_row(f"[bold]{title}[/]", "")
        for name, value in rows:
            table.add_row(f"  [dim]{name}[/]", shown(value))
    console.print()
    console.print(table)
    console.print()
    wav = out / "heard.wav"
    analysis.write_wav(wav)
    console.print(f"what the caller heard: [bold]{shown(str(wav))}[/]", soft_wrap=True)
    _picture(console, analysis, view, out / "call.png")
    if analysis.audible:
        console.print("[green]The call worked[/]: what the agent sent back is what the caller said.")
    elif analysis.received == 0:
        console.print("[red]The call did not work[/]: it was answered, but no packet came back.")
    else:
        why = f"the correlation of what came back with what was said is {analysis.correlation:.2f}"
        console.print(f"[red]The call did not work[/]: {why}.")
    console.print(f"[dim]{WHO_DID_WHAT}[/]", soft_wrap=True)


def _picture(console: Console, analysis: Analysis, view: CallView | None, png: Path) -> None:
    from trunkline.gateway.demo.picture import draw  # noqa: PLC0415 - what it needs is an extra

    try:
        draw(png, analysis, view)
    except ModuleNotFoundError as missing:
        console.print(f"[yellow]no picture[/]: {missing.name} is missing (pip install 'trunkline\\[demo]')")
        return
    console.print(f"how it looks:          [bold]{shown(str(png))}[/]", soft_wrap=True)


def invite(console: Console, stage: Stage) -> None:
    """How to call the gateway that is up now."""
    host, port = stage.host, stage.sip_port
    console.print()
    console.rule("[bold]call it yourself", align="left")
    console.print(
        f"\nSoftphone: dial [bold]sip:{SERVICE}@{host}:{port}[/] (UDP or TCP, any number, no account)."
    )
    console.print(advice.who_may_call(host, stage.network, stage.lan) + "\n", soft_wrap=True)
    for name, language, text in advice.snippets(host, port):
        console.print(f"[bold]{name}[/]\n")
        # Without a frame, so that it can be copied.
        if console.is_terminal:
            console.print(Padding(Syntax(text, language, background_color="default"), (0, 0, 1, 2)))
        else:
            console.print(text + "\n", markup=False)
    console.print("In another terminal:")
    for command in advice.commands(stage.api_port, stage.token_file):
        console.print(f"  {command}", soft_wrap=True)
    console.print("\nThe gateway stays up. [bold]Ctrl-C[/] ends it.\n")
