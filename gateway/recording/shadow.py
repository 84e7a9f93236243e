# SPDX-License-Identifier: GPL-2.0-or-later
"""What gateway and agent say of one call, written in our own protocol, whatever dialect they speak."""

from __future__ import annotations

import base64
import dataclasses
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge import link_events as said
from trunkline.agent_bridge import wire
from trunkline.agent_bridge.dialect import StartInfo
from trunkline.agent_bridge.native import NativeLink

CHANNEL = 1
_AUDIO = struct.Struct("<IBBH HHI IHHQ")
"Header of a message, of its audio, and of its one record (PROTOCOL.md, 3.1)."
_HEADERS_BYTES = 24
"Of audio and record."

KINDS: dict[type[Any], str] = {
    said.Accepted: "accept",
    said.Rejected: "reject",
    said.Ring: "ring",
    said.Progress: "progress",
    said.Answer: "answer",
    said.Mark: "mark",
    said.Clear: "clear",
    said.Pause: "pause",
    said.Dtmf: "dtmf",
    said.Mute: "mute",
    said.HoldCall: "hold",
    said.Transfer: "transfer",
    said.Variables: "variables",
    said.State: "state",
    said.Acknowledge: "ack",
    said.AskStatus: "status",
    said.Hangup: "hangup",
}
"Word of our protocol for each event of an agent."


class GatewaySide:
    """Says on a connection of nobody's what was said to the agent; `take` are the messages."""

    def __init__(self, info: StartInfo) -> None:
        """The call begins, or goes on, with `info`."""
        self._link = NativeLink()
        self._link.connected(0)
        self._link.receive(wire.control_message("hello", version=wire.VERSIONS[-1]), 0)
        self._link.data_to_send()
        self._link.start(CHANNEL, info, 0)
        self._link.receive(wire.control_message("accept", channel=CHANNEL), 0)

    def say(self, method: str, *content: Any) -> None:
        """A method of `dialect.Link` about the call, without its channel."""
        getattr(self._link, method)(CHANNEL, *content)

    def take(self) -> list[bytes]:
        """Messages, each whole."""
        return [bytes(message) for message in self._link.data_to_send()]


MASK = "***"
"Of texts that may name people."


def spoken(event: Any, *, redact: bool = False) -> bytes | None:
    """An event of an agent, other than audio, as a message; None for what is about no call.

    With `redact`, without whom it transfers to, and without texts of headers and variables; keys are kept.
    """
    kind = KINDS.get(type(event))
    if kind is None:
        return None
    content = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    content["channel"] = CHANNEL
    content.pop("timeout", None)
    if isinstance(event, said.State):
        content["data"] = base64.b64encode(event.data).decode()
    for name, value in content.items():
        if isinstance(value, dict) or hasattr(value, "items"):
            content[name] = dict.fromkeys(value, MASK) if redact else dict(value)
    if redact and content.get("target"):
        content["target"] = MASK
    return wire.control_message(kind, **{name: value for name, value in content.items() if value is not None})


def audio(position: int, flags: int, pcm: NDArray[np.int16]) -> bytes:
    """One frame, int16[samples]; a tenth of what `wire.audio_messages`, made for hundreds, needs for one."""
    size = _HEADERS_BYTES + 2 * len(pcm)
    head = _AUDIO.pack(size, wire.AUDIO, 0, 0, len(pcm), 0, 1, CHANNEL, flags, 0, position)
    return head + pcm.astype("<i2", copy=False).tobytes()


def speech(pcm: NDArray[np.int16]) -> Iterator[bytes]:
    """What an agent says, int16[samples]."""
    for start in range(0, len(pcm), wire.MAX_SAMPLES):
        yield audio(0, 0, pcm[start : start + wire.MAX_SAMPLES])


def rate(sample_rate_hz: int) -> bytes:
    """In front of speech at another rate than the call's; not of the protocol, which has one rate a call."""
    return wire.control_message("speech_rate", channel=CHANNEL, sample_rate_hz=sample_rate_hz)
