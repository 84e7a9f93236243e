# SPDX-License-Identifier: MIT
"""Our own dialect, the agent's side, without I/O: the mirror of `native.py` (PROTOCOL.md).

    bytes from the gateway -> receive() -> events     accept() send_audio() ... -> data_to_send()

The SDK and the test double use it.  A program that wants every call's audio as one
array, or has a loop of its own, can use it directly.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge import fields, wire
from trunkline.agent_bridge.agent_commands import command_fields
from trunkline.agent_bridge.agent_events import AgentEvent, AudioArrived, ConnectionFailed, Greeted
from trunkline.agent_bridge.agent_messages import EVENTS
from trunkline.agent_bridge.keepalive import Due, KeepAlive
from trunkline.agent_bridge.link_events import Clear, Command, Hangup, Mark
from trunkline.agent_bridge.reassembly import Buffer, ProtocolViolation

HANDSHAKE_TIMEOUT_NS = 2_000_000_000


class AgentConnection:
    """One connection from a gateway. It never raises on what the gateway sends."""

    can_wait = True

    def __init__(self, agent_name: str = "agent", token: str | None = None) -> None:
        """With a `token`, a gateway that does not say the same in its hello is sent away."""
        self._agent_name = agent_name
        self._token = token
        self._reader = wire.reassembler()
        self._out: list[bytes | memoryview] = []
        self._deadline_ns: int | None = None
        self._keepalive: KeepAlive | None = None
        self.closing = False
        "the owner should write what is left and close"
        self.ignored: Counter[str] = Counter()
        "messages without effect, by reason: unknown_type"

    # --- time and bytes ----------------------------------------------------------------------

    @property
    def next_deadline_ns(self) -> int | None:
        """When `handle_timeout` wants to be called."""
        if self.closing:
            return None
        return self._keepalive.deadline_ns if self._keepalive else self._deadline_ns

    def connected(self, now_ns: int) -> None:
        """The gateway speaks first, and has 2 s to do so."""
        self._deadline_ns = now_ns + HANDSHAKE_TIMEOUT_NS

    def receive(self, data: Buffer, now_ns: int) -> Sequence[AgentEvent]:
        """Take bytes; empty data means end of stream. Audio is a view of `data`."""
        events: list[AgentEvent] = []
        if self.closing:
            return events
        if not len(data):
            self._fail(events, "lost", "the gateway closed the connection", tell=False)
            return events
        if self._keepalive:
            self._keepalive.heard(now_ns)
        try:
            for kind, payload in self._reader.messages(data):
                if kind == wire.AUDIO:
                    self._take_audio(payload, events)
                else:
                    self._take_control(wire.parse_control(payload), events, now_ns)
                if self.closing:
                    break
        except ProtocolViolation as violation:
            self._fail(events, "protocol", str(violation))
        return events

    def handle_timeout(self, now_ns: int) -> Sequence[AgentEvent]:
        """Ping, or give up a silent gateway."""
        events: list[AgentEvent] = []
        if self.closing:
            return events
        if self._keepalive is None:
            if self._deadline_ns is not None and now_ns >= self._deadline_ns:
                self._fail(events, "timeout", "the gateway said no hello within 2 s")
            return events
        match self._keepalive.check(now_ns):
            case Due.PING:
                self._say("ping")
            case Due.DEAD:
                self._fail(events, "timeout", "nothing was heard for 10 s, in spite of a ping")
        return events

    def data_to_send(self) -> list[bytes | memoryview]:
        """Everything that waits, in order."""
        out, self._out = self._out, []
        return out

    # --- what the agent says -----------------------------------------------------------------

    def accept(self, channel: int, answer: bool = True) -> None:
        """Take the call; audio follows. With `answer=False`, the caller hears it ring until `Answer` is said."""
        self._say("accept", channel=channel, **({} if answer else {"answer": False}))

    def reject(self, channel: int, code: int = 0, reason: str = "") -> None:
        """Do not take the call; `code` is the SIP code for the caller, 0 leaves it to the gateway."""
        self._say("reject", channel=channel, code=code, reason=reason)

    def send_audio(self, channels: NDArray[np.uint32], pcm: NDArray[np.int16]) -> None:
        """Speech for n calls, pcm[n, samples] at the calls' rate."""
        nothing = np.zeros(len(pcm), np.int64)
        self._out.extend(wire.audio_messages(channels, nothing, nothing.astype(np.uint16), pcm))

    def mark(self, channel: int, name: str) -> None:
        """Ask for a report once everything sent before has been played."""
        self.say(Mark(channel, name))

    def clear(self, channel: int, name: str = "") -> None:
        """Silence the call at once."""
        self.say(Clear(channel, name))

    def hangup(self, channel: int, reason: str = "", code: int = 0) -> None:
        """End the call."""
        self.say(Hangup(channel, reason, code))

    def say(self, command: Command) -> None:
        """Anything else about a call that was accepted."""
        kind, content = command_fields(command)
        self._say(kind, **content)

    def _say(self, kind: str, **content: Any) -> None:
        if not self.closing:
            self._out.append(wire.control_message(kind, **content))

    # --- what the gateway says ---------------------------------------------------------------

    def _take_audio(self, payload: memoryview, events: list[AgentEvent]) -> None:
        if self._keepalive is None:
            raise ProtocolViolation("audio before hello")
        records = wire.parse_audio(payload)
        events.append(AudioArrived(records["channel"], records["position"], records["flags"], records["pcm"]))

    def _take_control(self, message: fields.Message, events: list[AgentEvent], now_ns: int) -> None:
        kind = message["type"]
        if kind == "hello":
            self._greeted(message, events, now_ns)
        elif kind == "error" and "channel" not in message:
            reason = "version" if message.get("code") == "version" else "protocol"
            said = f"{fields.prose(message, 'code')}: {fields.prose(message, 'text')}"
            self._fail(events, reason, f"the gateway ended the connection, saying {said}", tell=False)
        elif self._keepalive is None:
            raise ProtocolViolation(f'"{kind[:40]}" before hello')
        elif kind == "ping":
            self._say("pong")
        elif kind in EVENTS:
            events.append(EVENTS[kind](message))
        elif kind != "pong":
            self.ignored["unknown_type"] += 1

    def _greeted(self, message: fields.Message, events: list[AgentEvent], now_ns: int) -> None:
        if self._keepalive is not None:
            raise ProtocolViolation("a second hello")
        offered = message.get("versions")
        if not isinstance(offered, list):
            raise ProtocolViolation('"versions" of "hello" is not a list')
        common = [version for version in wire.VERSIONS if version in offered]
        if not common:
            theirs, ours = str(offered)[:80], list(wire.VERSIONS)
            detail = f"the gateway speaks versions {theirs} of the protocol, this agent speaks {ours}"
            self._fail(events, "version", detail)
            return
        said = fields.text(message, "token", default="", longest=4096)
        if self._token is not None and not hmac.compare_digest(said.encode(), self._token.encode()):
            self._fail(events, "token", "the gateway's token is wrong or missing")
            return
        self._keepalive = KeepAlive(now_ns)
        self._say("hello", version=common[-1], agent=self._agent_name)
        events.append(Greeted(fields.prose(message, "gateway")))

    def _fail(self, events: list[AgentEvent], reason: str, detail: str, tell: bool = True) -> None:
        if tell:
            self._say("error", code=reason, text=detail)
        self.closing = True
        events.append(ConnectionFailed(reason, detail))
