# SPDX-License-Identifier: MIT
"""jambonz `listen`/`stream`, that is mod_audio_fork: L16 in binary messages, JSON beside; Basic authentication.

    J -> A  {"callSid","callId","from","to","direction","sampleRate":16000,"mixType":"mono", ...}    first
            binary, L16 little-endian
            {"event":"dtmf","dtmf":"2","duration":"1600"}
            {"type":"mark","data":{"name","event":"playout"|"cleared"}}     {"type":"playDone","data":{"id"}}
    A -> J  binary                                                          the call's rate
            {"type":"playAudio","data":{"audioContent":"<base64>","audioContentType":"raw"|"wav","sampleRate":16000,
             "id","queuePlay":false}}                                       a clip, at a rate of its own
            {"type":"killAudio"}   {"type":"mark","data":{"name"}}   {"type":"clearMarks"}   {"type":"disconnect"}

A clip takes the place of what is being played, unless `queuePlay` says that it waits; one with an id is told of by
`playDone` when it is over, however it ended.  jambonz takes either clips or binary audio, as its verb says; we take
both, and marks with either.  `clearMarks` forgets marks, not audio; it reports them as cleared, as its documents say.

Its clients differ: one sends a mark's name beside "type" and reads digits by "type"; both forms are taken and sent.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import LinkSettings, StartInfo
from trunkline.agent_bridge.encodings import L16, RATES_HZ
from trunkline.agent_bridge.json_fields import Fields, quoted
from trunkline.agent_bridge.link_events import Clear, Hangup, LinkEvent, Mark
from trunkline.agent_bridge.message_dialect import Messages
from trunkline.agent_bridge.own_marks import OwnMarks
from trunkline.agent_bridge.reassembly import ProtocolViolation
from trunkline.agent_bridge.spoken_dialect import JsonDialect, named_rate, parameters
from trunkline.agent_bridge.wav import parse_wav


class Jambonz(JsonDialect):
    """One call of a `listen` verb."""

    name = "jambonz"
    kind_field = "type"
    binary_is_speech = True
    subprotocols = ("audio.jambonz.org", "audio.drachtio.org")
    supports_marks = True

    def __init__(self, settings: LinkSettings) -> None:
        super().__init__(settings, L16)
        self._clips: OwnMarks[str] = OwnMarks("playAudio")
        "ids of clips whose end is to be told"
        self._waiting: Counter[str] = Counter()
        "marks of the agent that are not settled,"
        self._forgotten: Counter[str] = Counter()
        "and those of which it has been told already"
        self._replies: list[str] = []

    def begin(self, info: StartInfo) -> Messages:
        """The call's data, with the user's own texts among them, as jambonz does, and once more as `metadata`."""
        own = parameters(info)
        call = {
            "type": "setup", "callSid": info.call_id, "callId": info.headers.get("Call-ID", info.call_id),
            "from": info.caller, "to": info.called, "direction": info.direction,
            "accountSid": self.settings.account, "sampleRate": self.settings.sample_rate_hz, "mixType": "mono",
            "metadata": own,
        }  # fmt: skip
        return (json.dumps({**own, **call}),)

    def frame(self, position: int, pcm: NDArray[np.int16]) -> Messages:
        """One frame of the caller."""
        return (L16.encode(pcm),)

    def key(self, digit: str, duration_ms: int) -> Messages:
        """The caller pressed a key; its length is in timestamps of 8 kHz, as RFC 4733 has it."""
        key = quoted(digit)
        return (f'{{"event":"dtmf","type":"dtmf","dtmf":{key},"digit":{key},"duration":"{duration_ms * 8}"}}',)

    def mark(self, name: str, position: int, outcome: str) -> Messages:
        """A mark's fate, or the end of a clip."""
        clip = self._clips.settled(name)
        if clip is not None:
            return (f'{{"type":"playDone","data":{{"id":{quoted(clip)}}}}}',)
        if _take(self._forgotten, name):
            return ()
        _take(self._waiting, name)
        return (_mark(name, "playout" if outcome == "played" else "cleared"),)

    def cleared(self, name: str, played_ms: int, discarded_ms: int, marks: Sequence[str]) -> Messages:
        """What a killAudio, or a clip in the place of others, has cut."""
        return [message for mark in marks for message in self.mark(mark, 0, "cleared")]

    def replies(self) -> Messages:
        """Marks that `clearMarks` has just made forgotten."""
        replies, self._replies = self._replies, []
        return replies

    def said(self, kind: str, fields: Fields) -> list[LinkEvent] | None:
        """playAudio, killAudio, mark, clearMarks, disconnect."""
        match kind:
            case "playAudio":
                return self._play(fields.within("data"))
            case "killAudio":
                self.cut()
                return [Clear(self.channel, kind)]
            case "mark":
                name = fields.within("data", optional=True).text("name")
                self._waiting[name] += 1
                return [Mark(self.channel, name)]
            case "clearMarks":
                self._replies += [_mark(name, "cleared") for name in self._waiting.elements()]
                self._forgotten += self._waiting
                self._waiting.clear()
                return []
            case "disconnect":
                return [Hangup(self.channel)]
        return None

    def _play(self, clip: Fields) -> list[LinkEvent]:
        content, form = clip.octets("audioContent"), clip.text("audioContentType", "raw").lower()
        rate_hz = named_rate(clip, "sampleRate") or self.settings.sample_rate_hz
        if form in ("wav", "wave"):
            rate_hz, pcm = parse_wav(content)
            if rate_hz not in RATES_HZ:
                raise ProtocolViolation(
                    f"the agent's WAV is at {rate_hz} Hz: it is one of {', '.join(map(str, RATES_HZ))}"
                )
            content = L16.encode(pcm)
        elif form != "raw":
            raise ProtocolViolation(f'"audioContentType" of "playAudio" is {form[:60]!r}: it is one of raw, wav')
        events: list[LinkEvent] = [] if clip.flag("queuePlay") else [Clear(self.channel, "playAudio")]
        self.cut()  # a clip is whole
        events += self.spoken(content, L16, rate_hz)
        self.cut()
        if clip.has("id"):
            events.append(Mark(self.channel, self._clips.name(clip.text("id"))))
        return events


def _mark(name: str, event: str) -> str:
    return f'{{"type":"mark","data":{{"name":{quoted(name)},"event":"{event}"}}}}'


def _take(names: Counter[str], name: str) -> bool:
    """One of this name less; whether there was one."""
    if not names[name]:
        del names[name]
        return False
    names[name] -= 1
    if not names[name]:
        del names[name]
    return True
