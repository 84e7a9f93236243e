# SPDX-License-Identifier: GPL-2.0-or-later
"""What a call with SRTP keys in its SDP may not do within its dialog (RFC 4568 7).

Its keys go by TLS only, unless the trunk says otherwise.  But PJSIP answers on the
transport that a request came on, and sends its own requests, those of the session timer
included, by what the peer's Contact asks for; it moves there even when it refuses the
request that says so.  So a call that leaves TLS is ended.

And a new offer of ours, asked for by a re-INVITE without SDP, is answered in an ACK,
which nobody shows us: a new key in it would be missed, and the audio with it.
"""

from __future__ import annotations

from typing import Protocol

import structlog

from trunkline.gateway.sip.hops import uri_transport
from trunkline.gateway.sip.leg import Step
from trunkline.gateway.sip.message import SipText, name_and_uri
from trunkline.gateway.sip.messages import SdpSession
from trunkline.gateway.sip.services import Services

log = structlog.get_logger(__name__)

REFUSED = 488


class Host(Protocol):
    """The call around it."""

    call_id: str
    outbound: bool

    def fail(self, code: int, reason: str) -> None:
        """End the call."""


class Secrecy:
    """Watches over the keys of one call."""

    def __init__(
        self, host: Host, session: SdpSession, services: Services, tls_only: bool, routed: bool = False
    ) -> None:
        """`tls_only`: keys may stand in SIP by TLS, and in no other. `routed`: by a route, not by the Contact."""
        self._host, self._session, self._services = host, session, services
        self._tls_only, self._routed = tls_only, routed

    def refuses(self, step: Step) -> bool:
        """A request of the peer has come: whether it has been refused."""
        if step.method not in ("INVITE", "UPDATE", "PRACK"):
            return False
        why = self._moved(step.message) if step.method != "PRACK" else ""
        if why:
            self._host.fail(REFUSED, why)
        elif self._tls_only and not step.by_tls and (step.message.sdp or step.method == "INVITE"):
            why = "its keys go by TLS, and the request did not come by TLS"
        elif step.method == "INVITE" and not step.message.sdp and self._session.encrypted:
            why = "a re-INVITE without SDP in a call with SRTP keys: those of the ACK would not be seen"
        if not why:
            return False
        log.warning("sip.offer_refused", call_id=self._host.call_id, code=REFUSED, reason=why)
        if not step.respond(REFUSED):
            self._host.fail(REFUSED, why)
        return True

    def heard(self, method: str, message: SipText) -> None:
        """A response to a request of ours."""
        code, _ = message.status
        if not self._tls_only or method not in ("INVITE", "UPDATE") or not 100 < code < 300:
            return
        if self._host.outbound and message.record_routes:
            self._routed = True
            if uri_transport(message.record_routes[-1]) != "tls":
                self._services.defer(lambda: self._exposed("the proxy before us does not ask for TLS"))
        elif (code >= 200 or message.sdp) and (why := self._moved(message)):
            self._services.defer(lambda: self._exposed(why))

    def _moved(self, message: SipText) -> str:
        contact = name_and_uri(message.header("Contact"))[1]
        if not self._tls_only or self._routed or not contact or uri_transport(contact) == "tls":
            return ""
        return "its keys go by TLS, and its Contact does not ask for TLS"

    def _exposed(self, why: str) -> None:
        """PJSIP is done with the response, and its SDP is agreed on."""
        if self._session.encrypted:
            log.warning("sip.keys_exposed", call_id=self._host.call_id, code=REFUSED, reason=why)
            self._host.fail(REFUSED, why)
        else:
            self._session.forgo_keys()
