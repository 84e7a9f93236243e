# SPDX-License-Identifier: MIT
"""One connection to an agent under test: the gateway's part, played by a case of the conformance check.

In every dialect it drives a `Link`.  In our own it also keeps what was really on the wire, and can say things
that no gateway would.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from trunkline.agent_bridge import wire
from trunkline.agent_bridge.conformance_target import CannotTell, Target, Wrong
from trunkline.agent_bridge.connecting import narrow, open_streams
from trunkline.agent_bridge.dialect import LinkSettings
from trunkline.agent_bridge.link_events import (
    Accepted,
    Audio,
    Command,
    Hangup,
    LinkEvent,
    LinkFailed,
    LinkUp,
    Rejected,
)
from trunkline.agent_bridge.links import create_link
from trunkline.agent_bridge.reassembly import ProtocolViolation

HELLO_S = 2.0
ANSWER_S = 3.0
"Time for a handshake, and for the answer to a call (PROTOCOL.md, sections 5 and 6.1)."
_GOODBYE_S = 0.5
_PONG_S = 5.0
"What a gateway waits for a pong."


@runtime_checkable
class Pinged(Protocol):
    """A link that can ask whether the other side reads."""

    pongs: int

    def ping(self) -> None:
        """Ask."""


class Probe:
    """Use it as an async context manager: it is connected meanwhile."""

    def __init__(self, target: Target, *, say_hello: bool = True, settings: LinkSettings | None = None) -> None:
        """Without `say_hello` nothing is said by itself: for cases that write bytes of their own."""
        self.target = target
        self.link = create_link(target.dialect, settings or target.settings)
        self.events: list[LinkEvent] = []
        self.control: list[dict[str, Any]] = []
        "our dialect: control messages of the agent, in order"
        self.spoken: Counter[int] = Counter()
        "samples of the agent, by channel"
        self.failure: LinkFailed | None = None
        self.ended = False
        "the agent has closed the connection"
        self.polite = True
        "at the end, calls are ended and the connection is closed; else it breaks"
        self._say_hello = say_hello
        self._sniffer = wire.reassembler() if target.native else None
        self._positions: dict[int, int] = {}
        self._answers: dict[int, Accepted | Rejected] = {}
        self._hung_up: set[int] = set()
        self._early: set[int] = set()
        "spoken on before the answer"
        self._channels = 0
        self._changed = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        try:
            reader, self._writer = await open_streams(self.target.address, self.target.tls)
        except ssl.SSLError as error:
            raise Wrong(*_tls_failure(error)) from None
        except OSError as error:
            raise Wrong(
                f"nobody answers at {self.target.address}: {error or 'no connection within 5 s'}",
                "Start the agent, and check the address; it must go on accepting connections for as long as it runs.",
            ) from None
        self._tasks = [asyncio.ensure_future(self._read(reader)), asyncio.ensure_future(self._tick())]
        if self._say_hello:
            self.link.connected(time.monotonic_ns())
            self.flush()
            await self._handshake()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the calls and close, as a gateway does; or break off (`polite` is False)."""
        if not self.target.native:  # ours has cases for what it does not know
            self.target.heard.over(self.link.ignored)
        if self.polite and self.failure is None and not self.ended:
            for channel in self._answers:
                self.stop(channel)
            if self.link.max_calls == 1 and self._answers:
                await self.wait(lambda: False, _GOODBYE_S)
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(OSError, TimeoutError):
            if self.polite:
                self._writer.close()
                await asyncio.wait_for(self._writer.wait_closed(), _GOODBYE_S)
        self._writer.transport.abort()

    async def _handshake(self) -> None:
        up = await self.wait(lambda: any(isinstance(e, LinkUp) for e in self.events), HELLO_S)
        if not up and self.failure is None and not self.target.settings.url:
            raise Wrong(
                f"it says no hello within {HELLO_S:g} s of the connection",
                'Answer the gateway\'s hello with {"type":"hello","version":1} at once (PROTOCOL.md, 5).',
            )
        self.alive("the handshake")

    # --- what the gateway says ---------------------------------------------------------------

    async def call(self, **more: Any) -> int:
        """Offer a call and have it taken; returns its channel."""
        channel = self.start(**more)
        await self.accepted(channel)
        return channel

    def start(self, **more: Any) -> int:
        """Offer a call; returns its channel."""
        self._channels += 1
        channel, info = self._channels, self.target.info(**more)
        self._positions[channel] = info.position
        self.link.start(channel, info, time.monotonic_ns())
        self.flush()
        return channel

    async def accepted(self, channel: int) -> Accepted:
        """Its answer, which must be yes."""
        await self.wait(lambda: channel in self._answers, ANSWER_S)
        self.alive("a call was offered")
        answer = self._answers.get(channel)
        if answer is None or (isinstance(answer, Rejected) and answer.timeout):
            raise Wrong(
                f"it does not answer a call within {ANSWER_S:g} s",
                "Answer each `start` with `accept` (or `reject`) at once, and prepare models and the like before.",
            )
        if isinstance(answer, Rejected):
            raise CannotTell(f"it rejects the call ({answer.code} {answer.reason}), so nothing can be seen")
        if channel in self._early:
            raise Wrong(
                "it sends audio of a call before it has accepted it", "Send `accept` first: what comes before is lost."
            )
        return answer

    def hung_up(self, channel: int) -> bool:
        """The agent has ended the call."""
        return channel in self._hung_up

    def audio(self, channels: Iterable[int], frames: int = 1, flags: int = 0) -> None:
        """Frames of noise for the calls, as fast as they go: one message a tick for all of them."""
        rows = np.array(list(channels), np.uint32)
        samples = self.target.settings.sample_rate_hz * self.target.settings.frame_ms // 1000
        noise = np.random.default_rng(1).integers(-3000, 3000, (len(rows), samples), np.int16)
        marks = np.full(len(rows), flags, np.uint16)
        for _ in range(frames):
            positions = np.array([self._positions[c] for c in rows.tolist()], np.int64)
            self.link.send_audio(rows, positions, marks, noise)
            for channel in rows.tolist():
                self._positions[channel] += samples
        self.flush()

    async def paced_audio(self, channel: int, seconds: float, speed: float) -> None:
        """So much audio at `speed` times real time, 20 ms of time at once; waits while the agent takes none."""
        frame_s = self.target.settings.frame_ms / 1000
        frames, burst = round(seconds / frame_s), max(1, round(speed * 0.02 / frame_s))
        loop = asyncio.get_running_loop()
        due = loop.time()
        for start in range(0, frames, burst):
            self.audio([channel], min(burst, frames - start))
            due += burst * frame_s / speed
            await asyncio.sleep(max(0.0, due - loop.time()))
            await self.drained(f"audio came at {speed:g} times real time")

    def stop(self, channel: int, reason: str = "caller_hangup") -> None:
        """End a call."""
        self.link.stop(channel, reason, {"packets_lost": 0})
        self.flush()

    def message(self, kind: str, **content: Any) -> None:
        """Our dialect: any control message."""
        self.raw(wire.control_message(kind, **content))

    def raw(self, data: bytes) -> None:
        """Any bytes."""
        if not self._writer.is_closing():
            self._writer.write(data)

    def flush(self) -> None:
        """Write what the link has to say."""
        out = self.link.data_to_send()
        if not self._writer.is_closing():
            self._writer.writelines(out)

    # --- what the agent does -----------------------------------------------------------------

    async def wait(self, true: Callable[[], Any], seconds: float, despite_failure: bool = False) -> bool:
        """Wait for something that the agent says, or for its end; returns whether it came."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not true() and not self.ended and (self.failure is None or despite_failure):
                    self._changed.clear()
                    await self._changed.wait()
        return bool(true())

    async def settle(self, seconds: float = 0.3) -> None:
        """Let the agent do what it will."""
        await self.wait(lambda: False, seconds)

    def alive(self, after: str) -> None:
        """The connection must still be there."""
        if self.failure is not None and self.failure.reason != "agent_lost":
            raise self._failed(after, self.failure)
        if self._hung_up and not self.target.native:
            raise Wrong(
                f"it hangs up after {after}: it closes the connection as one whose call is to end",
                "Close it, with 1000 or no code, only to hang up, and look into the agent's log for what ended it.",
            )
        if self.failure is not None or self.ended:
            raise Wrong(
                f"it closes the connection after {after}",
                "Keep the connection open: only what the protocol does not allow ends it, and a mistake in one "
                "call must not end the others. Look into the agent's log for an exception.",
            )

    def _failed(self, after: str, failure: LinkFailed) -> Wrong:
        """Of a link; those before the WebSocket is up say the cure themselves."""
        if failure.reason == "agent_unreachable":
            what, _, cure = failure.detail.partition(": ")
            wrong = Wrong(what, f"{cure[:1].upper()}{cure[1:]}." if cure else "Look into the agent's log.")
        else:
            wrong = Wrong(f"after {after}: {failure.detail}", _cure(failure))
        opening = not any(isinstance(event, LinkUp) for event in self.events)
        if opening and self.target.address.startswith("ws://") and "HTTP" not in failure.detail.partition(" with ")[2]:
            wrong.cure = "Is TLS spoken at this port? Then try wss://; else look whether the port is the agent's."
        return wrong

    async def answers_ping(self, after: str, seconds: float = 2.0) -> None:
        """Our dialect: it must be alive and answer; in others the connection must be there."""
        if not self.target.native:
            await self.settle()
            self.alive(after)
            await self._answers_websocket_ping(after)
            return
        before = self._pongs
        self.message("ping")
        if not await self.wait(lambda: self._pongs > before, seconds):
            self.alive(after)
            raise Wrong(
                f"it answers no ping within {seconds:g} s after {after}",
                "Answer `ping` with `pong` at once, whatever else the agent is doing: read in a task of its own, and "
                "do long work elsewhere. A gateway gives an agent up that is silent for too long.",
            )

    async def _answers_websocket_ping(self, after: str) -> None:
        """Servers answer for the agent, as long as it reads."""
        if not isinstance(self.link, Pinged):
            return
        before, link = self.link.pongs, self.link
        link.ping()
        self.flush()
        if not await self.wait(lambda: link.pongs > before, _PONG_S):
            self.alive(after)
            raise Wrong(
                f"it answers no ping of the WebSocket within {_PONG_S:g} s after {after}: it does not read, or slowly",
                "Read at all times, in a task of its own. A gateway gives an agent up that is silent for too long.",
            )

    @property
    def _pongs(self) -> int:
        return sum(m["type"] == "pong" for m in self.control)

    async def drained(self, after: str, seconds: float = 5.0) -> None:
        """What was sent must be taken."""
        try:
            async with asyncio.timeout(seconds):
                # What the transport still holds has no event: its own high-water mark is far above 0.
                while self._writer.transport.get_write_buffer_size() and not self._writer.is_closing():  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise Wrong(
                f"it stops reading: nothing was taken for {seconds:g} s when {after}",
                "Read at all times, also while what the agent writes is not taken (PROTOCOL.md, 2): write from a "
                "buffer or in another task, never between two reads.",
            ) from None

    def reading(self, yes: bool) -> None:
        """Do not read what the agent says, or read again."""
        narrow(self._writer)
        (self._may_read.set if yes else self._may_read.clear)()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            await self._may_read.wait()
            try:
                data = await reader.read(1 << 16)
            except OSError:
                data = b""
            self._sniff(data)
            if self._say_hello:
                self._take(self.link.receive(data, time.monotonic_ns()))
                while self.link.unread:
                    self._take(self.link.resume(time.monotonic_ns()))
            self.ended = not data
            self._changed.set()
            if self.ended:
                return

    def _sniff(self, data: bytes) -> None:
        if self._sniffer is None:
            return
        try:
            for kind, payload in self._sniffer.messages(data):
                if kind == wire.CONTROL:
                    self.control.append(dict(wire.parse_control(payload)))
        except ProtocolViolation:
            self._sniffer = None  # the link says what is wrong with it

    async def _tick(self) -> None:
        while True:
            deadline_ns, now_ns = self.link.next_deadline_ns, time.monotonic_ns()
            if deadline_ns is not None and deadline_ns <= now_ns:
                self._take(self.link.handle_timeout(now_ns))
            await asyncio.sleep(0.01)

    def _take(self, events: Sequence[LinkEvent]) -> None:
        for event in events:
            match event:
                case LinkFailed():
                    self.failure = event
                case Accepted(channel) | Rejected(channel):
                    self._answers[channel] = event
                case Audio(channels, pcm):
                    for spoken in pcm:
                        self.target.heard.speech(spoken)
                    for channel in channels.tolist():
                        self.spoken[channel] += pcm.shape[1]
                        if channel in self._positions and channel not in self._answers:
                            self._early.add(channel)
                case Hangup(channel):
                    self._hung_up.add(channel)
            if isinstance(event, Command):
                self.target.heard.anything = True
            if not isinstance(event, Audio):
                self.events.append(event)
        self.flush()
        self._changed.set()


def _tls_failure(error: ssl.SSLError) -> tuple[str, str]:
    """Problem and cure of a handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not accepted ({error.verify_message})",
            "Name it, or the authority that signed it, as `ca` (here --ca FILE), or get one valid for the host.",
        )
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return "what answers does not speak TLS", "Is it ws:// instead of wss://, or another port?"
    return f"the TLS handshake failed ({error.reason or error})", "Look into the agent's log."


def _cure(failure: LinkFailed) -> str:
    match failure.reason:
        case "agent_protocol" if "saying token" in failure.detail:
            return "Say its token: here in $TRUNKLINE_AGENT_TOKEN, in a configuration token_env or token_file."
        case "agent_version":
            return "Choose one of the versions that the gateway's hello offers (PROTOCOL.md, 5)."
        case "agent_timeout" | "agent_hung":
            return "Answer in time, and read at all times."
        case _:
            return "Compare what the agent writes with the text of its protocol; the gateway ends such a connection."
