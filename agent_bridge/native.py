# SPDX-License-Identifier: MIT
"""Our own dialect, the gateway's side: many calls on one connection (PROTOCOL.md).

    IDLE --connected()--> GREETING --agent's hello--> UP        any --violation, silence, end--> FAILED

A call is OFFERED from `start()` until the agent accepts it, and is forgotten when it
is rejected, too slow, or stopped.  What the agent says of a call that is not known
(any more) crosses with our `stop` on the wire, so it is ignored and counted.  Audio is
not checked like that: the owner looks its channels up anyway, all at once.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from trunkline.agent_bridge import fields, wire
from trunkline.agent_bridge.dialect import StartInfo
from trunkline.agent_bridge.keepalive import DEAD_AFTER_PING_NS, PING_AFTER_NS, Due, KeepAlive
from trunkline.agent_bridge.link_events import Accepted, Audio, Dtmf, LinkEvent, LinkFailed, LinkUp, Rejected
from trunkline.agent_bridge.native_commands import COMMANDS, DIGITS, parse_command
from trunkline.agent_bridge.native_messages import number, silence, start_fields
from trunkline.agent_bridge.native_speech import NativeSpeech
from trunkline.agent_bridge.reassembly import Buffer, ProtocolViolation

HANDSHAKE_TIMEOUT_NS = 2_000_000_000
ANSWER_TIMEOUT_NS = 3_000_000_000


class _State(enum.Enum):
    IDLE = enum.auto()
    GREETING = enum.auto()
    UP = enum.auto()
    FAILED = enum.auto()


class NativeLink(NativeSpeech):
    """One connection to an agent that speaks our dialect; see `dialect.Link` for the methods."""

    max_calls = fields.MAX_CHANNEL
    supports_marks = supports_flow_control = True

    def __init__(
        self,
        token: str | None = None,
        gateway_name: str = "trunkline",
        hello_timeout_ns: int = HANDSHAKE_TIMEOUT_NS,
        answer_timeout_ns: int = ANSWER_TIMEOUT_NS,
        hang_timeout_ns: int = PING_AFTER_NS + DEAD_AFTER_PING_NS,
    ) -> None:
        super().__init__()
        self._hang_timeout_ns = hang_timeout_ns
        self._hello_timeout_ns = hello_timeout_ns
        self._answer_timeout_ns = answer_timeout_ns
        self._token = token
        self._gateway_name = gateway_name
        self._state = _State.IDLE
        self._reader = wire.reassembler(wire.MAX_CONTROL_BYTES)
        self.most_messages, self.unread = 0, False
        self._messages: Iterator[tuple[int, memoryview]] = iter(())  # what is left of the last receive()
        self._handshake_deadline_ns = 0
        self._keepalive: KeepAlive | None = None
        self._waiting: dict[int, tuple[StartInfo, int]] = {}
        "calls to offer as soon as the handshake is done, and when they were asked for"
        self._offered: dict[int, int] = {}
        "channel -> deadline of its answer, the earliest first"
        self.ignored: Counter[str] = Counter()
        "messages without effect, by reason: unknown_type, unknown_channel, not_accepted, bad_digits"

    @property
    def _dead(self) -> bool:
        return self._state is _State.FAILED

    # --- time and bytes ----------------------------------------------------------------------

    @property
    def next_deadline_ns(self) -> int | None:
        """The earliest of handshake, answers and keep-alive."""
        if self._state is _State.GREETING:
            return self._handshake_deadline_ns
        if self._keepalive is None or self._state is not _State.UP:
            return None
        return min(self._keepalive.deadline_ns, next(iter(self._offered.values()), 1 << 63))

    def connected(self, now_ns: int) -> None:
        """Say hello; the agent has 2 s to answer."""
        self._state = _State.GREETING
        self._handshake_deadline_ns = now_ns + self._hello_timeout_ns
        secret = {} if self._token is None else {"token": self._token}
        self._say("hello", versions=list(wire.VERSIONS), gateway=self._gateway_name, **secret)

    def receive(self, data: Buffer, now_ns: int) -> Sequence[LinkEvent]:
        """Take bytes; audio is a view of them, so they must stay as they are until it is used."""
        if self._dead:
            return []
        if not len(data):
            return self._lost()
        self._messages = self._reader.messages(data)
        return self.resume(now_ns)

    @property
    def takes_records(self) -> bool:
        """Whether audio messages that are read now need not come to receive()."""
        return self._up and self._keepalive is not None and not self._reader.pending_bytes

    def hears_records(self, now_ns: int) -> bool:
        """The same, and something was read: the agent is alive."""
        if self._keepalive is None or not self.takes_records:
            return False
        self._keepalive.heard(now_ns)
        return True

    def resume(self, now_ns: int) -> Sequence[LinkEvent]:
        """Go on where `most_messages` has made the last call stop."""
        events: list[LinkEvent] = []
        self.unread = False
        if self._dead:
            return events
        if self._keepalive:
            self._keepalive.heard(now_ns)
        try:
            for number_taken, (kind, payload) in enumerate(self._messages, 1):
                if kind == wire.AUDIO:
                    self._take_audio(payload, events)
                else:
                    self._take_control(wire.parse_control(payload), events, now_ns)
                if self._dead:
                    break
                if number_taken == self.most_messages:
                    self.unread = True
                    break
        except ProtocolViolation as violation:
            self._fail(events, "agent_protocol", str(violation), "protocol")
        return events

    def handle_timeout(self, now_ns: int) -> Sequence[LinkEvent]:
        """Fail a silent agent, reject calls that it does not answer, ping."""
        events: list[LinkEvent] = []
        if self._state is _State.GREETING and now_ns >= self._handshake_deadline_ns:
            self._fail(events, "agent_timeout", silence("said no hello", self._hello_timeout_ns), "timeout")
        if self._state is not _State.UP or self._keepalive is None:
            return events
        for channel in [c for c, deadline_ns in self._offered.items() if deadline_ns <= now_ns]:
            self.stop(channel, "answer_timeout", {})
            reason = silence("did not answer", self._answer_timeout_ns)
            events.append(Rejected(channel, 0, f"agent {reason}", timeout=True))
        match self._keepalive.check(now_ns):
            case Due.PING:
                self._say("ping")
            case Due.DEAD:
                seconds = self._hang_timeout_ns / 1_000_000_000
                detail = f"nothing was heard for {seconds:g} s, in spite of a ping"
                self._fail(events, "agent_hung", detail, "timeout")
        return events

    # --- what the gateway says ---------------------------------------------------------------

    def start(self, channel: int, info: StartInfo, now_ns: int) -> None:
        """Offer a call; before the handshake is done, it waits for it."""
        if self._state is _State.FAILED:
            return
        if self._state is not _State.UP:
            self._waiting[channel] = info, now_ns
            return
        self._offered[channel] = now_ns + self._answer_timeout_ns
        self._say("start", **start_fields(channel, info))

    def stop(self, channel: int, reason: str, stats: Mapping[str, float]) -> None:
        """The call is over; nothing happens if it already was."""
        self._waiting.pop(channel, None)
        if self._offered.pop(channel, None) is None and channel not in self._calls:
            return
        self._calls.discard(channel)
        self._say("stop", channel=channel, reason=reason, stats={k: number(v) for k, v in stats.items()})

    # --- what the agent says -----------------------------------------------------------------

    def _take_audio(self, payload: memoryview, events: list[LinkEvent]) -> None:
        if self._state is not _State.UP:
            raise ProtocolViolation("audio before hello")
        records = wire.parse_audio(payload)
        events.append(Audio(records["channel"], records["pcm"]))

    def _take_control(self, message: fields.Message, events: list[LinkEvent], now_ns: int) -> None:
        match message["type"]:
            case "hello":
                self._greeted(message, events, now_ns)
            case "error" if "channel" not in message:
                reason = "agent_version" if message.get("code") == "version" else "agent_protocol"
                said = f"{fields.prose(message, 'code')}: {fields.prose(message, 'text')}"
                self._fail(events, reason, f"the agent ended the connection, saying {said}", None)
            case _ if self._state is not _State.UP:
                raise ProtocolViolation(f'"{message["type"][:40]}" before hello')
            case "ping":
                self._say("pong")
            case "pong" | "error":
                pass  # any byte proves life; an error about one call is for the agent's own log
            case "accept" | "reject":
                self._answered(message, events)
            case kind if kind in COMMANDS:
                self._take_command(message, events)
            case _:
                self.ignored["unknown_type"] += 1

    def _greeted(self, message: fields.Message, events: list[LinkEvent], now_ns: int) -> None:
        if self._state is not _State.GREETING:
            raise ProtocolViolation("a second hello")
        version = fields.integer(message, "version", 0, 1 << 31)
        if version not in wire.VERSIONS:
            spoken = " ".join(map(str, wire.VERSIONS))
            detail = f"the agent speaks version {version} of the protocol, this gateway speaks {spoken}"
            self._fail(events, "agent_version", detail, "version")
            return
        self._state, self._up = _State.UP, True
        half_ns = self._hang_timeout_ns // 2
        self._keepalive = KeepAlive(now_ns, half_ns, self._hang_timeout_ns - half_ns)
        events.append(LinkUp(fields.prose(message, "agent")))
        waiting, self._waiting = self._waiting, {}
        for channel, (info, _) in waiting.items():
            self.start(channel, info, now_ns)

    def _answered(self, message: fields.Message, events: list[LinkEvent]) -> None:
        channel = fields.channel(message)
        accepted = message["type"] == "accept"
        code = fields.sip_code(message)
        if self._offered.pop(channel, None) is None:
            self.ignored["unknown_channel"] += 1
        elif accepted:
            self._calls.add(channel)
            answer = fields.boolean(message, "answer", default=True)
            events.append(Accepted(channel, answer, fields.texts(message, "headers")))
        else:
            events.append(Rejected(channel, code, fields.prose(message, "reason")))

    def _take_command(self, message: fields.Message, events: list[LinkEvent]) -> None:
        event = parse_command(message)
        if event.channel in self._offered:
            self.ignored["not_accepted"] += 1
        elif event.channel not in self._calls:
            self.ignored["unknown_channel"] += 1
        elif isinstance(event, Dtmf) and not (event.digits and set(event.digits) <= DIGITS):
            # Right in form, so no reason to end every call: a language model typed "1-2-3".
            self.ignored["bad_digits"] += 1
            text = "digits are one or more of 0-9 A-D * #"
            self._say("error", channel=event.channel, code="bad_digits", text=text)
        else:
            events.append(event)

    # --- the end -----------------------------------------------------------------------------

    def _lost(self) -> list[LinkEvent]:
        events: list[LinkEvent] = []
        where = "" if self._state is _State.UP else " before it said hello"
        if self._reader.pending_bytes:
            where = " in the middle of a message"
        self._fail(events, "agent_lost", f"the agent closed the connection{where}", None)
        return events

    def _fail(self, events: list[LinkEvent], reason: str, detail: str, code: str | None) -> None:
        """`code` is what the agent is told before the owner closes; None when nobody is there to read it."""
        if code is not None:
            self._say("error", code=code, text=detail)
        self._state, self._up = _State.FAILED, False
        self._waiting.clear()
        self._offered.clear()
        self._calls.clear()
        events.append(LinkFailed(reason, detail))
