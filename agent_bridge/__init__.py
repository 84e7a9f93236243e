# SPDX-License-Identifier: MIT
"""The agent side of trunkline: write an agent with `Agent`, `Call` and `serve`; PROTOCOL.md is the wire."""

from trunkline.agent_bridge.agent import Agent
from trunkline.agent_bridge.call import Call
from trunkline.agent_bridge.call_events import (
    CallState,
    Dtmf,
    Hold,
    Network,
    Quality,
    Refused,
    Resumed,
    Speech,
    TransferProgress,
    Turn,
    Underrun,
)
from trunkline.agent_bridge.call_types import CallEnded, Cleared, CommandRefused, Frame, MarkReport, Stopped
from trunkline.agent_bridge.caller_turns import CallerTurn
from trunkline.agent_bridge.serving import serve
from trunkline.agent_bridge.session import AudioBatch
from trunkline.agent_bridge.transferring import Transferring
from trunkline.agent_bridge.utterance import Spoken, Utterance

__all__ = [
    "Agent",
    "AudioBatch",
    "Call",
    "CallEnded",
    "CallState",
    "CallerTurn",
    "Cleared",
    "CommandRefused",
    "Dtmf",
    "Frame",
    "Hold",
    "MarkReport",
    "Network",
    "Quality",
    "Refused",
    "Resumed",
    "Speech",
    "Spoken",
    "Stopped",
    "TransferProgress",
    "Transferring",
    "Turn",
    "Underrun",
    "Utterance",
    "serve",
]
