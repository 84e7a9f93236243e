# SPDX-License-Identifier: MIT
"""Twilio Media Streams, bidirectional, as if we were Twilio: JSON, mu-law at 8 kHz in base64.

To the agent `connected`, `start`, then `media`, `dtmf` and `mark` until `stop`; from it `media`
of any size, `mark` and `clear`.  Numbers are strings, and all messages but `connected` are
counted by `sequenceNumber`.  Two facts that agents rely on:

- A mark comes back when what was sent before it has been played, at once if nothing waits.
- `clear` brings back all marks that were cut off, just as if they had been played: this
  dialect has no word for the difference.  What the end of the call cuts off does not come back.

The agent is told of the call by `customParameters`: SIP headers, variables of the call and
metadata of agent and route, the later ones winning, over facts that we have of every call.

Twilio streams calls that are up.  So of one that still rings the agent hears with the answer:
`start` comes then, and nothing before it but `connected`.

`X-Twilio-Signature` is sent when there is a token: HMAC-SHA1 over the URL, nothing else, as
the handshake has no form fields.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge import mulaw, twilio_ids
from trunkline.agent_bridge.dialect import LinkSettings, StartInfo
from trunkline.agent_bridge.json_fields import Fields, parse_object
from trunkline.agent_bridge.link_events import Audio, Clear, LinkEvent, Mark
from trunkline.agent_bridge.message_dialect import MessageDialect, Messages
from trunkline.agent_bridge.reassembly import ProtocolViolation

RATE_HZ = 8000


class TwilioDialect(MessageDialect):
    """One stream; see `MessageDialect` for the methods."""

    name = "twilio"
    supports_marks = True
    token_is_bearer = False
    sample_rates_hz = (RATE_HZ,)

    def __init__(self, settings: LinkSettings) -> None:
        super().__init__(settings)
        self._account = twilio_ids.account_sid(settings.account)
        self._call = ""
        self._stream = ""
        self._sequence = 0
        self._chunk = 0
        self._channels = np.zeros(1, np.uint32)
        self._origin = 0
        "position of the first frame: timestamps count from there"
        self._ringing: StartInfo | None = None
        "of a call that nobody has answered yet"

    def request_headers(self) -> Mapping[str, str]:
        """Proof of who we are, for an agent that checks it."""
        if not self.settings.token:
            return {}
        return {"X-Twilio-Signature": signature(self.settings.token, self.settings.url)}

    # --- to the agent ------------------------------------------------------------------------

    def start(self, info: StartInfo) -> Messages:
        """`connected`, and `start` when the call is up."""
        self._call = twilio_ids.call_sid(info.call_id)
        self._stream = twilio_ids.stream_sid(info.call_id, info.attempt, info.position)
        self._channels = np.array([self.channel], np.uint32)
        connected = json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        if not info.answered:
            self._ringing = info
            return (connected,)
        return connected, self._start(info)

    def call_state(self, state: str) -> Messages:
        """Answered: the stream starts."""
        info = self._ringing
        if info is None or state != "answered":
            return ()
        self._ringing = None
        return (self._start(info),)

    def _start(self, info: StartInfo) -> str:
        start = {
            "streamSid": self._stream,
            "accountSid": self._account,
            "callSid": self._call,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": RATE_HZ, "channels": 1},
            "customParameters": _parameters(info),
        }
        return self._event("start", start)

    def audio(self, position: int, flags: int, pcm: NDArray[np.int16]) -> Messages:
        """One `media`, written by hand: 50 a second for each call."""
        if self._ringing is not None:
            return ()
        if not self._chunk:
            self._origin = position
        self._sequence += 1
        self._chunk += 1
        payload = binascii.b2a_base64(mulaw.encode(pcm), newline=False).decode("ascii")
        message = (
            f'{{"event":"media","sequenceNumber":"{self._sequence}","media":{{"track":"inbound",'
            f'"chunk":"{self._chunk}","timestamp":"{(position - self._origin) * 1000 // RATE_HZ}",'
            f'"payload":"{payload}"}},"streamSid":"{self._stream}"}}'
        )
        return (message,)

    def dtmf(self, digit: str, duration_ms: int, method: str) -> Messages:
        """The caller pressed a key."""
        if self._ringing is not None:
            return ()
        return (self._event("dtmf", {"track": "inbound_track", "digit": digit}),)

    def mark(self, name: str, position: int, outcome: str) -> Messages:
        """The mark comes back when it is played; not at the call's end, nor when too many wait: nobody has heard it."""
        if self._ringing is not None or outcome != "played":
            return ()
        return (self._event("mark", {"name": name}),)

    def cleared(self, name: str, played_ms: int, discarded_ms: int, marks: Sequence[str]) -> Messages:
        """Every mark that a `clear` has cut off comes back."""
        if self._ringing is not None:
            return ()
        return [self._event("mark", {"name": cut}) for cut in marks]

    def stop(self, reason: str, stats: Mapping[str, float]) -> Messages:
        """The call is over."""
        if self._ringing is not None:
            return ()
        return (self._event("stop", {"accountSid": self._account, "callSid": self._call}),)

    def _event(self, event: str, content: Mapping[str, Any]) -> str:
        self._sequence += 1
        message = {"event": event, "sequenceNumber": str(self._sequence), event: content, "streamSid": self._stream}
        return json.dumps(message, separators=(",", ":"))

    # --- from the agent ----------------------------------------------------------------------

    def received(self, message: str | bytes) -> list[LinkEvent]:
        """One message. Of another stream than this one's, or of an unknown kind, it has no effect."""
        if not isinstance(message, str):
            raise ProtocolViolation("the agent sends a binary message; Media Streams are JSON in text messages")
        found = parse_object(message)
        media = found.get("media")
        if found.get("event") == "media" and type(media) is dict and found.get("streamSid", "") in ("", self._stream):
            return self._audio(Fields(media, "media").octets("payload"))  # the short way: 50 a second for each call
        return self._other(Fields(found, "message"))

    def _other(self, content: Fields) -> list[LinkEvent]:
        event = content.text("event")
        if content.text("streamSid", "") not in ("", self._stream):
            self.ignored["other_stream"] += 1
            return []
        match event:
            case "media":
                return self._audio(content.within("media").octets("payload"))
            case "mark":
                return [Mark(self.channel, content.within("mark").text("name"))]
            case "clear":
                return [Clear(self.channel)]
        self.ignored["unknown_event"] += 1
        return []

    def _audio(self, payload: bytes) -> list[LinkEvent]:
        if not payload:
            return []
        return [Audio(self._channels, mulaw.decode(payload).reshape(1, -1))]


def _parameters(info: StartInfo) -> dict[str, str]:
    facts = {
        "from": info.caller,
        "to": info.called,
        "direction": info.direction,
        "trunk": info.trunk,
        "route": info.route,
        "call_id": info.call_id,
    }
    if info.resumed or info.attempt > 1:
        facts |= {"resumed": "true", "attempt": str(info.attempt)}
    return {**facts, **info.headers, **info.variables, **info.metadata}


def signature(token: str, url: str) -> str:
    """`X-Twilio-Signature` of a request without form fields."""
    return base64.b64encode(hmac.new(token.encode(), url.encode(), hashlib.sha1).digest()).decode("ascii")
