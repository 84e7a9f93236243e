# SPDX-License-Identifier: GPL-2.0-or-later
"""What agents ask of call control, and what became of their calls: messages from a worker to the gateway."""

from __future__ import annotations

import msgspec

from trunkline.gateway.media.message import Message


class AgentRing(Message, frozen=True):
    """The agent wants the caller to hear that it rings."""

    call_id: str
    headers: dict[str, str] = msgspec.field(default_factory=dict)


class AgentProgress(Message, frozen=True):
    """The agent wants to be heard before the answer."""

    call_id: str
    headers: dict[str, str] = msgspec.field(default_factory=dict)


class AgentAnswer(Message, frozen=True):
    """The agent answers the call that it has accepted without."""

    call_id: str
    headers: dict[str, str] = msgspec.field(default_factory=dict)


class AgentHold(Message, frozen=True):
    """The agent puts the other party on hold, or takes it back."""

    call_id: str
    held: bool
    music: str = ""


class AgentTransfer(Message, frozen=True):
    """The agent hands the other party on."""

    call_id: str
    target: str
    attended: str = ""
    "id of the call whose other party is the target"
    headers: dict[str, str] = msgspec.field(default_factory=dict)


class AgentVariables(Message, frozen=True):
    """The agent sets texts on the call; an empty one removes it."""

    call_id: str
    values: dict[str, str]


class AgentMuted(Message, frozen=True):
    """What is muted from now on, of the call's two ways; a successor of the worker must know."""

    call_id: str
    uplink: bool
    downlink: bool


class AgentState(Message, frozen=True):
    """The agent leaves with us what it wants to be given back."""

    call_id: str
    data: bytes


class AgentChanged(Message, frozen=True):
    """The call's agent was lost and another has it, or none (`name` is empty): `why` it was lost, and times."""

    call_id: str
    name: str
    why: str
    attempt: int
    took_ms: float
    "from the loss to its acceptance"
    replayed_ms: int = 0


class AgentFailed(Message, frozen=True):
    """An agent could not be reached, died, or did not take a call; told once a connection, whatever was on it."""

    agent: str
    reason: str
    "`agent_unreachable`, `agent_timeout`, `agent_version`, `agent_protocol`, `agent_rejected`, `agent_lost`, ..."
    detail: str
    calls: int = 0
    "that it had"


class TurnTaken(Message, frozen=True):
    """The caller spoke, the agent answered: figures of `turns.py`, by name."""

    call_id: str
    turn: dict[str, float]
