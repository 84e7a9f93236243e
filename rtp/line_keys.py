# SPDX-License-Identifier: GPL-2.0-or-later
"""The a=crypto lines of a peer's m-line: which of them we use (RFC 4568 7.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from trunkline.rtp.sdes import Crypto, CryptoError, CryptoKey, parse_crypto

SrtpUse = Literal["off", "optional", "required"]


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What we take of a peer's keys."""

    use: SrtpUse = "off"
    suites: tuple[str, ...] = ()
    "in order of preference"
    tags: tuple[tuple[int, str], ...] | None = None
    "tags and suites of our own offer, of which an answer names one; None: this is the peer's offer"
    sdes: bool = True
    "keys may stand in SDP"
    dtls: bool = False
    "... or come by DTLS"

    def rank(self, crypto: Crypto) -> int | None:
        """Place in the order of preference, None for what we do not take."""
        if self.tags is not None:
            return 0 if (crypto.tag, crypto.key.suite) in self.tags else None
        return self.suites.index(crypto.key.suite) if crypto.key.suite in self.suites else None


@dataclasses.dataclass(frozen=True, slots=True)
class PeerKey:
    """The line that is used."""

    tag: int
    key: CryptoKey
    suite_text: str
    "the suite as the peer spells it, which is how it will know it again"


def pick(values: Sequence[str], wanted: Wanted) -> tuple[PeerKey | None, str]:
    """The best line, or None and why none of them will do."""
    best: tuple[int, PeerKey] | None = None
    reasons = []
    for value in values:
        try:
            crypto = parse_crypto(value)
        except CryptoError as error:
            reasons.append(str(error))
            continue
        rank = wanted.rank(crypto)
        if rank is None:
            where = "is in no offer of ours" if wanted.tags is not None else "is switched off here"
            reasons.append(f"{crypto.key.suite} with tag {crypto.tag} {where}")
        elif best is None or rank < best[0]:
            best = rank, PeerKey(crypto.tag, crypto.key, value.split()[1])
    if best is not None:
        return best[1], ""
    if not values:
        return None, "no a=crypto line"
    more = f"; {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return None, f"no a=crypto line that can be used ({'; '.join(reasons[:3])}{more})"
