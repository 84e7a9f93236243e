# SPDX-License-Identifier: GPL-2.0-or-later
"""The DTLS handshake that makes SRTP keys (RFC 5763, RFC 5764), without I/O.

    Handshake(active, identity, fingerprints) -> start / receive / handle_timeout -> datagrams
                                              -> keys, once the peer's certificate is the one that its SDP named

OpenSSL does the protocol, through pyOpenSSL (Apache-2.0), which can run it in memory.
What is left to us: where one datagram ends (OpenSSL's memory forgets it), which
certificate to believe, and how the exported secret becomes keys.

Garbage in the middle of a handshake is dropped by OpenSSL, and the handshake goes on.  A
well-formed forgery can end it before it is done (DTLS 1.2 begins in the clear), so only
datagrams from the address that the SDP names belong in here.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL

from trunkline.rtp.dtls_certificate import Fingerprint, Identity
from trunkline.rtp.sdes import SUITES, CryptoKey

PROFILES = {
    b"SRTP_AEAD_AES_128_GCM": "AEAD_AES_128_GCM",
    b"SRTP_AEAD_AES_256_GCM": "AEAD_AES_256_GCM",
    b"SRTP_AES128_CM_SHA1_80": "AES_CM_128_HMAC_SHA1_80",
    b"SRTP_AES128_CM_SHA1_32": "AES_CM_128_HMAC_SHA1_32",
}
"""SRTP protection profiles, our preference first (RFC 5764 4.1.2, RFC 7714 14.2), and the suites of the same keys."""
LABEL = b"EXTRACTOR-dtls_srtp"
MAX_DATAGRAM = 1200
"Bytes of one datagram: what every path takes."
MAX_RETRIES = 5
"Half a minute without an answer: nobody is there."
FIRST_BYTE, LAST_BYTE = 20, 63
"What a datagram begins with that shares a port with RTP and is DTLS (RFC 7983 7)."
_RECORD_HEADER = 13
_MAX_PENDING = 65536
_SLACK_NS = 2_000_000
"OpenSSL's own timer decides whether it is time to repeat: ask a moment after, not before."


class HandshakeFailed(Exception):
    """There will be no keys; the text says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Keys:
    """What the handshake was for."""

    send: CryptoKey
    receive: CryptoKey


def is_dtls(first_byte: int) -> bool:
    """Whether a datagram on the RTP port is DTLS."""
    return FIRST_BYTE <= first_byte <= LAST_BYTE


