# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline agent echo`: an agent that repeats what it hears, to try a set-up with.

Written with the SDK that users have, in its batch form: what came for all calls goes
back as one message.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Annotated

import typer

from trunkline.agent_bridge import Agent, AudioBatch, Call
from trunkline.agent_bridge.links import DIALECTS, AddressError
from trunkline.agent_bridge.listening import ListenError
from trunkline.gateway.cli.agent_check import TOKEN_VARIABLE, agent_check


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    agents = typer.Typer(no_args_is_help=True, help="An agent to try things with, and a check of yours.")
    agents.command("echo")(echo)
    agents.command("check")(agent_check)
    app.add_typer(agents, name="agent")


def echo(
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS", help="unix:/path, tcp:port (loopback) or tcp:host:port")
    ] = "tcp:127.0.0.1:9092",
    dialect: Annotated[
        str, typer.Option(help=f"what the gateway speaks: {' or '.join(DIALECTS)}")
    ] = DIALECTS[0],
    delay_ms: Annotated[int, typer.Option(min=0, max=60_000, help="repeat it so much later")] = 0,
) -> None:
    """Repeat to every caller what he says, until Ctrl-C.

    A gateway must say the token in $TRUNKLINE_AGENT_TOKEN, if that is set.
    """
    try:
        asyncio.run(_run(listen, dialect, delay_ms, os.environ.get(TOKEN_VARIABLE)))
    except (AddressError, ListenError, ValueError) as problem:
        text = problem.strerror if isinstance(problem, ListenError) else str(problem)
        typer.echo(f"trunkline agent echo: {text}", err=True)
        raise typer.Exit(1) from None


async def _run(listen: str, dialect: str, delay_ms: int, token: str | None) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def repeat(batch: AudioBatch) -> None:
        if delay_ms:
            loop.call_later(delay_ms / 1000, batch.play, batch.pcm.copy())
        else:
            batch.play(batch.pcm)

    async with Agent(_until_the_end, name="echo", dialect=dialect, token=token, on_audio=repeat) as agent:
        where = await agent.listen(listen)
        typer.echo(f"echo agent ({dialect}) listens on {where}")
        await stop.wait()
        typer.echo(f"echo agent ends; {len(agent.calls)} calls were up")


async def _until_the_end(call: Call) -> None:
    """The audio goes past the handler, to `repeat`."""
    await call.ended()
