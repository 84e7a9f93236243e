# SPDX-License-Identifier: GPL-2.0-or-later
"""What a route says about calls whose agent fails, in the words of the media worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trunkline.gateway.config.model import Agent, Route
from trunkline.gateway.media.call_policy import RescueParams

RESCUE_MS = 2000
REPLAY_MS = 10_000
MUTE = "audiosocket"
"The dialect whose agents need not say that they hang up."


def rescue_params(route: Route | None, agents: Sequence[Agent], path_of: Callable[[str], str]) -> RescueParams:
    """`path_of` makes a path of the configuration one that needs no folder; empty stays empty.

    In our dialect an agent says that it hangs up, on a WebSocket by the code with which it closes. Of AudioSocket's
    servers most just close the connection, which nobody can tell from their death: so calls that one of them may
    get are looked after only where the route asks for it.
    """
    within_ms = route.rescue_ms if route is not None else None
    if within_ms is None:
        within_ms = RESCUE_MS if all(agent.dialect != MUTE for agent in agents) else 0
    replay_ms = route.replay_ms if route is not None else None
    if replay_ms is None:
        replay_ms = REPLAY_MS if len(agents) > 1 else 0
    if route is None:
        return RescueParams(within_ms, replay_ms if within_ms else 0)
    return RescueParams(
        within_ms=within_ms,
        replay_ms=replay_ms,
        sound=path_of(route.rescue_sound),
        fallback_sound=path_of(route.fallback_sound),
        patience_ms=route.patience_ms,
    )


def patience_s(route: Route | None, agents: Sequence[Agent]) -> float:
    """How long connecting, hello and accepting may take, over all agents and retries."""
    last_s = 3 * max(agent.connect_timeout_ms for agent in agents) / 1000
    if route is None or (len(agents) == 1 and not agents[0].connect_retries):
        return last_s
    return route.patience_ms / 1000 + last_s
