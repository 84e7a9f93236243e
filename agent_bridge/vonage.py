# SPDX-License-Identifier: MIT
"""Vonage's Voice API over WebSocket (developer.vonage.com, Voice API, WebSockets): L16 in binary messages, JSON beside.

    V -> A  {"event":"websocket:connected","content-type":"audio/l16;rate=16000", ...}   first, with what the user adds
            binary, 20 ms each
            {"event":"websocket:dtmf","digit":"5","duration":260}
            {"event":"websocket:cleared"}    {"event":"websocket:notify","payload":{...}}
    A -> V  binary     {"action":"clear"}    {"action":"notify","payload":{...}}

A notification is sent once all that was said before it has been played, and none is sent for what a clear has cut.
Vonage wants binary messages of exactly 20 ms; we take any.  Its JWT goes as `Authorization: Bearer`: that is the
token of this agent.  No message hangs up: the agent closes the connection.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import LinkSettings, StartInfo
from trunkline.agent_bridge.encodings import L16
from trunkline.agent_bridge.json_fields import Fields, quoted
from trunkline.agent_bridge.link_events import Clear, LinkEvent, Mark
from trunkline.agent_bridge.message_dialect import Messages
from trunkline.agent_bridge.own_marks import OwnMarks
from trunkline.agent_bridge.reassembly import ProtocolViolation
from trunkline.agent_bridge.spoken_dialect import JsonDialect, parameters

MAX_PAYLOAD_CHARS = 4096
"Of a notification, as JSON: it is kept until it is due."


class Vonage(JsonDialect):
    """One call as a Vonage WebSocket endpoint has it."""

    name = "vonage"
    kind_field = "action"
    binary_is_speech = True
    supports_marks = True
    sample_rates_hz = (8000, 16000, 24000)

    def __init__(self, settings: LinkSettings) -> None:
        super().__init__(settings, L16)
        self._notices: OwnMarks[str] = OwnMarks("notify")
        "payloads as JSON"

    def begin(self, info: StartInfo) -> Messages:
        """The form of the audio; the user's own texts stand beside it, as the `headers` of an endpoint do."""
        known = {"uuid": info.call_id, "from": info.caller, "to": info.called, "direction": info.direction}
        form = {"event": "websocket:connected", "content-type": f"audio/l16;rate={self.settings.sample_rate_hz}"}
        return (json.dumps({**known, **parameters(info), **form}),)

    def frame(self, position: int, pcm: NDArray[np.int16]) -> Messages:
        """One frame of the caller."""
        return (L16.encode(pcm),)

    def key(self, digit: str, duration_ms: int) -> Messages:
        """The caller pressed a key."""
        return (f'{{"event":"websocket:dtmf","digit":{quoted(digit)},"duration":{duration_ms}}}',)

    def mark(self, name: str, position: int, outcome: str) -> Messages:
        """A notification is due."""
        payload = self._notices.settled(name)
        if payload is None or outcome != "played":
            return ()
        return (f'{{"event":"websocket:notify","payload":{payload}}}',)

    def cleared(self, name: str, played_ms: int, discarded_ms: int, marks: Sequence[str]) -> Messages:
        """Nothing waits to be played any more."""
        for mark in marks:
            self._notices.settled(mark)
        return ('{"event":"websocket:cleared"}',)

    def said(self, kind: str, fields: Fields) -> list[LinkEvent] | None:
        """clear, notify."""
        match kind:
            case "clear":
                self.cut()
                return [Clear(self.channel, kind)]
            case "notify":
                return [Mark(self.channel, self._notices.name(_payload(fields)))]
        return None


def _payload(fields: Fields) -> str:
    value: Mapping[str, Any] | None = fields.raw("payload")
    text = json.dumps({} if value is None else value)
    if len(text) > MAX_PAYLOAD_CHARS:
        raise ProtocolViolation(f'"payload" of "notify" is longer than {MAX_PAYLOAD_CHARS} characters')
    return text
