# SPDX-License-Identifier: MIT
"""Asterisk's AudioSocket, the gateway's side: one call on one connection, and we are the client.

    0         1                   3
    +---------+-------------------+--------------
    | kind u8 | length u16, BE    | payload          0x00 hang-up        0x01 UUID, 16 bytes, first
    +---------+-------------------+--------------    0x03 DTMF, 1 ASCII  0x10.. PCM s16le  0xff error

The protocol has no handshake, so the connection is the consent: `LinkUp` and
`Accepted` come from `handle_timeout()`, due at once.  It has no pacing, marks or clear.

Where Asterisk's own behaviour leaves a choice (res_audiosocket.c, app_audiosocket.c):

- Asterisk drops a call whose server sends anything but hang-up and audio.  We ignore
  and count what we do not know, because that hurts nobody.
- The server ends a call with 0x00.  A bare close, which ends the call in Asterisk too,
  is reported as `agent_lost`: a crashed server looks the same, and a log that calls a
  crash a hang-up helps nobody.
- We send 0x00 when the caller hangs up, and the owner then closes; Asterisk merely closes.
- Audio in another rate than the call's would play too fast or too slow, so it ends the
  call with a sentence that names both rates.
"""

from __future__ import annotations

import struct
import sys
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import StartInfo, Unsaid
from trunkline.agent_bridge.link_events import Accepted, Audio, Hangup, LinkEvent, LinkFailed, LinkUp
from trunkline.agent_bridge.reassembly import Buffer, ProtocolViolation, Reassembler

HANGUP, UUID, DTMF, ERROR = 0x00, 0x01, 0x03, 0xFF
RATE_OF_KIND = {
    0x10: 8000,
    0x11: 12000,
    0x12: 16000,
    0x13: 24000,
    0x14: 32000,
    0x15: 44100,
    0x16: 48000,
    0x17: 96000,
    0x18: 192000,
}
KIND_OF_RATE = {rate: kind for kind, rate in RATE_OF_KIND.items() if rate in (8000, 16000, 24000, 48000)}
"The rates that calls can have here; servers written for Asterisk's application expect 8000."
MAX_PAYLOAD_BYTES = 0xFFFF

_HEADER = struct.Struct(">BH")
_PCM = np.dtype("<i2")
_AS_IT_IS = sys.byteorder == "little"


def reassembler() -> Reassembler:
    """Cuts a stream into (kind, payload). Any bytes are some frame, so it never fails."""
    return Reassembler(_HEADER.size, _HEADER.unpack)


def frame(kind: int, payload: Buffer = b"") -> bytes:
    """One frame as bytes."""
    return _HEADER.pack(kind, len(payload)) + bytes(payload)


