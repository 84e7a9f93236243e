# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands about calls of a running gateway: `call`, `calls`, `hangup`, `dtmf`, `events`."""

from __future__ import annotations

import contextlib
import time
from typing import Annotated

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from rich.live import Live

from trunkline.gateway.calls.view import CallView, DtmfRequest
from trunkline.gateway.cli.call_text import as_json, calls_table, event_line
from trunkline.gateway.cli.client import ClientError, RefusedError
from trunkline.gateway.cli.options import ApiUrl, ConfigFile, Json, TokenFile, connected, console
from trunkline.gateway.cli.place import PlaceCommand, call
from trunkline.gateway.redaction import printable

REFRESH_S = 1.0

CallIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", help="call ids, or unique beginnings of at least 4 characters"),
]
CallId = Annotated[
    str, typer.Argument(metavar="ID", help="call id, or a unique beginning of at least 4 characters")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("call", cls=PlaceCommand)(call)
    app.command("calls")(calls)
    app.command("hangup")(hangup)
    app.command("dtmf")(dtmf)
    app.command("events")(events)


def calls(
    json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="refresh each second until Ctrl-C")] = False,
    api_url: ApiUrl = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
) -> None:
    """List the calls that exist now."""
    out = console()
    with connected(api_url, token_file, config) as gateway, contextlib.suppress(KeyboardInterrupt):
        if not watch:
            _print_calls(gateway.calls(), json)
        elif json or not out.is_terminal:
            while True:
                _print_calls(gateway.calls(), json)
                time.sleep(REFRESH_S)
        else:
            with Live(console=out, screen=True, auto_refresh=False) as live:
                while True:
                    live.update(calls_table(gateway.calls(), plain=False, width=out.width), refresh=True)
                    time.sleep(REFRESH_S)


def _print_calls(views: list[CallView], json: bool) -> None:
    out = console()
    if json:
        for view in views:
            print(as_json(view), flush=True)
    elif views:
        out.print(calls_table(views, plain=not out.is_terminal, width=out.width))
    else:
        out.print("no calls")


def hangup(
    ids: CallIds = None,
    every: Annotated[bool, typer.Option("--all", help="all calls")] = False,
    reason: Annotated[str, typer.Option(help="for the log")] = "command line",
    api_url: ApiUrl = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
) -> None:
    """End calls, in whatever state they are."""
    if bool(ids) == every:
        raise typer.BadParameter("name one or more calls, or --all", param_hint="ID")
    with connected(api_url, token_file, config) as gateway:
        views = gateway.calls() if every else [gateway.find(prefix) for prefix in ids or []]
        for view in {view.id: view for view in views}.values():  # one may be named twice
            try:
                gateway.hangup(view.id, reason)
            except RefusedError as problem:
                if not (every and problem.status == 404):  # it has ended in the meantime, as was wished
                    raise
            print(f"hung up {printable(view.id)}")


def dtmf(
    call_id: CallId,
    digits: Annotated[str, typer.Argument(help="0-9 * # A-D")],
    duration: Annotated[int, typer.Option(metavar="MS", help="length of a digit")] = 160,
    gap: Annotated[int, typer.Option(metavar="MS", help="silence after each")] = 80,
    api_url: ApiUrl = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
) -> None:
    """Send digits to the other party of a call."""
    try:
        request = DtmfRequest(digits=digits, duration_ms=duration, gap_ms=gap)
    except ValidationError as problem:
        raise typer.BadParameter("; ".join(map(_mistake, problem.errors()))) from None
    with connected(api_url, token_file, config) as gateway:
        view = gateway.find(call_id)
        gateway.send_dtmf(view.id, request)
        other = view.caller if view.direction == "inbound" else view.called
        print(f"sending {digits} to {printable(other)}")


def _mistake(detail: ErrorDetails) -> str:
    """One wrong value of a request, with what is allowed; a regular expression is no answer for people."""
    name = str(detail["loc"][0])
    allowed = "1 to 64 of 0-9 * # A-D" if name == "digits" else detail["msg"]
    return f"{name.removesuffix('_ms')}: {allowed}"


def events(
    json: Json = False,
    only: Annotated[str | None, typer.Option("--call", metavar="ID", help="only this call's events")] = None,
    api_url: ApiUrl = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
) -> None:
    """Show what happens, as it happens, until Ctrl-C or the end of the gateway."""
    out = console()
    with connected(api_url, token_file, config) as gateway, contextlib.suppress(KeyboardInterrupt):
        call_id = gateway.find(only).id if only is not None else None
        with gateway.events(call_id) as stream:
            for event in stream:
                if json:
                    print(as_json(event), flush=True)
                else:
                    out.print(event_line(event), soft_wrap=True)
                if call_id is not None and event.event == "call.ended":
                    return
        raise ClientError("the gateway has stopped")
