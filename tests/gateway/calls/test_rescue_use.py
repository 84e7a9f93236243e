# SPDX-License-Identifier: GPL-2.0-or-later
"""How long agents are sought in mid-call, where the route does not say so."""

from __future__ import annotations

import pytest

from trunkline.agent_bridge.links import MESSAGE_DIALECTS
from trunkline.gateway.calls.rescue_use import RESCUE_MS, rescue_params
from trunkline.gateway.config.model import Agent, Route


def agent(dialect: str) -> Agent:
    address = "ws://agent.example/x" if dialect in MESSAGE_DIALECTS else "unix:/run/agent.sock"
    return Agent(name=dialect, address=address, dialect=dialect)


@pytest.mark.parametrize("dialect", ["trunkline", *MESSAGE_DIALECTS])
def test_agents_that_say_when_they_hang_up_are_sought(dialect: str) -> None:
    """A single one too: it may be restarted."""
    assert rescue_params(None, [agent(dialect)], str).within_ms == RESCUE_MS


@pytest.mark.parametrize("others", [[], ["trunkline"], ["twilio"]])
def test_with_audiosocket_a_closed_connection_ends_the_call(others: list[str]) -> None:
    """Unless the route says otherwise."""
    agents = [agent("audiosocket"), *map(agent, others)]
    assert rescue_params(None, agents, str).within_ms == 0
    route = Route(name="r", agents=[one.name for one in agents], rescue_ms=700)
    assert rescue_params(route, agents, str).within_ms == 700
