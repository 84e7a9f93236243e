# SPDX-License-Identifier: GPL-2.0-or-later
"""Certificate, key and authorities of the TLS transport: read, and judged before anything uses them.

Whoever takes credentials out of here gets a chain and a key that belong together, and an
authority file that holds certificates: PJSIP would find out with the first caller.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import ssl
import warnings
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import NameOID

from trunkline.gateway.sip.settings import Credentials

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_UNKNOWN_KEY = "a key that TLS cannot use; RSA, Ed25519 and the usual curves of EC are known"
MAX_FILE_BYTES = 4 * 1024 * 1024


class CertificateError(Exception):
    """Why files are no good, in a sentence that names the file; never shows a key or a password."""


@dataclasses.dataclass(frozen=True, slots=True)
class Files:
    """Where they are."""

    certificate: Path
    key: Path
    ca: Path | None
    "None: the system's authorities"
    password: str = dataclasses.field(default="", repr=False)

    @property
    def signature(self) -> tuple[tuple[int, ...], ...]:
        """Changes when a file does; a missing one counts as well."""
        found = []
        for path in (self.certificate, self.key, self.ca):
            try:
                status = path.stat() if path is not None else None
            except OSError:
                status = None
            found.append((status.st_ino, status.st_mtime_ns, status.st_size) if status else ())
        return tuple(found)


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What the files hold."""

    credentials: Credentials
    names: tuple[str, ...]
    "whom the certificate is for"
    not_before: dt.datetime
    not_after: dt.datetime
    "of the one of the chain that ends first"

    def problem(self, now: dt.datetime) -> str:
        """What a peer that checks would refuse it for now; empty if nothing."""
        if now < self.not_before:
            return f"the certificate is not valid before {self.not_before:%Y-%m-%d %H:%M} UTC"
        if now > self.not_after:
            return f"the certificate has expired on {self.not_after:%Y-%m-%d %H:%M} UTC"
        return ""

    def covers(self, host: str) -> bool:
        """Whether it is for a host; SIP knows no wildcards (RFC 5922, 7.2)."""
        return host.lower() in (name.lower() for name in self.names)


def read(files: Files) -> Found:
    """Read and judge. Raises CertificateError."""
    chain_text, key_text = _content(files.certificate, "certificate"), _content(files.key, "key")
    ca_path = files.ca or system_authorities()
    ca_text = _content(ca_path, "ca")
    chain = _certificates(files.certificate, chain_text)
    _certificates(ca_path, ca_text)
    key = _key(files.key, key_text, files.password)
    try:
        public = _public(chain[0].public_key())
    except (UnsupportedAlgorithm, ValueError):
        raise CertificateError(f"{files.certificate} is for {_UNKNOWN_KEY}") from None
    if _public(key.public_key()) != public:
        raise CertificateError(f"{files.key} is not the key of the first certificate in {files.certificate}")
    _try(files)
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Found(
        Credentials(chain_text, plain, ca_text),
        names_of(chain[0]),
        max(one.not_valid_before_utc for one in chain),
        min(one.not_valid_after_utc for one in chain),
    )


def _try(files: Files) -> None:
    """Let OpenSSL have them: what is too weak for this system's rules would fail every handshake, and only then."""
    try:
        # The password is a function, as OpenSSL would ask the terminal for one that is missing.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.certificate, files.key, lambda: files.password)
    except ssl.SSLError as error:
        why = (error.reason or str(error)).replace("_", " ").lower()
        raise CertificateError(f"{files.certificate} is refused by this system's OpenSSL: {why}") from None
    except OSError as error:
        raise CertificateError(f"{files.certificate} or {files.key} cannot be read: {error.strerror}") from None


def system_authorities() -> Path:
    """The file of the authorities that this system trusts. Raises CertificateError."""
    paths = ssl.get_default_verify_paths()
    for name in (paths.cafile, "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"):
        if name and Path(name).is_file():
            return Path(name)
    raise CertificateError("this system has no file of trusted authorities; install ca-certificates, or name `ca`")


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Whom a certificate is for: alternative names, and only without any the common name."""
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return tuple(str(name.value) for name in alternative)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return tuple(str(name.value) for name in common)


def _content(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CertificateError(f"{path} ({what}) cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise CertificateError(f"{path} ({what}) is longer than {MAX_FILE_BYTES} bytes")
    return content


def _certificates(path: Path, text: bytes) -> list[x509.Certificate]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd serial numbers of old authorities
            return x509.load_pem_x509_certificates(text)
    except ValueError:
        raise CertificateError(f"{path} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)") from None


def _key(path: Path, text: bytes, password: str) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(text, password.encode() or None)
    except TypeError:
        if password:
            raise CertificateError(f"{path} is not encrypted, but a password for it is named") from None
        cure = "name one with key_password_env or key_password_file"
        raise CertificateError(f"{path} is encrypted and needs a password: {cure}") from None
    except UnsupportedAlgorithm:
        raise CertificateError(f"{path} has {_UNKNOWN_KEY}") from None
    except ValueError:
        why = "the password is wrong, or it is damaged" if password else "it holds no private key in PEM form"
        raise CertificateError(f"{path} cannot be used: {why}") from None
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
        raise CertificateError(f"{path} has {_UNKNOWN_KEY}")
    return key


def _public(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
