# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline agents` and `GET /v1/agents`: which agents are up, and why others are not."""

from __future__ import annotations

import json

from trunkline.gateway.calls.view import AgentView


def view(name: str, **fields: object) -> AgentView:
    defaults = {
        "address": "unix:/run/a.sock", "dialect": "trunkline", "up": True, "since_s": 61.0, "avoided_s": 0.0,
        "reason": "", "detail": "", "failures": {}, "calls": 3,
    }  # fmt: skip
    return AgentView.model_validate({"name": name, **defaults, **fields})


def test_agents_are_listed_with_their_state(gateway, service, trunkline):
    """One line each; a program gets a JSON object a line."""
    service.agent_views = [
        view("sales"),
        view("new", tried=False, calls=0),
        view("old", up=False, avoided_s=7.6, reason="agent_lost", detail="it closed", failures={"agent_lost": 4}),
    ]
    result = trunkline("agents")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[1] == "sales up 1:01 3 0"
    assert lines[2] == "new not tried yet 1:01 0 0"
    assert lines[3] == "old down, avoided for 8 s 1:01 3 4 agent_lost: it closed"
    as_json = [json.loads(line) for line in trunkline("agents", "--json").stdout.splitlines()]
    assert [one["name"] for one in as_json] == ["sales", "new", "old"]
    assert as_json[2]["failures"] == {"agent_lost": 4}


def test_a_gateway_without_agents_says_so(gateway, service, trunkline):
    assert trunkline("agents").stdout.strip() == "no agents"
