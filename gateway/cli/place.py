# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline call`: place a call and stay with it.

Exit codes: 0 answered and ended normally, 1 usage or no gateway, 2 refused by the
gateway, 3 not answered by the far end, 4 no answer in time, 5 answered but ended by
a fault, 130 interrupted before the answer.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.status import Status
from typer.core import TyperCommand

from trunkline.gateway.calls.view import CallEvent, CallView, PlaceRequest
from trunkline.gateway.cli import watching
from trunkline.gateway.cli.call_text import clock, duration, ending, quality, shown
from trunkline.gateway.cli.client import ClientError, Gateway
from trunkline.gateway.cli.options import ApiUrl, ConfigFile, TokenFile, connected, console
from trunkline.gateway.redaction import printable

USAGE_ERROR = 1


class PlaceCommand(TyperCommand):
    """Usage errors end with 1, not with Click's 2: here 2 says that the gateway refused."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return list(super().parse_args(ctx, args))
        except Exception as problem:
            if getattr(problem, "exit_code", 0) == 2:
                problem.exit_code = USAGE_ERROR  # type: ignore[attr-defined]
            raise


class Story:
    """Tells what happens to a call, line by line; on a terminal the last line lives."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._started = time.monotonic()
        self._state = ""
        self._answered = self._rang = self._silent = False
        self._status: Status | None = None

    def changed(self, view: CallView) -> None:
        """Say a new state once, and keep the living line up to date."""
        if view.answered is not None and not self._answered:
            # By its time, not by its state: a short call may have ended before it is looked at.
            self._answered = True
            media = view.media
            hint = "  [dim](Ctrl-C hangs up)[/]" if self._out.is_terminal else ""
            self._say(
                "[green]answered[/]" + (shown(f", {media.codec} with {media.remote}") if media else "") + hint
            )
        if view.state != self._state:
            self._state = view.state
            if view.state == "ringing":
                self._ring()
            if line := self._line(view):
                self._say(line)
        if self._status is not None and view.state in ("up", "held"):
            audio = f"  {quality(view.media)}" if view.media else ""
            self._status.update(f"{view.state} {duration(view)}[dim]{audio}[/]")
        elif self._status is not None:
            self._status.update(f"[dim]{view.state} {clock(time.monotonic() - self._started)}[/]")

    def told(self, event: CallEvent) -> None:
        """What is no state, or is over before it can be looked at: ringing, digits, silence."""
        if event.event == "call.ringing":
            self._ring()
        elif event.event == "call.dtmf":
            self._say(f"the far end pressed [bold]{shown(str(event.data.get('digit', '')))}[/]")
        elif event.event == "media.silent" and not self._silent:  # told again and again while it lasts
            self._silent = True
            self._say("[yellow]no audio comes from the far end[/]")
        elif event.event == "media.resumed":
            self._silent = False
            self._say("audio comes again")

    def _ring(self) -> None:
        if not self._rang:
            self._rang = True
            self._say("[yellow]ringing[/]")

    def _say(self, line: str) -> None:
        self._out.print(f"[dim]{time.monotonic() - self._started:7.1f} s[/]  {line}")

    def _line(self, view: CallView) -> str:
        if view.state == "calling":
            where = f"through trunk {view.trunk}, agent {view.agent}, id {view.id[:8]}"
            return f"calling {shown(view.called)} {shown(where)}"
        if view.state == "early":
            return "[yellow]audio before the answer[/] (183)"
        return "[magenta]on hold[/]" if view.state == "held" else ""

    def __enter__(self) -> Self:
        if self._out.is_terminal:
            self._status = self._out.status("[dim]calling[/]", spinner="dots")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def call(
    to: Annotated[str, typer.Argument(metavar="TARGET", help="SIP URI, or a number together with --trunk")],
    agent: Annotated[
        str | None, typer.Option("--agent", "-a", help="agent that gets the call; default: that of --route")
    ] = None,
    trunk: Annotated[
        str | None, typer.Option(help="trunk to use; by default the one whose host matches")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="WHO", help="calling number or SIP URI")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", metavar="'NAME: VALUE'", help="header of the INVITE; repeatable"),
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="told to the agent; repeatable")
    ] = None,
    dtmf_audio: Annotated[
        Literal["keep", "cut"] | None,
        typer.Option(help="whether the agent hears the tones of keys; default as --route says, else keep"),
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, max=300, help="seconds to let it ring")] = 30.0,
    wait_end: Annotated[
        bool,
        typer.Option("--wait-end/--no-wait", help="stay until the call ends, or return once it is placed"),
    ] = True,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="return as soon as it is answered")] = False,
    route: Annotated[
        str | None, typer.Option(help="route whose agents and settings hold, whatever calls it takes itself")
    ] = None,
    api_url: ApiUrl = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
) -> None:
    """Place a call, and stay with it until it ends (Ctrl-C hangs up).

    \b
    Exit codes:
      0    answered and ended normally
      1    wrong usage, or no gateway
      2    refused by the gateway, or its agent is not there
      3    not answered by the far end: its SIP code and reason are printed
      4    no answer in time
      5    answered, but ended by a fault
      130  interrupted before the answer
    """
    request = _request({
        "to": to, "agent": agent, "trunk": trunk, "from": from_, "timeout_s": timeout,
        "dtmf_audio": dtmf_audio, "route": route,
        "headers": _pairs(header or [], ":", "--header", "'Name: value'"),
        "metadata": _pairs(metadata or [], "=", "--metadata", "key=value"),
    })  # fmt: skip
    with connected(api_url, token_file, config) as gateway:
        if not wait_end:
            print(gateway.place(request).id)
            return
        code = _stay(gateway, request, detach)
    raise typer.Exit(code)


