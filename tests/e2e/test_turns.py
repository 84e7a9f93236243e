# SPDX-License-Identifier: GPL-2.0-or-later
"""A caller who speaks while the agent does: a real call, by the code of `make bench-barge-in`."""

from __future__ import annotations

import pathlib

from bench.barge_in import Kind, measure, tone
from support.agents import AgentHost
from support.gateway import GatewayProcess
from support.waiting import wait_for


def test_an_agent_is_silent_soon_after_the_caller_has_begun_to_speak(tmp_path: pathlib.Path) -> None:
    """By the route's policy, without a word of the agent's; people and metrics are told."""
    address = f"unix:{tmp_path}/tone.sock"
    kind = Kind("PCMU", 40)
    route = kind.route()
    route["turns"] |= {"events": True}  # type: ignore[operator]
    with AgentHost(address, tone) as agent, GatewayProcess(
        tmp_path, trunk=[{"name": "local", "match": ["127.0.0.1"]}], agent=[{"name": "tone", "address": address}],
        route=[route],
    ) as gateway:  # fmt: skip
        delays_ms = measure(gateway, kind, 2)
        assert len(delays_ms) == 2, "interrupted each time"
        assert max(delays_ms) < 250, "under 80 on a machine that has nothing else to do"
        cleared = [event["data"] for event in gateway.events if event["event"] == "agent.clear"]
        assert len(cleared) == 2 and all(data["barge_in"] and data["discarded_ms"] > 1000 for data in cleared)
        told = [event["data"]["state"] for event in gateway.events if event["event"] == "call.speech"]
        assert told[:3] == ["started", "stopped", "started"]
        assert gateway.metric("trunkline_barge_ins_total") == 2
        agent.calls[0].assert_timeline()
        assert wait_for(lambda: gateway.log("call.ended"), "the log line")[0]["barge_ins"] == 2
