# SPDX-License-Identifier: MIT
"""A dialect over WebSocket, the gateway's side: we are the client (RFC 6455), one call on one connection.

    IDLE --connected()--> OPENING --101--> UP --stop()--> CLOSING --its close--> OVER
                                           UP --its close, silence, violation--> OVER

The connection is the consent: `Accepted` comes as soon as the call has been started.  Who
closes, and how, says how a call ends:

- We close with 1000 after the dialect's own last words, and read on until the agent has
  closed too (`lingers`): a socket that is closed with bytes unread cuts off what it said last.
- An agent that closes with 1000, or without a code, hangs up (`websocket_errors.HANG_UP_CODES`).
  Any other end, 1001 (going away) among them, loses the agent.

`websockets` does the handshake, control frames, fragments and faults; it is fed a line or a frame
at a time, because it parses all that it is given. Whole messages do not pass through it
(`websocket_frames`).
"""

from __future__ import annotations

import collections
import enum
from collections.abc import Mapping, Sequence

from websockets.frames import Close, Frame, Opcode

from trunkline.agent_bridge import websocket_errors
from trunkline.agent_bridge.dialect import LinkSettings, StartInfo
from trunkline.agent_bridge.keepalive import DEAD_AFTER_PING_NS, PING_AFTER_NS, Due, KeepAlive
from trunkline.agent_bridge.link_events import Accepted, Hangup, LinkEvent, LinkFailed, LinkUp
from trunkline.agent_bridge.message_dialect import MessageDialect
from trunkline.agent_bridge.reassembly import Buffer, ProtocolViolation
from trunkline.agent_bridge.websocket_frames import OTHER, FrameCutter, MessageJoiner
from trunkline.agent_bridge.websocket_opening import MAX_MESSAGE_BYTES, Opening
from trunkline.agent_bridge.websocket_speech import WebSocketSpeech

_PONG = bytes([0x80 | Opcode.PONG])


class _State(enum.Enum):
    IDLE = enum.auto()
    OPENING = enum.auto()
    UP = enum.auto()
    CLOSING = enum.auto()
    OVER = enum.auto()


