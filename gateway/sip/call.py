# SPDX-License-Identifier: GPL-2.0-or-later
"""One call on the SIP thread: PJSIP's callbacks become events, commands become messages.

    inbound     (Incoming) -> RINGING | EARLY -> CONNECTING -> CONFIRMED -> ENDED
    outbound    CALLING -> RINGING | EARLY -> CONNECTING -> CONFIRMED -> ENDED

ENDED comes exactly once, whatever happens.  Its code is the final response for a call
that was never answered, 200 for a BYE from either side, and ours where we gave up: 408
when nobody answered in time, 488 when the media could not be agreed on.  When we hang
up, ENDED comes at once and PJSIP alone waits for the answer to the BYE.
"""

from __future__ import annotations

import re
import time
from typing import Protocol

import pjsua2 as pj
import structlog

from trunkline.gateway.sip.digits import InfoDigits
from trunkline.gateway.sip.ends import Ending, by_pjsip, not_answered, not_sent
from trunkline.gateway.sip.events import CallState, Placed, SipMessage, StateChanged
from trunkline.gateway.sip.exchange import Exchange
from trunkline.gateway.sip.guard import LegError
from trunkline.gateway.sip.headers import HeaderError, check_headers
from trunkline.gateway.sip.leg import Leg, Step
from trunkline.gateway.sip.message import SipText, reason_text
from trunkline.gateway.sip.messages import HangUp, PlaceCall, Respond, SdpSession
from trunkline.gateway.sip.secrecy import Secrecy
from trunkline.gateway.sip.services import Services
from trunkline.gateway.sip.timers import Timer
from trunkline.gateway.sip.transfer import DialogName, Transfers

log = structlog.get_logger(__name__)

TERMINATED = 487
DECLINE = 603
_VIA = re.compile(r"^(?:Via|v)[ \t]*:[ \t]*SIP[ \t]*/[^/]*/[ \t]*(\w+)", re.I | re.M)


class Registry(Services, Protocol):
    """Services, and the list of calls."""

    def release(self, call: SipCall) -> None:
        """The call is over; let its leg die once PJSIP is out of it."""


