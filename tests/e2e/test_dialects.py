# SPDX-License-Identifier: GPL-2.0-or-later
"""A call in each dialect of another platform, through the whole gateway, to an agent that was written for it."""

from __future__ import annotations

import json
import pathlib
import tempfile
from collections.abc import Iterator

import pytest

from support.audio import encode_g711, speechlike
from support.gateway import GatewayProcess
from support.phone import Phone
from support.platform_agents import AGENTS, PlatformAgents
from support.waiting import wait_for

DIALECTS = sorted(AGENTS)
NUMBERS = {dialect: str(700 + index) for index, dialect in enumerate(DIALECTS)}
SAID = encode_g711(speechlike(0.8), 0)
LONG = encode_g711(speechlike(5.0), 0)


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[GatewayProcess, PlatformAgents]]:
    """One gateway, and an agent in each dialect."""
    with tempfile.TemporaryDirectory(prefix="tl-") as name, PlatformAgents() as agents:
        given = [
            {"name": dialect, "address": agents.url(dialect), "dialect": dialect, "sample_rate_hz": 8000}
            for dialect in DIALECTS
        ]
        routes = [{"name": f"to-{dialect}", "called": NUMBERS[dialect], "agent": dialect} for dialect in DIALECTS]
        with GatewayProcess(pathlib.Path(name), agent=given, route=routes) as gateway:
            yield gateway, agents
            gateway.assert_idle()


def spoken(phone: Phone) -> bytes:
    """What the caller has heard, mu-law."""
    return b"".join(one.payload for one in phone.rtp.audio)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_call(dialect: str, stage: tuple[GatewayProcess, PlatformAgents]) -> None:
    """Audio both ways to the sample, a key, a mark, a clear; the caller hangs up, and the agent's connection closes."""
    gateway, agents = stage
    before = len(agents.calls)
    with Phone(gateway, "uac_offer", said=SAID, digits="4", hold_ms=2200, keys={"called": NUMBERS[dialect]}) as phone:
        call = agents.wait_call(before + 1)
        assert phone.wait_up() in json.dumps(call.start), "it is told which call it is"
        wait_for(lambda: SAID in spoken(phone), "the echo at the caller, unchanged")
        assert SAID in bytes(call.heard)
        call.echoes = False
        if call.digits_in:
            wait_for(lambda: call.digits == "4", "the key at the agent")
        if call.marks:
            agents.run(call.mark("m1"))
            wait_for(lambda: call.played == ["m1"], "the mark")
        agents.run(call.say(LONG))
        agents.run(call.clear())
        wait_for(lambda: call.cleared == 1, "the answer to the clear")
        line = phone.wait_end()
    wait_for(lambda: call.over, "the agent's connection is closed")
    assert call.socket.close_code == 1000 or dialect == "teler"
    assert line["cause"] == "caller_hangup" and line["agent"] == dialect
    assert getattr(call, "errors", []) == []
    assert len(spoken(phone).strip(b"\xff")) < len(SAID) + len(LONG) // 2, "what was cleared is not heard"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_agent_hangs_up(dialect: str, stage: tuple[GatewayProcess, PlatformAgents]) -> None:
    """By the word that its dialect has for it, or by closing."""
    gateway, agents = stage
    before = len(agents.calls)
    with Phone(gateway, "uac_hangup", keys={"called": NUMBERS[dialect]}, said=SAID) as phone:
        call = agents.wait_call(before + 1)
        agents.run(call.hang_up())
        line = phone.wait_end()
        assert phone.sipp.received("BYE")
    assert line["cause"] == "agent_hangup"
    wait_for(lambda: call.over, "the agent's connection is closed")
