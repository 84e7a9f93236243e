# SPDX-License-Identifier: GPL-2.0-or-later
"""A pjsua2 account for each trunk: its identity, its credentials, its registration.

PJSIP answers the challenge, refreshes before expiry and renews its nonce.  What it
does after a failure depends on the code and is told to nobody, so its own retries are
off and `Backoff` decides; the event then says when the next try is.
"""

from __future__ import annotations

import re
from typing import Protocol

import pjsua2 as pj
import structlog

from trunkline.gateway.sip.backoff import Backoff
from trunkline.gateway.sip.events import RegistrationChanged
from trunkline.gateway.sip.guard import guarded
from trunkline.gateway.sip.hops import uri_transport
from trunkline.gateway.sip.message import SipText
from trunkline.gateway.sip.services import Services
from trunkline.gateway.sip.settings import DEFAULT_USER, SipConfig, Transport, Trunk
from trunkline.gateway.sip.settings import Protocol as Transports

log = structlog.get_logger(__name__)

METHOD_NOT_ALLOWED = 405
BAD_EVENT = 489
_PRACK = {
    "off": pj.PJSUA_100REL_NOT_USED,
    "optional": pj.PJSUA_100REL_OPTIONAL,
    "required": pj.PJSUA_100REL_MANDATORY,
}
_TIMER = {
    "off": pj.PJSUA_SIP_TIMER_INACTIVE,
    "optional": pj.PJSUA_SIP_TIMER_OPTIONAL,
    "required": pj.PJSUA_SIP_TIMER_REQUIRED,
}


class Door(Protocol):
    """Who takes the INVITEs."""

    def arrived(self, account: pj.Account, call_id: int) -> None:
        """PJSIP wants a call object for an INVITE, now."""


def _host_of(uri_or_host: str) -> str:
    match = re.match(r"(?:sips?:)?(?:[^@]*@)?(\[[^\]]+\]|[^:;?>]+)", uri_or_host)
    return match[1] if match else ""


def _bracketed(host: str) -> str:
    """A host as it stands in a URI: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def by_transport(uri: str, transport: Transports) -> str:
    """The URI with the trunk's transport, unless it has its own; `sips:` means TLS on every hop."""
    if transport == "udp" or uri_transport(uri):
        return uri
    head, question, headers = uri.partition("?")
    return f"{head};transport={transport}{question}{headers}"


def route_uri(proxy: str, transport: Transports = "udp") -> str:
    """An outbound proxy as a Route value; without `lr` PJSIP would do RFC 2543's strict routing."""
    proxy = by_transport(proxy.strip().strip("<>"), transport)
    return f"<{proxy}>" if re.search(r";lr\b", proxy) else f"<{proxy};lr>"


def identity(trunk: Trunk, local_host: str, scheme: str = "sip") -> str:
    """The trunk's own From URI."""
    registration = trunk.registration
    user = trunk.from_user or (registration.username if registration else "") or DEFAULT_USER
    registrar = _host_of(registration.server) if registration else ""
    domain = _bracketed(trunk.caller_domain) or _host_of(trunk.host) or registrar
    return f"<{scheme}:{user}@{domain or local_host}>"


def account_config(
    trunk: Trunk, config: SipConfig, transport_id: int | None, sips: bool = False
) -> pj.AccountConfig:
    """The pjsua2 form of a trunk. `transport_id` binds it to one of several transports of its protocol.

    PJSIP writes `sips:` into the Contact of calls of an account whose own URI has it, and of no other.
    """
    listening = [one for one in config.transports if one.protocol == trunk.transport] or list(
        config.transports
    )
    local: Transport = listening[0]
    host = local.advertise or local.bind
    account = pj.AccountConfig()
    account.idUri = identity(trunk, _bracketed(host), "sips" if sips else "sip")
    if transport_id is not None:
        account.sipConfig.transportId = transport_id
    if trunk.outbound_proxy:
        account.sipConfig.proxies.append(route_uri(trunk.outbound_proxy, trunk.transport))
    if hasattr(account.sipConfig, "autoRespondSipMessage"):  # missing before PJSIP 2.16
        account.sipConfig.autoRespondSipMessage = False
    account.callConfig.prackUse = _PRACK[trunk.prack]
    account.callConfig.timerUse = _TIMER[trunk.session_timer]
    account.callConfig.timerSessExpiresSec = max(trunk.session_expires_s, 90)
    ipv6 = any(transport.ipv6 for transport in config.transports)
    account.sipConfig.ipv6Use = pj.PJSUA_IPV6_ENABLED if ipv6 else pj.PJSUA_IPV6_DISABLED
    _media(account.mediaConfig, ipv6)
    _nat(account.natConfig, advertised=bool(local.advertise))
    if sips or trunk.transport == "tls":
        account.natConfig.contactUseSrcPort = 0  # a peer that connects anew must find our port, not a connection's
    if trunk.registration is not None and not sips:
        _registration(account, trunk)
    return account