class SipCall:
    """Implements LegOwner and Host."""

    def __init__(
        self, call_id: str, trunk: str, session: SdpSession, registry: Registry, offer: str | None
    ) -> None:
        """`offer` is the SDP of an incoming INVITE, perhaps empty; None makes it an outbound call."""
        self.call_id, self.trunk = call_id, trunk
        self.outbound = offer is None
        self.leg: Leg | None = None
        self.state: CallState | None = None
        self.exchange = Exchange(self, session, registry, offer or "")
        self.digits = InfoDigits(self, registry)
        self.transfers = Transfers(self, registry)
        self.dialog: DialogName | None = None
        "once it was answered"
        self.secrecy = Secrecy(self, session, registry, tls_only=False)
        self._session, self._registry = session, registry
        self._ending: Ending | None = None
        self._timeout: Timer | None = None
        self._peer = ""
        "address:port that the last message told of came from or went to"
        self._heard = False
        "outbound: the peer has sent a response, be it a 100"

    # --- commands -----------------------------------------------------------------------------

    def place(self, leg: Leg, command: PlaceCall, target: str) -> None:
        """Send the INVITE; failures end the call at once."""
        self.leg = leg
        self.trace(command.trace)
        self.secrecy = Secrecy(self, command.session, self._registry, command.tls_only)
        try:
            check_headers(command.headers)
            self.exchange.prepare_offer()
            leg.place(target, command.from_uri, command.headers)
            if self.state is not CallState.ENDED:
                self._registry.emit(Placed(self.call_id, *leg.identity()))
        except Exception as error:
            if not isinstance(error, (HeaderError, LegError)):
                log.exception("sip.place_failed", call_id=self.call_id)
            self._end(not_sent(error))
        else:
            if self.state is not CallState.ENDED:
                self._timeout = self._registry.later(
                    command.timeout_s, lambda: self._not_answered(target, command.timeout_s)
                )

    def respond(self, command: Respond) -> None:
        """Answer an incoming INVITE; too late is no error, for a CANCEL may have crossed it."""
        if self.leg is None or self.outbound or self._ending is not None:
            return
        headers = self._safe(command.headers)
        try:
            if command.code >= 300:
                self._ending = Ending(command.code, command.reason, {}, True)
            self.leg.respond(command.code, command.reason, headers)
        except LegError as error:
            log.warning("sip.respond_failed", call_id=self.call_id, code=command.code, detail=str(error))
            if command.code >= 200:
                self.fail(500, "Server Internal Error")

    def hang_up(self, command: HangUp, cause: str = "") -> None:
        """End it in whatever way its state asks for; a second time does nothing.

        `cause` is the word when the end was not call control's idea.
        """
        if self.leg is None or self._ending is not None:
            return
        answered = self.state in (CallState.CONNECTING, CallState.CONFIRMED)
        refusing = not answered and not self.outbound
        code = command.code if command.code >= 300 else DECLINE if refusing else 0
        self._ending = Ending(code or (200 if answered else TERMINATED), command.reason, {}, True, cause)
        try:
            self.leg.end(code, command.reason, self._safe(command.headers))
        except LegError as error:
            log.warning("sip.hang_up_failed", call_id=self.call_id, detail=str(error))
            self._end(self._ending)

    def fail(self, code: int, reason: str) -> None:
        """Media cannot be agreed on, or we broke: end the call when PJSIP is out of the way."""
        cause = "internal_error" if code == 500 else "media_failed"
        self._registry.defer(lambda: self.hang_up(HangUp(self.call_id, code, reason), cause))

    def _not_answered(self, target: str, seconds: float) -> None:
        if self.leg is not None and self._ending is None:
            self._ending = not_answered(self._heard, target.strip("<>"), seconds)
            try:
                self.leg.end()
            except LegError:
                self._end(self._ending)

    def _safe(self, headers: dict[str, str]) -> dict[str, str]:
        """Headers that pass; a bad one must not cost the caller the whole response."""
        passed = {}
        for name, value in headers.items():
            try:
                check_headers({name: value})
                passed[name] = value
            except HeaderError as error:
                log.warning("sip.header_dropped", call_id=self.call_id, detail=str(error))
        return passed

    def trace(self, wanted: bool) -> None:
        """Tell each message from now on, or no more."""
        if self.leg is not None:
            self.leg.on_message = self.tell if wanted else None

    def tell(self, outbound: bool, text: str, peer: str) -> None:
        """A message has come or gone; `peer` is the other end's address:port."""
        self._peer = peer or self._peer
        via = _VIA.search(text)
        port = self._registry.port_of(via[1].lower() if via else "udp")
        self._registry.emit(SipMessage(self.call_id, outbound, text, time.time_ns(), self._peer, port))

    # --- what PJSIP tells ---------------------------------------------------------------------

    def on_state(self, state: int, code: int, reason: str, message: SipText) -> None:
        """The INVITE session moved on."""
        if state == pj.PJSIP_INV_STATE_CALLING:
            self._move(CallState.CALLING, 0, "", message)
        elif state == pj.PJSIP_INV_STATE_EARLY:
            if self.outbound:
                self.exchange.response_arrived(message.sdp)
                self._progress(message)
            else:
                self._move(CallState.EARLY if code == 183 else CallState.RINGING, code, reason, message)
        elif state == pj.PJSIP_INV_STATE_CONNECTING:
            if self.outbound:
                self.exchange.response_arrived(message.sdp)
                self.dialog = DialogName.of(message, sent_by_peer_as="To")
            self._stop_timeout()
            self._move(CallState.CONNECTING, code, reason, message)
        elif state == pj.PJSIP_INV_STATE_CONFIRMED:
            if not self.outbound:
                self.exchange.message_over(message.sdp)
                self.dialog = DialogName.of(message, sent_by_peer_as="From")
            self._move(CallState.CONFIRMED, 200, "OK", message)
            self._registry.defer(self.exchange.try_offer)
        elif state == pj.PJSIP_INV_STATE_DISCONNECTED:
            unanswered = self.outbound and self.state in (None, CallState.CALLING)
            silent, certificate = unanswered and not self._heard, self._registry.refused_certificate
            self._end(self._ending or by_pjsip(code, reason, message, silent, certificate))

    def on_step(self, step: Step) -> None:
        """A transaction moved on."""
        if step.arrived:
            self._request(step)
        elif step.server:
            self.digits.answered(step)
            if step.finished and step.code >= 300 and step.method in ("INVITE", "UPDATE"):
                self.exchange.answer_refused()
        else:
            self._heard = self._heard or bool(step.message.start_line)
            self.secrecy.heard(step.method, step.message)
            if step.method == "INVITE" and step.state == pj.PJSIP_TSX_STATE_PROCEEDING and step.code > 100:
                self._progress(step.message)
            self.exchange.message_over(step.message.sdp)
            if step.finished and step.method in ("INVITE", "UPDATE"):
                self.exchange.offer_finished(step)
            elif step.finished and step.method == "INFO":
                self.digits.sent(step)
            elif step.finished and step.method == "REFER":
                self.transfers.answered(step)

    def _request(self, step: Step) -> None:
        message = step.message
        if self.secrecy.refuses(step):
            return
        if step.method in ("INVITE", "UPDATE", "PRACK"):
            self.exchange.request_arrived(message.sdp)
        elif step.method == "INFO":
            self.digits.arrived(step)
        elif step.method == "NOTIFY":
            self.transfers.notified(message)
        elif step.method == "BYE" and self._ending is None:
            text = reason_text(message.header("Reason")) or "BYE"
            self._ending = Ending(200, text, message.headers, False)
        elif step.method == "CANCEL" and self._ending is None and self.state is not CallState.CONFIRMED:
            # only for the end it may lead to: a CANCEL that crosses our 200 ends nothing, and a BYE follows
            text = reason_text(message.header("Reason")) or "Request Terminated"
            if self.state is not CallState.CONNECTING:
                self._ending = Ending(TERMINATED, text, message.headers, False)

    def on_offer(self, offer: str) -> int:
        return self.exchange.on_offer(offer)

    def on_sdp(self, remote: str) -> str | None:
        return self.exchange.on_sdp(remote)

    def on_media(self) -> None:
        self.exchange.on_media()

    def on_failure(self) -> None:
        """A bug of ours must not leave a half-dead call behind."""
        self.fail(500, "Server Internal Error")

    # --- events -------------------------------------------------------------------------------

    def _progress(self, message: SipText) -> None:
        """18x of the peer; ringing may turn into early media, and not back."""
        code, reason = message.status
        if code > 100 and self.state in (None, CallState.CALLING, CallState.RINGING):
            self._move(CallState.EARLY if message.sdp else CallState.RINGING, code, reason, message)

    def _move(self, state: CallState, code: int, reason: str, message: SipText) -> None:
        if self.state is not state and self.state is not CallState.ENDED:
            self.state = state
            self._registry.emit(StateChanged(self.call_id, state, code, reason, message.headers))

    def _end(self, ending: Ending) -> None:
        if self.state is CallState.ENDED:
            return
        self.state = CallState.ENDED
        self._stop_timeout()
        self.transfers.end()
        event = StateChanged(
            self.call_id, self.state, ending.code, ending.reason, ending.headers, ending.by_us, ending.cause
        )
        self._registry.emit(event)
        self._registry.release(self)

    def _stop_timeout(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None
