# SPDX-License-Identifier: GPL-2.0-or-later
"""What call control does about each event of the SIP thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from trunkline.gateway import logs
from trunkline.gateway.calls import recordings
from trunkline.gateway.calls.book import Book, log
from trunkline.gateway.calls.call import Call, Trigger
from trunkline.gateway.calls.digits import Digits
from trunkline.gateway.calls.ending import Ending
from trunkline.gateway.calls.screen import MAX_NUMBER
from trunkline.gateway.calls.streams import Streams
from trunkline.gateway.calls.throttle import Throttle
from trunkline.gateway.calls.transferring import Transferring
from trunkline.gateway.media.control import CommandRefused, InjectDtmf, TellCallState
from trunkline.gateway.outcome import outcome
from trunkline.gateway.routing import number_of
from trunkline.gateway.sip.events import (
    CallState,
    Event,
    Incoming,
    InfoDtmf,
    InfoDtmfAnswered,
    MediaChanged,
    OfferFailed,
    Placed,
    Refused,
    RegistrationChanged,
    SipMessage,
    StateChanged,
    ThreadFailed,
    TransferChanged,
)
from trunkline.gateway.sip.messages import HangUp, Respond

REFUSAL_LOG_INTERVAL_S = 10.0
"""Scanners send hundreds of INVITEs a second: one line per source, cause and interval tells as much.