def _media(media: pj.AccountMediaConfig, ipv6: bool) -> None:
    """PJMEDIA opens no socket and changes nothing of what we negotiate."""
    media.useLoopMedTp = True
    media.enableLoopback = False
    media.lockCodecEnabled = False  # it would re-INVITE on its own to narrow down the peer's answer
    media.streamKaEnabled = False
    # Keys are ours to negotiate, and whether they may travel in the clear is ours to say: PJSIP lets all pass.
    media.srtpUse = pj.PJMEDIA_SRTP_OPTIONAL
    media.srtpSecureSignaling = 0
    media.ipv6Use = pj.PJSUA_IPV6_ENABLED if ipv6 else pj.PJSUA_IPV6_DISABLED


def _nat(nat: pj.AccountNatConfig, advertised: bool) -> None:
    nat.iceEnabled = False
    nat.sdpNatRewriteUse = 0
    nat.sipOutboundUse = 0  # RFC 5626 adds parameters to Contact that many PBXs keep apart as a second device
    if advertised:
        nat.contactRewriteUse = 0
        nat.viaRewriteUse = 0


def _registration(account: pj.AccountConfig, trunk: Trunk) -> None:
    registration = trunk.registration
    assert registration is not None
    account.regConfig.registrarUri = by_transport(registration.server, trunk.transport)
    account.regConfig.registerOnAdd = False
    account.regConfig.timeoutSec = registration.expires_s
    account.regConfig.retryIntervalSec = 0
    account.regConfig.dropCallsOnFail = False
    secret = pj.AuthCredInfo("digest", registration.realm, registration.username, 0, registration.password)
    account.sipConfig.authCreds.append(secret)


class TrunkAccount(pj.Account):
    """One trunk inside PJSIP."""

    def __init__(self, trunk: Trunk, user_agent: str, door: Door, services: Services) -> None:
        super().__init__()
        self.trunk, self.user_agent = trunk, user_agent
        self.closing = False
        self._door, self._services = door, services
        self._backoff = Backoff()
        self._last: RegistrationChanged | None = None

    @property
    def registered(self) -> bool:
        return self._last is not None and self._last.registered

    def bury(self) -> None:
        """Delete the C++ object, here and now (see `Leg.bury`)."""
        self.closing = True
        self.shutdown()
        pj.Account.__swig_destroy__(self)

    def register(self) -> None:
        """Send a REGISTER now; the answer comes as `onRegState`."""
        if self.closing:
            return
        try:
            self.setRegistration(True)
        except pj.Error as error:
            # no such host, no route, or the former REGISTER is still out
            self._failed(503, error.reason, 0.0)

    def unregister(self) -> None:
        """Take the contact back; stop trying."""
        self.closing = True
        if self.registered:
            try:
                self.setRegistration(False)
            except pj.Error as error:
                log.warning("sip.unregister_failed", trunk=self.trunk.name, detail=error.reason)

    def _failed(self, code: int, reason: str, retry_after_s: float) -> None:
        retry_s: float | None = None
        if not self.closing:
            retry_s = self._backoff.failed(code, retry_after_s)
            self._services.later(retry_s, self.register)
        self._report(RegistrationChanged(self.trunk.name, False, code, reason, 0, retry_s))

    def _report(self, event: RegistrationChanged) -> None:
        if event.registered and self.registered:
            return  # a refresh, whose expiry may differ by a second
        self._last = event
        self._services.emit(event)

    @guarded
    def onRegState(self, prm: pj.OnRegStateParam) -> None:  # noqa: N802
        code, reason = int(prm.code), prm.reason
        if code // 100 == 2 and prm.expiration > 0 and not self.closing:
            self._backoff.succeeded()
            self._report(RegistrationChanged(self.trunk.name, True, code, reason, int(prm.expiration)))
        elif code // 100 == 2:
            self._report(RegistrationChanged(self.trunk.name, False, code, reason, 0))
        else:
            after = (
                SipText.parse(prm.rdata.wholeMsg)
                .header("Retry-After")
                .partition(";")[0]
                .partition("(")[0]
                .strip()
            )
            if code == 503 and not prm.rdata.wholeMsg:
                reason = self._services.refused_certificate or reason
            self._failed(code, reason, float(after) if after.isdigit() else 0.0)

    @guarded
    def onIncomingCall(self, prm: pj.OnIncomingCallParam) -> None:  # noqa: N802
        self._door.arrived(self, prm.callId)

    @guarded
    def onInstantMessage(self, prm: pj.OnInstantMessageParam) -> None:  # noqa: N802
        if not hasattr(pj, "SendResponseParam"):  # before PJSIP 2.16 it has answered 200 by itself
            return
        answer = pj.SendResponseParam()
        answer.deferredResponse, answer.code = pj.DeferredResponse(prm), METHOD_NOT_ALLOWED
        self.sendResponse(answer)

    @guarded
    def onIncomingSubscribe(self, prm: pj.OnIncomingSubscribeParam) -> None:  # noqa: N802
        prm.code = BAD_EVENT
        prm.reason = "Bad Event"
