# SPDX-License-Identifier: MIT
"""AudioSocket, the agent's (server's) side, without I/O: the same methods as `AgentConnection`.

So a handler written for our dialect also runs behind a plain Asterisk.  What the wire
lacks is done here: audio is paced, because Asterisk plays what comes when it comes;
marks and clear work on the queue that pacing needs anyway.  DTMF towards the caller,
transfer, hold and the like cannot be said and are refused.

The sample rate shows only in the first audio frame, so the call is offered when that
comes; without one within half a second it is 8 kHz, the rate of Asterisk's application.
"""

from __future__ import annotations

import uuid
from collections import Counter, deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge import audiosocket
from trunkline.agent_bridge.agent_events import (
    AgentEvent,
    AudioArrived,
    CallOffered,
    CallStopped,
    ClearDone,
    CommandRefused,
    ConnectionFailed,
    DtmfPressed,
    MarkReported,
)
from trunkline.agent_bridge.dialect import StartInfo
from trunkline.agent_bridge.link_events import (
    Acknowledge,
    Answer,
    Clear,
    Command,
    Hangup,
    Mark,
    Progress,
    Ring,
    State,
    Variables,
)
from trunkline.agent_bridge.reassembly import Buffer

CHANNEL = 0
"The only call of a connection."
FRAME_MS = 20
LEAD_NS = 40_000_000
"How far audio is sent ahead of its time: two frames, so that a late timer is not heard."
RATE_TIMEOUT_NS = 500_000_000
HANDSHAKE_TIMEOUT_NS = 2_000_000_000


