# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls placed with the settings of a route."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from pydantic import ValidationError

from support.call_rig import CONFIG, Rig
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.calls.view import PlaceRequest

CUT = CONFIG.replace('name = "all"\n', 'name = "all"\ndtmf_audio = "cut"\n')


def play(scenario: Callable[[Rig], Awaitable[None]], config: str = CUT) -> None:
    async def whole() -> None:
        rig = Rig(config)
        try:
            await scenario(rig)
        finally:
            rig.service.stop()

    asyncio.run(whole())


@pytest.mark.parametrize(("said", "cut"), [(None, True), ("keep", False), ("cut", True)])
def test_a_placed_call_has_the_agent_and_the_settings_of_its_route(said: str | None, cut: bool) -> None:
    """What the request itself says goes before them; the route's own patterns do not matter."""

    async def scenario(rig: Rig) -> None:
        placed = await rig.service.place(
            PlaceRequest(to="123", trunk="pbx", route="all", dtmf_audio=said, metadata={"c": "call"})  # type: ignore[arg-type]
        )
        call = rig.service.calls[placed.id]
        assert (placed.route, placed.agent) == ("all", "echo")
        assert call.route is not None and call.route.name == "all"
        assert call.info.metadata == {"a": "agent", "b": "route", "c": "call"}
        assert call.cut_tones is cut

    play(scenario)


@pytest.mark.parametrize(("route", "cause"), [("none", "unknown_route"), ("refused", "unknown_agent")])
def test_a_route_that_is_not_there_or_has_no_agent_is_refused(route: str, cause: str) -> None:
    """With the cure in the sentence."""

    async def scenario(rig: Rig) -> None:
        with pytest.raises(CallRefused, match=route) as refusal:
            await rig.service.place(PlaceRequest(to="123", trunk="pbx", route=route))
        assert refusal.value.cause == cause

    play(scenario)


def test_a_call_that_comes_in_knows_its_route_and_one_placed_without_has_none() -> None:
    """So that later settings of routes have one place to be read from."""

    async def scenario(rig: Rig) -> None:
        placed = await rig.service.place(PlaceRequest(to="123", trunk="pbx", agent="echo"))
        assert rig.service.calls[placed.id].route is None

    play(scenario)
    with pytest.raises(ValidationError, match="name an agent, or a route"):
        PlaceRequest(to="123")
