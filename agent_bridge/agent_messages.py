# SPDX-License-Identifier: MIT
"""What a gateway says about a call, from JSON to events, for `agent_protocol.py` (PROTOCOL.md, section 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trunkline.agent_bridge import fields
from trunkline.agent_bridge.agent_events import (
    AgentEvent,
    CallOffered,
    CallStopped,
    ClearDone,
    CommandRefused,
    DtmfPressed,
    FlowChanged,
    HoldChanged,
    MarkReported,
    NetworkChanged,
    QualityReported,
)
from trunkline.agent_bridge.dialect import StartInfo
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


def _numbers(message: fields.Message) -> Mapping[str, float]:
    """The statistics of a message; what is no number, or null, is left out."""
    stats = message.get("stats") or {}
    if not isinstance(stats, dict):
        raise ProtocolViolation(f'"stats" of "{message["type"]}" is not an object')
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
    "error": lambda m: CommandRefused(fields.channel(m), fields.prose(m, "code"), fields.prose(m, "text")),
}
"Makes the event of each message type; raises ProtocolViolation."
