# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline agent check`: what people and programs get to see of the conformance check."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner, Result

from support.flawed_agent import FlawedAgent
from trunkline.gateway.cli.app import build_app


@pytest.fixture
def agent_with() -> Iterator[Callable[[str], str]]:
    """Runs an agent with a flaw (or none) in a thread of its own; returns its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(flaw: str) -> str:
        agent = FlawedAgent(flaw, token="s3cret")
        return asyncio.run_coroutine_threadsafe(agent.__aenter__(), loop).result(5)

    yield run
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)


def check(*arguments: str, token: str = "s3cret") -> Result:
    """The command, with a token in the environment."""
    return CliRunner().invoke(
        build_app(["agent"]), ["agent", "check", *arguments], env={"TRUNKLINE_AGENT_TOKEN": token}
    )


def test_a_good_agent_is_told_so(agent_with):
    """Each case with its sentence, a summary, exit code 0."""
    done = check(agent_with(""), "--case", "ping", "--case", "unknown")
    assert done.exit_code == 0
    assert "answers ping at once" in done.output
    assert "2 passed, 0 wrong" in done.output


def test_a_flaw_is_named_with_its_cure(agent_with):
    """In plain words, exit code 1."""
    done = check(agent_with("needs a caller"), "--case", "bare start")
    assert done.exit_code == 1
    assert "wrong" in done.output
    assert "-> Take fields that are absent or null as their defaults" in done.output.replace("\n", " ")


def test_programs_get_json(agent_with):
    """One object with all that people see."""
    done = check(agent_with("never pongs"), "--case", "ping", "--case", "token", "--json")
    assert done.exit_code == 1
    said = json.loads(done.output)
    assert (said["passed"], said["dialect"]) == (False, "trunkline")
    found = {verdict["case"]: verdict for verdict in said["verdicts"]}
    assert (found["token"]["outcome"], found["ping"]["outcome"]) == ("passed", "wrong")
    assert found["ping"]["problem"] and found["ping"]["cure"]


def test_the_token_is_needed_and_never_shown(agent_with):
    """Without it the agent sends us away, and the words for that do not hold it."""
    done = check(agent_with(""), token="wr0ng")
    assert done.exit_code == 1
    assert "token" in done.output
    assert "wr0ng" not in done.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "where does the agent listen?"),
        (("tcp:127.0.0.1:9", "--case", "nonsense"), "no case nonsense"),
        (("tcp:127.0.0.1:9", "--dialect", "smoke"), "'smoke' is unknown"),
        (("/tmp/x",), "did you mean 'unix:/tmp/x'"),
        (("unix:/tmp/x", "--dialect", "twilio"), "twilio is spoken over WebSocket"),
        (("ws://127.0.0.1:9",), "trunkline is spoken at unix:/path or tcp:host:port"),
        (("wss://127.0.0.1:9", "--dialect", "twilio", "--ca", "/nowhere.pem"), "No such file"),
    ],
)
def test_wrong_use_is_explained(arguments, says):
    """Exit code 2, one line, no traceback."""
    done = check(*arguments)
    assert done.exit_code == 2
    assert says in done.output
    assert "Traceback" not in done.output


def test_cases_are_listed():
    """With what each looks at."""
    done = check("--cases")
    assert done.exit_code == 0
    assert "hand-over          takes a call that another agent has lost" in done.output
