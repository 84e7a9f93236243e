# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo from start to end: bring up, call, measure, tell, stay."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from trunkline.gateway.calls.view import CallView
from trunkline.gateway.cli import watching
from trunkline.gateway.cli.call_text import event_line
from trunkline.gateway.cli.client import ClientError
from trunkline.gateway.demo import report
from trunkline.gateway.demo.analysis import Analysis, analyse
from trunkline.gateway.demo.caller import ANSWER_S, Caller
from trunkline.gateway.demo.errors import DemoError
from trunkline.gateway.demo.live import Show
from trunkline.gateway.demo.speech import load_clip, repeat_for
from trunkline.gateway.demo.stage import SERVICE, Stage, staged

POLL_S = 0.1
DEATH_S = 0.3
"A process that dies closes its sockets first and is gone a moment later."
SETTLE_S = 3.0
"The gateway sums a call up within a moment of its BYE."


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    out: Path
    seconds: float | None
    once: bool
    lan: str | None
    sip_port: int
    api_port: int


def demo(options: Options, console: Console) -> bool:
    """Run all of it; False when the call brought no voice back. Raises DemoError."""
    if shutil.which("sipp") is None:
        raise DemoError("SIPp is missing, which plays the caller: apt install sip-tester")
    options.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with staged(options.lan, options.sip_port, options.api_port, options.out) as stage:
        show = Show(console)
        agent = stage.start_agent()
        show.step(
            f"echo agent listens on a Unix socket [dim](process {agent.pid}, `trunkline agent echo`)[/]"
        )
        gateway = stage.start_gateway()
        where = f"sip:{stage.host}:{stage.sip_port}"
        show.step(f"gateway answers at {where} [dim](process {gateway.pid}, `trunkline run`)[/]")
        analysis, view = place_call(stage, show, options.seconds)
        report.tell(console, analysis, view, options.out)
        console.print(f"\n[dim]start to finish {time.monotonic() - started:.1f} s[/]")
        if not options.once:
            stay(stage, console)
    return analysis.audible


def place_call(stage: Stage, show: Show, seconds: float | None) -> tuple[Analysis, CallView | None]:
    """One call with SIPp and the voice, watched until its end."""
    assert stage.gateway is not None
    caller = Caller(stage, repeat_for(load_clip(), seconds))
    caller.dial()
    show.step(
        f"SIPp calls {SERVICE}; a voice of the demo's own speaks {caller.seconds:.1f} s into it and listens"
    )
    view: CallView | None = None
    give_up = time.monotonic() + ANSWER_S + 2
    with show, blaming(stage):
        while True:
            stage.check()
            view = _current(stage, view)
            answered = caller.answered()
            if answered and caller.over():
                break
            if not answered and time.monotonic() > give_up:
                raise DemoError(f"nobody answered: {caller.last_response()}; all SIP is in {caller.messages}")
            show.update(view, caller.progress, caller.levels, caller.seconds)
            time.sleep(POLL_S)
        record = caller.result()
        view = _final(stage, view)
    return analyse(record), view


@contextlib.contextmanager
def blaming(stage: Stage) -> Iterator[None]:
    """A lost connection is told as what it comes from, when that is the end of a program."""
    try:
        yield
    except ClientError:
        time.sleep(DEATH_S)
        stage.check()
        raise


def _current(stage: Stage, view: CallView | None) -> CallView | None:
    """The call as the gateway sees it now; before it exists, None."""
    assert stage.gateway is not None
    if view is not None:
        return stage.gateway.call(view.id)
    return next(iter(stage.gateway.calls()), None)


def _final(stage: Stage, view: CallView | None) -> CallView | None:
    """The view with the last figures."""
    deadline = time.monotonic() + SETTLE_S
    while view is not None and view.ended is None and time.monotonic() < deadline:
        time.sleep(0.05)
        view = _current(stage, view)
    return view


def stay(stage: Stage, console: Console) -> None:
    """Leave the gateway up and show what happens on it, until Ctrl-C."""
    assert stage.gateway is not None
    report.invite(console, stage)
    with (
        contextlib.suppress(KeyboardInterrupt),
        blaming(stage),
        contextlib.closing(watching.Feed(stage.gateway)) as feed,
    ):
        while True:
            event = feed.next(1.0)
            if event is not None:
                console.print(event_line(event), soft_wrap=True)
            stage.check()
    console.print("[dim]ending[/]")
