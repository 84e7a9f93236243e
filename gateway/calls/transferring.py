# SPDX-License-Identifier: GPL-2.0-or-later
"""Handing the other party on: to a number, a URI, or the other party of another call of ours.

    asked -> trying -> ringing -> done: BYE, cause `transferred`
                   \\-> failed: the call goes on as it was, on hold or not, and the agent is told why

A peer that hangs up once it has agreed ends the call with `transferred`, too: many do.
Of an attended transfer the other call ends by its own peer, whose dialog is replaced;
one that forgets to is hung up a moment later.  Where the first call ends before the result
is known the other one goes on, and is its agent's again if its peer has not replaced it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from trunkline.gateway import logs
from trunkline.gateway.calls.book import Book, log
from trunkline.gateway.calls.call import ANSWERED, Call
from trunkline.gateway.calls.ending import Ending
from trunkline.gateway.calls.headers import problem_of
from trunkline.gateway.calls.placing import target_uri
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.calls.uri import UriError, compact_number, is_uri, parse_uri
from trunkline.gateway.calls.wire import HANDED_ON
from trunkline.gateway.config.addresses import bracketed, split_host_port
from trunkline.gateway.config.targets import HARMLESS, may_call_number, may_call_uri
from trunkline.gateway.media import control
from trunkline.gateway.sip.events import TransferChanged
from trunkline.gateway.sip.messages import Transfer

TRANSFER_LIMIT_S = 60.0
"For an agent's transfer: as long as a telephone rings."
REPLACED_LIMIT_S = 3.0
"How long the target of an attended transfer may take to end the call that was replaced."
REPLACED_DEADLINE = "replaced"
"What `Call.deadline_for` says of it."
RELEASED_DEADLINE = "released"
"... of a target whose transfer has lost the call that would have told the result."
RESULT_MARGIN_S = 5.0
"After a transfer's time limit SIP has said that it failed."


MOST_TARGETS = 8


class Transferring:
    """Transfers that agents and the API ask for."""

    def __init__(self, book: Book, ending: Ending) -> None:
        self._book, self._ending = book, ending
        self._failed: dict[str, Callable[[Call, str], None]] = {}
        "by call id: who wants to know that its transfer has failed"

    def ask(
        self, call: Call, target: str, attended: str, headers: Mapping[str, str], timeout_s: float = TRANSFER_LIMIT_S,
        *, by_agent: bool = False,
    ) -> None:  # fmt: skip
        """Ask the peer; raises CallRefused. An agent may name what its route allows, and calls of its own."""
        if target:
            call.targets = (*call.targets, target)[-MOST_TARGETS:]
        if call.phase not in ANSWERED:
            raise CallRefused("not_now", "a call can be transferred only while it is up", 409)
        if call.transfer:
            raise CallRefused("not_now", "a transfer of this call is going on already", 409)
        if bool(target) == bool(attended):
            raise CallRefused("bad_target", "one of target and attended is needed")
        if problem := problem_of(headers):
            raise CallRefused("bad_header", problem)
        if attended:
            other = self._other(call, attended, by_agent=by_agent)
            other.transfer = call.transfer = "asked"
            other.transfer_ends = time.monotonic() + timeout_s + RESULT_MARGIN_S
            call.attended = other.id
            command = Transfer(call.id, attended=other.id, headers=dict(headers), timeout_s=timeout_s)
        else:
            uri = self._uri(call, target, by_agent=by_agent)
            call.transfer, call.attended = "asked", ""
            command = Transfer(call.id, uri, headers=dict(headers), timeout_s=timeout_s)
        call.transfer_ends = time.monotonic() + timeout_s + RESULT_MARGIN_S
        self._book.post(command)
        log.debug("call.transfer", call_id=call.id, attended=attended)

    def hand_on(self, call: Call, target: str, failed: Callable[[Call, str], None]) -> bool:
        """Transfer a call that has nobody left to talk to; `failed` is told why if it comes to nothing.

        False: it cannot even be tried.
        """
        try:
            self.ask(call, target, "", {})
        except CallRefused as problem:
            said = {"state": "refused", "cause": problem.cause, "detail": problem.detail}
            log.warning("call.transfer", call_id=call.id, **said, **logs.hiding(*call.numbers))
            return False
        self._failed[call.id] = failed
        return True

    def wait_for_result(self, call: Call, failed: Callable[[Call, str], None]) -> bool:
        """Have `failed` told if the transfer of a call without agent, or to it, fails; False: none goes on."""
        if not call.transfer or call.deadline_for == RELEASED_DEADLINE:
            call.transfer = ""
            return False
        if call.transfer != "done":
            self._failed[call.id] = failed
            call.wait(call.transfer_ends - time.monotonic(), "fallback")
        return True

    def _other(self, call: Call, call_id: str, *, by_agent: bool) -> Call:
        other = self._book.calls.get(call_id)
        if other is None or (by_agent and other.agent.name != call.agent.name):
            raise CallRefused("bad_target", f"there is no call {call_id[:64]!r} of this agent")
        if other is call:
            raise CallRefused("bad_target", "a call cannot be transferred to itself")
        if other.phase not in ANSWERED or other.transfer:
            raise CallRefused("not_now", "the other call is not up, or is being transferred itself", 409)
        return other

    def _uri(self, call: Call, target: str, *, by_agent: bool) -> str:
        allowed = call.route.transfer_targets if call.route is not None else []
        if is_uri(target):
            try:
                uri = parse_uri(target)
            except UriError as error:
                raise CallRefused("bad_target", f"{target!r} cannot be used as a SIP URI: {error}") from error
            host = f"{uri.host}:{uri.port}" if uri.port else uri.host
            permitted = may_call_uri(allowed, uri.user, host, secure=uri.secure) and uri.parameters <= HARMLESS
        else:
            number = compact_number(target)
            permitted = number is None or may_call_number(allowed, number)
        if by_agent and not permitted:
            text = f"the route allows no transfer to {target!r} (transfer_targets)"
            raise CallRefused("forbidden", text, 403)
        trunk = call.trunk if call.trunk.outbound_host else call.trunk.model_copy(update={"host": _home(call)})
        return target_uri(target, trunk, ("udp", "tcp", "tls"))  # it is the peer who calls it, by what it has

    def changed(self, call: Call, event: TransferChanged) -> None:
        """What the peer says of it."""
        other = self._book.calls.get(call.attended) if call.attended else None
        kind = "attended" if call.attended else "blind"
        failed = event.state == "failed"
        for each in (call, other):
            if each is not None:
                each.transfer = "" if failed else event.state
        call.attended = "" if failed else call.attended
        said = {"state": event.state, "code": event.code, "reason": event.reason}
        hidden = logs.hiding(*call.numbers)
        (log.warning if failed else log.debug)("call.transfer", call_id=call.id, kind=kind, **said, **hidden)
        self._book.publish("call.transfer", call, kind=kind, **said)
        self._book.media.send(control.TellTransfer(call.id, event.state, event.code, event.reason))
        if failed:
            self._book.observer.transfer(kind, "failed")
            why = f"{event.code} {event.reason}" if event.code else event.reason
            self._tell_failed(call, why)
            if other is not None:
                self._tell_failed(other, why)
        elif event.state == "done":
            self._ending.end(call, "transferred")

    def _tell_failed(self, call: Call, why: str) -> None:
        if (tell := self._failed.pop(call.id, None)) is not None:
            tell(call, why)

    def ended(self, call: Call) -> None:
        """A call is ending: what does that make of its transfer, and of the call that was to be its target?"""
        self._failed.pop(call.id, None)
        if not call.transfer:
            return
        done = call.cause == "transferred"
        state, call.transfer = call.transfer, ""
        if not call.attended and self._is_target(call):
            return
        if done and state != "done":
            call.detail = "the other party hung up before it had said how the transfer went"
        if not call.attended:
            self._book.observer.transfer("blind", "done" if done else "ended")
        else:
            self._book.observer.transfer("attended", "done" if done else "ended")
            other = self._book.calls.get(call.attended)
            if other is not None and not other.closing:
                self._leave(other, state if done else "")

    def _leave(self, target: Call, state: str) -> None:
        """The call that was to be transferred has ended, with this state of its transfer; empty: it came to nothing."""
        if state == "done":
            target.wait(REPLACED_LIMIT_S, REPLACED_DEADLINE)
        elif state in HANDED_ON and not target.agentless:
            target.wait(target.transfer_ends - time.monotonic(), RELEASED_DEADLINE)
        else:
            target.transfer = ""
            self._tell_failed(target, "the other party hung up")

    def released(self, call: Call) -> None:
        """Nothing has replaced it: its agent goes on with it."""
        call.transfer = call.deadline_for = ""

    def _is_target(self, call: Call) -> bool:
        return any(other.attended == call.id for other in self._book.calls.values())

    def overdue(self, call: Call) -> None:
        """The other party of a call that was replaced has not hung up."""
        self._ending.end(call, "transferred")


def _home(call: Call) -> str:
    """`host[:port]` of the peer's that called us, for numbers at a trunk that has no host."""
    source = "" if call.invite is None else call.invite.source
    udp = call.invite is not None and call.invite.transport == "udp"
    return source if udp or not source else bracketed(split_host_port(source)[0])
