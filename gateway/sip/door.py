# SPDX-License-Identifier: GPL-2.0-or-later
"""How an INVITE gets in, or does not.

PJSIP asks for the account of a new INVITE before it looks at anything else, and that
is where the screen decides, so that nothing of ours is spent on a stranger and the
trunk's options apply.  Then PJSIP checks SDP and extensions, may refuse by itself,
and asks for a call object, in the middle of creating its media; a refusal of ours can
only be sent then, and PJSIP keeps it until its 100 is out.  All this happens within
one callback of the network, so the verdict waits in `_pending` for a moment only.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import pjsua2 as pj
import structlog

from trunkline.gateway.sip.call import Registry, SipCall
from trunkline.gateway.sip.events import Incoming, Refused
from trunkline.gateway.sip.guard import LegError
from trunkline.gateway.sip.hops import way_back
from trunkline.gateway.sip.leg import Account, Leg, Step
from trunkline.gateway.sip.message import SipText, name_and_uri
from trunkline.gateway.sip.messages import Admission, IncomingInvite, Refusal, Screen
from trunkline.gateway.sip.native import Native
from trunkline.gateway.sip.secrecy import Secrecy
from trunkline.gateway.sip.tls_peers import TlsPeers

log = structlog.get_logger(__name__)

STRANGERS = "<strangers>"
"The account for requests of no trunk; no trunk can have this name."
SHUTTING_DOWN = Refusal(503, "Service Unavailable", "draining", "the gateway is shutting down", 10)
NOT_SECURE = Refusal(400, "SIPS Needs TLS", "bad_request", "a sips: URI, but the INVITE did not come by TLS")
BROKEN = Refusal(500, "Server Internal Error", "internal_error", "the screen raised; see the log")
_CAUSES = {
    400: "bad_sdp",
    415: "bad_sdp",
    420: "bad_extension",
    421: "bad_extension",
    422: "session_interval",
    486: "limit_calls",
    488: "no_common_codec",
    603: "sip_stack",
}


class Calls(Registry, Protocol):
    """The engine, as the door sees it."""

    stopping: bool

    def account_for(self, trunk: str, sips: bool = False) -> pj.Account | None:
        """The account of a trunk by name, the strangers' account for any other name."""

    def adopt(self, call: SipCall) -> None:
        """Keep a new call until it is released."""

    def keep(self, turned_away: TurnedAway) -> None:
        """Keep the leg of a refused INVITE until PJSIP is done with it."""

    def drop(self, turned_away: TurnedAway) -> None:
        """PJSIP is done with it."""


class TurnedAway:
    """Owns the leg of a refused INVITE; PJSIP insists on one."""

    leg: Leg | None = None

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def refuse(self, refusal: Refusal) -> None:
        """Send it, unless the caller has given up meanwhile."""
        if self.leg is None:
            return
        headers = {} if refusal.retry_after_s is None else {"Retry-After": str(refusal.retry_after_s)}
        try:
            self.leg.respond(refusal.code, refusal.reason, headers)
        except LegError as error:  # PJSIP then answers 500 itself
            log.warning("sip.refuse_failed", code=refusal.code, detail=str(error))

    def on_state(self, state: int, code: int, reason: str, message: SipText) -> None:
        if state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self._calls.drop(self)

    def on_step(self, step: Step) -> None:
        """Nothing of it matters."""

    def on_offer(self, offer: str) -> int:
        return 488

    def on_sdp(self, remote: str) -> None:
        """PJSIP's own SDP will do: it is never sent."""

    def on_media(self) -> None:
        """Cannot happen: it is never answered with 2xx."""

    def on_failure(self) -> None:
        """Already logged."""


def read_invite(text: str, source: str, names: tuple[str, ...] | None = None) -> IncomingInvite:
    """An INVITE as the screen sees it. `names` are those of the TLS connection that it came on, None: on no such."""
    message = SipText.parse(text)
    name, from_uri = name_and_uri(message.header("From"))
    via = message.header("Via").upper().partition(" ")[0]
    return IncomingInvite(
        source=source,
        transport="tls" if names is not None else "udp" if "/UDP" in via else "tcp",  # a Via may say what it likes
        request_uri=message.request_uri,
        from_uri=from_uri,
        from_name=name,
        to_uri=name_and_uri(message.header("To"))[1],
        sip_call_id=message.header("Call-ID"),
        headers=message.headers,
        sdp=message.sdp,
        certificate_names=names or (),
        way_back=way_back(message),
    )


