# SPDX-License-Identifier: GPL-2.0-or-later
"""`record`: a call's packets and its talk with the agent, into a file. `replay`: such a file, to another agent."""

from __future__ import annotations

import asyncio
import dataclasses
import json as jsons
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from trunkline.agent_bridge.dialect import LinkSettings
from trunkline.agent_bridge.links import DIALECTS, MESSAGE_DIALECTS, AddressError, check_address, create_link
from trunkline.gateway.cli.agent_check import PASSWORD_VARIABLE, TOKEN_VARIABLE
from trunkline.gateway.cli.options import ApiUrl, ConfigFile, Json, TokenFile, connected, console, failed
from trunkline.gateway.recording import contents, playing
from trunkline.gateway.recording.comparing import Comparison, Tolerance, compare
from trunkline.gateway.recording.pcapng import NotARecording
from trunkline.gateway.redaction import printable

DIFFERENT = 3
SPOKEN = (*DIALECTS, *MESSAGE_DIALECTS)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("record")(record)
    app.command("replay")(replay)


def record(
    call: Annotated[str, typer.Argument(metavar="ID|all", help="call id or a unique beginning; all calls that are up")],
    to: Annotated[
        Path | None, typer.Option("--to", help="file (.pcapng) on the gateway's machine; with `all`, a folder")
    ] = None,
    stop: Annotated[bool, typer.Option("--stop", help="end the recording")] = False,
    api_url: ApiUrl = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
) -> None:
    """Record calls that are up: RTP, RTCP and the talk with the agent, for `replay` and Wireshark."""
    if stop == (to is not None):
        raise typer.BadParameter("say either --to or --stop", param_hint="--to")
    with connected(api_url, token_file, config) as gateway:
        every = call == "all"
        views = [one for one in gateway.calls() if one.state == "up"] if every else [gateway.find(call)]
        for view in views:
            if to is None:
                gateway.stop_recording(view.id)
                print(f"{view.id}: no longer recorded")
                continue
            file = (to / f"{view.id}.pcapng" if every else to).absolute()
            gateway.start_recording(view.id, str(file))
            print(f"{view.id}: recorded into {file}")
        if not views:
            print("no calls")


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a recording")],
    agent: Annotated[str, typer.Option("--agent", help="where the agent listens: unix:/path, tcp:host:port, ws:// or wss://")],
    dialect: Annotated[str, typer.Option(help=f"what it speaks: {', '.join(SPOKEN)}")] = "trunkline",
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="one of the dialect's `options`; repeatable")
    ] = None,
    username: Annotated[
        str, typer.Option(help=f"ws, wss: user of basic authentication; password in ${PASSWORD_VARIABLE}")
    ] = "",
    speed: Annotated[float, typer.Option(min=0.1, max=100, help="2: in half the time")] = 1.0,
    within_ms: Annotated[float, typer.Option(min=0, help="a turn may begin so much earlier or later")] = 300.0,
    json: Json = False,
) -> None:
    """Play a recorded call to an agent, and say what it does differently from the one that was recorded.

    Ends with 0 when it does the same, 3 when something differs, 1 when it could not be played. The agent's token is
    taken from $TRUNKLINE_AGENT_TOKEN.
    """
    try:
        _check_dialect(dialect, agent)
        found = contents.read(file)
        settings = LinkSettings(
            url=agent, sample_rate_hz=found.rate_hz, frame_ms=found.frame_ms, token=os.environ.get(TOKEN_VARIABLE),
            username=username, password=os.environ.get(PASSWORD_VARIABLE) if username else None,
            options=_pairs(option or []),
        )  # fmt: skip
        played = asyncio.run(playing.Player(found, create_link(dialect, settings), speed).run(agent))
    except (NotARecording, OSError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise failed(f"{file}: {reason or problem}") from None
    except (playing.AgentFailed, AddressError, ValueError) as problem:  # ValueError: a rate or option it lacks
        raise failed(problem) from None
    result = compare(playing.as_recorded(found), played, found.rate_hz, Tolerance(start_ms=within_ms))
    if json:
        print(jsons.dumps({"same": result.same, **dataclasses.asdict(result)}))
    else:
        _print(result, found)
    if not result.same:
        raise typer.Exit(DIFFERENT)


def _check_dialect(dialect: str, agent: str) -> None:
    if dialect not in SPOKEN:
        raise typer.BadParameter(f"{dialect} is none of {', '.join(SPOKEN)}", param_hint="--dialect")
    try:
        check_address(dialect, agent)
    except AddressError as problem:
        raise typer.BadParameter(str(problem), param_hint="--agent") from None


def _pairs(options: list[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in options]
    if bad := next((name for name, equals, _ in pairs if not equals), None):
        raise typer.BadParameter(f"{bad} has no value: write NAME=VALUE", param_hint="--option")
    return {name: value for name, _, value in pairs}


def _print(result: Comparison, found: contents.Contents) -> None:
    out, call = console(), found.start["call"]
    out.print(printable(f"call {call.get('call_id')}, {found.rtp_in} packets in, {found.rtp_out} out"))
    table = Table("turn", "began, s", "begins, s", "length, s", "now, s", "alike", "")
    for turn in result.turns:
        table.add_row(
            str(turn.number), _seconds(turn.before_ms), _seconds(turn.now_ms), _seconds(turn.before_length_ms),
            _seconds(turn.now_length_ms), "" if turn.correlation is None else f"{turn.correlation:.3f}", turn.differs,
        )  # fmt: skip
    out.print(table)
    out.print(f"{len(result.before)} commands then, {len(result.now)} now")
    for sentence in result.differences:
        out.print(printable(f"different: {sentence}"))
    if result.same:
        out.print("the agent did the same")


def _seconds(ms: float | None) -> str:
    return "" if ms is None else f"{ms / 1000:.2f}"
