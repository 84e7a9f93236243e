# SPDX-License-Identifier: MIT
"""Plivo's audio streaming (plivo.com/docs/voice/audio-streaming), bidirectional.

    P -> A  {"event":"start","sequenceNumber":1,"start":{"callId","streamId","accountId","tracks":["inbound"],
             "mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000}},"extra_headers":"key=value;..."}
            {"event":"media","sequenceNumber":2,"streamId",
             "media":{"track":"inbound","timestamp":"20","chunk":1,"payload":"<base64>"},"extra_headers":"..."}
            {"event":"dtmf","sequenceNumber":3,"streamId","dtmf":{"track":"inbound","digit":"1","timestamp":"40"}}
            {"event":"playedStream","sequenceNumber":4,"streamId","name"}
            {"event":"clearedAudio","sequenceNumber":5,"streamId"}
    A -> P  {"event":"playAudio","media":{"contentType":"audio/x-l16","sampleRate":16000,"payload":"<base64>"}}
            {"event":"checkpoint","streamId","name"}    {"event":"clearAudio","streamId"}
            {"event":"sendDTMF","dtmf":"12#"}

`playedStream` says that all before a checkpoint has been played, and is not sent for one that a clear has cut.
What the agent plays may be in another form and rate than what it hears, each piece as it likes.  L16 is
little-endian.  There is no last message: the connection closes.  `options.encoding` is what the agent hears.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import LinkSettings, StartInfo
from trunkline.agent_bridge.encodings import L16, ULAW, Encoding
from trunkline.agent_bridge.json_fields import Fields, quoted
from trunkline.agent_bridge.link_events import Clear, Dtmf, LinkEvent, Mark
from trunkline.agent_bridge.message_dialect import Messages, Options
from trunkline.agent_bridge.reassembly import ProtocolViolation
from trunkline.agent_bridge.spoken_dialect import (
    JsonDialect,
    Timeline,
    keys,
    named_rate,
    parameters,
    stream_id,
)

ENCODINGS = {"audio/x-mulaw": ULAW, "audio/x-l16": L16}


class Plivo(JsonDialect):
    """One call in Plivo's messages."""

    name = "plivo"
    supports_marks = True
    sample_rates_hz = (8000, 16000)
    options: ClassVar[Options] = {"encoding": tuple(ENCODINGS)}

    def __init__(self, settings: LinkSettings) -> None:
        chosen = settings.options.get("encoding", "audio/x-mulaw")
        super().__init__(settings, ENCODINGS.get(chosen, ULAW))
        if self.encoding is ULAW and settings.sample_rate_hz != 8000:
            raise ValueError(
                f"audio/x-mulaw is of 8000 Hz, not {settings.sample_rate_hz}: choose the encoding audio/x-l16"
            )
        self._sequence = self._chunk = 0
        self._timeline = Timeline(settings.sample_rate_hz)
        self._stream = self._extra = ""
        self._form: tuple[Any, tuple[Encoding, int]] | None = None
        "what the last piece said of its form, and what that means"

    def begin(self, info: StartInfo) -> Messages:
        """Ids, the form of the audio, and the user's own texts."""
        self._stream = quoted(stream_id(info))
        texts = [f"{_escaped(name)}={_escaped(value)}" for name, value in parameters(info).items()]
        self._extra = quoted(";".join(texts))
        self._sequence = 1
        start = {
            "callId": info.call_id, "streamId": stream_id(info), "accountId": self.settings.account,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": self.option("encoding"), "sampleRate": self.settings.sample_rate_hz},
        }  # fmt: skip
        return (
            f'{{"event":"start","sequenceNumber":1,"start":{json.dumps(start)},"extra_headers":{self._extra}}}',
        )

    def frame(self, position: int, pcm: NDArray[np.int16]) -> Messages:
        """One frame of the caller."""
        self._chunk += 1
        at_ms = self._timeline.move(position)
        media = f'"track":"inbound","timestamp":"{at_ms}","chunk":{self._chunk},"payload":"{self.payload(pcm)}"'
        return (self._message("media", f'"media":{{{media}}},"extra_headers":{self._extra}'),)

    def key(self, digit: str, duration_ms: int) -> Messages:
        """The caller pressed a key."""
        key = f'"track":"inbound","digit":{quoted(digit)},"timestamp":"{self._timeline.now_ms}"'
        return (self._message("dtmf", f'"dtmf":{{{key}}},"extra_headers":{self._extra}'),)

    def mark(self, name: str, position: int, outcome: str) -> Messages:
        """A checkpoint is reached."""
        return (self._message("playedStream", f'"name":{quoted(name)}'),) if outcome == "played" else ()

    def cleared(self, name: str, played_ms: int, discarded_ms: int, marks: Sequence[str]) -> Messages:
        """Nothing waits to be played any more."""
        return (self._message("clearedAudio"),)

    def said(self, kind: str, fields: Fields) -> list[LinkEvent] | None:
        """playAudio, checkpoint, clearAudio, sendDTMF."""
        match kind:
            case "playAudio":
                return self._play(fields.within("media"))
            case "checkpoint":
                return [Mark(self.channel, fields.text("name"))]
            case "clearAudio":
                self.cut()
                return [Clear(self.channel, kind)]
            case "sendDTMF":
                return [Dtmf(self.channel, keys(fields, "dtmf"))]
        return None

    def _play(self, media: Fields) -> list[LinkEvent]:
        named = media.raw("contentType"), media.raw("sampleRate")
        if self._form is None or self._form[0] != named:  # an agent seldom changes its mind
            self._form = named, self._read_form(media)
        return self.spoken(media.octets("payload"), *self._form[1])

    def _read_form(self, media: Fields) -> tuple[Encoding, int]:
        """A piece without a form has that of what the agent hears; `audio/x-l16;rate=16000` names its rate as well."""
        form, _, rest = media.text("contentType", self.option("encoding")).lower().partition(";")
        encoding: Encoding | None = ENCODINGS.get(form.strip())
        if encoding is None:
            raise ProtocolViolation(
                f'"contentType" of "playAudio" is {form[:60]!r}: it is one of {", ".join(ENCODINGS)}'
            )
        rate_hz = named_rate(media, "sampleRate")
        name, _, value = rest.partition("=")
        if not rate_hz and name.strip() == "rate":
            rate_hz = named_rate(Fields({"rate": value.strip()}, "playAudio"), "rate")
        if encoding is ULAW and not rate_hz:
            rate_hz = 8000
        return encoding, rate_hz

    def _message(self, event: str, body: str = "") -> str:
        self._sequence += 1
        comma = "," if body else ""
        return f'{{"event":"{event}","sequenceNumber":{self._sequence},"streamId":{self._stream}{comma}{body}}}'


def _escaped(text: str) -> str:
    """Percent-encoded, what would end a name or a value."""
    return urllib.parse.quote(text, safe=" !#$&'()*+,/:?@[]")