def _stay(gateway: Gateway, request: PlaceRequest, detach: bool) -> int:
    """Place the call, follow it, sum it up; returns the exit code."""
    out = console()
    view: CallView | None = None

    def enough(now: CallView) -> bool:
        return detach and now.answered is not None

    with watching.terminating(), contextlib.closing(watching.Feed(gateway)) as feed:
        try:
            # The feed is there before the call exists: nothing of it can be missed.
            view = gateway.place(request)
            with Story(out) as story:
                view = watching.follow(gateway, feed, view, story.changed, story.told, enough)
        except KeyboardInterrupt:
            if view is None:
                raise ClientError("interrupted while placing; `trunkline calls` shows whether it was placed",
                                  watching.INTERRUPTED) from None  # fmt: skip
            out.print("hanging up")
            view = watching.hang_up(gateway, view)
            _summary(out, view)
            return 0 if view.answered is not None else watching.INTERRUPTED
        except ClientError:
            raise  # has said what became of the call
        except Exception:
            # For one, nobody reads any more what is told (`trunkline call ... | head`).
            if view is not None:
                watching.hang_up(gateway, view)
            raise
    if enough(view) and view.ended is None:
        out.print(f"the call goes on; end it with `trunkline hangup {shown(view.id[:8])}`")
        return 0
    _summary(out, view)
    return watching.exit_code(view)


def _summary(out: Console, view: CallView) -> None:
    if view.answered is None:
        out.print(f"[red]not answered[/]: {ending(view)}")
        return
    out.print(f"[bold]ended[/] after {duration(view)}: {ending(view)}")
    if view.media is not None:
        out.print(f"  {quality(view.media)}")


def _request(fields: dict[str, Any]) -> PlaceRequest:
    """What the gateway is asked for; what it would refuse to read is wrong usage."""
    try:
        return PlaceRequest.model_validate(fields)
    except ValidationError as problem:
        found = [(".".join(map(str, one["loc"])), one["msg"]) for one in problem.errors()]
        texts = [(f"{name}: " if name else "") + text.removeprefix("Value error, ") for name, text in found]
        wrong = typer.BadParameter(printable("; ".join(texts)))
        wrong.exit_code = USAGE_ERROR
        raise wrong from None


def _pairs(texts: Sequence[str], separator: str, option: str, form: str) -> dict[str, str]:
    """`a: b` or `a=b`, each once."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, found, value = text.partition(separator)
        if not found or not name.strip():
            problem = typer.BadParameter(f"{text!r} is not of the form {form}", param_hint=option)
            problem.exit_code = USAGE_ERROR
            raise problem
        pairs[name.strip()] = value.strip()
    return pairs
