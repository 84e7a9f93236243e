# SPDX-License-Identifier: GPL-2.0-or-later
"""TLS connections that are up: who is at the other end, and why another one failed.

A connection is known by PJSIP's handle as long as PJSIP has it, so an INVITE is taken for
secure because PJSIP has received it on one, not because its Via says so, and not because
of its source: a UDP socket may have the very address of a connection.  Names count only
of a certificate that a configured authority has signed.

PJSIP verifies all servers or none.  So when one is excused, the verdict on the others is
given here, in the moment before PJSIP sends anything on the new connection.

And PJSIP 2.17 does not know a resumed session (TLS 1.2) from a new one: OpenSSL verifies
nothing again, so a client whose certificate has just been refused comes back with the
session of that handshake and passes for verified.  Therefore certificates that did not
verify are remembered for as long as OpenSSL can remember a session with them.  It keeps
sessions with the listener, so that ends soon: whoever owns the listener is asked for a
new one (`on_doubt`), and a peer that has mended its chain gets in again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import pjsua2 as pj
import structlog

from trunkline.gateway.sip.pjlog import Faucet

log = structlog.get_logger(__name__)

CERTIFICATE_REFUSED = 171173
"PJSIP_TLS_ECERTVERIF"
MAX_DOUBTED = 32_768
"OpenSSL keeps 20,480 sessions of a listener (SSL_SESSION_CACHE_MAX_SIZE_DEFAULT) and drops the oldest, as we do"
_GONE = (pj.PJSIP_TP_STATE_DISCONNECTED, pj.PJSIP_TP_STATE_DESTROY)
_PROBLEMS = {
    pj.PJ_SSL_CERT_EISSUER_NOT_FOUND: "the authority that signed it is not among those of `ca`",
    pj.PJ_SSL_CERT_EUNTRUSTED: "it is self-signed, or the authority that signed it is not among those of `ca`",
    pj.PJ_SSL_CERT_EVALIDITY_PERIOD: "it has expired or is not valid yet",
    pj.PJ_SSL_CERT_EINVALID_FORMAT: "it cannot be read",
    pj.PJ_SSL_CERT_EINVALID_PURPOSE: "it was not issued for this purpose",
    pj.PJ_SSL_CERT_EISSUER_MISMATCH: "its signature or issuer does not fit",
    pj.PJ_SSL_CERT_ECRL_FAILURE: "its revocation list cannot be checked",
    pj.PJ_SSL_CERT_EREVOKED: "it is revoked",
    pj.PJ_SSL_CERT_ECHAIN_TOO_LONG: "its chain is too long",
    pj.PJ_SSL_CERT_EIDENTITY_NOT_MATCH: "it is not for the name that we connected to",
}


def problems_of(status: int) -> str:
    """PJSIP's verification flags in words."""
    found = [text for flag, text in _PROBLEMS.items() if status & flag]
    if not status:
        return "it resumes a session with a certificate that was refused"
    return "; ".join(found) or f"it was not accepted (flags {status:#x})"


def names_of(certificate: pj.SslCertInfo) -> tuple[str, ...]:
    """Who a certificate is for: its alternative names, and only without any its common name (RFC 5922, 7.1)."""
    names = [entry.name for entry in certificate.subjectAltName if entry.name]
    return tuple(names or ([certificate.subjectCn] if certificate.subjectCn else []))


