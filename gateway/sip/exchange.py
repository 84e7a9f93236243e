# SPDX-License-Identifier: GPL-2.0-or-later
"""Which SDP meets which: PJSIP's callbacks in, calls of the session out (RFC 3264, RFC 6337).

PJSIP asks for our SDP and says when a negotiation is done, but its binding shows
the peer's SDP only when that is an offer, and then cuts off what is longer than
1,024 characters.  So the peer's SDP is taken from the messages themselves, which
come by at other moments:

    peer offers     message -> on_offer (re-INVITE, UPDATE) -> on_sdp -> on_media
    peer answers    INVITE   state change with the message -> on_media
                    UPDATE, re-INVITE   on_media -> transaction with the message
                    ACK      on_media -> state change with the message (first INVITE only)

An ACK that answers an offerless re-INVITE is never shown.  For it, and only for it,
an equivalent answer is written from what PJSIP says it has negotiated; keys of SRTP are not in it,
so they stay what they were.

PJSIP refreshes a session timer that must carry SDP with our last SDP and does not
ask.  An answer that nobody awaits is therefore one to what we said last.
"""

from __future__ import annotations

import random
from typing import Protocol

import structlog

from trunkline.gateway.sip.events import MediaChanged, OfferFailed
from trunkline.gateway.sip.guard import LegError
from trunkline.gateway.sip.leg import Leg, Step
from trunkline.gateway.sip.messages import Reinvite, SdpSession
from trunkline.gateway.sip.negotiated import negotiated_answer
from trunkline.gateway.sip.services import Services
from trunkline.gateway.sip.timers import Timer

log = structlog.get_logger(__name__)

BUSY_RETRY_S = 0.25
"How soon an offer is tried again that had to wait for another exchange."
MOST_BUSY_S = 40.0
"So long an offer waits for other exchanges, and behind collisions: longer than a re-INVITE of ours can go unanswered."
MOST_REFUSED_S = 5.0
"... and so long while PJSIP will not send it."


class Host(Protocol):
    """The call around an exchange."""

    call_id: str
    outbound: bool
    leg: Leg | None

    def fail(self, code: int, reason: str) -> None:
        """End the call: its media cannot be agreed on."""


