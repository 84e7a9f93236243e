# SPDX-License-Identifier: MIT
"""Teler's media streaming (frejun.ai/docs/media-streaming): L16 at 8 or 16 kHz in JSON.

    T -> A  {"type":"start","account_id","call_app_id","call_id","stream_id","message_id":1,
             "data":{"encoding":"audio/l16","sample_rate":8000,"channels":1}}
            {"type":"audio","stream_id","message_id":2,"data":{"audio_b64":"..."}}
    A -> T  {"type":"audio","audio_b64":"...","chunk_id":1}     its clients; the documents nest both under "data"
            {"type":"interrupt","chunk_id":1}   {"type":"clear"}

Teler itself sends 400 ms at a time and advises agents to send 500 ms or more; we send each frame as it is, and take
pieces of any size.  `interrupt` is about one chunk there.  We keep no chunks apart: what is queued goes, as with
`clear`.  That is what agents mean by it, who send it when the caller begins to speak.
"""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import LinkSettings, StartInfo
from trunkline.agent_bridge.encodings import L16
from trunkline.agent_bridge.json_fields import Fields, quoted
from trunkline.agent_bridge.link_events import Clear, LinkEvent
from trunkline.agent_bridge.message_dialect import Messages
from trunkline.agent_bridge.spoken_dialect import JsonDialect, named_rate, stream_id


class Teler(JsonDialect):
    """One call in Teler's messages."""

    name = "teler"
    kind_field = "type"
    sample_rates_hz = (8000, 16000)

    def __init__(self, settings: LinkSettings) -> None:
        super().__init__(settings, L16)
        self._messages_sent = 0
        self._before = ""

    def begin(self, info: StartInfo) -> Messages:
        """Ids and the form of the audio; the call's id is the stream's as well."""
        self._before = f'{{"type":"audio","stream_id":{quoted(stream_id(info))},"message_id":'
        self._messages_sent = 1
        start = {
            "type": "start", "account_id": self.settings.account, "call_app_id": info.route, "call_id": info.call_id,
            "stream_id": stream_id(info), "message_id": 1,
            "data": {"encoding": "audio/l16", "sample_rate": self.settings.sample_rate_hz, "channels": 1},
        }  # fmt: skip
        return (json.dumps(start),)

    def frame(self, position: int, pcm: NDArray[np.int16]) -> Messages:
        """One frame of the caller."""
        self._messages_sent += 1
        return (f'{self._before}{self._messages_sent},"data":{{"audio_b64":"{self.payload(pcm)}"}}}}',)

    def said(self, kind: str, fields: Fields) -> list[LinkEvent] | None:
        """audio, interrupt, clear."""
        match kind:
            case "audio":
                chunk = fields.within("data", optional=True)
                return self.spoken(chunk.octets("audio_b64"), L16, named_rate(chunk, "sample_rate"))
            case "interrupt" | "clear":
                self.cut()
                return [Clear(self.channel, kind)]
        return None