class PacedQueue:
    """Audio and marks that leave on a steady clock, in order."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._frame_samples = rate_hz * FRAME_MS // 1000
        self._items: deque[NDArray[np.int16] | str] = deque()
        self._sent_marks: deque[tuple[int, str]] = deque()
        "(time at which its last sample is heard, name)"
        self._idle_ns = 0
        "when the other side will have played all that was sent"
        self.sent_samples = 0
        self.deadline_ns: int | None = None

    def push(self, item: NDArray[np.int16] | str) -> None:
        """Append samples, or a mark by its name."""
        self._items.append(item)
        self.deadline_ns = 0

    def take_due(self, now_ns: int) -> tuple[list[NDArray[np.int16]], list[str]]:
        """What must be sent now, and the marks that have been reached."""
        frames: list[NDArray[np.int16]] = []
        self._idle_ns = max(self._idle_ns, now_ns)
        while self._items:
            item = self._items[0]
            if isinstance(item, str):
                self._sent_marks.append((self._idle_ns, item))
                self._items.popleft()
                continue
            if self._idle_ns - now_ns >= LEAD_NS:
                break
            frames.append(item[: self._frame_samples])
            self.sent_samples += len(frames[-1])
            self._idle_ns += len(frames[-1]) * 1_000_000_000 // self._rate_hz
            if len(item) > self._frame_samples:
                self._items[0] = item[self._frame_samples :]
            else:
                self._items.popleft()
        marks = []
        while self._sent_marks and self._sent_marks[0][0] <= now_ns:
            marks.append(self._sent_marks.popleft()[1])
        self._set_deadline()
        return frames, marks

    def _set_deadline(self) -> None:
        times = [self._sent_marks[0][0]] if self._sent_marks else []
        if self._items:
            times.append(self._idle_ns - LEAD_NS + 1)
        self.deadline_ns = min(times, default=None)

    def clear(self, now_ns: int) -> tuple[int, int, tuple[str, ...]]:
        """Drop what has not been sent; returns played ms, discarded ms and the marks cut."""
        waiting = [item for item in self._items if not isinstance(item, str)]
        marks = [name for _, name in self._sent_marks]
        marks += [item for item in self._items if isinstance(item, str)]
        self._items.clear()
        self._sent_marks.clear()
        self._set_deadline()
        discarded = sum(map(len, waiting)) * 1000 // self._rate_hz
        return self.sent_samples * 1000 // self._rate_hz, discarded, tuple(marks)


class AudioSocketConnection:
    """One AudioSocket client, which is one call; methods as in `AgentConnection`."""

    can_wait = False

    def __init__(self) -> None:
        self._reader = audiosocket.reassembler()
        self._out: list[bytes | memoryview] = []
        self._due: list[AgentEvent] = []
        "events that answer commands; handed out by the next handle_timeout()"
        self._deadline_ns: int | None = None
        self._call_id = ""
        self._kind = -1
        "type of the call's audio frames, once it is known"
        self._joiner = audiosocket.AudioJoiner()
        self._queue: PacedQueue | None = None
        self._position = 0
        self.closing = False
        self.ignored: Counter[str] = Counter()

    @property
    def next_deadline_ns(self) -> int | None:
        """When `handle_timeout` wants to be called."""
        if self._due:
            return 0
        if self.closing:
            return None
        return self._queue.deadline_ns if self._queue else self._deadline_ns

    def connected(self, now_ns: int) -> None:
        """The client speaks first, and has 2 s to do so."""
        self._deadline_ns = now_ns + HANDSHAKE_TIMEOUT_NS

    def receive(self, data: Buffer, now_ns: int) -> Sequence[AgentEvent]:
        """Take bytes; empty data means end of stream, which is how Asterisk hangs up."""
        events: list[AgentEvent] = []
        if self.closing:
            return events
        if not len(data):
            self._end(events, "hangup")
            events.append(ConnectionFailed("lost", "the client closed the connection"))
            return events
        for kind, payload in self._reader.messages(data):
            self._take(kind, payload, events, now_ns)
            if self.closing:
                break
        return events

    def handle_timeout(self, now_ns: int) -> Sequence[AgentEvent]:
        """Send what is due, report marks, offer a call that stays silent."""
        events, self._due = self._due, []
        if self.closing:
            return events
        if self._queue is not None:
            frames, marks = self._queue.take_due(now_ns)
            self._out += [audiosocket.frame(self._kind, pcm.astype("<i2").tobytes()) for pcm in frames]
            sent = self._queue.sent_samples
            events += [MarkReported(CHANNEL, name, sent, "played") for name in marks]
        elif self._deadline_ns is not None and now_ns >= self._deadline_ns:
            if self._call_id:
                self._offer(audiosocket.KIND_OF_RATE[8000], 8000 * FRAME_MS // 1000, events)
            else:
                self._fail(events, "timeout", "the client sent no UUID within 2 s")
        return events

    def data_to_send(self) -> list[bytes | memoryview]:
        """Everything that waits, in order."""
        out, self._out = self._out, []
        return out

    # --- what the agent says -----------------------------------------------------------------

    def accept(self, channel: int, answer: bool = True) -> None:
        """Nothing to say: the call is connected, and answered."""

    def reject(self, channel: int, code: int = 0, reason: str = "") -> None:
        """Hang up; this wire has no word for codes and reasons."""
        self._hang_up()

    def send_audio(self, channels: NDArray[np.uint32], pcm: NDArray[np.int16]) -> None:
        """Queue speech for the call."""
        if self._queue is not None and not self.closing:
            for row in pcm:
                self._queue.push(row)

    def say(self, command: Command) -> None:
        """What works on the queue is done here; what nobody needs an answer to is dropped; all else is refused."""
        match command:
            case Mark(_, name):
                if self._queue is not None:
                    self._queue.push(name)
            case Clear(_, name):
                if self._queue is not None:
                    self._due.append(ClearDone(CHANNEL, name, *self._queue.clear(0)))
            case Hangup():
                self._hang_up()
            case Acknowledge() | State() | Variables() | Ring() | Progress() | Answer():
                self.ignored[type(command).__name__] += 1
            case _:
                text = f"AudioSocket has no word for this ({type(command).__name__})"
                self._due.append(CommandRefused(CHANNEL, "unsupported", text))

    def _hang_up(self) -> None:
        """End the call, as the client will not answer with a stop."""
        if not self.closing:
            self._out.append(audiosocket.frame(audiosocket.HANGUP))
            self._end(self._due, "agent_hangup")

    # --- what the client says ----------------------------------------------------------------

    def _take(self, kind: int, payload: memoryview, events: list[AgentEvent], now_ns: int) -> None:
        if kind == audiosocket.UUID and not self._call_id and len(payload) == 16:
            self._call_id = str(uuid.UUID(bytes=bytes(payload)))
            self._deadline_ns = now_ns + RATE_TIMEOUT_NS
        elif not self._call_id:
            self._fail(events, "protocol", "the first frame is not a UUID of 16 bytes: not AudioSocket")
        elif kind in audiosocket.RATE_OF_KIND:
            self._take_audio(kind, payload, events)
        elif kind == audiosocket.DTMF and len(payload) == 1:
            digit = bytes(payload).decode("ascii", "replace")
            self._offer(audiosocket.KIND_OF_RATE[8000], 8000 * FRAME_MS // 1000, events)
            events.append(DtmfPressed(CHANNEL, digit, 0, ""))
        elif kind == audiosocket.HANGUP:
            self._end(events, "hangup")
        elif kind == audiosocket.ERROR:
            self._fail(events, "protocol", f"the client reported error {bytes(payload[:16]).hex()}")
        else:
            self.ignored["unknown_type"] += 1

    def _take_audio(self, kind: int, payload: memoryview, events: list[AgentEvent]) -> None:
        self._offer(kind, len(payload) // 2, events)
        if kind != self._kind:
            rates = [audiosocket.RATE_OF_KIND[k] for k in (self._kind, kind)]
            self._fail(events, "protocol", f"the audio changed from {rates[0]} to {rates[1]} Hz")
            return
        self._joiner.add(payload)
        samples = self._joiner.take()
        if samples is not None:
            one = np.zeros(1, np.uint32)
            position = np.array([self._position], np.uint64)
            events.append(AudioArrived(one, position, np.zeros(1, np.uint16), samples.reshape(1, -1)))
            self._position += len(samples)

    def _offer(self, kind: int, frame_samples: int, events: list[AgentEvent]) -> None:
        """Offer the call, once its rate is known."""
        if self._queue is not None:
            return
        rate_hz = audiosocket.RATE_OF_KIND[kind]
        self._kind = kind
        self._queue = PacedQueue(rate_hz)
        frame_ms = max(1, frame_samples * 1000 // rate_hz)
        info = StartInfo(self._call_id, "inbound", "", "", "", "", {}, {}, rate_hz, frame_ms)
        events.append(CallOffered(CHANNEL, info))

    def _end(self, events: list[AgentEvent], reason: str) -> None:
        if self._queue is not None and not self.closing:
            events.append(CallStopped(CHANNEL, reason, {}))
        self.closing = True

    def _fail(self, events: list[AgentEvent], reason: str, detail: str) -> None:
        if not self.closing:
            self._out.append(audiosocket.frame(audiosocket.HANGUP))
        self._end(events, "protocol_error")
        events.append(ConnectionFailed(reason, detail))
