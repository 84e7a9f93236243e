# SPDX-License-Identifier: GPL-2.0-or-later
"""The agents of the configuration as call control sees them: who is asked for a call, and how each is.

What media workers tell of agents is kept here for all of them, so a call that comes a moment after a death does not
find out for itself.  `order` is asked on the SIP thread, everything else happens on the event loop; between them
are only floats and flags that are read as they stand.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from trunkline.gateway import logs
from trunkline.gateway.agent_health import HealthBook
from trunkline.gateway.agent_probe import probe
from trunkline.gateway.agents_choice import choose
from trunkline.gateway.calls.view import AgentView
from trunkline.gateway.config.model import Agent, Config, Route
from trunkline.gateway.media.agent_asks import AgentFailed
from trunkline.gateway.media.control import AgentParams

log = logs.get_logger("trunkline.agent")

Told = Callable[[str, dict[str, Any]], None]


class Agents:
    """Order and health."""

    def __init__(self, config: Config) -> None:
        self._agents = {agent.name: agent for agent in config.agents}
        self._weights = {agent.name: agent.weight for agent in config.agents}
        self._health = HealthBook(self._agents, time.monotonic())
        self.params: Callable[[], Mapping[str, AgentParams]] = dict
        "how each is reached now"
        self.tell: Told = lambda event, data: None
        "publishes an event that concerns no single call"
        self.on_state: Callable[[str, bool], None] = lambda name, up: None
        self.on_failure: Callable[[str, str], None] = lambda name, reason: None
        "for metrics"
        self._probing: dict[str, asyncio.Task[None]] = {}

    def order(self, route: Route, caller: str, call_id: str) -> list[Agent]:
        """The agents of a route in the order in which this call asks them; those that failed lately come last."""
        avoided = self._health.avoided(time.monotonic())
        return [self._agents[name] for name in choose(route, self._weights, avoided, caller, call_id)]

    def get(self, name: str) -> Agent | None:
        """By name."""
        return self._agents.get(name)

    # -- what becomes of them -----------------------------------------------------------------

    def failed(self, message: AgentFailed) -> None:
        """A worker could not reach it, or lost it."""
        self._failed(message.agent, message.reason, message.detail, message.calls)

    def _failed(self, name: str, reason: str, detail: str, calls: int, probed: bool = False) -> None:
        health = self._health.of.get(name)
        if health is None:
            return
        if not probed:
            self.on_failure(name, reason)
        if health.failed(time.monotonic(), reason, detail, probed):
            data = {"agent": name, "reason": reason, "detail": detail, "calls": calls}
            log.warning("agent.down", **data)
            self.tell("agent.down", data)
            self.on_state(name, False)

    def works(self, name: str) -> None:
        """It has taken a call, or answered a probe."""
        health = self._health.of.get(name)
        if health is None:
            return
        down_since = health.since
        if health.works(time.monotonic()):
            data = {"agent": name, "down_s": round(time.monotonic() - down_since, 1)}
            log.info("agent.up", **data)
            self.tell("agent.up", data)
            self.on_state(name, True)

    # -- looking after those that are down ------------------------------------------------------

    def look_after(self) -> None:
        """Now and then, on the event loop: ask those that have been left alone for long enough."""
        for name in self._health.to_probe(time.monotonic()):
            params = self.params().get(name)
            if params is not None and name not in self._probing:
                self._probing[name] = asyncio.create_task(self._probe(params), name=f"probe {name}")

    async def _probe(self, params: AgentParams) -> None:
        try:
            reason, detail = await asyncio.to_thread(probe, params)
            if reason:
                self._failed(params.name, reason, detail, 0, probed=True)
            else:
                self.works(params.name)
        finally:
            self._probing.pop(params.name, None)

    def stop(self) -> None:
        """No more probes."""
        for task in list(self._probing.values()):
            task.cancel()

    # -- for people -----------------------------------------------------------------------------

    def views(self, calls: Mapping[str, int]) -> list[AgentView]:
        """All of them; `calls` that each has now, by name."""
        now = time.monotonic()
        return [
            AgentView(
                name=name,
                address=agent.shown_address,
                dialect=agent.dialect,
                up=health.up,
                tried=health.tried,
                since_s=round(now - health.since, 1),
                avoided_s=round(max(health.avoided_until - now, 0), 1),
                reason="" if health.up else health.reason,
                detail="" if health.up else health.detail,
                failures=dict(health.counts),
                calls=calls.get(name, 0),
            )
            for name, agent in self._agents.items()
            if (health := self._health.of[name])
        ]