class InviteDoor:
    """Implements account.Door."""

    def __init__(self, screen: Screen, calls: Calls, native: Native, peers: TlsPeers) -> None:
        self._screen, self._calls, self._native, self._peers = screen, calls, native, peers
        self._pending: tuple[IncomingInvite, Admission | Refusal, str] | None = None

    def screen(self, text: str, source: str, transport: int) -> pj.Account | None:
        """Decide on a new INVITE and choose the account that goes on with it; `transport` is PJSIP's handle."""
        self.abandon(500, "Server Internal Error")
        invite = read_invite(text, source, self._peers.names(transport))
        verdict: Admission | Refusal = SHUTTING_DOWN
        sips = invite.request_uri.lower().startswith("sips:")
        if sips and invite.transport != "tls":
            verdict = NOT_SECURE
        elif not self._calls.stopping:
            try:
                verdict = self._screen.incoming(invite)
            except Exception:
                log.exception("sip.screen_failed", source=source)
                verdict = BROKEN
        self._pending = invite, verdict, text
        return self._calls.account_for(verdict.trunk if isinstance(verdict, Admission) else STRANGERS, sips)

    def arrived(self, account: Account, call_id: int) -> None:
        """PJSIP is content with the INVITE and wants its call object."""
        pending, self._pending = self._pending, None
        if pending is None:
            log.error("sip.invite_unscreened", pjsua_call=call_id)
            self._refuse(account, call_id, BROKEN, offerless=False)
            return
        invite, verdict, text = pending
        if isinstance(verdict, Refusal):
            self._refuse(account, call_id, verdict, offerless=not invite.sdp)
            self._calls.emit(Refused(invite, verdict))
            return
        call = SipCall(verdict.call_id, verdict.trunk, verdict.session, self._calls, invite.sdp)
        routed = any(name.lower() == "record-route" for name in invite.headers)
        call.secrecy = Secrecy(call, verdict.session, self._calls, verdict.tls_only, routed)
        call.leg = Leg(account, call, self._native, call_id)
        self._calls.adopt(call)
        self._calls.emit(Incoming(verdict.call_id, invite))
        call.trace(verdict.trace)
        if verdict.trace:
            call.tell(False, text, invite.source)

    def _refuse(self, account: Account, call_id: int, refusal: Refusal, offerless: bool) -> None:
        turned_away = TurnedAway(self._calls)
        turned_away.leg = Leg(account, turned_away, self._native, call_id)
        self._calls.keep(turned_away)
        if offerless:
            # No media, so nothing keeps the refusal back: PJSIP would end the call within this callback, and
            # afterwards free the INVITE a second time, which its assertion reports (endpoint.cpp).
            self._calls.defer(lambda: turned_away.refuse(refusal))
        else:
            turned_away.refuse(refusal)

    def rejected(self, text: str, source: str, transport: int, code: int, reason: str) -> None:
        """PJSIP refused an INVITE by itself."""
        if self._pending is not None:
            self.abandon(code, reason)
            return
        invite = read_invite(text, source, self._peers.names(transport)) if text else None
        self._calls.emit(Refused(invite, _by_pjsip(code, reason)))

    def abandon(self, code: int, reason: str) -> None:
        """PJSIP refused an INVITE on which we had decided: told as one refusal, with the code that went out.

        Call control has not heard of an admitted one yet, and takes back what the screen held for it.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return
        invite, verdict, _ = pending
        if isinstance(verdict, Refusal):
            refusal = dataclasses.replace(verdict, code=code, reason=reason, retry_after_s=None)
        else:
            refusal = _by_pjsip(code, reason)
        self._calls.emit(Refused(invite, refusal))


def _by_pjsip(code: int, reason: str) -> Refusal:
    return Refusal(code, reason, _CAUSES.get(code, "sip_stack"), f"PJSIP refused it: {code} {reason}")
