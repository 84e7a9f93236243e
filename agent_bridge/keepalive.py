# SPDX-License-Identifier: MIT
"""Notice a peer that is gone without a word: ping after 5 s of silence, give up 5 s later.

Only what is heard counts, so an agent that merely listens is pinged, and one that
speaks all the time is not.  After a stall of our own process (a suspended machine, a
debugger) the peer is asked before it is declared dead: what it sent meanwhile may
still wait in the socket.
"""

from __future__ import annotations

import enum

PING_AFTER_NS = 5_000_000_000
DEAD_AFTER_PING_NS = 5_000_000_000


class Due(enum.Enum):
    """What silence demands now."""

    NOTHING = enum.auto()
    PING = enum.auto()
    DEAD = enum.auto()


class KeepAlive:
    """The clock of one direction."""

    def __init__(
        self, now_ns: int, ping_after_ns: int = PING_AFTER_NS, dead_after_ns: int = DEAD_AFTER_PING_NS
    ) -> None:
        self._ping_after_ns, self._dead_after_ns = ping_after_ns, dead_after_ns
        self._asked = False
        self.deadline_ns = now_ns + ping_after_ns
        "when `check` has something to say, if nothing is heard before"

    def heard(self, now_ns: int) -> None:
        """Bytes came from the peer."""
        self._asked = False
        self.deadline_ns = now_ns + self._ping_after_ns

    def check(self, now_ns: int) -> Due:
        """To be called at `deadline_ns`."""
        if now_ns < self.deadline_ns:
            return Due.NOTHING
        if self._asked:
            return Due.DEAD
        self._asked = True
        self.deadline_ns = now_ns + self._dead_after_ns
        return Due.PING
