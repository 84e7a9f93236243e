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
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol, cast

from trunkline.agent_bridge.call_control import CallControl
from trunkline.agent_bridge.call_events import CallEvent, Quality, Resumed, Speech
from trunkline.agent_bridge.call_types import Cleared, Frame, MarkReport, Pcm, PcmLike, Stopped, samples_of
from trunkline.agent_bridge.caller_turns import CallerTurn, caller_turns
from trunkline.agent_bridge.dialect import FLAG_GAP, FLAG_REPLAY, StartInfo
from trunkline.agent_bridge.inbox import Inbox
from trunkline.agent_bridge.link_events import Clear, Command, Mark
from trunkline.agent_bridge.pending import Pending
from trunkline.agent_bridge.utterance import SpeechLike, Utterance

MAX_UNHEARD_MS = 30_000
"Audio kept for a handler that does not listen: it loses the oldest, and no other call is hurt."
_MAX_UNSEEN_EVENTS = 256
_MAX_NAME_CHARS = 256

log = logging.getLogger("trunkline.agent")


class Port(Protocol):
    """What a call needs of the connection that carries it."""

    writable: bool

    def play(self, channel: int, pcm: Pcm) -> None: ...
    def flush(self) -> None: ...
    def say(self, command: Command) -> None: ...


class Call(CallControl):
    """A call: iterate over it to hear, `say()` or `play()` to speak; `CallControl` has what else it can do."""

    def __init__(self, info: StartInfo, port: Port, channel: int) -> None:
        """Made by the connection (`session.py`), which also calls the methods with an underscore."""
        super().__init__(info)
        self._port: Port | None = port
        self._channel = channel
        self._held: list[Callable[[Port, int], None]] = []
        "what was said while the connection was away"
        self._heard: Inbox[Frame | Speech] = Inbox(max(1, MAX_UNHEARD_MS // info.frame_ms))
        self._heard.skipped = Speech
        self._heard_to = info.position
        "position of the frame that comes next"
        self._needed_from: int | None = None
        "`turns()` has not dealt with what came from here on"
        self._next_flags = 0
        self._events: Inbox[CallEvent] = Inbox(_MAX_UNSEEN_EVENTS)
        self._listeners: list[Callable[[CallEvent], None]] = []
        self._pending = Pending()
        self._utterances: list[Utterance] = []
        "those that are not over"
        self._cuts: dict[str, list[Utterance]] = {}
        "by the name of the clear that cut them"
        self._silences = True
        "the caller's voice ends them, without the gateway's policy"
        self._names_given = 0
        self._flow_ready = True
        self._may_play = asyncio.Event()
        self._may_play.set()
        self._over = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Call {self.id}{' over' if self.stopped else ''}>"

    # --- hear --------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Frame]:
        """The caller's audio, frame by frame, until the call ends."""
        return cast(AsyncIterator[Frame], self._heard)  # it skips the rest

    def turns(self, lead_ms: int = 200) -> AsyncIterator[CallerTurn]:
        """What the caller says, from the beginning of his speech to its end, in place of single frames.

        Each comes with `lead_ms` of audio before it.  Only if the route has detection of speech.
        """
        self._heard.skipped = None
        return caller_turns(self._heard, self._need_from, self.sample_rate, lead_ms)

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

    def say(self, speech: SpeechLike, *, interruptible: bool = True) -> Utterance:
        """Say this after all that is being said: audio, or an asynchronous iterator that makes it.

        `await` the result for how it ended and how much of it was heard.  The caller's voice ends it, and all
        that waits behind it, unless it is not `interruptible` (a gateway's route may clear it all the same).
        """
        before = self._utterances[-1] if self._utterances else None
        utterance = Utterance(self, speech, interruptible, before)
        self._utterances.append(utterance)
        if self.stopped:
            utterance.call_over()
        utterance.when_done(lambda: self._utterances.remove(utterance))
        return utterance

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
        self._say(lambda channel: Mark(channel, name))
        return future

    def clear(self) -> asyncio.Future[Cleared]:
        """Silence: throw away what has not been played. The result is CallEnded if the call ends first."""
        name = self._name("clear", None)
        future = self._pending.clear(name)
        self._cuts[name] = list(self._utterances)
        for utterance in self._utterances:
            utterance.stop()
        if self.stopped:
            self._pending.end(self.stopped.reason)
        self._say(lambda channel: Clear(channel, name))
        return future

    def _name(self, kind: str, name: str | None) -> str:
        if name is None:
            self._names_given += 1
            return f"{kind}-{self._names_given}"
        if len(name) > _MAX_NAME_CHARS:
            raise ValueError(f"a name of {len(name)} characters; at most {_MAX_NAME_CHARS}")
        return name

    def _say(self, make: Callable[[int], Command]) -> None:
        self._send(lambda port, channel: port.say(make(channel)))

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
        if flags & FLAG_REPLAY and position < self._heard_to:
            return  # this agent was never lost, the gateway only thought so
        self._heard_to = position + len(pcm)
        fits = self._heard.put(Frame(pcm, position, flags | self._next_flags))
        self._next_flags = 0
        if not fits:
            self.unheard_ms += self.info.frame_ms
            oldest = self._heard.oldest
            if isinstance(oldest, Frame):
                self._heard.oldest = oldest._replace(flags=oldest.flags | FLAG_GAP)

    def _need_from(self, position: int | None) -> None:
        self._needed_from = position

    def _acknowledge(self, everything: bool) -> None:
        """What the handler has taken, the frame before the one that it asks for included, is dealt with."""
        frame = self.sample_rate * self.info.frame_ms // 1000
        if everything or self._heard.reader_waits:
            taken = self._heard_to
        else:
            taken = (self._heard_to if self._heard.empty else self._heard.oldest.position) - frame
        self.ack(taken if self._needed_from is None else min(taken, self._needed_from))

    def _tell(self, event: CallEvent) -> None:
        self._notice(event)
        if isinstance(event, Quality):
            self.quality = event
            self._events.put_newest(event)
        else:
            self._events.put(event)
        if isinstance(event, Speech):
            self._heard.put(event)
            if event.started and self._silences:
                self._be_silent()
        for listener in self._listeners:
            self._call_listener(listener, event)

    def _be_silent(self) -> None:
        active = [u for u in self._utterances if not u.done]
        if active and all(u.interruptible for u in active):
            self.clear()

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
        for utterance in self._cuts.pop(name, ()):
            utterance.cleared(result)
        if not self._pending.settle_clear(name, result):
            self._interrupted(result)

    def _interrupted(self, result: Cleared) -> None:
        """The gateway has cleared of its own accord, because the caller speaks."""
        touched = [u for u in self._utterances if not u.done and u.touched_by_clear()]
        if all(u.all_cleared for u in touched):
            for utterance in touched:
                utterance.cleared(result)
        else:
            self.clear()  # what was on its way when the gateway cleared must not be heard either
        self._tell(result)

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
            self._say(lambda channel, name=name: Clear(channel, name))  # type: ignore[misc]
        self._flow_changed(True)

    def _attach(self, info: StartInfo, port: Port, channel: int) -> None:
        """The call goes on over another connection."""
        if self._port is not None:
            self._detach()
        self.info, self._port, self._channel = info, port, channel
        self._next_flags = 0 if info.replay_ms else FLAG_GAP
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
        for utterance in list(self._utterances):
            utterance.call_over()
        self._pending.end(reason)
        self._end_control(reason)
        self._heard.end()
        self._events.end()
        self._flow_changed()
        self._over.set()
