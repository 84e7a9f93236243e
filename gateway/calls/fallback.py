# SPDX-License-Identifier: GPL-2.0-or-later
"""A call whose agent is lost, and for which none was found: over, or handed on, as its route says.

A transfer that the agent had begun is not broken off: its result comes first.
"""

from __future__ import annotations

from collections.abc import Callable

from trunkline.gateway import logs
from trunkline.gateway.calls.book import Book, log
from trunkline.gateway.calls.call import ANSWERED, OPEN, Call
from trunkline.gateway.calls.ending import Ending

TRANSFER_LIMIT_S = 65.0
"Whoever transfers gives up before that (transferring.py); this is for what never comes back."

Failed = Callable[[Call, str], None]


class Fallback:
    """What comes after `agent_lost`."""

    def __init__(self, book: Book, ending: Ending) -> None:
        self._book, self._ending = book, ending
        self.transfer: Callable[[Call, str], bool] = lambda call, target: False
        """Hands the other party on to a number or URI; False where that cannot be done. Whoever does it ends the call
        when the peer has taken the transfer, and calls `failed` when it has not."""
        self.wait_for_transfer: Callable[[Call, Failed], bool] = lambda call, failed: False
        "True if a transfer of the call goes on, or to it; what is given is called if that comes to nothing"

    def agent_lost(self, call: Call, detail: str) -> None:
        """The worker has given up, and the caller has heard so."""
        if call.phase in OPEN:
            call.agentless = True
            self._book.media.remember(call.id, agentless=True)

        def failed(call: Call, why: str) -> None:
            self._left(call, f"{detail}; its transfer failed: {why}")

        if not self.wait_for_transfer(call, failed):
            self._left(call, detail)

    def _left(self, call: Call, detail: str) -> None:
        route = call.route
        if route is not None and route.fallback == "transfer" and call.phase in ANSWERED:
            if self.transfer(call, route.fallback_target):
                self._book.publish("call.fallback", call, to=route.fallback_target)
                call.wait(TRANSFER_LIMIT_S, "fallback")
                return
            hidden = logs.hiding(*call.numbers, route.fallback_target)
            log.warning("call.fallback_failed", call_id=call.id, to=route.fallback_target, **hidden)
        self._ending.end(call, "agent_lost", detail)

    def failed(self, call: Call, why: str) -> None:
        """The transfer came to nothing: then there is nobody to talk to."""
        self._ending.end(call, "agent_lost", f"no agent took the call over, and its transfer failed: {why}")