class Handshake:
    """One side of one association."""

    def __init__(self, *, active: bool, identity: Identity, fingerprints: Sequence[Fingerprint]) -> None:
        """`active` is the client (a=setup:active); `fingerprints` are those of the peer's SDP."""
        if not fingerprints:
            raise ValueError("a handshake needs the fingerprint that the peer's SDP names")
        self._active = active
        self._fingerprints = tuple(fingerprints)
        self._connection = SSL.Connection(_context(identity), None)
        (self._connection.set_connect_state if active else self._connection.set_accept_state)()
        self._connection.set_ciphertext_mtu(MAX_DATAGRAM)
        self._retries = 0
        self.next_deadline_ns: int | None = None
        "when to call `handle_timeout`; None: nothing is waited for"
        self.keys: Keys | None = None

    def start(self, now_ns: int) -> list[bytes]:
        """The client's first datagrams; a server has none, and waits."""
        return self._advance(now_ns) if self._active else []

    def receive(self, datagram: bytes, now_ns: int) -> list[bytes]:
        """Take a datagram; returns those to send. HandshakeFailed when it is over without keys.

        After the handshake it answers what the peer repeats, as it must (RFC 6347 4.2.4).
        """
        if not datagram:  # OpenSSL would take it for the end of all
            return []
        self._connection.bio_write(datagram)
        return self._advance(now_ns)

    def handle_timeout(self, now_ns: int) -> list[bytes]:
        """No answer in time: send the last flight again. HandshakeFailed after `MAX_RETRIES`.

        When that is, OpenSSL's own clock says: after 1 s, then 2 s and so on (RFC 6347 4.2.4.1).
        """
        if self.next_deadline_ns is None or now_ns < self.next_deadline_ns:
            return []
        if self._connection.DTLSv1_handle_timeout():
            self._retries += 1
        if self._retries > MAX_RETRIES:
            self.next_deadline_ns = None
            raise HandshakeFailed("the peer does not answer the DTLS handshake")
        self._set_deadline(now_ns)
        return self._outgoing()

    def _set_deadline(self, now_ns: int) -> None:
        left_s = None if self.keys is not None else self._connection.DTLSv1_get_timeout()
        self.next_deadline_ns = None if left_s is None else now_ns + int(left_s * 1e9) + _SLACK_NS

    def _advance(self, now_ns: int) -> list[bytes]:
        try:
            if self.keys is None:
                self._connection.do_handshake()
                self._finish()
            else:
                self._connection.recv(MAX_DATAGRAM)  # a repeated flight of the peer, or an alert
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:  # close_notify: media ends by SIP, not by this
            pass
        except SSL.Error as error:
            if self.keys is not None:
                return self._outgoing()
            self.next_deadline_ns = None
            raise HandshakeFailed(f"the DTLS handshake failed: {_reason(error)}") from None
        out = self._outgoing()
        if out:
            self._retries = 0
        self._set_deadline(now_ns)
        return out

    def _finish(self) -> None:
        """The handshake is complete: is it the peer that the SDP named, and what are the keys?"""
        presented = self._connection.get_peer_certificate(as_cryptography=True)
        if presented is None or not _believed(presented, self._fingerprints):
            raise HandshakeFailed("the peer's DTLS certificate is not the one whose fingerprint its SDP names")
        profile = self._connection.get_selected_srtp_profile()
        if profile not in PROFILES:
            raise HandshakeFailed("the peer takes none of our SRTP profiles (RFC 5764 4.1.2)")
        name = PROFILES[profile]
        suite = SUITES[name]
        key, salt = suite.key_bytes, suite.salt_bytes
        secret = self._connection.export_keying_material(LABEL, 2 * (key + salt))
        # RFC 5764 4.2: client key, server key, client salt, server salt.
        client = CryptoKey(name, secret[:key] + secret[2 * key : 2 * key + salt])
        server = CryptoKey(name, secret[key : 2 * key] + secret[2 * key + salt :])
        self.keys = Keys(client, server) if self._active else Keys(server, client)

    def _outgoing(self) -> list[bytes]:
        """What OpenSSL wants to send, as datagrams of whole records."""
        try:
            pending = self._connection.bio_read(_MAX_PENDING)
        except SSL.WantReadError:
            return []
        return split_records(pending)


def split_records(pending: bytes) -> list[bytes]:
    """DTLS records in a row (RFC 6347 4.1), packed into datagrams of at most `MAX_DATAGRAM` bytes."""
    datagrams: list[bytes] = []
    current = b""
    while len(pending) >= _RECORD_HEADER:
        (length,) = struct.unpack_from("!H", pending, 11)
        record, pending = pending[: _RECORD_HEADER + length], pending[_RECORD_HEADER + length :]
        if current and len(current) + len(record) > MAX_DATAGRAM:
            datagrams.append(current)
            current = b""
        current += record
    return [*datagrams, current] if current else datagrams


def _believed(certificate: x509.Certificate, fingerprints: Sequence[Fingerprint]) -> bool:
    """RFC 8122 5: of several fingerprints, one that matches is enough."""
    return any(fingerprint.matches(certificate) for fingerprint in fingerprints)


def _context(identity: Identity) -> SSL.Context:
    context = SSL.Context(SSL.DTLS_METHOD)
    context.use_certificate(x509.load_pem_x509_certificate(identity.certificate))
    context.use_privatekey(serialization.load_pem_private_key(identity.private_key, None))  # type: ignore[arg-type]
    # Any certificate gets through here: which one is right, the fingerprint says (`_finish`).
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    context.set_tlsext_use_srtp(b":".join(PROFILES))
    context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    return context


def _reason(error: SSL.Error) -> str:
    """The last of OpenSSL's reasons, such as `sslv3 alert handshake failure`."""
    reasons = error.args[0] if error.args else ()
    words = [entry[-1] for entry in reasons if entry and entry[-1]] if isinstance(reasons, (list, tuple)) else []
    return words[-1] if words else "no reason was given"