class Exchange:
    """Offers and answers of one call."""

    def __init__(self, host: Host, session: SdpSession, services: Services, offer: str = "") -> None:
        self._host, self._session, self._services = host, session, services
        self._remote_offer = offer
        "text of the offer that PJSIP is processing"
        self._prepared: str | None = None
        "what goes on the wire when PJSIP asks"
        self._answering = False
        "the negotiation that runs began with the peer's offer"
        self._within_call = False
        "and that offer came in a re-INVITE or UPDATE"
        self._offering = False
        "the session waits for an answer"
        self._said = ""
        "our last offer"
        self._response_sdp = ""
        "SDP of the response that PJSIP is processing"
        self._unseen = False
        "negotiated, but the answer has not come by yet"
        self._wanted: Reinvite | None = None
        "an offer of ours that waits"
        self._sent: Reinvite | None = None
        "the last one that went out"
        self._waited_s = 0.0
        "... so long by now"
        self._retry: Timer | None = None
        "when it is tried again"
        self._collided = False
        "... and nothing is to be sent before"

    # --- the peer offers ----------------------------------------------------------------------

    def request_arrived(self, sdp: str) -> None:
        """An INVITE, UPDATE or PRACK of the peer, before PJSIP looks at it."""
        self._remote_offer = sdp

    def on_offer(self, offer: str) -> int:
        """Try to answer; a refusal leaves everything as it was."""
        offer = self._remote_offer or offer
        try:
            self._prepared = self._session.answer(offer)
        except Exception as error:
            code = getattr(error, "code", None)
            if not isinstance(code, int):
                log.exception("sip.answer_failed", call_id=self._host.call_id)
            log.warning("sip.offer_refused", call_id=self._host.call_id, code=488, reason=str(error))
            return 488
        self._answering = self._within_call = True
        return 200

    def answer_refused(self) -> None:
        """PJSIP refused a re-INVITE or UPDATE although the session had an answer."""
        if self._within_call:
            self._answering = self._within_call = False
            self._remote_offer, self._prepared = "", None
            self._session.withdraw()

    def on_sdp(self, remote: str) -> str | None:
        """Our SDP for the wire."""
        remote, self._remote_offer = self._remote_offer or remote, ""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            return prepared
        try:
            if remote:
                answer = self._session.answer(remote)
                self._answering = True
                return answer
            return self._offer()
        except Exception as error:  # noqa: BLE001 - logged there, and the call is ended
            self._refuse(error)
            return None

    # --- we offer -----------------------------------------------------------------------------

    def prepare_offer(self) -> None:
        """Ask the session now, while its refusal can still keep a message from being sent."""
        self._remote_offer, self._prepared = "", self._offer()

    def _offer(self) -> str:
        self._answering, self._offering = False, True
        self._said = self._session.offer()
        return self._said

    def response_arrived(self, sdp: str) -> None:
        """A response whose state change comes before its negotiation."""
        self._response_sdp = sdp

    def message_over(self, sdp: str) -> None:
        """PJSIP is done with a message."""
        self._response_sdp = ""
        if self._unseen and sdp:
            self._take_answer(sdp)

    def on_media(self) -> None:
        """A negotiation is complete."""
        if self._answering:
            self._answering = self._within_call = False
            self._services.emit(MediaChanged(self._host.call_id))
        elif self._response_sdp:
            sdp, self._response_sdp = self._response_sdp, ""
            self._take_answer(sdp)
        else:
            self._unseen = True
            self._services.defer(self._answer_never_seen)

    def _take_answer(self, sdp: str, *, keys_unseen: bool = False) -> None:
        self._unseen = False
        try:
            if not self._offering:
                self._session.repeated()  # PJSIP repeated our last SDP, or a second fork answers the first offer
            self._session.accepted(sdp, keys_unseen=keys_unseen)
        except Exception as error:  # noqa: BLE001 - logged there, and the call is ended
            self._refuse(error)
            return
        finally:
            self._offering = False
        self._services.emit(MediaChanged(self._host.call_id))
        self._go_on()

    def _answer_never_seen(self) -> None:
        if self._unseen and self._host.leg is not None:
            self._take_answer(negotiated_answer(self._host.leg, self._said), keys_unseen=True)

    def _refuse(self, error: Exception) -> None:
        code = getattr(error, "code", None)
        if not isinstance(code, int):
            log.error("sip.session_failed", call_id=self._host.call_id)
            code = 500
        self._host.fail(code, str(error))

    # --- offers within the call ---------------------------------------------------------------

    def reoffer(self, command: Reinvite) -> None:
        """Offer again as soon as no other exchange runs."""
        if command.hold is not None:
            self._session.hold(command.hold)
        self._wanted, self._waited_s = command, 0.0
        self.try_offer()

    def try_offer(self) -> None:
        """Send the offer that waits, if one does."""
        command, leg = self._wanted, self._host.leg
        if command is None or leg is None or self._collided:
            return
        if self._offering or self._answering or self._unseen:
            self._postpone(BUSY_RETRY_S, MOST_BUSY_S, 491, "another exchange is going on")
            return
        try:
            self.prepare_offer()
            leg.offer(command.update)
        except LegError as error:
            self._offering, self._prepared = False, None
            self._postpone(BUSY_RETRY_S, MOST_REFUSED_S, 491, str(error))
        else:
            self._wanted, self._sent = None, command

    def _postpone(self, delay_s: float, most_s: float, code: int, why: str) -> None:
        """Try again later; one timer, however many wishes came meanwhile: the last one counts."""
        if self._waited_s >= most_s:
            self._give_up(code, why)
        elif self._retry is None:
            self._waited_s += delay_s
            self._retry = self._services.later(delay_s, self._try_again)

    def _try_again(self) -> None:
        self._retry, self._collided = None, False
        self.try_offer()

    def _go_on(self) -> None:
        """An exchange of ours is over: what has waited for that need not wait for the timer."""
        if self._wanted is not None:
            self._services.defer(self.try_offer)

    def offer_finished(self, step: Step) -> None:
        """A re-INVITE or UPDATE of ours has its final response, or none in time."""
        if not self._offering or step.code < 300 or step.code in (401, 407, 422):
            return
        self._offering = False
        if step.code == 491 and self._sent is not None:
            self._wanted = self._wanted or self._sent
            # RFC 3261 section 14.1: who owns the Call-ID waits longer, so that the two do not collide again
            delay_s = random.uniform(2.1, 4.0) if self._host.outbound else random.uniform(0.0, 2.0)
            if self._retry is not None:
                self._retry.cancel()
            self._retry, self._collided = None, True
            self._postpone(delay_s, MOST_BUSY_S, step.code, step.reason)
        elif self._wanted is not None:  # another wish has come since
            self._go_on()
        else:
            self._give_up(step.code, step.reason)

    def _give_up(self, code: int, reason: str) -> None:
        self._wanted, self._collided = None, False
        log.warning("sip.offer_failed", call_id=self._host.call_id, code=code, reason=reason)
        self._services.emit(OfferFailed(self._host.call_id, code, reason))
