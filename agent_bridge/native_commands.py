# SPDX-License-Identifier: MIT
"""What an agent says about a call in our dialect, from JSON to events, for `native.py` (PROTOCOL.md, section 7)."""

from __future__ import annotations

from collections.abc import Callable

from trunkline.agent_bridge import fields
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
from trunkline.agent_bridge.wire import MAX_CONTROL_BYTES

DIGITS = frozenset("0123456789*#ABCD")
MAX_TARGET_CHARS = 1024
MAX_STATE_BYTES = 8192
"More is refused by whoever keeps it, for that call: it must not end all calls of a connection."
_MAX_POSITION = (1 << 63) - 1


def parse_command(message: fields.Message) -> Command:
    """A command about a call, `message["type"]` being one of `COMMANDS`; raises ProtocolViolation."""
    return COMMANDS[message["type"]](fields.channel(message), message)


def _dtmf(channel: int, message: fields.Message) -> Dtmf:
    duration_ms = fields.integer(message, "duration_ms", 40, 6000, default=160)
    gap_ms = fields.integer(message, "gap_ms", 40, 6000, default=80)
    return Dtmf(channel, fields.text(message, "digits").upper(), duration_ms, gap_ms)


def _transfer(channel: int, message: fields.Message) -> Transfer:
    target = fields.text(message, "target", default="", longest=MAX_TARGET_CHARS)
    attended = fields.text(message, "attended", default="")
    return Transfer(channel, target, attended, fields.texts(message, "headers"))


def _hangup(channel: int, message: fields.Message) -> Hangup:
    headers = fields.texts(message, "headers")
    return Hangup(channel, fields.prose(message, "reason"), fields.sip_code(message), headers)


COMMANDS: dict[str, Callable[[int, fields.Message], Command]] = {
    "ring": lambda channel, m: Ring(channel, fields.texts(m, "headers")),
    "progress": lambda channel, m: Progress(channel, fields.texts(m, "headers")),
    "answer": lambda channel, m: Answer(channel, fields.texts(m, "headers")),
    "mark": lambda channel, m: Mark(channel, fields.text(m, "name")),
    "clear": lambda channel, m: Clear(channel, fields.text(m, "name", default="")),
    "pause": lambda channel, m: Pause(channel, fields.boolean(m, "paused", default=True)),
    "dtmf": _dtmf,
    "mute": lambda channel, m: Mute(channel, fields.choice(m, "uplink"), fields.choice(m, "downlink")),
    "hold": lambda channel, m: HoldCall(
        channel, fields.boolean(m, "held"), fields.text(m, "music", default="")
    ),
    "transfer": _transfer,
    "variables": lambda channel, m: Variables(channel, fields.texts(m, "values")),
    "state": lambda channel, m: State(channel, fields.octets(m, "data", MAX_CONTROL_BYTES)),
    "ack": lambda channel, m: Acknowledge(channel, fields.integer(m, "position", 0, _MAX_POSITION)),
    "status": lambda channel, m: AskStatus(channel),
    "hangup": _hangup,
}
"By type of message: all that an agent may say about a call that it has accepted."
