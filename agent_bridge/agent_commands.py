# SPDX-License-Identifier: MIT
"""What an agent says about a call in our dialect, from events to JSON: the mirror of `native_commands.py`."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

from trunkline.agent_bridge.link_events import (
    Acknowledge,
    Answer,
    AskStatus,
    Clear,
    Command,
    Dtmf,
    Hangup,
    HoldCall,
    Mark,
    Mute,
    Pause,
    Progress,
    Ring,
    State,
    Transfer,
    Variables,
)

_NAMES: dict[type, str] = {
    Ring: "ring",
    Progress: "progress",
    Answer: "answer",
    Mark: "mark",
    Clear: "clear",
    Pause: "pause",
    Dtmf: "dtmf",
    Mute: "mute",
    HoldCall: "hold",
    Transfer: "transfer",
    Variables: "variables",
    State: "state",
    Acknowledge: "ack",
    AskStatus: "status",
    Hangup: "hangup",
}
_ONLY_WHEN_SAID = {"headers", "music", "attended", "target", "uplink", "downlink"}
"Fields that mean nothing while they are empty or None."
_NEVER_SAID = {"parting"}
"Fields of which the connection itself tells."


def command_fields(command: Command) -> tuple[str, dict[str, Any]]:
    """Type and content of the message that says it (PROTOCOL.md, section 7)."""
    content: dict[str, Any] = {}
    for field in dataclasses.fields(command):
        if field.name in _NEVER_SAID:
            continue
        value = getattr(command, field.name)
        if isinstance(value, bytes):
            value = base64.b64encode(value).decode()
        if field.name not in _ONLY_WHEN_SAID or value not in (None, "", {}):
            content[field.name] = value
    return _NAMES[type(command)], content
