# SPDX-License-Identifier: MIT
"""The agent side of trunkline: write an agent with `Agent`, `Call` and `serve`; PROTOCOL.md is the wire."""

from trunkline.agent_bridge.agent import Agent, serve
from trunkline.agent_bridge.call import Call
from trunkline.agent_bridge.call_types import (
    CallEnded,
    Cleared,
    Dtmf,
    Frame,
    Hold,
    MarkReport,
    Network,
    Quality,
    Refused,
    Resumed,
    Stopped,
)
from trunkline.agent_bridge.session import AudioBatch

__all__ = [
    "Agent",
    "AudioBatch",
    "Call",
    "CallEnded",
    "Cleared",
    "Dtmf",
    "Frame",
    "Hold",
    "MarkReport",
    "Network",
    "Quality",
    "Refused",
    "Resumed",
    "Stopped",
    "serve",
]
