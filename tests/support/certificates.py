# SPDX-License-Identifier: GPL-2.0-or-later
"""Certificates for tests: an authority, and what it signs."""

from __future__ import annotations

import dataclasses
import datetime as dt
import ipaddress
import pathlib
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM files."""

    certificate: pathlib.Path
    key: pathlib.Path

    @property
    def serial(self) -> int:
        """Serial number of the leaf, to tell one from another."""
        return x509.load_pem_x509_certificate(self.certificate.read_bytes()).serial_number


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


class Authority:
    """Signs certificates; with `intermediate`, by a second one, whose own is then part of each chain."""

    def __init__(self, folder: pathlib.Path, name: str = "test authority", intermediate: bool = False) -> None:
        self._folder, self.name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        root = self._build(name, name, self._key.public_key(), self._key, authority=True, days=3650)
        self.certificate = folder / f"{name.replace(' ', '-')}.pem"
        self.certificate.write_bytes(root.public_bytes(serialization.Encoding.PEM))
        self._chain = b""
        if intermediate:
            key = ec.generate_private_key(ec.SECP256R1())
            between = self._build(f"{name} 2", name, key.public_key(), self._key, authority=True, days=1000)
            self._chain = between.public_bytes(serialization.Encoding.PEM)
            self.name, self._key = f"{name} 2", key

    def issue(
        self,
        stem: str,
        names: Sequence[str] = ("127.0.0.1",),
        *,
        days: float = 30,
        since_days: float = 1,
        password: str = "",
        self_signed: bool = False,
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
    ) -> Pair:
        """A certificate for these names, in `stem`.pem and `stem`.key; negative `days`: expired."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        issuer, signer = (names[0], key) if self_signed else (self.name, self._key)
        leaf = self._build(names[0], issuer, key.public_key(), signer, names=names, days=days, since=since_days)
        pair = Pair(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        chain = b"" if self_signed else self._chain
        pair.certificate.write_bytes(leaf.public_bytes(serialization.Encoding.PEM) + chain)
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password:
            encryption = serialization.BestAvailableEncryption(password.encode())
        pair.key.touch(mode=0o600)
        pair.key.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        return pair

    def _build(
        self,
        subject: str,
        issuer: str,
        public: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
        signer: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
        *,
        authority: bool = False,
        names: Sequence[str] = (),
        days: float = 30,
        since: float = 1,
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        last = now + days * DAY
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name(issuer))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(now - since * DAY, last - DAY))
            .not_valid_after(last)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(one) for one in names]), critical=False
            )
        return builder.sign(signer, hashes.SHA256())
