# SPDX-License-Identifier: MIT
"""Telnyx's media streaming (developers.telnyx.com, "Stream call media over WebSocket"), bidirectional mode `rtp`.

    T -> A  {"event":"connected","version":"1.0.0"}
            {"event":"start","sequence_number":"1","stream_id","start":{"user_id","call_control_id","call_session_id",
             "from","to","custom_parameters":{},"media_format":{"encoding":"PCMU","sample_rate":8000,"channels":1}}}
            {"event":"media","sequence_number":"4","stream_id",
             "media":{"track":"inbound","chunk":"2","timestamp":"20","payload":"<base64>"}}
            {"event":"dtmf","sequence_number":"5","stream_id","dtmf":{"digit":"1"}}
            {"event":"mark", ... "mark":{"name"}}    {"event":"stop", ... "stop":{"user_id","call_control_id"}}
            {"event":"error","stream_id","payload":{"code","title","detail"}}
    A -> T  {"event":"media","media":{"payload"}}  {"event":"mark","mark":{"name"}}  {"event":"clear"}

Numbers are strings.  A mark comes back once all before it has been played, at once if nothing is queued, and also
when a clear has cut it.  Telnyx does not promise the order of its messages; ours are in order.

Of its codecs there are PCMU, PCMA and L16 (`options.encoding`), whose payloads are as RTP has them: L16 is
big-endian (RFC 3551, section 4.5.11).  Programs that read it little-endian want `L16LE`.  G722, OPUS, AMR-WB and
MP3 are not spoken.  The token is no bearer token here: it goes in a header and a field of Telnyx's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import LinkSettings, StartInfo
from trunkline.agent_bridge.encodings import ALAW, L16, L16_NETWORK, ULAW
from trunkline.agent_bridge.json_fields import Fields, quoted
from trunkline.agent_bridge.link_events import Clear, LinkEvent, Mark
from trunkline.agent_bridge.message_dialect import Messages, Options
from trunkline.agent_bridge.spoken_dialect import JsonDialect, Timeline, parameters, stream_id

TOKEN_HEADER = "x-telnyx-streaming-auth-token"
ENCODINGS = {"PCMU": ULAW, "PCMA": ALAW, "L16": L16_NETWORK, "L16LE": L16}


class Telnyx(JsonDialect):
    """One call in Telnyx's messages."""

    name = "telnyx"
    supports_marks = True
    token_is_bearer = False
    options: ClassVar[Options] = {"encoding": tuple(ENCODINGS)}

    def __init__(self, settings: LinkSettings) -> None:
        chosen = settings.options.get("encoding", "PCMU")
        super().__init__(settings, ENCODINGS.get(chosen, ULAW))
        if self.encoding.sample_bytes == 1 and settings.sample_rate_hz != 8000:
            raise ValueError(f"{chosen} is of 8000 Hz, not {settings.sample_rate_hz}: choose the encoding L16")
        self._sequence = self._chunk = 0
        self._timeline = Timeline(settings.sample_rate_hz)
        self._stream = self._call = ""

    def request_headers(self) -> Mapping[str, str]:
        """The token, where there is one."""
        return {TOKEN_HEADER: self.settings.token} if self.settings.token else {}

    def begin(self, info: StartInfo) -> Messages:
        """`connected`, and what there is to know of the call."""
        self._stream, self._call = quoted(stream_id(info)), quoted(info.call_id)
        connected = {"event": "connected", "version": "1.0.0"}
        if self.settings.token:
            connected[TOKEN_HEADER] = self.settings.token
        start = {
            "user_id": self.settings.account, "call_control_id": info.call_id, "call_session_id": info.call_id,
            "from": info.caller, "to": info.called, "tags": [], "custom_parameters": parameters(info),
            "media_format": {
                "encoding": self.option("encoding").removesuffix("LE"),
                "sample_rate": self.settings.sample_rate_hz, "channels": 1,
            },
        }  # fmt: skip
        return json.dumps(connected), self._message("start", f'"start":{json.dumps(start)}')

    def end(self) -> Messages:
        """The stream ends."""
        user = quoted(self.settings.account)
        return (self._message("stop", f'"stop":{{"user_id":{user},"call_control_id":{self._call}}}'),)

    def frame(self, position: int, pcm: NDArray[np.int16]) -> Messages:
        """One frame of the caller."""
        self._chunk += 1
        at_ms = self._timeline.move(position)
        media = f'"track":"inbound","chunk":"{self._chunk}","timestamp":"{at_ms}","payload":"{self.payload(pcm)}"'
        return (self._message("media", f'"media":{{{media}}}'),)

    def key(self, digit: str, duration_ms: int) -> Messages:
        """The caller pressed a key."""
        return (self._message("dtmf", f'"dtmf":{{"digit":{quoted(digit)}}}'),)

    def mark(self, name: str, position: int, outcome: str) -> Messages:
        """A mark comes back when it is played; not at the call's end, nor when too many wait: nobody has heard it."""
        if self._ringing is not None or outcome != "played":
            return ()
        return (self._message("mark", f'"mark":{{"name":{quoted(name)}}}'),)

    def cleared(self, name: str, played_ms: int, discarded_ms: int, marks: Sequence[str]) -> Messages:
        """A clear has no answer of its own; the marks that it cut come back."""
        return [message for mark in marks for message in self.mark(mark, 0, "played")]

    def error(self, code: str, text: str) -> Messages:
        """A command was not carried out."""
        payload = json.dumps({"code": code, "title": code, "detail": text})
        return (f'{{"event":"error","stream_id":{self._stream},"payload":{payload}}}',)

    def said(self, kind: str, fields: Fields) -> list[LinkEvent] | None:
        """media, mark, clear."""
        match kind:
            case "media":
                return self.spoken(fields.within("media").octets("payload"), self.encoding)
            case "mark":
                return [Mark(self.channel, fields.within("mark").text("name"))]
            case "clear":
                self.cut()
                return [Clear(self.channel, kind)]
        return None

    def _message(self, event: str, body: str) -> str:
        self._sequence += 1
        return f'{{"event":"{event}","sequence_number":"{self._sequence}","stream_id":{self._stream},{body}}}'
