# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent's end of a WebSocketLink in memory: `websockets` as server, and a dialect that only repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from trunkline.agent_bridge.dialect import LinkSettings, StartInfo
from trunkline.agent_bridge.link_events import Audio, LinkEvent, Mark
from trunkline.agent_bridge.message_dialect import MessageDialect
from trunkline.agent_bridge.reassembly import ProtocolViolation
from trunkline.agent_bridge.websocket_link import WebSocketLink


class Plain(MessageDialect):
    """Text is the name of a mark, binary is audio; `bad` is not allowed, `ask` is answered."""

    name = "plain"
    supports_marks = True
    subprotocols: Sequence[str] = ()

    def start(self, info: StartInfo) -> list[str | bytes]:
        return [f"start {info.call_id}"]

    def stop(self, reason: str, stats: Mapping[str, float]) -> list[str | bytes]:
        return [f"stop {reason}"]

    def audio(self, position: int, flags: int, pcm: Any) -> list[str | bytes]:
        return [pcm.astype("<i2").tobytes()]

    def mark(self, name: str, position: int, outcome: str) -> list[str | bytes]:
        return [f"{name} {outcome}"]

    def received(self, message: str | bytes) -> list[LinkEvent]:
        self.asked = message == "ask"
        if message == "bad":
            raise ProtocolViolation("bad is not allowed here")
        if isinstance(message, str):
            return [Mark(self.channel, message)]
        return [Audio(np.array([self.channel], np.uint32), np.frombuffer(message, "<i2").reshape(1, -1))]

    def replies(self) -> list[str | bytes]:
        return ["answer"] if self.asked else []


class WithProtocol(Plain):
    """The same, by a subprotocol."""

    subprotocols = ("first", "second")


class Peer:
    """A link and its agent, with a clock."""

    def __init__(
        self, dialect: type[MessageDialect] = Plain, subprotocols: Sequence[str] | None = None, **settings: Any
    ) -> None:
        given = LinkSettings(**{"url": "ws://agent.example:8080/path?a=b", **settings})
        self.link = WebSocketLink(dialect(given), given)
        self.server = ServerProtocol(subprotocols=subprotocols)  # type: ignore[arg-type]
        self.now_ns = 1_000_000_000
        self.link.connected(self.now_ns)
        self.request: Request | None = None

    def heard(self) -> list[Request | Frame]:
        """What the link has said since the last look."""
        for piece in self.link.data_to_send():
            self.server.receive_data(bytes(piece))
        return self.server.events_received()

    def texts(self) -> list[str | bytes]:
        """Messages of the link since the last look."""
        frames = [frame for frame in self.heard() if isinstance(frame, Frame)]
        return [
            bytes(f.data).decode() if f.opcode is Opcode.TEXT else bytes(f.data)
            for f in frames
            if f.opcode in (Opcode.TEXT, Opcode.BINARY)
        ]

    def deliver(self) -> list[LinkEvent]:
        """Everything that the server has written reaches the link."""
        return self.feed(b"".join(self.server.data_to_send()))

    def feed(self, data: bytes) -> list[LinkEvent]:
        """Bytes reach the link; it goes on until it has read them all."""
        events = list(self.link.receive(data, self.now_ns)) if data else []
        while self.link.unread:
            events += self.link.resume(self.now_ns)
        return events

    def greet(self) -> list[LinkEvent]:
        """The handshake."""
        (self.request,) = self.heard()  # type: ignore[assignment]
        self.server.send_response(self.server.accept(self.request))  # type: ignore[arg-type]
        return self.deliver()

    def up(self, info: StartInfo, channel: int = 7) -> Peer:
        """The handshake, and a call."""
        self.greet()
        self.link.start(channel, info, self.now_ns)
        self.link.handle_timeout(self.now_ns)
        self.heard()
        return self
