# SPDX-License-Identifier: GPL-2.0-or-later
"""DTLS of one call: what our SDP says of it, and the terms of the handshake (RFC 5763 5, RFC 8842 5).

A new offer of the same fingerprint, in which the peer leaves the choice to us, leaves the association
as it is.  Another fingerprint or another role makes a new one.
"""

from __future__ import annotations

from collections.abc import Callable

from trunkline.rtp.dtls_certificate import Identity
from trunkline.rtp.line_dtls import PeerDtls
from trunkline.rtp.media_description import DtlsTerms

Attributes = list[tuple[str, str]]


class SessionDtls:
    """Our certificate, made when it is first needed, and what was agreed on."""

    def __init__(self, make_identity: Callable[[], Identity] | None) -> None:
        """None: there is no DTLS."""
        self._make = make_identity
        self._identity: Identity | None = None
        self.terms: DtlsTerms | None = None

    @property
    def available(self) -> bool:
        """Whether a peer may want it."""
        return self._make is not None

    def offer(self) -> Attributes:
        """The peer chooses who begins (RFC 8842 5.2)."""
        return self._lines("actpass")

    def answer(self, peer: PeerDtls | None) -> Attributes:
        """Our side of an answer, and commit to it. Where the peer leaves the choice to us we begin."""
        if peer is None:
            self.terms = None
            return []
        before = self.terms
        active = peer.setup != "active"
        if peer.setup == "actpass" and before is not None and before.fingerprints == peer.fingerprints:
            active = before.active
        self._commit(peer, active=active)
        return self._lines("active" if active else "passive")

    def accepted(self, peer: PeerDtls | None) -> None:
        """Commit to the answer to our last offer."""
        if peer is None:
            self.terms = None
        else:
            self._commit(peer, active=peer.setup == "passive")

    def _commit(self, peer: PeerDtls, *, active: bool) -> None:
        self.terms = DtlsTerms(active, peer.fingerprints, self._own())

    def _own(self) -> Identity:
        if self._identity is None:
            assert self._make is not None
            self._identity = self._make()
        return self._identity

    def _lines(self, setup: str) -> Attributes:
        return [("fingerprint", str(self._own().fingerprint)), ("setup", setup)]
