# SPDX-License-Identifier: GPL-2.0-or-later
"""TLS connections that are up: who is at the other end, and why another one failed.

A connection is known by its address as long as PJSIP has it, so an INVITE is taken for
secure because it came on one, not because its Via says so.  Names count only of a
certificate that a configured authority has signed.
"""

from __future__ import annotations

import pjsua2 as pj
import structlog

log = structlog.get_logger(__name__)

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
    return "; ".join(found) or f"it was not accepted (flags {status:#x})"


def names_of(certificate: pj.SslCertInfo) -> tuple[str, ...]:
    """Who a certificate is for: its alternative names, and only without any its common name (RFC 5922, 7.1)."""
    names = [entry.name for entry in certificate.subjectAltName if entry.name]
    return tuple(names or ([certificate.subjectCn] if certificate.subjectCn else []))


class TlsPeers:
    """TLS connections by the address of the peer."""

    def __init__(self) -> None:
        self._source: dict[int, str] = {}
        "by PJSIP's handle"
        self._names: dict[str, tuple[str, ...]] = {}
        self.failure = ""
        "what was wrong with the certificate that was refused last, until `forget_failure`"

    def names(self, source: str) -> tuple[str, ...] | None:
        """Names that the peer at `address:port` has proven, perhaps none; None: no TLS connection with it."""
        return self._names.get(source)

    def changed(self, handle: int, state: int, error: int, info: pj.TlsInfo) -> None:
        """PJSIP's connection `handle` is up, or goes."""
        if state == pj.PJSIP_TP_STATE_CONNECTED:
            source = self._source[handle] = info.remoteAddr
            shown = not info.remoteCertInfo.isEmpty() and info.verifyStatus == 0
            self._names[source] = names_of(info.remoteCertInfo) if shown else ()
        elif state in _GONE:
            if state == pj.PJSIP_TP_STATE_DISCONNECTED and not info.isEmpty() and info.verifyStatus:
                self._refused(info)
            source = self._source.pop(handle, "")
            if source and source not in self._source.values():
                self._names.pop(source, None)

    def _refused(self, info: pj.TlsInfo) -> None:
        names = ", ".join(names_of(info.remoteCertInfo)) or "nobody"
        self.failure = f"the certificate of {info.remoteAddr}, for {names}, is refused: {problems_of(info.verifyStatus)}"
        log.warning("sip.certificate_refused", detail=self.failure, issuer=info.remoteCertInfo.issuerCn)

    def forget_failure(self) -> None:
        """Whoever it concerned has been told."""
        self.failure = ""