From a known trunk each called number gets its own line: there a refusal is a call that somebody misses.
"""


class SipFlow:
    """Reactions to SIP events, on the event loop."""

    def __init__(
        self,
        book: Book,
        ending: Ending,
        streams: Streams,
        digits: Digits,
        admitted: dict[str, Call],
        on_fatal: Callable[[str], None],
        transferring: Transferring,
    ) -> None:
        """`admitted` are the screen's calls; `on_fatal` is told that the SIP thread has ended."""
        self._book, self._ending, self._streams, self._digits = book, ending, streams, digits
        self._admitted = admitted
        self._on_fatal = on_fatal
        self._transferring = transferring
        self._throttle = Throttle(REFUSAL_LOG_INTERVAL_S)
        self._reactions: dict[type[Any], Callable[[Any], None]] = {
            Incoming: self._incoming,
            Refused: self._refused,
            Placed: self._placed,
            StateChanged: self._state_changed,
            MediaChanged: self._media_changed,
            OfferFailed: self._offer_failed,
            InfoDtmf: self._info_dtmf,
            InfoDtmfAnswered: self._info_answered,
            RegistrationChanged: self._registration_changed,
            ThreadFailed: lambda event: self._on_fatal(event.detail),
            TransferChanged: self._transfer_changed,
            SipMessage: self._message_seen,
        }

    def handle(self, event: Event) -> None:
        """React to one event."""
        self._reactions[type(event)](event)

    def _incoming(self, event: Incoming) -> None:
        """An admitted INVITE: ring, and connect the agent."""
        call = self._admitted.pop(event.call_id, None)
        if call is None:  # given up by the sweep meanwhile
            self._book.post(HangUp(event.call_id, 500))
            return
        call.deadline = 0.0
        self._book.calls[call.id] = call
        self._book.observer.call_started(call.id, call.direction)
        log.debug("call.incoming", call_id=call.id, trunk=call.trunk.name, route=call.info.route)
        self._book.publish("call.incoming", call, trunk=call.trunk.name, source=event.invite.source)
        if call.left_out:
            why = "more or longer than an agent is told of (32 headers, 16 kB)"
            log.warning("call.headers_left_out", call_id=call.id, headers=list(call.left_out), detail=why)
        self._book.post(Respond(call.id, 180))
        self._streams.start(call)

    def _refused(self, event: Refused) -> None:
        """An INVITE that got no call; when PJSIP refused what we had admitted, its ports go back."""
        invite, refusal = event.invite, event.refusal
        self._book.observer.refused(refusal.cause)
        source = invite.source if invite else ""
        called = number_of(invite.request_uri)[:MAX_NUMBER] if invite else ""
        facts = {
            "cause": refusal.cause,
            "code": refusal.code,
            "source": source,
            "called": called,
            "detail": refusal.detail,
        }
        subject = source.rpartition(":")[0], refusal.cause, "" if refusal.cause == "unknown_peer" else called
        held_back = self._throttle.allow(subject, time.monotonic(), facts)
        if held_back is not None:
            again = {"suppressed": held_back} if held_back else {}
            self._log_refusal(facts, again)
        self._book.hub.publish("call.refused", "", facts)
        for call in list(self._admitted.values()) if invite is not None else []:
            if call.invite is invite:
                self._drop_admitted(call.id)

    def flush_refusals(self, now: float) -> None:
        """Tell of the refusals whose lines were held back, once their source has been quiet."""
        for count, facts in self._throttle.flush(now):
            self._log_refusal(facts, {"suppressed": count})

    def _log_refusal(self, facts: Mapping[str, Any], more: Mapping[str, Any]) -> None:
        write = getattr(log, outcome(str(facts["cause"])).level)
        write("call.refused", **facts, **more, **logs.hiding(str(facts["called"])))

    def _placed(self, event: Placed) -> None:
        """Our INVITE is out; it says who we are more surely than we who asked for it."""
        call = self._book.calls.get(event.call_id)
        if call is not None:
            call.sip_call_id = event.sip_call_id
            caller = number_of(event.from_uri) or event.from_uri
            call.info = msgspec.structs.replace(call.info, caller=caller[:MAX_NUMBER])

    def _state_changed(self, event: StateChanged) -> None:
        call = self._book.calls.get(event.call_id)
        if call is None:
            if event.state is CallState.ENDED:
                self._drop_admitted(event.call_id)
            return
        if event.state is CallState.ENDED:
            self._ending.sip_ended(call, event)
        elif call.direction == "outbound" and event.state in (CallState.RINGING, CallState.EARLY):
            early = event.state is CallState.EARLY
            if call.apply(Trigger.PROGRESS if early else Trigger.RING):
                name = "early" if early else "ringing"
                self._book.publish(f"call.{name}", call, code=event.code)
                self._book.media.send(TellCallState(call.id, name))
        elif event.state is CallState.CONFIRMED and call.apply(Trigger.CONFIRM):
            self._up(call, event)

    def _up(self, call: Call, event: StateChanged) -> None:
        call.answered, call.deadline = time.time(), 0.0
        call.sip_code, call.sip_reason = event.code or 200, event.reason or "OK"
        setup_s = time.monotonic() - call.created_at
        self._book.observer.call_answered(call.id, setup_s)
        log.debug("call.up", call_id=call.id, setup_s=round(setup_s, 3))
        self._book.publish("call.up", call, setup_s=round(setup_s, 3))
        self._book.media.remember(call.id, answered=True)
        self._streams.refresh(call)
        self._book.media.send(TellCallState(call.id, "answered"))

    def _media_changed(self, event: MediaChanged) -> None:
        call = self._book.calls.get(event.call_id)
        if call is not None:
            self._streams.refresh(call)

    def _offer_failed(self, event: OfferFailed) -> None:
        """The peer did not want our re-INVITE; the call goes on as it was."""
        call = self._book.calls.get(event.call_id)
        if call is not None:
            self._book.publish("call.offer_failed", call, code=event.code, reason=event.reason)
            if not call.closing:
                wish = "is held here, and does not know it" if call.holding else "may still take itself for held"
                text = f"the other party {wish}: its answer to our offer was {event.code} {event.reason}"
                self._book.media.send(CommandRefused(call.id, "offer_failed", text))

    def _transfer_changed(self, event: TransferChanged) -> None:
        call = self._book.calls.get(event.call_id)
        if call is not None and not call.closing:
            self._transferring.changed(call, event)

    def _message_seen(self, event: SipMessage) -> None:
        call = self._book.calls.get(event.call_id)
        if call is not None:
            recordings.sip(self._book, call, event)

    def _info_dtmf(self, event: InfoDtmf) -> None:
        call = self._book.calls.get(event.call_id)
        if call is None or call.closing or not self._book.config.media.dtmf_info:
            return
        # The worker puts it in order with the audio, and reports it as it does any key (CallerDtmf).
        self._book.media.send(InjectDtmf(call.id, event.digit, event.duration_ms))

    def _info_answered(self, event: InfoDtmfAnswered) -> None:
        call = self._book.calls.get(event.call_id)
        if call is not None and not call.closing:
            self._digits.info_answered(call, event)

    def _registration_changed(self, event: RegistrationChanged) -> None:
        before = self._book.registrations.get(event.trunk, {})
        state = {
            "registered": event.registered,
            "code": event.code,
            "reason": event.reason,
            "expires_s": event.expires_s,
            "retry_in_s": event.retry_in_s,
        }
        self._book.registrations[event.trunk] = state
        self._book.observer.registration(event.trunk, event.registered, event.code)
        if before.get("registered") != event.registered or not event.registered:
            name = "trunk.registered" if event.registered else "trunk.unregistered"
            (log.info if event.registered else log.warning)(name, trunk=event.trunk, **state)
            self._book.hub.publish(name, "", {"trunk": event.trunk, **state})

    def _drop_admitted(self, call_id: str) -> None:
        """The call was gone before call control had taken it over."""
        call = self._admitted.pop(call_id, None)
        if call is not None:
            self._book.give_back(call)
