# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of one call's agents, for `rescue.py`."""

from __future__ import annotations

import dataclasses

from trunkline.gateway.media import control
from trunkline.gateway.media.table import Stream


@dataclasses.dataclass(slots=True)
class Case:
    """The agents of a call."""

    stream: Stream
    agents: tuple[control.AgentParams, ...]
    first: control.AgentParams
    "whose texts are in the call's metadata"
    at: int = 0
    "place of the one that has the call, or is asked"
    attempt: int = 1
    state: bytes = b""
    "what an agent has last left with us"
    tries: int = 0
    had: bool = False
    "an agent has taken the call, here or in a worker before this one"
    told: bool = False
    "... and the gateway was told so by this worker"
    waits: bool = False
    "the agent that has it took it without answering it"
    hung_up: bool = False
    "it has ended the call, and the gateway has been told: what becomes of its connection is no failure"
    next_ns: int = 0
    "when the agent at `at` is asked; 0: it has been"
    limit_ns: int = 0
    "when it has been asked for too long; 0: its connection watches that"
    lost_ns: int = 0
    "since when no agent has had it; 0: one has"
    over_ns: int = 0
    "when the farewell is over at the latest; 0: there is none"
    why: str = ""
    detail: str = ""
    replay_ms: int = 0
    refusal: tuple[str, str, int] = ("", "", 0)
    "before the answer: reason, detail and SIP code that the call will be refused with"
    again: int = 0
    "of this agent, before the answer: tries after the first"
    position: int = 0
    "from which the agent that was offered the call hears the caller"
    keys: list[tuple[str, int, str]] = dataclasses.field(default_factory=list)
    "that the caller pressed while no agent had the call: digit, duration in ms, method"
    window_ns: int = 0
    commands: int = 0
    overflow_ns: int = 0
    overflow_ms: int = 0

    @property
    def agent(self) -> control.AgentParams:
        """The one that has the call, or is asked."""
        return self.agents[self.at]
