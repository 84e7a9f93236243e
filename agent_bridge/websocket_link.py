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

`websockets` does the handshake, the control frames and the parsing; it is fed a little at a
time, because it parses all that it is given, and an agent may send many small frames.
"""

from __future__ import annotations

import base64
import collections
import enum
import logging
from collections.abc import Iterator, Mapping, Sequence

from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from trunkline.agent_bridge import websocket_errors
from trunkline.agent_bridge.dialect import LinkSettings, StartInfo
from trunkline.agent_bridge.keepalive import Due, KeepAlive
from trunkline.agent_bridge.link_events import Accepted, Hangup, LinkEvent, LinkFailed, LinkUp
from trunkline.agent_bridge.message_dialect import MessageDialect
from trunkline.agent_bridge.native_messages import silence
from trunkline.agent_bridge.reassembly import Buffer, ProtocolViolation
from trunkline.agent_bridge.websocket_frames import MessageJoiner
from trunkline.agent_bridge.websocket_speech import WebSocketSpeech

HANDSHAKE_TIMEOUT_NS = 2_000_000_000
MAX_MESSAGE_BYTES = 1 << 20
"""Longest message from an agent. A minute and a half of mu-law in base64, half a minute of 16 kHz in binary; to read
so much JSON takes 10 ms, in which nobody is sent anything."""
FEED_BYTES = 1024
"Parsed at once: 512 frames at most, a millisecond."
_PONG = bytes([0x80 | Opcode.PONG])
_SILENT = logging.getLogger("trunkline.agent_bridge.websocket")
_SILENT.disabled = True
"The library's own log would have credentials in it, at its debug level; what it has to say we hear otherwise."


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
        self.most_messages, self.unread = 0, False
        self._settings = settings
        offered = [Subprotocol(name) for name in dialect.subprotocols]
        self._socket = ClientProtocol(
            parse_uri(settings.url), subprotocols=offered or None, max_size=MAX_MESSAGE_BYTES, logger=_SILENT
        )
        self._state = _State.IDLE
        self._unfed: Buffer = b""
        self._frames: collections.deque[Response | Frame] = collections.deque()
        "parsed, and not dealt with yet"
        self._joiner = MessageJoiner()
        self._keepalive: KeepAlive | None = None
        self._handshake_deadline_ns = 0
        self._due: list[LinkEvent] = []
        "Accepted, which time alone brings"
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
            return self._handshake_deadline_ns
        if self._state is not _State.UP or self._keepalive is None:
            return None
        return self._due_ns if self._due else self._keepalive.deadline_ns

    def connected(self, now_ns: int) -> None:
        """Send the handshake; the agent has 2 s to answer, or what the settings say."""
        self._state = _State.OPENING
        timeout_ms = self._settings.timeout_ms
        limit_ns = HANDSHAKE_TIMEOUT_NS if timeout_ms is None else timeout_ms * 1_000_000
        self._handshake_deadline_ns = now_ns + limit_ns
        request = self._socket.connect()
        request.headers["User-Agent"] = self._settings.gateway_name
        for name, value in request_headers(self._dialect, self._settings).items():
            request.headers[name] = value
        self._socket.send_request(request)
        self._collect()

    def receive(self, data: Buffer, now_ns: int) -> Sequence[LinkEvent]:
        """Take bytes, which must stay as they are while `unread`."""
        if self._state is _State.OVER:
            return []
        if not len(data):
            return self._ended()
        self._unfed = memoryview(data)
        return self.resume(now_ns)

    def resume(self, now_ns: int) -> Sequence[LinkEvent]:
        """Go on where `most_messages`, or a handshake that is done, has made the last call stop."""
        events, self._due = list(self._due), []
        if self._keepalive:
            self._keepalive.heard(now_ns)
        self.unread = False
        try:
            for number_taken, item in enumerate(self._parsed(), 1):
                opened = self._take(item, events, now_ns)
                if self._state is _State.OVER:
                    break
                if opened or number_taken == self.most_messages:
                    self.unread = bool(self._frames or len(self._unfed))
                    break
            else:
                self._look_for_faults(events)
        except ProtocolViolation as violation:
            self._fail(events, "agent_protocol", str(violation), 1008)
        except UnicodeDecodeError as problem:
            self._fail(events, *websocket_errors.broken_rules(problem, MAX_MESSAGE_BYTES), 1007)
        self._collect()
        return events

    def handle_timeout(self, now_ns: int) -> Sequence[LinkEvent]:
        """Accepted, as soon as it is due; a handshake that takes too long; pings."""
        events, self._due = list(self._due), []
        if self._state is _State.OPENING and now_ns >= self._handshake_deadline_ns:
            timeout_ms = self._settings.timeout_ms
            limit_ns = HANDSHAKE_TIMEOUT_NS if timeout_ms is None else timeout_ms * 1_000_000
            said = silence("the agent did not answer the WebSocket handshake", limit_ns)
            self._fail(events, "agent_timeout", said)
        if self._state is _State.UP and self._keepalive is not None:
            match self._keepalive.check(now_ns):
                case Due.PING:
                    self._socket.send_ping(b"")
                    self._collect()
                case Due.DEAD:
                    detail = "nothing was heard for 10 s, in spite of a ping"
                    self._fail(events, "agent_timeout", detail, 1008)
        return events

    def data_to_send(self) -> list[bytes | memoryview]:
        """Everything that waits, as buffers for sendmsg; after LinkFailed, a close frame for the agent."""
        out, self._out = self._out, []
        return out

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
            self._socket.send_close(1000, reason[:100])
            self._collect()
            self._state = _State.CLOSING
        elif self._state is not _State.CLOSING:
            self._state = _State.OVER

    # --- what the agent says -----------------------------------------------------------------

    def _parsed(self) -> Iterator[Response | Frame]:
        """Frames one by one, parsed as they are asked for."""
        while True:
            while self._frames:
                yield self._frames.popleft()
            if not len(self._unfed):
                return
            piece, self._unfed = self._unfed[:FEED_BYTES], self._unfed[FEED_BYTES:]
            self._socket.receive_data(bytes(piece))
            self._frames.extend(e for e in self._socket.events_received() if isinstance(e, Response | Frame))

    def _take(self, item: Response | Frame, events: list[LinkEvent], now_ns: int) -> bool:
        """One frame, or the answer to the handshake; says whether this is the moment for a call to start."""
        if isinstance(item, Response):
            return self._opened(events, now_ns)
        if item.opcode is Opcode.CLOSE:
            self._closed_by_agent(events)
        elif item.opcode is not Opcode.PING and item.opcode is not Opcode.PONG:
            message = self._joiner.take(item)
            if message is not None and self._channel is not None:
                events.extend(self._dialect.received(message))
                self._say(self._dialect.replies())
            elif message is not None and self._state is _State.UP:
                self.ignored["no_call"] += 1
        return False

    def _opened(self, events: list[LinkEvent], now_ns: int) -> bool:
        if self._socket.handshake_exc is not None:
            return False  # _look_for_faults tells
        self._state = _State.UP
        self._keepalive = KeepAlive(now_ns)
        events.append(LinkUp(f"{self._dialect.name} agent"))
        return True

    def _closed_by_agent(self, events: list[LinkEvent]) -> None:
        close = self._socket.close_rcvd
        if close is not None and close.code in websocket_errors.HANG_UP_CODES and self._channel is not None:
            events.append(Hangup(self._channel, websocket_errors.printable(close.reason)))
            self._over()
        elif self._state is _State.CLOSING:
            self._over()
        else:
            self._lost(events, close)

    def _look_for_faults(self, events: list[LinkEvent]) -> None:
        """After all frames before it have been dealt with: what the parser did not like."""
        fault = self._socket.handshake_exc
        if self._state is _State.OPENING and fault is not None:
            path, offered = self._socket.uri.path, self._dialect.subprotocols
            self._fail(events, *websocket_errors.handshake_failure(fault, path, offered))
        elif self._state in (_State.UP, _State.CLOSING) and (fault := self._socket.parser_exc) is not None:
            self._fail(events, *websocket_errors.broken_rules(fault, MAX_MESSAGE_BYTES))

    # --- the end -----------------------------------------------------------------------------

    def _ended(self) -> list[LinkEvent]:
        """The socket says that nothing more will come."""
        events: list[LinkEvent] = list(self._due)
        if self._state is _State.OPENING:
            self._socket.receive_eof()
            self._frames.extend(e for e in self._socket.events_received() if isinstance(e, Response))
            self._look_for_faults(events)
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
            self._socket.fail(code, detail.encode()[:100].decode("utf-8", "ignore"))
        self._collect()
        self._over()
        events.append(LinkFailed(reason, detail))

    def _over(self) -> None:
        self._state, self._channel = _State.OVER, None
        self._due.clear()
        self._frames.clear()
        self._unfed = b""

    def _collect(self) -> None:
        """What `websockets` wants to be written; of many pongs the last (RFC 6455, section 5.5.3)."""
        writes = [data for data in self._socket.data_to_send() if data]
        pongs = [data for data in writes if data[:1] == _PONG]
        self._out.extend(data for data in writes if data[:1] != _PONG or data is pongs[-1])


def request_headers(dialect: MessageDialect, settings: LinkSettings) -> dict[str, str]:
    """Headers of the handshake: credentials, the dialect's own, and those of the configuration, which win."""
    found: dict[str, tuple[str, str]] = {}
    if settings.username:
        pair = f"{settings.username}:{settings.password or ''}".encode()
        found["authorization"] = "Authorization", f"Basic {base64.b64encode(pair).decode('ascii')}"
    elif settings.token and dialect.token_is_bearer:
        found["authorization"] = "Authorization", f"Bearer {settings.token}"
    for headers in (dialect.request_headers(), settings.headers):
        found.update({name.lower(): (name, value) for name, value in headers.items()})
    return dict(found.values())
