# SPDX-License-Identifier: GPL-2.0-or-later
"""What call control does about what agents ask for (`media/agent_asks.py`).

Whether the agent may, its worker has decided.  What cannot be done is told to it as an
error, and harms nothing: not the call, and no other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from trunkline.gateway import logs
from trunkline.gateway.calls.answering import Answering
from trunkline.gateway.calls.book import Book, log
from trunkline.gateway.calls.call import OPEN, Call
from trunkline.gateway.calls.ending import Ending
from trunkline.gateway.calls.headers import for_response, problem_of
from trunkline.gateway.calls.holding import Holding
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.calls.transferring import Transferring
from trunkline.gateway.calls.variables import set_variables
from trunkline.gateway.media import agent_asks, control


class AgentFlow:
    """Reactions to agents, on the event loop."""

    def __init__(
        self, book: Book, ending: Ending, answering: Answering, holding: Holding, transferring: Transferring
    ) -> None:
        self._book, self._ending = book, ending
        self._answering, self._holding, self._transferring = answering, holding, transferring
        self.reactions: dict[type[Any], Callable[[Call, Any], None]] = {
            agent_asks.AgentRing: self._telling_refusals(self._ring),
            agent_asks.AgentProgress: self._telling_refusals(self._progress),
            agent_asks.AgentAnswer: self._telling_refusals(self._answer),
            agent_asks.AgentHold: self._telling_refusals(self._hold),
            agent_asks.AgentTransfer: self._telling_refusals(self._transfer),
            agent_asks.AgentVariables: self._telling_refusals(self._variables),
            agent_asks.AgentMuted: self._muted,
            control.AgentHangup: self._hangup,
        }

    def taken(self, call: Call, message: control.StreamReady) -> None:
        """An agent has taken an inbound call."""
        headers = self._good_headers(call, message.headers)
        if not call.closing:
            self._answering.taken(call, answer=message.answer, headers=headers)

    def taken_again(self, call: Call) -> None:
        """The worker was replaced."""
        self._holding.again(call)

    def changed_hands(self, call: Call) -> None:
        """Another agent has the call, and knows of no hold: a caller must not wait for ever."""
        if call.holding and not call.closing:
            with contextlib.suppress(CallRefused):
                self._holding.hold(call, held=False)

    def _telling_refusals(self, reaction: Callable[[Call, Any], None]) -> Callable[[Call, Any], None]:
        def guarded(call: Call, message: Any) -> None:
            if call.closing:
                return
            try:
                reaction(call, message)
            except CallRefused as problem:
                said = {"cause": problem.cause, "detail": problem.detail}
                log.info("agent.refused", call_id=call.id, **said, **logs.hiding(*call.numbers))
                self._refuse(call, problem.cause, problem.detail)

        return guarded

    def _refuse(self, call: Call, cause: str, detail: str) -> None:
        self._book.media.send(control.CommandRefused(call.id, cause, detail))

    def _good_headers(self, call: Call, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Those that may be written; what they were for is done without the others."""
        problem, good = problem_of(headers) if headers else "", headers
        if problem:
            good = {}
        elif headers and call.direction == "inbound" and call.phase not in OPEN:
            good, problem = for_response(call.responded, headers)
            call.responded |= good
        if problem:
            self._refuse(call, "bad_header", problem)
        return good

    def _ring(self, call: Call, message: agent_asks.AgentRing) -> None:
        self._answering.ring(call, self._good_headers(call, message.headers))

    def _progress(self, call: Call, message: agent_asks.AgentProgress) -> None:
        self._answering.progress(call, self._good_headers(call, message.headers))

    def _answer(self, call: Call, message: agent_asks.AgentAnswer) -> None:
        self._answering.answer(call, self._good_headers(call, message.headers))

    def _hold(self, call: Call, message: agent_asks.AgentHold) -> None:
        self._holding.hold(call, held=message.held, music=message.music)

    def _transfer(self, call: Call, message: agent_asks.AgentTransfer) -> None:
        self._transferring.ask(call, message.target, message.attended, message.headers, by_agent=True)

    def _variables(self, call: Call, message: agent_asks.AgentVariables) -> None:
        set_variables(self._book, call, message.values)

    def _muted(self, call: Call, message: agent_asks.AgentMuted) -> None:
        self._book.media.remember(call.id, muted=(message.uplink, message.downlink))
        self._book.publish("agent.muted", call, uplink=message.uplink, downlink=message.downlink)

    def _hangup(self, call: Call, message: control.AgentHangup) -> None:
        code = message.sip_code if 400 <= message.sip_code <= 699 else 0
        headers = self._good_headers(call, message.headers)
        phrase = message.reason if code else ""
        self._ending.end(call, "agent_hangup", message.reason, code=code, reason=phrase, headers=headers)