class TlsPeers:
    """TLS connections by PJSIP's handle."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[str, ...]] = {}
        self._from: dict[int, str] = {}
        "`address:port` of those who have connected to us"
        self._doubted: dict[bytes, int] = {}
        "digests of clients' certificates that did not verify, and under which listener; oldest first"
        self._listener = 0
        self._faucet = Faucet()
        self._port, self._strict, self._excused = 0, False, frozenset[str]()
        self._shut_down: Callable[[int], None] = lambda transport: None
        self.on_doubt: Callable[[], None] = lambda: None
        "called when a client's certificate has not verified: a new listener is wanted, within a while"
        self.failure = ""
        "what was wrong with the certificate that was refused last, until `forget_failure`"

    def judge(
        self, port: int, strict: bool, excused: frozenset[str], shut_down: Callable[[int], None]
    ) -> None:
        """How to judge: servers must verify, but for the `excused` (`address:port`), and if `strict` clients too.

        `port` is ours, by which connections to us are told from those that we make.
        """
        self._port, self._strict, self._excused, self._shut_down = port, strict, excused, shut_down

    def names(self, handle: int) -> tuple[str, ...] | None:
        """Names that the peer has proven on this transport, perhaps none; None: that is no TLS connection."""
        return self._names.get(handle)

    def give_up_unproven(self, host: str, port: int) -> None:
        """A call is to go to that address: not on a connection that was made from there by whoever it may be.

        PJSIP would take one.  What it has been told to shut down it does not take, and dialogs connect anew.
        """
        for handle, source in list(self._from.items()):
            if source == f"{host}:{port}" and host not in self._names.get(handle, ()):
                log.info("sip.connection_given_up", source=source, why="it has not proven to be whom we call")
                del self._from[handle]
                self._shut_down(handle)

    def __contains__(self, handle: object) -> bool:
        return handle in self._names

    def changed(self, handle: int, state: int, error: int, info: pj.TlsInfo) -> None:
        """PJSIP's connection `handle` is up, or goes."""
        if state == pj.PJSIP_TP_STATE_CONNECTED:
            try:
                self._connected(handle, info)
            except Exception:
                self._shut_down(handle)  # nothing may be sent to, or taken from, whoever has not been judged
                raise
        elif state in _GONE:
            if error == CERTIFICATE_REFUSED:
                self._verified(info)
                self._refused(info)
            self._names.pop(handle, None)
            self._from.pop(handle, None)

    def _connected(self, handle: int, info: pj.TlsInfo) -> None:
        verified = self._verified(info)
        if info.isEmpty() or (not verified and self._must_verify(info)):
            self._shut_down(handle)
            self._refused(info)
            return
        if self._to_us(info):
            self._from[handle] = info.remoteAddr
        self._names[handle] = names_of(info.remoteCertInfo) if verified else ()

    def _to_us(self, info: pj.TlsInfo) -> bool:
        return bool(info.localAddr.rpartition(":")[2] == str(self._port))

    def _must_verify(self, info: pj.TlsInfo) -> bool:
        return self._strict if self._to_us(info) else info.remoteAddr not in self._excused

    def _verified(self, info: pj.TlsInfo) -> bool:
        """Whether the certificate, if there is one, is good, and was so when the session began."""
        if not self._to_us(info) or info.remoteCertInfo.isEmpty():
            return bool(info.verifyStatus == 0)
        digest = hashlib.sha256(info.remoteCertInfo.raw.encode()).digest()
        if info.verifyStatus:
            self._doubted.pop(digest, None)
            self._doubted[digest] = self._listener
            if len(self._doubted) > MAX_DOUBTED:
                del self._doubted[next(iter(self._doubted))]
            self.on_doubt()
        return digest not in self._doubted

    def new_listener(self) -> Callable[[], None]:
        """Another listener, perhaps with other authorities, and no session of the former.

        What is returned is to be called when no handshake with the former can be going on any more.
        """
        self._listener += 1
        now = self._listener

        def forget() -> None:
            self._doubted = {digest: then for digest, then in self._doubted.items() if then >= now}

        return forget

    def _refused(self, info: pj.TlsInfo) -> None:
        whose = f"{info.remoteAddr}, for {', '.join(names_of(info.remoteCertInfo)) or 'nobody'}"
        self.failure = f"the certificate of {whose}, is refused: {problems_of(info.verifyStatus)}"
        if self._faucet.admit(time.monotonic()):  # any stranger can cause one with each connection
            log.warning("sip.certificate_refused", detail=self.failure, issuer=info.remoteCertInfo.issuerCn)

    def forget_failure(self) -> None:
        """Whoever it concerned has been told."""
        self.failure = ""
