# SPDX-License-Identifier: MIT
"""What a gateway says about a call, from JSON to events, for `agent_protocol.py` (PROTOCOL.md, section 6)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from trunkline.agent_bridge import fields
from trunkline.agent_bridge.agent_events import (
    AgentEvent,
    CallOffered,
    CallStateChanged,
    CallStopped,
    ClearDone,
    CommandRefused,
    DtmfPressed,
    FlowChanged,
    HoldChanged,
    MarkReported,
    NetworkChanged,
    QualityReported,
    SpeechChanged,
    StatusReported,
    TransferReported,
    TurnReported,
    UnderrunReported,
)
from trunkline.agent_bridge.dialect import StartInfo
from trunkline.agent_bridge.native_commands import MAX_STATE_BYTES
from trunkline.agent_bridge.reassembly import ProtocolViolation

_MAX_POSITION = (1 << 63) - 1
_MAX_MS = 1 << 53
_PARTIES = ("direction", "caller", "called", "trunk", "route")


def _offered(message: fields.Message) -> CallOffered:
    call, audio = message.get("call"), message.get("audio")
    if not isinstance(call, dict) or not isinstance(audio, dict):
        raise ProtocolViolation('"start" without "call" and "audio"')
    call, audio = {"type": "start", **call}, {"type": "start", **audio}
    if audio.get("encoding") != "s16le":
        raise ProtocolViolation(f'audio is {str(audio.get("encoding"))[:40]!r}; version 1 has only "s16le"')
    said = {name: fields.text(call, name, default="", longest=4096) for name in _PARTIES}
    return CallOffered(
        fields.channel(message),
        StartInfo(
            call_id=fields.text(call, "call_id"),
            direction=said["direction"],
            caller=said["caller"],
            called=said["called"],
            trunk=said["trunk"],
            route=said["route"],
            headers=fields.texts(call, "headers"),
            metadata=fields.texts(call, "metadata"),
            sample_rate_hz=fields.integer(audio, "sample_rate_hz", 1, 1_000_000),
            frame_ms=fields.integer(audio, "frame_ms", 1, 10_000),
            resumed=fields.boolean(message, "resumed"),
            position=fields.integer(message, "position", 0, _MAX_POSITION, default=0),
            gap_ms=fields.integer(message, "gap_ms", 0, _MAX_MS, default=0),
            answered=fields.boolean(message, "answered", default=True),
            variables=fields.texts(message, "variables"),
            attempt=fields.integer(message, "attempt", 1, 1 << 31, default=1),
            state=b"" if message.get("state") is None else fields.octets(message, "state", MAX_STATE_BYTES),
            played_ms=fields.integer(message, "played_ms", 0, _MAX_MS, default=0),
            replay_ms=fields.integer(message, "replay_ms", 0, _MAX_MS, default=0),
        ),
    )


def _dtmf(message: fields.Message) -> DtmfPressed:
    return DtmfPressed(
        fields.channel(message),
        fields.text(message, "digit"),
        fields.integer(message, "duration_ms", 0, _MAX_MS, default=0),
        fields.text(message, "method", default=""),
    )


def _mark(message: fields.Message) -> MarkReported:
    return MarkReported(
        fields.channel(message),
        fields.text(message, "name"),
        fields.integer(message, "position", 0, _MAX_POSITION, default=0),
        fields.text(message, "outcome"),
    )


def _cleared(message: fields.Message) -> ClearDone:
    marks = message.get("marks") or []
    if not isinstance(marks, list) or not all(isinstance(mark, str) for mark in marks):
        raise ProtocolViolation('"marks" of "cleared" is not a list of strings')
    return ClearDone(
        fields.channel(message),
        fields.text(message, "name", default=""),
        fields.integer(message, "played_ms", 0, _MAX_MS),
        fields.integer(message, "discarded_ms", 0, _MAX_MS),
        tuple(marks),
    )


def _flow(message: fields.Message) -> FlowChanged:
    ready = fields.text(message, "state") != "pause"
    queued_ms = fields.integer(message, "queued_ms", 0, _MAX_MS, default=0)
    return FlowChanged(fields.channel(message), ready, queued_ms)


def _network(message: fields.Message) -> NetworkChanged:
    idle_ms = fields.integer(message, "idle_ms", 0, _MAX_MS, default=0)
    return NetworkChanged(fields.channel(message), fields.text(message, "state") == "silent", idle_ms)


def _speech(message: fields.Message) -> SpeechChanged:
    level = message.get("level_dbov")
    return SpeechChanged(
        fields.channel(message),
        fields.text(message, "state") == "started",
        fields.integer(message, "position", 0, _MAX_POSITION),
        float(level) if isinstance(level, (int, float)) else math.nan,
    )


def _underrun(message: fields.Message) -> UnderrunReported:
    return UnderrunReported(
        fields.channel(message),
        fields.integer(message, "position", 0, _MAX_POSITION),
        fields.integer(message, "missing_ms", 0, _MAX_MS, default=0),
    )


def _transfer(message: fields.Message) -> TransferReported:
    code = fields.integer(message, "code", 0, 699, default=0)
    return TransferReported(
        fields.channel(message), fields.text(message, "state"), code, fields.prose(message, "reason")
    )


def _numbers(message: fields.Message, name: str = "stats") -> Mapping[str, float]:
    """The statistics of a message; what is no number, or null, is left out."""
    stats = message.get(name) or {}
    if not isinstance(stats, dict):
        raise ProtocolViolation(f'"{name}" of "{message["type"]}" is not an object')
    return {name: value for name, value in stats.items() if isinstance(value, (int, float))}


EVENTS: Mapping[str, Callable[[fields.Message], AgentEvent]] = {
    "start": _offered,
    "dtmf": _dtmf,
    "mark": _mark,
    "cleared": _cleared,
    "flow": _flow,
    "hold": lambda m: HoldChanged(fields.channel(m), fields.boolean(m, "held")),
    "quality": lambda m: QualityReported(fields.channel(m), _numbers(m)),
    "stop": lambda m: CallStopped(fields.channel(m), fields.prose(m, "reason"), _numbers(m)),
    "network": _network,
    "speech": _speech,
    "turn": lambda m: TurnReported(fields.channel(m), _numbers(m, "turn")),
    "underrun": _underrun,
    "call_state": lambda m: CallStateChanged(fields.channel(m), fields.text(m, "state")),
    "transfer": _transfer,
    "status": lambda m: StatusReported(fields.channel(m), _numbers(m, "status")),
    "error": lambda m: CommandRefused(fields.channel(m), fields.prose(m, "code"), fields.prose(m, "text")),
}
"Makes the event of each message type; raises ProtocolViolation."
