# SPDX-License-Identifier: GPL-2.0-or-later
"""What an m-line says of DTLS: certificates and who begins (RFC 5763 5, RFC 8122, RFC 8842)."""

from __future__ import annotations

import dataclasses
from typing import Literal

from trunkline.rtp.dtls_certificate import Fingerprint, FingerprintError
from trunkline.rtp.sdp import Section

Setup = Literal["active", "passive", "actpass"]

MAX_FINGERPRINTS = 8
"Of those that can be used; one certificate has one by each algorithm."


class DtlsLineError(ValueError):
    """The line cannot be used; the text goes on where `has` has begun."""


@dataclasses.dataclass(frozen=True, slots=True)
class PeerDtls:
    """A peer's side of a handshake."""

    setup: Setup
    fingerprints: tuple[Fingerprint, ...]


def read_dtls(media: Section, session: Section, *, answer: bool) -> PeerDtls:
    """Of the media level, else of the session level; DtlsLineError says what is missing."""
    values = media.values("fingerprint") or session.values("fingerprint")
    found: list[Fingerprint] = []
    reasons: list[str] = []
    for value in values:
        try:
            found.append(Fingerprint.parse(value))
        except FingerprintError as error:  # others may do: a peer may have several by different algorithms
            reasons.append(str(error))
    if not found:
        raise DtlsLineError("; ".join(reasons[:2]) if reasons else "no a=fingerprint")
    setups = media.values("setup") or session.values("setup")
    setup = setups[0].strip().lower() if setups else ""
    known = ("active", "passive") if answer else ("active", "passive", "actpass")
    if setup not in known:
        shown = f"a=setup:{setup[:20]!a}" if setup else "no a=setup"
        raise DtlsLineError(f"{shown}; taken are {', '.join(known)}")
    return PeerDtls(setup, tuple(found[:MAX_FINGERPRINTS]))  # type: ignore[arg-type]
