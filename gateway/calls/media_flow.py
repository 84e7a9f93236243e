# SPDX-License-Identifier: GPL-2.0-or-later
"""What call control does about each message of a media worker.

A worker that was replaced may say things twice, and a message may come after the call
has ended: every reaction is harmless then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trunkline.gateway.calls import recordings
from trunkline.gateway.calls.agent_flow import AgentFlow
from trunkline.gateway.calls.book import Book, log
from trunkline.gateway.calls.call import OPEN, Call, Phase, Trigger
from trunkline.gateway.calls.digits import Digits
from trunkline.gateway.calls.ending import Ending
from trunkline.gateway.calls.fallback import Fallback
from trunkline.gateway.media import control
from trunkline.gateway.media.agent_asks import AgentChanged, AgentState, TurnTaken

MOST_AGENTS = 10
"Names that a call remembers, the last ones: with agents that flap there may be any number."
_NEVER_TAKEN = frozenset({"table_full", "worker_lost", "no_descriptors"})
"Failures of streams that no worker has: there is nothing to stop."


class MediaFlow:
    """Reactions to messages of workers, on the event loop."""

    def __init__(self, book: Book, ending: Ending, digits: Digits, agent: AgentFlow) -> None:
        self._book, self._ending, self._agent = book, ending, agent
        self._reactions: dict[type[Any], Callable[[Call, Any], None]] = {
            control.StreamReady: self._ready,
            control.StreamFailed: self._failed,
            control.StreamEnded: self._ended,
            control.KeysAgreed: self._keys_agreed,
            control.AgentDtmf: digits.asked_by_agent,
            control.DtmfQueued: self._dtmf_queued,
            control.AgentEvent: self._agent_event,
            control.CallerDtmf: self._caller_dtmf,
            control.MediaStarted: self._media_started,
            control.MediaSilent: self._media_silent,
            AgentChanged: self._agent_changed,
            AgentState: self._agent_state,
            **agent.reactions,
            control.CallerSpeech: self._caller_speech,
            TurnTaken: self._turn_taken,
        }
        self.fallback = Fallback(book, ending)

    def handle(self, message: control.Message) -> None:
        """React to one message; about a call that is over, not at all."""
        call = self._book.calls.get(message.call_id)  # type: ignore[attr-defined]
        if isinstance(message, control.RecordingEnded):  # mostly after its call
            recordings.ended(self._book, call, message)
            return
        if call is not None:
            self._reactions[type(message)](call, message)

    def _ready(self, call: Call, message: control.StreamReady) -> None:
        """The agent has the call: answer the caller or let it ring, or ring the called party."""
        if call.phase in (Phase.INCOMING, Phase.PREPARING):
            call.deadline = 0.0
            call.agent_connect_ms = round(message.agent_connect_ms, 2)
            self._has(call, message.agent or call.agent.name)
        else:
            self._agent.taken_again(call)
        if call.direction == "inbound":
            self._agent.taken(call, message)
        elif call.apply(Trigger.AGENT_READY) and call.place is not None:
            call.sip_over = False
            self._book.post(call.place)
            self._book.publish("call.calling", call, to=call.place.target)

    def _failed(self, call: Call, message: control.StreamFailed) -> None:
        reason = message.reason
        if reason in _NEVER_TAKEN:
            self._book.media.forget(call.id)
            call.media_over = True
        if call.agentless:  # it hangs on its transfer alone
            return
        if reason == "bad_media" and call.phase in OPEN:
            reason = "media_failed"
        if reason == "agent_lost":
            self.fallback.agent_lost(call, message.detail)
            return
        code = message.sip_code if 400 <= message.sip_code <= 699 else 0
        self._ending.end(call, reason, message.detail, code=code, reason=message.sip_reason)

    def _has(self, call: Call, name: str) -> None:
        """An agent has taken the call."""
        agent = self._book.agents.get(name)
        if agent is not None:
            call.agent = agent
            call.agents.append(name)
            del call.agents[:-MOST_AGENTS]
            self._book.agents.works(name)

    def _agent_changed(self, call: Call, message: AgentChanged) -> None:
        """Its agent was lost: another one has it, or nobody."""
        before, call.attempts = call.agent.name, message.attempt
        if message.name:
            self._has(call, message.name)
            self._agent.changed_hands(call)
        self._book.observer.agent_changed(bool(message.name), message.took_ms / 1000)
        data = {
            "before": before, "to": message.name, "why": message.why, "attempt": message.attempt,
            "took_ms": round(message.took_ms, 1), "replayed_ms": message.replayed_ms,
        }  # fmt: skip
        log.warning("agent.changed", call_id=call.id, **data)
        self._book.publish("agent.changed", call, **data)

    def _agent_state(self, call: Call, message: AgentState) -> None:
        """The pool keeps it, for a worker that takes the call over."""

    def _keys_agreed(self, call: Call, message: control.KeysAgreed) -> None:
        call.dtls_suite = message.send_key.suite

    def _ended(self, call: Call, message: control.StreamEnded) -> None:
        if not call.closing:  # nobody asked for it
            call.media_over = True
            self._ending.end(call, "worker_lost", "the media worker ended the stream by itself")
        self._ending.media_ended(call, message.stats)

    def _dtmf_queued(self, call: Call, message: control.DtmfQueued) -> None:
        self._book.observer.digits_sent(message.method, message.digits)

    def _agent_event(self, call: Call, message: control.AgentEvent) -> None:
        self._book.publish(f"agent.{message.event}", call, **message.data)

    def _caller_dtmf(self, call: Call, message: control.CallerDtmf) -> None:
        self._book.observer.digit_received(message.method)
        self._book.publish(
            "call.dtmf", call, digit=message.digit, duration_ms=message.duration_ms, method=message.method
        )

    def _turn_taken(self, call: Call, message: TurnTaken) -> None:
        call.turns.add(message.turn)
        self._book.observer.turn(message.turn)
        self._book.publish("call.turn", call, **message.turn)

    def _media_started(self, call: Call, message: control.MediaStarted) -> None:
        call.remote = message.address
        self._book.publish("media.started", call, address=message.address)

    def _media_silent(self, call: Call, message: control.MediaSilent) -> None:
        """Silence of a caller who should send: told once, and after the configured time again, with the end."""
        if call.phase is not Phase.UP:
            return
        limit_s = self._book.config.media.no_media_timeout_s
        over = bool(limit_s) and message.idle_ms >= limit_s * 1000
        anew = message.idle_ms <= call.silent_ms or not call.silent_ms  # a shorter silence is another one
        if anew and call.silent_ms:
            self._resumed(call)
        if anew or over:
            self._book.publish("media.silent", call, idle_ms=message.idle_ms)
        call.silent_ms, call.silent_packets = message.idle_ms, self._packets(call)
        if over:
            self._ending.end(call, "no_media", f"no RTP from the peer for {message.idle_ms / 1000:.0f} s")

    def _caller_speech(self, call: Call, message: control.CallerSpeech) -> None:
        self._book.publish(
            "call.speech",
            call,
            state="started" if message.started else "stopped",
            position=message.position,
            level_dbov=message.level_dbov,
        )

    def watch(self, call: Call) -> None:
        """The sweep: a silence ends with the next packet, of which no worker tells."""
        if call.silent_ms and (call.phase is not Phase.UP or self._packets(call) > call.silent_packets):
            self._resumed(call)

    def _resumed(self, call: Call) -> None:
        call.silent_ms = 0
        if call.phase is Phase.UP:
            self._book.publish("media.resumed", call)

    def _packets(self, call: Call) -> int:
        row = self._book.media.row(call.id)
        return 0 if row is None else int(row[0].packets_received[row[1]])
