# SPDX-License-Identifier: MIT
"""One telephone call, as the code of an agent sees it.

    async def echo(call: Call) -> None:
        async for frame in call:
            call.play(frame.pcm)

Hearing and speaking are independent: frames come at their own pace, whether or not the
agent says anything, and `play()` never waits.  All methods are for the event loop's
thread; what they send leaves together at the end of the loop's iteration.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

from trunkline.agent_bridge.call_types import (
    CallEvent,
    Cleared,
    Frame,
    MarkReport,
    Pcm,
    PcmLike,
    Quality,
    Resumed,
    Stopped,
    samples_of,
)
from trunkline.agent_bridge.dialect import FLAG_GAP, StartInfo
from trunkline.agent_bridge.inbox import Inbox
from trunkline.agent_bridge.pending import Pending

MAX_UNHEARD_MS = 30_000
"Audio kept for a handler that does not listen: it loses the oldest, and no other call is hurt."
_MAX_UNSEEN_EVENTS = 256
_MAX_NAME_CHARS = 256
_DIGITS = frozenset("0123456789*#ABCD")

log = logging.getLogger("trunkline.agent")


class Port(Protocol):
    """What a call needs of the connection that carries it."""

    writable: bool

    def play(self, channel: int, pcm: Pcm) -> None: ...
    def flush(self) -> None: ...
    def mark(self, channel: int, name: str) -> None: ...
    def clear(self, channel: int, name: str) -> None: ...
    def dtmf(self, channel: int, digits: str, duration_ms: int, gap_ms: int) -> None: ...
    def hangup(self, channel: int, reason: str, code: int) -> None: ...


class Call:
    """A call: iterate over it to hear, `play()` to speak."""

    def __init__(self, info: StartInfo, port: Port, channel: int) -> None:
        """Made by the connection (`session.py`), which also calls the methods with an underscore."""
        self.info = info
        "everything known of the call: trunk, route, direction, ..."
        self.stopped: Stopped | None = None
        "why the call ended, once it has"
        self.quality: Quality | None = None
        "how good it is, as the gateway said last; it is an event too"
        self.unheard_ms = 0
        "audio thrown away because the handler did not listen for 30 s"
        self.refusal: tuple[int, str] | None = None
        "SIP code and reason given to `reject()`"
        self._port: Port | None = port
        self._channel = channel
        self._held: list[Callable[[Port, int], None]] = []
        "what was said while the connection was away"
        self._frames: Inbox[Frame] = Inbox(max(1, MAX_UNHEARD_MS // info.frame_ms))
        self._next_flags = 0
        self._events: Inbox[CallEvent] = Inbox(_MAX_UNSEEN_EVENTS)
        self._listeners: list[Callable[[CallEvent], None]] = []
        self._pending = Pending()
        self._names_given = 0
        self._flow_ready = True
        self._may_play = asyncio.Event()
        self._may_play.set()
        self._over = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Call {self.id}{' over' if self.stopped else ''}>"

    # --- who calls ---------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The call's id, the same in every log and event of the gateway."""
        return self.info.call_id

    @property
    def caller(self) -> str:
        """Who calls."""
        return self.info.caller

    @property
    def called(self) -> str:
        """Who was called."""
        return self.info.called

    @property
    def headers(self) -> Mapping[str, str]:
        """SIP headers that the trunk lets through."""
        return self.info.headers

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the configuration says of route and agent."""
        return self.info.metadata

    @property
    def sample_rate(self) -> int:
        """Samples per second, both ways."""
        return self.info.sample_rate_hz

    # --- hear --------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Frame]:
        """The caller's audio, frame by frame, until the call ends."""
        return self._frames

    def events(self) -> AsyncIterator[CallEvent]:
        """Keys, hold and the like, until the call ends; none is lost before the first look, of `Quality` the newest."""
        return self._events

    def on_event(self, listener: Callable[[CallEvent], None]) -> None:
        """Call `listener` with each event that comes, and those that nobody has seen."""
        self._listeners.append(listener)
        for event in self._events.waiting:
            self._call_listener(listener, event)

    async def ended(self) -> Stopped:
        """Wait for the end of the call."""
        await self._over.wait()
        assert self.stopped is not None  # set before the event
        return self.stopped

    # --- speak -------------------------------------------------------------------------------

    def play(self, pcm: PcmLike) -> None:
        """Say this after all that was said before: any length, int16 or s16le bytes. Never waits."""
        samples = samples_of(pcm)
        if len(samples):
            self._send(lambda port, channel: port.play(channel, samples))

    async def drain(self) -> None:
        """Wait while the gateway has enough: between the chunks of a long speech."""
        if self._port is not None:
            self._port.flush()
        await asyncio.sleep(0)  # lets a request to pause be read even if nothing ever waits
        await self._may_play.wait()

    def mark(self, name: str | None = None) -> asyncio.Future[MarkReport]:
        """Ask when all that was said before has been played; await the result, or do not."""
        name = self._name("mark", name)
        future = self._pending.mark(name)
        if self.stopped:
            self._pending.end(self.stopped.reason)
        self._send(lambda port, channel: port.mark(channel, name))
        return future

    def clear(self) -> asyncio.Future[Cleared]:
        """Silence: throw away what has not been played. The result is CallEnded if the call ends first."""
        name = self._name("clear", None)
        future = self._pending.clear(name)
        if self.stopped:
            self._pending.end(self.stopped.reason)
        self._send(lambda port, channel: port.clear(channel, name))
        return future

    def send_dtmf(self, digits: str, duration_ms: int = 160, gap_ms: int = 80) -> None:
        """Press keys: 0-9 A-D * #. Audio goes on behind them."""
        digits = digits.upper()
        if not digits or not set(digits) <= _DIGITS or len(digits) > _MAX_NAME_CHARS:
            raise ValueError(f"digits {digits!r}: 1 to 256 of 0-9 A-D * #")
        if not (40 <= duration_ms <= 6000 and 40 <= gap_ms <= 6000):
            raise ValueError("duration and gap of digits are 40 to 6000 ms")
        self._send(lambda port, channel: port.dtmf(channel, digits, duration_ms, gap_ms))

    def hangup(self, reason: str = "", code: int = 0) -> None:
        """End the call at once; `code` is the SIP code if it was never answered."""
        self._send(lambda port, channel: port.hangup(channel, reason, code))

    def reject(self, code: int = 0, reason: str = "") -> None:
        """Do not take the call: only in the `on_offer` hook, later it is a hang-up."""
        self.refusal = (code, reason)

    def _name(self, kind: str, name: str | None) -> str:
        if name is None:
            self._names_given += 1
            return f"{kind}-{self._names_given}"
        if len(name) > _MAX_NAME_CHARS:
            raise ValueError(f"a name of {len(name)} characters; at most {_MAX_NAME_CHARS}")
        return name

    def _send(self, command: Callable[[Port, int], None]) -> None:
        """Say it now, or when the connection is back; after the end of the call, to nobody."""
        if self.stopped:
            return
        if self._port is not None:
            command(self._port, self._channel)
        else:
            self._held.append(command)

    # --- driven by the connection ------------------------------------------------------------

    def _feed(self, pcm: Pcm, position: int, flags: int) -> None:
        fits = self._frames.put(Frame(pcm, position, flags | self._next_flags))
        self._next_flags = 0
        if not fits:
            self.unheard_ms += self.info.frame_ms
            oldest = self._frames.oldest
            self._frames.oldest = oldest._replace(flags=oldest.flags | FLAG_GAP)

    def _tell(self, event: CallEvent) -> None:
        if isinstance(event, Quality):
            self.quality = event
            self._events.put_newest(event)
        else:
            self._events.put(event)
        for listener in self._listeners:
            self._call_listener(listener, event)

    def _call_listener(self, listener: Callable[[CallEvent], None], event: CallEvent) -> None:
        try:
            listener(event)
        except Exception:  # the connection, with everybody's calls on it, goes on
            log.exception("call %s: a listener failed", self.id)

    def _mark_reported(self, report: MarkReport) -> None:
        self._pending.settle_mark(report)

    def _clear_done(self, name: str, result: Cleared) -> None:
        position = result.played_ms * self.sample_rate // 1000
        for mark in result.marks:
            self._pending.settle_mark(MarkReport(mark, "cleared", position))
        if not self._pending.settle_clear(name, result):
            self._tell(result)  # the gateway cleared of its own accord

    def _flow_changed(self, ready: bool | None = None) -> None:
        """The gateway's queue (given) or the socket (None) is full, or has room again."""
        self._flow_ready = self._flow_ready if ready is None else ready
        if self.stopped or (self._flow_ready and self._port is not None and self._port.writable):
            self._may_play.set()
        else:
            self._may_play.clear()

    def _detach(self) -> None:
        """The connection is gone, and with it what was queued: marks are lost, a clear is said again."""
        self._port = None
        self._pending.settle_all_marks("lost")
        for name in self._pending.clear_names:
            self._held.append(functools.partial(_say_clear, name))
        self._flow_changed(True)

    def _attach(self, info: StartInfo, port: Port, channel: int) -> None:
        """The call goes on over another connection."""
        if self._port is not None:
            self._detach()
        self.info, self._port, self._channel = info, port, channel
        self._next_flags = FLAG_GAP
        self._flow_changed()
        held, self._held = self._held, []
        for command in held:
            self._send(command)
        self._tell(Resumed(info.gap_ms))

    def _stop(self, reason: str, stats: Mapping[str, float]) -> None:
        """The call is over: everything that waits gets its answer."""
        if self.stopped:
            return
        self.stopped = Stopped(reason, stats)
        self._port = None
        self._held.clear()
        self._pending.end(reason)
        self._frames.end()
        self._events.end()
        self._flow_changed()
        self._over.set()


def _say_clear(name: str, port: Port, channel: int) -> None:
    port.clear(channel, name)
