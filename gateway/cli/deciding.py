# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that decide what becomes of a call: `transfer`, `hold`, `resume`."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer
from pydantic import ValidationError

from trunkline.gateway.calls.view import CallEvent, HoldRequest, TransferRequest
from trunkline.gateway.cli.calls import CallId
from trunkline.gateway.cli.client import ClientError
from trunkline.gateway.cli.options import ApiUrl, ConfigFile, TokenFile, connected
from trunkline.gateway.redaction import printable

NOT_TRANSFERRED = 3
"Exit code: the far end did not take it, as with `trunkline call`."


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("transfer")(transfer)
    app.command("hold")(hold)
    app.command("resume")(resume)


def transfer(
    call_id: CallId,
    target: Annotated[str, typer.Argument(help="SIP URI, or a number at the call's own trunk")] = "",
    attended: Annotated[
        str | None, typer.Option(metavar="ID", help="instead: another call, whose other party it goes to")
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="S", help="without a result by then it has failed")] = 60.0,
    api_url: ApiUrl = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
) -> None:
    """Hand the other party of a call on, and say how it goes: 0 it is done, 3 it was refused or failed."""
    if bool(target) == bool(attended):
        raise typer.BadParameter("name a target, or a call with --attended", param_hint="TARGET")
    with connected(api_url, token_file, config) as gateway, contextlib.suppress(KeyboardInterrupt):
        view = gateway.find(call_id)
        other = gateway.find(attended).id if attended else ""
        try:
            request = TransferRequest(target=target, attended=other, timeout_s=timeout)
        except ValidationError as problem:
            raise typer.BadParameter("; ".join(detail["msg"] for detail in problem.errors())) from None
        with gateway.events(view.id) as events:
            gateway.transfer(view.id, request)
            for event in events:
                if (code := _told(event)) is not None:
                    raise typer.Exit(code)
        raise ClientError("the gateway has stopped")


def _told(event: CallEvent) -> int | None:
    """Print what a person wants to know of an event; the exit code, if it was the last one."""
    data = event.data
    if event.event == "call.transfer":
        code = f" ({data['code']} {data['reason']})".replace(" 0 ", " ") if data["code"] or data["reason"] else ""
        print(f"{data['state']}{printable(code)}", flush=True)
        return NOT_TRANSFERRED if data["state"] == "failed" else None
    if event.event == "call.ended":
        print(f"the call has ended: {printable(str(data['cause']))}", flush=True)
        return 0 if data["cause"] == "transferred" else NOT_TRANSFERRED
    return None


def hold(
    call_id: CallId,
    music: Annotated[str, typer.Option(metavar="NAME", help="one of the route's; default its hold_music")] = "",
    api_url: ApiUrl = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
) -> None:
    """Put the other party of a call on hold: it hears music, and the agent does not hear it."""
    with connected(api_url, token_file, config) as gateway:
        view = gateway.find(call_id)
        gateway.hold(view.id, HoldRequest(held=True, music=music))
        print(f"holding {printable(view.id)}")


def resume(
    call_id: CallId, api_url: ApiUrl = None, token_file: TokenFile = None, config: ConfigFile = None
) -> None:
    """Take the other party of a call back."""
    with connected(api_url, token_file, config) as gateway:
        view = gateway.find(call_id)
        gateway.hold(view.id, HoldRequest(held=False, music=""))
        print(f"resumed {printable(view.id)}")
