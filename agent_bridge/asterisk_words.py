# SPDX-License-Identifier: MIT
"""Control messages of Asterisk's chan_websocket, in both forms that it has for them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from trunkline.agent_bridge.json_fields import Fields, parse_object

PLAIN_FORM, JSON_FORM = "plain-text", "json"
Value = str | int | bool | Mapping[str, str]


def event_text(event: str, fields: Mapping[str, Value], *, as_json: bool) -> str:
    """`EVENT name:value ...`, or an object whose `event` names it."""
    if as_json:
        return json.dumps({"event": event, **fields})
    return " ".join([event, *(f"{name}:{_plain(value)}" for name, value in fields.items())])


def _plain(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def read_command(text: str) -> tuple[str, Fields]:
    """`COMMAND [correlation id]`, or {"command": ..., "correlation_id": ...}; raises ProtocolViolation."""
    text = text.strip()
    if text.startswith("{"):
        found = Fields(parse_object(text), "command")
        command = found.text("command")
        found.where = command
        return command, found
    command, _, argument = text.partition(" ")
    return command, Fields({"correlation_id": argument} if argument else {}, command[:40])
