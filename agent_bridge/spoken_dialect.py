# SPDX-License-Identifier: MIT
"""What the dialects of other platforms have in common: audio in chunks, JSON, and what a call is told of itself."""

from __future__ import annotations

import binascii
import uuid
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import LinkSettings, StartInfo
from trunkline.agent_bridge.encodings import RATES_HZ, Chunks, Encoding
from trunkline.agent_bridge.json_fields import Fields, parse_object, shown
from trunkline.agent_bridge.link_events import Audio, LinkEvent
from trunkline.agent_bridge.message_dialect import MessageDialect, Messages
from trunkline.agent_bridge.reassembly import ProtocolViolation

DTMF_KEYS = frozenset("0123456789*#ABCDabcd")


class SpokenDialect(MessageDialect):
    """Base: `encoding` is how the audio of both sides is written, at the rate of the call.

    The platforms stream calls that are up.  So of one that still rings the agent hears with the answer.
    """

    waits_for_answer = True

    def __init__(self, settings: LinkSettings, encoding: Encoding) -> None:
        super().__init__(settings)
        self.encoding = encoding
        self._chunks = Chunks()
        self._channels: NDArray[np.uint32] = np.zeros(1, np.uint32)
        self._ringing: StartInfo | None = None
        "of a call that is not up yet"

    def start(self, info: StartInfo) -> Messages:
        """The stream begins, now or with the answer."""
        if info.answered or not self.waits_for_answer:
            return self.begin(info)
        self._ringing = info
        return ()

    def call_state(self, state: str) -> Messages:
        """Answered: the stream begins."""
        info = self._ringing
        if info is None or state != "answered":
            return ()
        self._ringing = None
        return self.begin(info)

    def audio(self, position: int, flags: int, pcm: NDArray[np.int16]) -> Messages:
        """One frame of the caller."""
        return self.frame(position, pcm) if self._ringing is None else ()

    def dtmf(self, digit: str, duration_ms: int, method: str) -> Messages:
        """The caller pressed a key."""
        return self.key(digit, duration_ms) if self._ringing is None else ()

    def stop(self, reason: str, stats: Mapping[str, float]) -> Messages:
        """The stream ends, if it has begun."""
        return self.end() if self._ringing is None else ()

    # --- what the dialects say in their own words ------------------------------------------------

    def begin(self, info: StartInfo) -> Messages:
        """First words."""
        return ()

    def frame(self, position: int, pcm: NDArray[np.int16]) -> Messages:
        """The caller's audio, int16[samples], from this position on."""
        return ()

    def key(self, digit: str, duration_ms: int) -> Messages:
        """A key of the caller's."""
        return ()

    def end(self) -> Messages:
        """Last words; the connection is closed after them."""
        return ()

    # --- what agents say -------------------------------------------------------------------------

    def spoken(self, data: bytes, encoding: Encoding, rate_hz: int = 0) -> list[LinkEvent]:
        """A chunk of the agent's speech as events: none when it holds less than a sample."""
        if rate_hz == self.settings.sample_rate_hz:
            rate_hz = 0
        pcm = self._chunks.take(data, encoding, rate_hz)
        if not len(pcm):
            return []
        if self._channels[0] != self.channel:
            self._channels = np.array([self.channel], np.uint32)
        return [Audio(self._channels, pcm.reshape(1, -1), rate_hz)]

    def cut(self) -> None:
        """The agent's speech is thrown away: what comes next begins a new sample."""
        self._chunks.forget()


class JsonDialect(SpokenDialect):
    """Messages are JSON objects, of a kind that one field names; binary ones are speech, or nothing."""

    kind_field = "event"
    binary_is_speech = False
    "in `encoding`"
    strange = "binary"
    "why a message is ignored that is no text, where that is none"

    def received(self, message: str | bytes) -> list[LinkEvent]:
        """What the agent says; raises ProtocolViolation."""
        if not isinstance(message, str):
            if self.binary_is_speech:
                return self.spoken(message, self.encoding)
            self.ignored[self.strange] += 1
            return []
        fields = parse_object(message)
        kind = fields.get(self.kind_field)
        if not isinstance(kind, str):
            raise ProtocolViolation(f'the agent sends a message without "{self.kind_field}": {shown(message)}')
        events = self.said(kind, Fields(fields, kind))
        if events is None:
            self.ignored["unknown"] += 1
            return []
        return events

    def said(self, kind: str, fields: Fields) -> list[LinkEvent] | None:
        """One message as events; None for a kind that there is not."""
        raise NotImplementedError

    def payload(self, pcm: NDArray[np.int16]) -> str:
        """A frame in base64: no JSON string has anything to escape in it."""
        return binascii.b2a_base64(self.encoding.encode(pcm), newline=False).decode("ascii")


class Timeline:
    """Milliseconds of the caller's audio since the stream began."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._first: int | None = None
        self.now_ms = 0
        "where the last frame began"

    def move(self, position: int) -> int:
        """A frame at this sample position begins so many ms after the first."""
        if self._first is None:
            self._first = position
        self.now_ms = (position - self._first) * 1000 // self._rate_hz
        return self.now_ms


def parameters(info: StartInfo) -> dict[str, str]:
    """What the agent is told beside what the dialect has fields for; of one name, the last wins."""
    facts = {"trunk": info.trunk, "route": info.route}
    if info.resumed or info.attempt > 1:
        facts |= {"resumed": "true", "attempt": str(info.attempt)}
    return {**facts, **info.headers, **info.variables, **info.metadata}


def stream_id(info: StartInfo) -> str:
    """A UUID of one connection for a call: another agent, or the same after a break, has another stream."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{info.call_id} {info.attempt} {info.position}"))


def keys(fields: Fields, name: str, longest: int = 256) -> str:
    """Digits that the agent wants sent."""
    digits = fields.text(name, longest=longest)
    if not digits or not DTMF_KEYS.issuperset(digits):
        raise ProtocolViolation(f'"{name}" of "{fields.where}" are not keys of a telephone: {shown(digits)}')
    return digits.upper()


def named_rate(fields: Fields, name: str) -> int:
    """A rate that the agent may name for a piece of its speech; 0 when it does not."""
    rate_hz = fields.number(name, 0, 1_000_000, default=0)
    if rate_hz and rate_hz not in RATES_HZ:
        raise ProtocolViolation(
            f'"{name}" of "{fields.where}" is {rate_hz}: it is one of {", ".join(map(str, RATES_HZ))}'
        )
    return rate_hz
