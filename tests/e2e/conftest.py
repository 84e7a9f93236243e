# SPDX-License-Identifier: GPL-2.0-or-later
"""One gateway for most end-to-end tests, with agents that a test can look into.

    called    gets
    600, 6001 echo, 16 kHz          609   `scripted`: what the test says
    608       echo, 8 kHz           602   `picky`: may think, may refuse
    603       refused with 603      699   an agent that is not there
    else      404

Trunks: `local` is 127.0.0.1; `small` is 127.0.0.7 and has room for one call; any other
address is a stranger.
"""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Iterator

import pytest

from support.agents import AgentHost, listen
from support.gateway import GatewayProcess
from support.stage import Stage


@pytest.fixture(scope="session")
def _shared() -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="tl-") as name:
        folder = pathlib.Path(name)
        address = {
            agent: f"unix:{folder}/{agent}.sock" for agent in ("echo", "echo8", "scripted", "picky", "dead")
        }
        with (
            AgentHost(address["echo"]) as echo,
            AgentHost(address["echo8"]) as echo8,
            AgentHost(address["scripted"], listen) as scripted,
            AgentHost(address["picky"]) as picky,
            GatewayProcess(
                folder,
                trunk=[
                    {"name": "local", "match": ["127.0.0.1"], "caller_domain": "example.com"},
                    {"name": "small", "match": ["127.0.0.7"], "max_calls": 1},
                ],
                agent=[
                    {"name": "echo", "address": address["echo"]},
                    {"name": "echo8", "address": address["echo8"], "sample_rate_hz": 8000},
                    {"name": "scripted", "address": address["scripted"]},
                    {"name": "picky", "address": address["picky"]},
                    {"name": "dead", "address": address["dead"], "connect_timeout_ms": 500},
                ],
                route=[
                    {
                        "name": "tenant",
                        "header": {"X-Tenant": "acme"},
                        "agent": "echo",
                        "metadata": {"tenant": "acme"},
                    },
                    {"name": "echo", "called": "re:600|6001", "agent": "echo"},
                    {"name": "echo8", "called": "608", "agent": "echo8"},
                    {"name": "scripted", "called": "609", "agent": "scripted"},
                    {"name": "picky", "called": "602", "agent": "picky"},
                    {"name": "closed", "called": "603", "refuse": 603, "reason": "Closed today"},
                    {"name": "dead", "called": "699", "agent": "dead"},
                ],
            ) as gateway,
        ):
            yield Stage(gateway, echo, echo8, scripted, picky)


@pytest.fixture
def stage(_shared: Stage) -> Iterator[Stage]:
    """The shared stage; after each test no call, port or socket may be left."""
    _shared.scripted.script = listen
    _shared.picky.refusal, _shared.picky.offer_delay_s = None, 0.0
    for agent in _shared.agents:
        agent.calls.clear()
    yield _shared
    try:
        _shared.gateway.assert_idle()
    except AssertionError:
        for call in _shared.gateway.calls():  # so that one failure is not many
            _shared.gateway.hang_up(call["id"])
        raise


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test here is done again, twice at most, when it fails.

    Callers and agents are threads of the test, in real time: a machine that holds them up for 50 ms leaves a hole
    in what they say. The report names what was done again (`rerun`), and what is broken fails three times.
    """
    for item in items:
        if item.path.is_relative_to(pathlib.Path(__file__).parent):
            item.add_marker(pytest.mark.flaky(reruns=2))
