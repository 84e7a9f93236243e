# SPDX-License-Identifier: GPL-2.0-or-later
"""Recorded messages to an agent, said again in whatever dialect a link speaks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from trunkline.agent_bridge.dialect import Link

Message = Mapping[str, Any]


def tell(link: Link, channel: int, message: Message) -> None:
    """Say it. What answers the agent, and the end of the call, are not said again."""
    say = _SAID_AGAIN.get(str(message["type"]))
    if say is not None:
        say(link, channel, message)


def _number(message: Message, name: str) -> int:
    value = message.get(name)
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0


def _figures(message: Message, name: str) -> dict[str, float]:
    value = message.get(name)
    return {k: v for k, v in value.items() if isinstance(v, int | float)} if isinstance(value, dict) else {}


_SAID_AGAIN: dict[str, Callable[[Link, int, Message], None]] = {
    "dtmf": lambda link, channel, m: link.send_dtmf(
        channel, str(m.get("digit")), _number(m, "duration_ms"), str(m.get("method"))
    ),
    "hold": lambda link, channel, m: link.send_hold(channel, bool(m.get("held"))),
    "quality": lambda link, channel, m: link.send_quality(channel, _figures(m, "stats")),
    "network": lambda link, channel, m: link.send_network(
        channel, m.get("state") == "silent", _number(m, "idle_ms")
    ),
    "speech": lambda link, channel, m: link.send_speech(
        channel, m.get("state") == "started", _number(m, "position"), float(m.get("level_dbov") or 0)
    ),
    "call_state": lambda link, channel, m: link.send_call_state(channel, str(m.get("state"))),
}
