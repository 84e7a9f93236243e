# SPDX-License-Identifier: GPL-2.0-or-later
"""The SRTP keys of one call, by a=crypto: what we offer, what we answer, what is in force (RFC 4568 7).

A key that has been in force never comes back in a new offer or answer once it was replaced: with
the same SSRC and packet numbers it would encrypt two things alike, and whoever has both can read
both.  Answers to one and the same offer, of forks, may take turns: each has the key that went out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from trunkline.rtp.line_keys import PeerKey, SrtpUse, Wanted
from trunkline.rtp.sdes import ALIASES, SUITES, CryptoKey, new_key, write_crypto


@dataclasses.dataclass(frozen=True, slots=True)
class OwnKey:
    """A line of ours."""

    tag: int
    key: CryptoKey

    def line(self, suite_text: str = "") -> str:
        """The value of a=crypto, with the suite as the peer spells it, if it does so in its own way."""
        tag, _, rest = write_crypto(self.tag, self.key).split(" ", 2)
        return f"{tag} {suite_text or self.key.suite} {rest}"


class SessionKeys:
    """Keys of both directions."""

    def __init__(self, use: SrtpUse, suites: Sequence[str], *, sdes: bool = True) -> None:
        """`suites` in order of preference; ValueError for one that we do not have. Without `sdes` no key is in SDP."""
        named = [ALIASES.get(suite.upper(), suite.upper()) for suite in suites]
        if unknown := [suite for suite in named if suite not in SUITES]:
            raise ValueError(f"no SRTP suite {unknown[0]}; there are {', '.join(SUITES)}")
        if use != "off" and not named:
            raise ValueError("SRTP needs at least one suite")
        self.use = use
        self._sdes = sdes
        self._suites = tuple(dict.fromkeys(named))
        self._send: OwnKey | None = None
        self._receive: CryptoKey | None = None
        self._spare: dict[str, CryptoKey] = {}
        "keys of our offers that were never in force, by suite"
        self._offered: dict[int, OwnKey] = {}
        "of our last offer, by tag"

    def of_offers(self, *, dtls: bool) -> Wanted:
        """What we take of a peer's offer."""
        return Wanted(self.use, self._suites, sdes=self._sdes, dtls=dtls)

    def of_answers(self, *, dtls: bool) -> Wanted:
        """What we take of the answer to our last offer, which had DTLS or not."""
        tags = tuple((own.tag, own.key.suite) for own in self._offered.values())
        return Wanted("required" if dtls else self.use, self._suites, tags, self._sdes and not dtls, dtls)

    @property
    def send(self) -> CryptoKey | None:
        """Our key in force."""
        return self._send.key if self._send else None

    @property
    def receive(self) -> CryptoKey | None:
        """The peer's."""
        return self._receive

    def forgo(self) -> None:
        """No key in SDP from now on."""
        self._sdes = False

    def offer(self) -> list[str]:
        """The a=crypto lines of an offer: what is in force first, unchanged, then each other suite."""
        if self.use == "off" or not self._sdes:
            return []
        self._offered = {self._send.tag: self._send} if self._send else {}
        others = [suite for suite in self._suites if self._send is None or suite != self._send.key.suite]
        for suite in others:
            tag = next(n for n in range(1, len(self._suites) + 2) if n not in self._offered)
            self._offered[tag] = OwnKey(tag, self._spare.setdefault(suite, new_key(suite)))
        return [own.line() for own in self._offered.values()]

    def answer(self, peer: PeerKey | None) -> list[str]:
        """The line of our answer to an offer with that key, and commit to it."""
        if peer is None:
            self._commit(None, None)
            return []
        own = self._send
        if own is None or (own.tag, own.key.suite) != (peer.tag, peer.key.suite):
            own = OwnKey(peer.tag, new_key(peer.key.suite))
        self._commit(own, peer.key)
        return [own.line(peer.suite_text)]

    def accepted(self, peer: PeerKey | None) -> None:
        """Commit to the answer to our last offer; the peer's tag is one of it."""
        if peer is None:
            self._commit(None, None)
            return
        own = self._offered[peer.tag]
        if self._spare.get(own.key.suite) is own.key:
            del self._spare[own.key.suite]
        self._commit(own, peer.key)

    def _commit(self, send: OwnKey | None, receive: CryptoKey | None) -> None:
        self._send = send
        if receive != self._receive:  # an equal one stays the object that it was
            self._receive = receive
