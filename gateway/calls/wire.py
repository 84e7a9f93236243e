# SPDX-License-Identifier: GPL-2.0-or-later
"""Causes as SIP says them: what we send when we end a call, and what a peer's end means."""

from __future__ import annotations

from typing import Literal

from trunkline.gateway import outcome
from trunkline.gateway.sip.messages import HangUp, Headers, StateChanged

_Q850 = {
    "agent_lost": 41,
    "worker_lost": 41,
    "media_failed": 41,
    "no_media": 102,
    "session_expired": 102,
    "shutdown": 38,
}
"Q.850: 41 temporary failure, 102 recovery on timer expiry, 38 network out of order; 16 normal clearing."


def hang_up(call_id: str, cause: str, detail: str, answered: bool, code: int = 0, reason: str = "") -> HangUp:
    """The command that ends a call with this cause; `code` and `reason` override the table's.

    A BYE says why in a Reason header (RFC 3326); a refusal by its code, and when to try again.
    """
    if answered:
        text = outcome.outcome(cause).help
        return HangUp(call_id, headers={"Reason": f'Q.850;cause={_Q850.get(cause, 16)};text="{text}"'})
    refusal = outcome.refusal(cause, detail, code=code, reason=_phrase(reason))
    headers: Headers = {}
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(refusal.retry_after_s)
    return HangUp(call_id, refusal.code if refusal.code >= 300 else 0, refusal.reason, headers)


def remote_cause(direction: Literal["inbound", "outbound"], answered: bool, event: StateChanged) -> str:
    """Our word for an end that we did not ask for."""
    if answered:
        if event.code >= 300:  # PJSIP gave up: its session timer ran out, or a request of ours found nobody
            return "session_expired" if event.code == 408 else "peer_lost"
        return "caller_hangup" if direction == "inbound" else "callee_hangup"
    if direction == "inbound":
        return "caller_cancelled" if event.code == 487 else "no_ack" if event.code == 408 else "call_failed"
    if event.code in (408, 503) and not event.headers:  # no response at all: nobody there, or no way there
        return "no_answer" if event.code == 408 and event.by_us else "peer_unreachable"
    return outcome.word_for_code(event.code)


def _phrase(text: str) -> str:
    """A reason phrase of an agent's, fit for a status line (RFC 3261 25.1: one line, no controls)."""
    return "".join(c for c in text if c.isprintable() and ord(c) < 127)[:128]
