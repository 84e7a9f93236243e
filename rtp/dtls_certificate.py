# SPDX-License-Identifier: GPL-2.0-or-later
"""Self-signed certificates and their fingerprints, as DTLS-SRTP uses them (RFC 5763, RFC 8122).

Nobody signs these certificates: the fingerprint in the SDP says which one to believe,
and the SDP is only as good as the signalling that brought it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha-256": hashes.SHA256(),
    "sha-384": hashes.SHA384(),
    "sha-512": hashes.SHA512(),
}
"MD5 and SHA-1, which RFC 8122 5 forbids, are not believed."
LIFETIME_DAYS = 30
"Longer than any call; who checks it at all, checks it against a clock that may be wrong by a day."


class FingerprintError(ValueError):
    """An a=fingerprint that cannot be used."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fingerprint:
    """Hash of a certificate (RFC 8122 5)."""

    algorithm: str
    "lower case, such as `sha-256`"
    digest: bytes

    @classmethod
    def parse(cls, value: str) -> Fingerprint:
        """Read what stands behind `a=fingerprint:`; FingerprintError says what is wrong."""
        algorithm, _, text = value.strip().partition(" ")
        known = _HASHES.get(algorithm.lower())
        if known is None:
            taken = ", ".join(_HASHES)
            raise FingerprintError(f"a fingerprint by {algorithm[:20]!a}; taken are {taken}")
        if not re.fullmatch(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2})*", text.strip()):
            raise FingerprintError("a fingerprint that is no list of hexadecimal pairs")
        digest = bytes.fromhex(text.strip().replace(":", ""))
        if len(digest) != known.digest_size:
            raise FingerprintError(
                f"a {algorithm.lower()} fingerprint of {len(digest)} bytes; it has {known.digest_size}"
            )
        return cls(algorithm.lower(), digest)

    def __str__(self) -> str:
        return f"{self.algorithm} {self.digest.hex(':').upper()}"

    def matches(self, certificate: x509.Certificate) -> bool:
        """Whether it is that of this certificate."""
        return certificate.fingerprint(_HASHES[self.algorithm]) == self.digest


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """A certificate of ours and its private key, both in PEM."""

    certificate: bytes
    private_key: bytes = dataclasses.field(repr=False)

    @property
    def fingerprint(self) -> Fingerprint:
        """What the SDP says of it."""
        certificate = x509.load_pem_x509_certificate(self.certificate)
        return Fingerprint("sha-256", certificate.fingerprint(hashes.SHA256()))


def new_identity(now: dt.datetime) -> Identity:
    """A fresh ECDSA certificate on P-256, valid around `now` (aware): 0.25 ms of CPU."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "trunkline")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=LIFETIME_DAYS))
        .sign(key, hashes.SHA256())
    )
    return Identity(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
