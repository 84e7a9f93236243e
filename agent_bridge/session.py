# SPDX-License-Identifier: MIT
"""One connection from a gateway in asyncio: bytes to events, events to calls, speech to bytes.

Reading never depends on writing: what calls say is collected and leaves at the end of
the loop's iteration, in one write; when the socket does not take it, it waits in the
transport's buffer, `Call.drain` waits with it, and frames keep coming in.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge import agent_events as ev
from trunkline.agent_bridge.agent_events import AgentSide
from trunkline.agent_bridge.call import Call
from trunkline.agent_bridge.call_types import Cleared, MarkReport, Pcm
from trunkline.agent_bridge.dialect import StartInfo
from trunkline.agent_bridge.link_events import Command
from trunkline.agent_bridge.news import news_of
from trunkline.agent_bridge.speech import Speech

log = logging.getLogger("trunkline.agent")


class Owner(Protocol):
    """Who is told what happens to calls: the `Agent`."""

    on_audio: Callable[[AudioBatch], None] | None

    def session_opened(self, session: Session) -> None: ...
    def session_greeted(self, session: Session, gateway: str) -> None: ...
    def session_closed(self, session: Session, reason: str) -> None: ...
    def call_offered(self, session: Session, channel: int, info: StartInfo) -> None: ...
    def call_stopped(self, call: Call) -> None: ...


class AudioBatch:
    """One frame of each of n calls, for agents that treat all calls at once."""

    def __init__(self, session: Session, audio: ev.AudioArrived) -> None:
        self._session = session
        self.channels = audio.channels
        "[n] which call, on this connection"
        self.positions = audio.positions
        "[n] position of the first sample"
        self.flags = audio.flags
        "[n] FLAG_* of dialect.py"
        self.pcm = audio.pcm
        "[n, samples] int16; copy it to keep it"

    @property
    def calls(self) -> list[Call | None]:
        """The call of each row; None if it is just over."""
        return [self._session.calls.get(channel) for channel in self.channels.tolist()]

    def play(self, pcm: Pcm) -> None:
        """Say pcm[n, samples] to the n calls, a row each."""
        self._session.play_batch(self.channels, pcm)


class Session(asyncio.Protocol):
    """One connection from a gateway."""

    def __init__(self, owner: Owner, side: AgentSide) -> None:
        self._owner = owner
        self._side = side
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._speech = Speech()
        "what calls have said since the last flush"
        self._flush_planned = False
        self._timer: asyncio.TimerHandle | None = None
        self.calls: dict[int, Call] = {}
        self.offered: dict[int, Call] = {}
        "calls that `on_offer` is still looking at"
        self.writable = True
        self.failure = "closed"

    # --- asyncio.Protocol --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._owner.session_opened(self)
        self._side.connected(time.monotonic_ns())
        self._settle()

    def data_received(self, data: bytes) -> None:
        self._dispatch(self._side.receive(data, time.monotonic_ns()))
        self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._dispatch(self._side.receive(b"", time.monotonic_ns()))
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None
        self._owner.session_closed(self, str(exc) if exc else self.failure)

    def pause_writing(self) -> None:
        self._set_writable(False)

    def resume_writing(self) -> None:
        self._set_writable(True)

    def _set_writable(self, writable: bool) -> None:
        self.writable = writable
        for call in self.calls.values():
            call._flow_changed()

    # --- what calls say (call.Port) ----------------------------------------------------------

    def play(self, channel: int, pcm: Pcm) -> None:
        """Queue speech of a call until the end of this iteration."""
        self._speech.add(channel, pcm)
        self._plan_flush()

    def play_batch(self, channels: NDArray[np.uint32], pcm: Pcm) -> None:
        """Queue speech of many calls."""
        self._collect()
        self._side.send_audio(channels, pcm)
        self._plan_flush()

    @property
    def can_wait(self) -> bool:
        """A call can be taken without being answered."""
        return self._side.can_wait

    def accept(self, channel: int, answer: bool) -> None:
        """Take a call."""
        self._side.accept(channel, answer)
        self._plan_flush()

    def reject(self, channel: int, code: int, reason: str) -> None:
        """Do not take a call."""
        self._side.reject(channel, code, reason)
        self._plan_flush()

    def say(self, command: Command) -> None:
        """After what was said so far: a clear's answer counts that as well."""
        self._collect()
        self._side.say(command)
        self._plan_flush()

    def _plan_flush(self) -> None:
        if not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what was said."""
        self._flush_planned = False
        self._collect()
        self._settle()

    def close(self) -> None:
        """Write what is left, then close."""
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def _collect(self) -> None:
        """Turn speech into audio messages: one for all calls that said equally much."""
        for channels, pcm in self._speech.take():
            self._side.send_audio(channels, pcm)

    # --- bytes and time ----------------------------------------------------------------------

    def _settle(self) -> None:
        """After each change: do what is due, write what waits, set the timer."""
        deadline_ns = self._side.next_deadline_ns
        now_ns = time.monotonic_ns()
        if deadline_ns is not None and deadline_ns <= now_ns:
            self._dispatch(self._side.handle_timeout(now_ns))
        out = self._side.data_to_send()
        if self._transport is None or self._transport.is_closing():
            return
        if out:
            self._transport.writelines(out)
        if self._side.closing:
            self._transport.close()
            return
        self._set_timer(now_ns)

    def _set_timer(self, now_ns: int) -> None:
        deadline_ns = self._side.next_deadline_ns
        if deadline_ns is None:
            return
        when = self._loop.time() + max(0, deadline_ns - now_ns) / 1e9
        # The keep-alive's deadline moves with every read; the timer is left where it is and looks again.
        if self._timer is None or when < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._settle()

    # --- what the gateway says ---------------------------------------------------------------

    def _dispatch(self, events: Sequence[ev.AgentEvent]) -> None:
        for event in events:
            if isinstance(event, ev.AudioArrived):
                self._hear(event)
            elif isinstance(event, ev.CallOffered):
                self._owner.call_offered(self, event.channel, event.info)
            elif isinstance(event, ev.CallStopped):
                self._stop(event)
            elif isinstance(event, ev.Greeted):
                self._owner.session_greeted(self, event.gateway)
            elif isinstance(event, ev.ConnectionFailed):
                self.failure = event.detail
            else:
                call = self.calls.get(event.channel)
                if call is not None:
                    _tell(call, event)

    def _hear(self, audio: ev.AudioArrived) -> None:
        if self._owner.on_audio is not None:
            self._hear_batch(self._owner.on_audio, audio)
            return
        positions, flags = audio.positions.tolist(), audio.flags.tolist()
        for i, channel in enumerate(audio.channels.tolist()):
            call = self.calls.get(channel)
            if call is not None:
                # A copy: a frame that is kept must not keep the whole read, with everybody's audio, alive.
                call._feed(audio.pcm[i].astype(np.int16), positions[i], flags[i])

    def _hear_batch(self, on_audio: Callable[[AudioBatch], None], audio: ev.AudioArrived) -> None:
        try:
            on_audio(AudioBatch(self, audio))
        except Exception:  # the next batch may do better, and calls must not end for this one
            log.exception("on_audio failed")
        ends = audio.positions.astype(np.int64) + audio.pcm.shape[1]
        for channel, end in zip(audio.channels.tolist(), ends.tolist(), strict=True):
            call = self.calls.get(channel)
            if call is not None:
                call._heard_to = end

    def _stop(self, event: ev.CallStopped) -> None:
        self._speech.forget(event.channel)
        call = self.calls.pop(event.channel, None) or self.offered.pop(event.channel, None)
        if call is not None:
            call._stop(event.reason, event.stats)
            self._owner.call_stopped(call)


def _tell(call: Call, event: ev.CallNews) -> None:
    match event:
        case ev.MarkReported():
            call._mark_reported(MarkReport(event.name, event.outcome, event.position))
        case ev.ClearDone():
            call._clear_done(event.name, Cleared(event.played_ms, event.discarded_ms, event.marks))
        case ev.FlowChanged():
            call._flow_changed(event.ready)
        case ev.StatusReported():
            call._status_told(event.status)
        case _:
            call._tell(news_of(event))