class AudioJoiner:
    """Turns audio payloads of any size into whole samples; a cut sample waits for its other half."""

    def __init__(self) -> None:
        self._parts: list[Buffer] = []
        self._carry = b""

    def add(self, payload: Buffer) -> None:
        """Append one payload."""
        self._parts.append(payload)

    @property
    def empty(self) -> bool:
        """No sample waits for its other half."""
        return not self._carry

    def take(self) -> NDArray[np.int16] | None:
        """All whole samples so far, int16[samples]; None if there is none."""
        data = b"".join([self._carry, *self._parts])
        self._parts.clear()
        even = len(data) & ~1
        self._carry = data[even:]
        return np.frombuffer(data, _PCM, even // 2) if even else None


class AudioSocketLink(Unsaid):
    """One call to an AudioSocket server; see `dialect.Link` for the methods."""

    max_calls = 1
    supports_marks = False
    supports_flow_control = False

    def __init__(self, sample_rate_hz: int = 8000) -> None:
        if sample_rate_hz not in KIND_OF_RATE:
            raise ValueError(f"AudioSocket at {sample_rate_hz} Hz: it is one of {sorted(KIND_OF_RATE)}")
        self._rate_hz = sample_rate_hz
        self._kind = KIND_OF_RATE[sample_rate_hz]
        self._reader = reassembler()
        self._joiner = AudioJoiner()
        self._out: list[bytes | memoryview] = []
        self._due: list[LinkEvent] = []
        "events that time alone brings: LinkUp, Accepted"
        self._channel: int | None = None
        self._channels: NDArray[np.uint32] = np.zeros(0, np.uint32)
        "... as events have it"
        self._between = False
        "the call is up, nothing is due, and what comes next is the beginning of a frame"
        self._over = False
        self.next_deadline_ns: int | None = None
        self.most_messages = 0
        self.unread = False
        self.ignored: Counter[str] = Counter()
        "frames without effect, by reason: unknown_type, no_call"

    # --- time and bytes ----------------------------------------------------------------------

    def connected(self, now_ns: int) -> None:
        """Nothing is said yet: the first frame is the call's UUID."""
        self._between = False
        self._due.append(LinkUp("AudioSocket server"))
        self.next_deadline_ns = now_ns

    def receive(self, data: Buffer, now_ns: int) -> Sequence[LinkEvent]:
        """Take bytes; consecutive audio frames become one Audio event."""
        if self._between and len(data) > _HEADER.size:  # nearly always: one frame of audio, neither less nor more
            kind, size = _HEADER.unpack_from(data)
            if kind == self._kind and len(data) == _HEADER.size + size and not size & 1:
                pcm = np.frombuffer(bytes(data[_HEADER.size :]), _PCM)
                return [Audio(self._channels, pcm.reshape(1, -1))]
        events = list(self.handle_timeout(now_ns))
        if self._over:
            return events
        if not len(data):
            self._fail(
                events, "agent_lost", "the server closed the connection without a hang-up frame (0x00)"
            )
            return events
        try:
            for kind, payload in self._reader.messages(data):
                self._take(kind, payload, events)
                if self._over:
                    return events
        except ProtocolViolation as violation:
            self._flush_audio(events)
            self._fail(events, "agent_protocol", str(violation))
        self._flush_audio(events)
        whole = not self._reader.pending_bytes and self._joiner.empty
        self._between = whole and self._channel is not None and not self._over
        return events

    def resume(self, now_ns: int) -> Sequence[LinkEvent]:
        """Nothing is ever left: there are no commands here, and consecutive audio frames cost as little as one."""
        return []

    def handle_timeout(self, now_ns: int) -> Sequence[LinkEvent]:
        """LinkUp and Accepted, as soon as they are due."""
        due, self._due = self._due, []
        self.next_deadline_ns = None
        return due

    @property
    def has_data(self) -> bool:
        """Whether anything waits."""
        return bool(self._out)

    def data_to_send(self) -> list[bytes | memoryview]:
        """Everything that waits, as buffers for sendmsg."""
        out, self._out = self._out, []
        return out

    # --- what the gateway says ---------------------------------------------------------------

    def start(self, channel: int, info: StartInfo, now_ns: int) -> None:
        """The UUID frame; raises ValueError when the call's rate is not the link's."""
        if self._over:
            return
        if info.sample_rate_hz != self._rate_hz:
            raise ValueError(f"a call at {info.sample_rate_hz} Hz on an AudioSocket of {self._rate_hz} Hz")
        self._channel, self._channels, self._between = channel, np.array([channel], np.uint32), False
        self._out.append(frame(UUID, uuid.UUID(info.call_id).bytes))
        self._due.append(Accepted(channel))
        self.next_deadline_ns = now_ns

    def stop(self, channel: int, reason: str, stats: Mapping[str, float]) -> None:
        """The hang-up frame. The owner closes the connection once it is written."""
        if not self._over and channel == self._channel:
            self._out.append(frame(HANGUP))
            self._end()

    def send_audio(
        self,
        channels: NDArray[np.uint32],
        positions: NDArray[np.int64],
        flags: NDArray[np.uint16],
        pcm: NDArray[np.int16],
    ) -> None:
        """One frame of audio for the one call; positions and flags have no place on this wire."""
        for row in pcm:
            self.send_frame(0, 0, 0, row)

    def send_frame(self, channel: int, position: int, flags: int, pcm: NDArray[np.int16]) -> None:
        """The same for a single frame."""
        if self._over or self._channel is None:
            return
        data = pcm.tobytes() if _AS_IT_IS else pcm.astype(_PCM).tobytes()
        most = MAX_PAYLOAD_BYTES & ~1
        for start in range(0, len(data), most) if len(data) > most else (0,):
            part = data[start : start + most]
            self._out.append(_HEADER.pack(self._kind, len(part)) + part)

    def send_dtmf(self, channel: int, digit: str, duration_ms: int, method: str) -> None:
        """The caller pressed a key: one ASCII byte."""
        if not self._over and channel == self._channel:
            self._out.append(frame(DTMF, digit.encode("ascii", "replace")))

    # --- what the server says ----------------------------------------------------------------

    def _take(self, kind: int, payload: memoryview, events: list[LinkEvent]) -> None:
        if kind == self._kind and self._channel is not None:
            self._joiner.add(payload)
            return
        if kind == HANGUP:
            self._flush_audio(events)
            if self._channel is not None:
                events.append(Hangup(self._channel, parting=True))
            self._end()
        elif kind == ERROR:
            self._flush_audio(events)
            said = bytes(payload[:16]).hex() or "no code"
            self._fail(events, "agent_protocol", f"the server reported an AudioSocket error ({said})")
        elif kind in RATE_OF_KIND and kind != self._kind:
            self._flush_audio(events)
            self._fail(
                events,
                "agent_protocol",
                f"the server sends audio at {RATE_OF_KIND[kind]} Hz (type {kind:#04x}), but this agent is "
                f"configured for {self._rate_hz} Hz (type {self._kind:#04x})",
            )
        else:
            self.ignored["unknown_type" if kind != self._kind else "no_call"] += 1
            self.unheeded += 1

    def _flush_audio(self, events: list[LinkEvent]) -> None:
        samples = self._joiner.take()
        if samples is not None and self._channel is not None:
            events.append(Audio(self._channels, samples.reshape(1, -1)))

    def _end(self) -> None:
        self._over, self._between = True, False
        self._due.clear()
        self.next_deadline_ns = None

    def _fail(self, events: list[LinkEvent], reason: str, detail: str) -> None:
        self._end()
        events.append(LinkFailed(reason, detail))
