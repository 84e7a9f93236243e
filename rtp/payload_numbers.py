# SPDX-License-Identifier: GPL-2.0-or-later
"""Our payload types of one call: which number stands for which encoding (RFC 3264 5.1, 8.3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trunkline.rtp.payload import TELEPHONE_EVENT, PayloadFormat

_DYNAMIC = range(96, 128)
_TELEPHONE_EVENT = 101
"what nearly everybody uses for it at 8000 Hz, so peers with a fixed number understand us too"


class PayloadNumbers:
    """Once named, an encoding keeps its number, and a number its encoding."""

    def __init__(self) -> None:
        self._by_name: dict[str, int] = {}
        self._used: set[int] = set()
        "numbers that have meant something in this call, be it to the peer alone"

    def of(self, encoding: PayloadFormat) -> int:
        """The number for our offer: the earlier one, the usual one, or one that has meant nothing yet."""
        if encoding.name not in self._by_name:
            usual = _TELEPHONE_EVENT if encoding is TELEPHONE_EVENT else encoding.static_pt
            first = [] if usual is None else [usual]
            ours = set(self._by_name.values())
            free = [n for n in (*first, *_DYNAMIC) if n not in ours]
            number = next((n for n in free if n not in self._used), free[0])
            self._by_name[encoding.name] = number
            self._used.add(number)
        return self._by_name[encoding.name]

    def learn(self, taken: Mapping[str, int], offered: Iterable[int]) -> None:
        """Take over the numbers of an offer that we answer; `offered` are all that it has.

        A number that the peer now gives to another encoding is no longer ours to offer.
        """
        kept = {name: n for name, n in self._by_name.items() if n not in taken.values()}
        self._by_name = kept | dict(taken)
        self._used = self._used.union(number for number in offered if number in _DYNAMIC)
