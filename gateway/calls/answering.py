# SPDX-License-Identifier: GPL-2.0-or-later
"""Inbound calls between the agent's yes and the answer: ringing, early audio, answer.

    agent accepts                 200 at once
    agent accepts, answer: false  RINGING --progress: 183 with SDP--> EARLY
                                     |  ring: 180                       |
                                     +------- answer: 200 -------------+--> ANSWERING

Nothing flows before the 183 or the 200, and what the agent says until then waits.
From the 183 on both are heard.  What it may not do now is refused with a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping

from trunkline.gateway.calls.book import Book
from trunkline.gateway.calls.call import Call, Phase, Trigger
from trunkline.gateway.calls.ending import Ending
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.calls.streams import for_worker
from trunkline.gateway.media import control
from trunkline.gateway.sip.messages import Respond

ANSWER_TIMEOUT_S = 60.0
"For calls that came by no route."
ANSWER_DEADLINE = "answer"
"What `Call.deadline_for` says of it."
ACK_LIMIT_S = 40.0
"PJSIP waits 64*T1 = 32 s for the ACK of our 200 (RFC 3261 13.3.1.4); this is for one that could not send it."
ACK_DEADLINE = "ack"
_WAITING = frozenset({Phase.RINGING, Phase.EARLY})


class Answering:
    """What agents may do with a call that they have taken and not answered."""

    def __init__(self, book: Book, ending: Ending) -> None:
        self._book, self._ending = book, ending

    def taken(self, call: Call, *, answer: bool, headers: Mapping[str, str]) -> None:
        """An agent has taken an inbound call; `headers` are for the 200."""
        if call.phase in _WAITING:  # another agent, which need not have waited
            if answer:
                self.answer(call, headers)
        elif answer:
            if call.apply(Trigger.AGENT_READY):
                self._answered(call, headers)
        elif call.apply(Trigger.AGENT_WAITS):
            self._book.media.remember(call.id, hold_media=True, taken=True)
            limit_s = ANSWER_TIMEOUT_S if call.route is None else call.route.answer_timeout_s
            call.wait(limit_s, ANSWER_DEADLINE)
            self._book.publish("call.ringing", call, code=180)

    def ring(self, call: Call, headers: Mapping[str, str]) -> None:
        """180, once more or with headers of the agent's."""
        self._waiting(call, "ring")
        self._book.post(Respond(call.id, 180, headers=dict(headers)))

    def progress(self, call: Call, headers: Mapping[str, str]) -> None:
        """183 with our SDP: audio flows both ways."""
        self._waiting(call, "progress")
        if call.session.description() is None:
            text = "the caller has made no offer (INVITE without SDP): there is no audio before the answer"
            raise CallRefused("not_now", text, 409)
        self._book.post(Respond(call.id, 183, headers=dict(headers)))
        if call.apply(Trigger.PROGRESS):
            self._flow(call)
            self._book.publish("call.early", call, code=183)
            self._book.media.send(control.TellCallState(call.id, "early"))

    def answer(self, call: Call, headers: Mapping[str, str]) -> None:
        """200."""
        self._waiting(call, "answer")
        call.apply(Trigger.ANSWER)
        self._answered(call, headers)
        self._flow(call)

    def overdue(self, call: Call) -> None:
        """The agent has not answered in time."""
        if call.phase in _WAITING:
            self._ending.end(call, "agent_no_answer")

    def unacknowledged(self, call: Call) -> None:
        """Neither an ACK of our 200 nor PJSIP's word that there is none."""
        self._ending.end(call, "no_ack")

    def _waiting(self, call: Call, what: str) -> None:
        if call.direction != "inbound" or call.phase not in _WAITING:
            text = f"`{what}` is for inbound calls that were accepted with `answer: false` and not answered yet"
            raise CallRefused("not_now", text, 409)

    def _answered(self, call: Call, headers: Mapping[str, str]) -> None:
        call.sip_code, call.sip_reason = 200, "OK"
        call.wait(ACK_LIMIT_S, ACK_DEADLINE)
        self._book.post(Respond(call.id, 200, headers=dict(headers)))

    def _flow(self, call: Call) -> None:
        """The worker has held the audio back, if there is any yet."""
        agreed = call.session.description()
        if agreed is not None:
            call.media = for_worker(call, agreed)
            self._book.media.update(call.id, call.media)