class WebSocketLink(WebSocketSpeech):
    """One connection to an agent that speaks a `MessageDialect`; see `dialect.Link` for the methods."""

    max_calls = 1

    def __init__(self, dialect: MessageDialect, settings: LinkSettings) -> None:
        super().__init__(dialect)
        self.supports_marks = dialect.supports_marks
        self.supports_flow_control = dialect.supports_flow_control
        self.most_messages, self.unread, self.unheeded = 0, False, 0
        self.pongs = 0
        self._opening = Opening(dialect, settings)
        self._socket = self._opening.protocol
        self._state = _State.IDLE
        self._cutter = FrameCutter(MAX_MESSAGE_BYTES)
        self._joiner = MessageJoiner()
        self._keepalive: KeepAlive | None = None
        hang_ms = settings.hang_timeout_ms
        self._hang_ns = PING_AFTER_NS + DEAD_AFTER_PING_NS if hang_ms is None else hang_ms * 1_000_000
        self._due_ns = 0

    @property
    def ignored(self) -> collections.Counter[str]:
        """Messages without effect, by reason."""
        return self._dialect.ignored

    @property
    def lingers(self) -> bool:
        """We have closed, and the agent has not yet: the socket must be read until then, or for a while."""
        return self._state is _State.CLOSING

    # --- time and bytes ----------------------------------------------------------------------

    @property
    def next_deadline_ns(self) -> int | None:
        """The handshake's, the keep-alive's, or at once when a call has been started."""
        if self._state is _State.OPENING:
            return self._opening.deadline_ns
        if self._state is not _State.UP or self._keepalive is None:
            return None
        return self._due_ns if self._due else self._keepalive.deadline_ns

    def connected(self, now_ns: int) -> None:
        """Send the handshake."""
        self._state = _State.OPENING
        self._opening.begin(now_ns)
        self._collect()

    def receive(self, data: Buffer, now_ns: int) -> Sequence[LinkEvent]:
        """Take bytes; those that are not read at once are copied."""
        if self._state is _State.OVER:
            return []
        if not len(data):
            return self._ended()
        if self._state is _State.OPENING:
            return self._shake_hands(bytes(data), now_ns)
        self._cutter.add(data)
        return self.resume(now_ns)

    def resume(self, now_ns: int) -> Sequence[LinkEvent]:
        """Go on where `most_messages`, or a handshake that is done, has made the last call stop."""
        events, self._due = self._due, []
        if self._keepalive:
            self._keepalive.heard(now_ns)
        self.unread = False
        try:
            self._take_frames(events)
        except ProtocolViolation as violation:
            self._fail(events, "agent_protocol", str(violation), 1008)
        except UnicodeDecodeError as problem:
            self._fail(events, *websocket_errors.broken_rules(problem, MAX_MESSAGE_BYTES), 1007)
        return events

    def handle_timeout(self, now_ns: int) -> Sequence[LinkEvent]:
        """Accepted, as soon as it is due; a handshake that takes too long; pings."""
        events, self._due = list(self._due), []
        if self._state is _State.OPENING and now_ns >= self._opening.deadline_ns:
            self._fail(events, "agent_timeout", self._opening.too_late())
        if self._state is _State.UP and self._keepalive is not None:
            match self._keepalive.check(now_ns):
                case Due.PING:
                    self._socket.send_ping(b"")
                    self._collect()
                case Due.DEAD:
                    detail = f"nothing was heard for {self._hang_ns / 1e9:g} s, in spite of a ping"
                    self._fail(events, "agent_hung", detail, 1008)
        return events

    @property
    def has_data(self) -> bool:
        """Whether anything waits."""
        return bool(self._out)

    def data_to_send(self) -> list[bytes | memoryview]:
        """Everything that waits, as buffers for sendmsg; after LinkFailed, a close frame for the agent."""
        out, self._out = self._out, []
        return out

    def ping(self) -> None:
        """Ask whether the agent reads; `pongs` counts its answers."""
        if self._state is _State.UP:
            self._socket.send_ping(b"")
            self._collect()

    # --- what the gateway says ---------------------------------------------------------------

    def start(self, channel: int, info: StartInfo, now_ns: int) -> None:
        """Tell the agent of the call; it comes after LinkUp, and the answer is due at once."""
        if self._state is not _State.UP:
            return
        self._channel = self._dialect.channel = channel
        self._say(self._dialect.start(info))
        self._due.append(Accepted(channel, self._dialect.answers()))
        self._due_ns = now_ns

    def stop(self, channel: int, reason: str, stats: Mapping[str, float]) -> None:
        """The dialect's last words, and a close frame."""
        if channel == self._channel:
            self._say(self._dialect.stop(reason, stats))
        self._channel = None
        self._due.clear()
        if self._state is _State.UP:
            self._socket.send_close(1000, _short(reason))
            self._collect()
            self._state = _State.CLOSING
        elif self._state is not _State.CLOSING:
            self._state = _State.OVER

    # --- what the agent says -----------------------------------------------------------------

    def _shake_hands(self, data: bytes, now_ns: int) -> list[LinkEvent]:
        """What stands behind the 101 is for the call to hear, which starts when our owner has seen LinkUp."""
        events: list[LinkEvent] = []
        frames = self._opening.take(data)
        if frames is not None:
            self._state = _State.UP
            self._keepalive = KeepAlive(now_ns, self._hang_ns // 2, self._hang_ns - self._hang_ns // 2)
            events.append(LinkUp(f"{self._dialect.name} agent"))
            self._cutter.add(frames)
            self.unread = len(frames) > 0
        elif (failure := self._opening.failure) is not None:
            self._fail(events, *failure)
        return events

    def _take_frames(self, events: list[LinkEvent]) -> None:
        count = 0
        while (cut := self._cutter.next()) is not None:
            kind, content = cut
            if kind == OTHER:
                self._take_other(content, events)
            else:
                self._take_message(content, events)
            if self._state is _State.OVER:
                return
            count += 1
            if count == self.most_messages:
                self.unread = self._cutter.left > 0
                break

    def _take_message(self, message: str | bytes, events: list[LinkEvent]) -> None:
        if self._channel is not None:
            said = self._dialect.received(message)
            events.extend(said)
            self.unheeded += not said and isinstance(message, str)
            if replies := self._dialect.replies():
                self._say(replies)
        elif self._state is _State.UP:
            self.ignored["no_call"] += 1

    def _take_other(self, frame: str | bytes, events: list[LinkEvent]) -> None:
        """A ping, a piece of a message, the end, or something that is wrong."""
        assert isinstance(frame, bytes)
        self._socket.receive_data(frame)
        for item in self._socket.events_received():
            assert isinstance(item, Frame)
            if item.opcode is Opcode.CLOSE:
                self._closed_by_agent(events)
            elif item.opcode is Opcode.PING or item.opcode is Opcode.PONG:
                self.unheeded += 1
                self.pongs += item.opcode is Opcode.PONG
            else:
                message = self._joiner.take(item)
                if message is not None:
                    self._take_message(message, events)
        self._collect()
        if self._state is not _State.OVER and (fault := self._socket.parser_exc) is not None:
            self._fail(events, *websocket_errors.broken_rules(fault, MAX_MESSAGE_BYTES))

    def _closed_by_agent(self, events: list[LinkEvent]) -> None:
        close = self._socket.close_rcvd
        if close is not None and close.code in websocket_errors.HANG_UP_CODES and self._channel is not None:
            events.append(Hangup(self._channel, websocket_errors.printable(close.reason), parting=True))
            self._over()
        elif self._state is _State.CLOSING:
            self._over()
        else:
            self._lost(events, close)

    # --- the end -----------------------------------------------------------------------------

    def _ended(self) -> list[LinkEvent]:
        """The socket says that nothing more will come."""
        events: list[LinkEvent] = list(self._due)
        if self._state is _State.OPENING:
            self._socket.receive_eof()
            if (failure := self._opening.failure) is not None:
                self._fail(events, *failure)
        if self._state is _State.CLOSING:
            self._over()
        elif self._state is not _State.OVER:
            self._lost(events, None)
        return events

    def _lost(self, events: list[LinkEvent], close: Close | None) -> None:
        where = "" if self._state is _State.UP else " before it had answered the WebSocket handshake"
        self._fail(events, *websocket_errors.closed(close, where))

    def _fail(self, events: list[LinkEvent], reason: str, detail: str, code: int = 0) -> None:
        """`code` is what the agent is told before the owner closes; 0 when that is said, or nobody is there."""
        if code and self._state is _State.UP and self._socket.close_expected() is False:
            self._socket.fail(code, _short(detail))
        self._collect()
        self._over()
        events.append(LinkFailed(reason, detail))

    def _over(self) -> None:
        self._state, self._channel = _State.OVER, None
        self._due.clear()

    def _collect(self) -> None:
        """What `websockets` wants to be written; a pong takes the place of one that is still here (section 5.5.3)."""
        for data in self._socket.data_to_send():
            if data[:1] == _PONG and self._out and bytes(self._out[-1][:1]) == _PONG:
                self._out[-1] = data
            elif data:
                self._out.append(data)


def _short(text: str) -> str:
    """For a close frame, which has room for 123 bytes (section 5.5.1)."""
    return text.encode("utf-8", "replace")[:120].decode("utf-8", "ignore")
