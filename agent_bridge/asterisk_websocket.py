# SPDX-License-Identifier: MIT
"""Asterisk's chan_websocket, seen as Asterisk (channels/chan_websocket.c): media in binary messages, control in text.

    * -> app  MEDIA_START  DTMF_END  MEDIA_XOFF  MEDIA_XON  STATUS  MEDIA_BUFFERING_COMPLETED  MEDIA_MARK_PROCESSED
              QUEUE_DRAINED  ERROR
    app -> *  ANSWER  HANGUP  START_MEDIA_BUFFERING  STOP_MEDIA_BUFFERING [id]  FLUSH_MEDIA  PAUSE_MEDIA
              CONTINUE_MEDIA  MARK_MEDIA [id]  GET_STATUS  REPORT_QUEUE_DRAINED  SET_MEDIA_DIRECTION {direction}

Subprotocol `media`.  Options are those of Asterisk's dial string: `control` is its f(), "plain-text"
(`DTMF_END digit:5 channel_id:...`) or "json" ({"event":"DTMF_END","digit":"5","channel_id":...}); a command is
understood in either form.  `codec` is its c(): `slin` at the rate of the call (slin16 and so on), `ulaw` or `alaw`.
`answer` is `auto`, or `agent` for its n: an inbound call is then answered by ANSWER.

Where we differ from Asterisk, it hurts nobody: audio that does not fill a frame is kept, with START_MEDIA_BUFFERING
or without; queues are measured in milliseconds, and told in frames; text may be longer than 128 characters.  As
there, FLUSH_MEDIA takes marks with it that then are not told of, an unknown command is ignored, and one that cannot
be read is answered by ERROR.  The agent hangs up by HANGUP, or by closing the connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.asterisk_words import JSON_FORM, PLAIN_FORM, Value, event_text, read_command
from trunkline.agent_bridge.dialect import LinkSettings, StartInfo
from trunkline.agent_bridge.encodings import ALAW, L16, ULAW
from trunkline.agent_bridge.json_fields import Fields
from trunkline.agent_bridge.link_events import (
    Answer,
    AskStatus,
    Clear,
    Hangup,
    LinkEvent,
    Mark,
    Mute,
    Pause,
)
from trunkline.agent_bridge.message_dialect import Messages, Options
from trunkline.agent_bridge.own_marks import OwnMarks
from trunkline.agent_bridge.reassembly import ProtocolViolation
from trunkline.agent_bridge.spoken_dialect import SpokenDialect, parameters

ENCODINGS = {"slin": L16, "ulaw": ULAW, "alaw": ALAW}
XOFF_SHARE, XON_SHARE = 0.75, 0.25
"Of the queue: where agents are asked to pause, and may go on (gateway/media/playback.py)."
DRAINED = "QUEUE_DRAINED"


class AsteriskWebSocket(SpokenDialect):
    """One call as an application of chan_websocket has it."""

    name = "asterisk-websocket"
    subprotocols = ("media",)
    supports_marks = True
    supports_flow_control = True
    waits_for_answer = False
    options: ClassVar[Options] = {
        "codec": tuple(ENCODINGS),
        "control": (PLAIN_FORM, JSON_FORM),
        "answer": ("auto", "agent"),
    }

    def __init__(self, settings: LinkSettings) -> None:
        codec = settings.options.get("codec", "slin")
        super().__init__(settings, ENCODINGS.get(codec, L16))
        if self.encoding.sample_bytes == 1 and settings.sample_rate_hz != 8000:
            raise ValueError(f"{codec} is of 8000 Hz, not {settings.sample_rate_hz}: choose the codec slin")
        self._json = self.option("control") == JSON_FORM
        self._call_id = ""
        self._own: OwnMarks[tuple[str, str]] = OwnMarks("chan_websocket")
        "event and correlation id of reports that are due once all before them has been played"
        self._drained = ""
        "the one mark that waits, while the agent wants to know when nothing waits any more,"
        self._followed = False
        "whether something has been said behind it,"
        self._asks: list[LinkEvent] = []
        "and then another, when it is settled"
        self._buffering = self._paused = self._full = False
        self._hears = self._speaks = True
        self._replies: list[str | bytes] = []

    # --- what the gateway says ---------------------------------------------------------------

    def answers(self) -> bool:
        """Without the option `answer = "agent"`, the connection is the answer."""
        return self.option("answer") == "auto"

    def begin(self, info: StartInfo) -> Messages:
        """MEDIA_START; in JSON with variables of the channel."""
        self._call_id = info.call_id
        rate, form = self.settings.sample_rate_hz, self.option("codec")
        if form == "slin" and rate != 8000:
            form += str(rate // 1000)
        size = rate * self.settings.frame_ms // 1000 * self.encoding.sample_bytes
        fields: dict[str, Value] = {
            "connection_id": info.call_id, "channel": f"WebSocket/trunkline/{info.call_id}", "channel_id": info.call_id,
            "format": form, "optimal_frame_size": size, "ptime": self.settings.frame_ms,
        }  # fmt: skip
        if self._json:
            own = {"CALLERID(num)": info.caller, "EXTEN": info.called, "DIRECTION": info.direction}
            fields["channel_variables"] = {**own, **parameters(info)}
        return (event_text("MEDIA_START", fields, as_json=self._json),)

    def frame(self, position: int, pcm: NDArray[np.int16]) -> Messages:
        """One frame of the caller, unless the agent only speaks."""
        return (self.encoding.encode(pcm),) if self._hears else ()

    def key(self, digit: str, duration_ms: int) -> Messages:
        """The caller pressed a key."""
        return (self._event("DTMF_END", digit=digit),)

    def mark(self, name: str, position: int, outcome: str) -> Messages:
        """A mark is reached, or something else that was due."""
        event, correlation = self._own.settled(name) or ("MEDIA_MARK_PROCESSED", name)
        if event == DRAINED and (self._followed or outcome != "played"):
            self._asks.append(self._report(DRAINED, ""))
            return ()
        if event == DRAINED:
            return self._has_drained()
        return (self._correlated(event, correlation),) if outcome == "played" else ()

    def cleared(self, name: str, played_ms: int, discarded_ms: int, marks: Sequence[str]) -> Messages:
        """FLUSH_MEDIA has no answer, and its marks are not told of; but nothing waits any more."""
        drained = self._drained != "" and self._drained in marks
        for mark in marks:
            self._own.settled(mark)
        return self._has_drained() if drained else ()

    def _has_drained(self) -> Messages:
        self._drained = ""
        return (self._event(DRAINED),)

    def flow(self, ready: bool, queued_ms: int) -> Messages:
        """MEDIA_XON, MEDIA_XOFF: the only events that are bare words in the plain form."""
        self._full = not ready
        return (self._event("MEDIA_XON" if ready else "MEDIA_XOFF"),)

    def status(self, status: Mapping[str, float]) -> Messages:
        """STATUS, in frames."""
        frame_ms = self.settings.frame_ms
        most = int(status.get("max_queue_ms", 0)) // frame_ms
        fields: dict[str, Value] = {
            "channel_id": self._call_id, "queue_length": int(status.get("queued_ms", 0)) // frame_ms,
            "xon_level": int(most * XON_SHARE), "xoff_level": int(most * XOFF_SHARE), "queue_full": self._full,
            "bulk_media": self._buffering, "media_paused": self._paused,
        }  # fmt: skip
        return (event_text("STATUS", fields, as_json=self._json),)

    def error(self, code: str, text: str) -> Messages:
        """A command was not carried out."""
        return (event_text("ERROR", {"channel_id": self._call_id, "error_text": text}, as_json=self._json),)

    def replies(self) -> Messages:
        """Errors."""
        replies, self._replies = self._replies, []
        return replies

    def asks(self) -> list[LinkEvent]:
        """A mark behind what was said since the last one."""
        asks, self._asks = self._asks, []
        return asks

    def _event(self, event: str, **fields: Value) -> str:
        """In the plain form the channel's id comes last, and not at all in an event without fields."""
        if self._json or fields:
            fields["channel_id"] = self._call_id
        return event_text(event, fields, as_json=self._json)

    def _correlated(self, event: str, correlation: str) -> str:
        if self._json:
            return self._event(event, correlation_id=correlation)
        return f"{event} {correlation}" if correlation else event

    # --- what the agent says -----------------------------------------------------------------

    def received(self, message: str | bytes) -> list[LinkEvent]:
        """Media, or a command."""
        if isinstance(message, bytes):
            return self._media(message)
        try:
            return self._command(*read_command(message))
        except ProtocolViolation as violation:
            return self._refused(str(violation))

    def _media(self, data: bytes) -> list[LinkEvent]:
        if not self._speaks:
            self.ignored["media_direction"] += 1
            return []
        self._followed = True
        return self.spoken(data, self.encoding)

    def _command(self, command: str, fields: Fields) -> list[LinkEvent]:
        match command:
            case "ANSWER":
                return [Answer(self.channel)]
            case "HANGUP":
                return [Hangup(self.channel)]
            case "START_MEDIA_BUFFERING":
                self._buffering = True
            case "STOP_MEDIA_BUFFERING":
                self._buffering = False
                return [self._report("MEDIA_BUFFERING_COMPLETED", fields.text("correlation_id", ""))]
            case "FLUSH_MEDIA":
                self._buffering = False
                self.cut()
                return [Clear(self.channel, command)]
            case "PAUSE_MEDIA" | "CONTINUE_MEDIA":
                self._paused = command == "PAUSE_MEDIA"
                return [Pause(self.channel, self._paused)]
            case "MARK_MEDIA":
                name = fields.text("correlation_id", "")
                return [Mark(self.channel, name) if name else self._report("MEDIA_MARK_PROCESSED", "")]
            case "GET_STATUS":
                return [AskStatus(self.channel)]
            case "REPORT_QUEUE_DRAINED":
                return [] if self._drained else [self._report(DRAINED, "")]
            case "SET_MEDIA_DIRECTION":
                return self._direct(fields)
            case _:
                self.ignored["unknown"] += 1
        return []

    def _report(self, event: str, correlation: str) -> Mark:
        """A mark of our own behind all that has been said."""
        name = self._own.name((event, correlation))
        if event == DRAINED:
            self._drained, self._followed = name, False
        return Mark(self.channel, name)

    def _direct(self, fields: Fields) -> list[LinkEvent]:
        """The direction is the agent's: `in` hears only, `out` speaks only."""
        direction = fields.text("direction", "")
        if direction not in ("both", "in", "out"):
            return self._refused(f"SET_MEDIA_DIRECTION in JSON needs a direction both, in or out, not {direction!r}")
        self._hears, self._speaks = direction != "out", direction != "in"
        return [Mute(self.channel, uplink=not self._hears, downlink=not self._speaks)]

    def _refused(self, text: str) -> list[LinkEvent]:
        self.ignored["refused"] += 1
        self._replies.extend(self.error("command", text))
        return []


