# SPDX-License-Identifier: GPL-2.0-or-later
"""Causes as SIP says them: what we send when we end a call, and what a peer's end means."""

from __future__ import annotations

from trunkline.gateway import outcome
from trunkline.gateway.calls.call import ANSWERED, RINGING, Call, Phase
from trunkline.gateway.sip.events import StateChanged
from trunkline.gateway.sip.messages import HangUp, Headers

HANDED_ON = frozenset({"trying", "ringing", "done"})
"A transfer that the peer has agreed to: its BYE is part of it."

_Q850 = {
    "agent_lost": 41,
    "worker_lost": 41,
    "media_failed": 41,
    "dtls_failed": 41,
    "no_media": 102,
    "session_expired": 102,
    "shutdown": 38,
}
"Q.850: 41 temporary failure, 102 recovery on timer expiry, 38 network out of order; 16 normal clearing."


def hang_up(
    call_id: str, cause: str, detail: str, answered: bool, code: int = 0, reason: str = "", more: Headers | None = None
) -> HangUp:
    """The command that ends a call with this cause; `code` and `reason` override the table's, `more` are headers.

    A BYE says why in a Reason header (RFC 3326), by a SIP code if one is given; a refusal by its code, and when to
    try again.
    """
    if answered:
        said = f"Q.850;cause={_Q850.get(cause, 16)}", outcome.outcome(cause).help
        if code:
            said = f"SIP;cause={code}", _phrase(reason) or outcome.reason_phrase(code)
        text = said[1].replace("\\", "").replace('"', "'")
        return HangUp(call_id, headers={"Reason": f'{said[0]};text="{text}"', **(more or {})})
    refusal = outcome.refusal(cause, detail, code=code, reason=_phrase(reason))
    headers: Headers = dict(more or {})
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(refusal.retry_after_s)
    return HangUp(call_id, refusal.code if refusal.code >= 300 else 0, refusal.reason, headers)


def remote_cause(call: Call, event: StateChanged) -> str:
    """Our word for an end that we did not ask for."""
    if event.cause:
        return event.cause
    if call.phase in ANSWERED:
        if event.code < 300 and call.transfer in HANDED_ON:  # many hang up as soon as they have agreed to it
            return "transferred"
        if event.code >= 300:  # PJSIP gave up: its session timer ran out, or a request of ours found nobody
            return "session_expired" if event.code == 408 else "peer_lost"
        return "caller_hangup" if call.direction == "inbound" else "callee_hangup"
    if call.direction == "inbound":
        if event.code == 200 and call.phase is Phase.ANSWERING:  # a BYE that overtook the ACK
            return "caller_hangup"
        return {487: "caller_cancelled", 408: "no_ack"}.get(event.code, "call_failed")
    if event.code in (408, 503) and not event.headers and not event.by_us:
        return "peer_unreachable"
    return outcome.word_for_code(event.code)


def wire_code(call: Call, event: StateChanged) -> tuple[int, str] | None:
    """Code and phrase of the end as a message carried them; None where no message did.

    A 408 for want of an answer is the exception: RFC 3261 8.1.3.1 has a client treat it as received.
    """
    unanswered = call.phase is Phase.INCOMING or (call.direction == "inbound" and call.phase in RINGING)
    if event.headers or (unanswered and event.code >= 300):
        return event.code, event.reason or outcome.reason_phrase(event.code)
    if (
        call.direction == "outbound"
        and event.code == 408
        and event.by_us
        and not event.cause
        and call.phase in RINGING
    ):
        return event.code, event.reason
    return None


def _phrase(text: str) -> str:
    """A reason phrase of an agent's, fit for a status line (RFC 3261 25.1: one line, no controls)."""
    return "".join(c for c in text if c.isprintable() and ord(c) < 127)[:128]
