# SPDX-License-Identifier: GPL-2.0-or-later
"""What the SIP thread tells call control; the other direction is `messages.py`.

Events come through a callback that the thread calls, which must not block (call
control passes `loop.call_soon_threadsafe`).  Nothing here imports pjsua2.
"""

from __future__ import annotations

import dataclasses
import enum

from trunkline.gateway.sip.messages import Headers, IncomingInvite, Refusal


class CallState(enum.Enum):
    """A call's life as SIP sees it."""

    CALLING = "calling"
    RINGING = "ringing"
    EARLY = "early"
    CONNECTING = "connecting"
    CONFIRMED = "confirmed"
    ENDED = "ended"


@dataclasses.dataclass(frozen=True, slots=True)
class Incoming:
    """An admitted INVITE; 100 has been sent, call control answers with `Respond`."""

    call_id: str
    invite: IncomingInvite


@dataclasses.dataclass(frozen=True, slots=True)
class Refused:
    """An INVITE that was refused on the SIP thread, by the screen or by PJSIP itself."""

    invite: IncomingInvite | None
    refusal: Refusal


@dataclasses.dataclass(frozen=True, slots=True)
class Placed:
    """Our INVITE is on its way: what it says of us."""

    call_id: str
    sip_call_id: str
    "Call-ID header"
    from_uri: str
    "URI of the From header"


@dataclasses.dataclass(frozen=True, slots=True)
class StateChanged:
    """SIP state of a call."""

    call_id: str
    state: CallState
    code: int = 0
    "last SIP code"
    reason: str = ""
    "its reason phrase; for ENDED also of a Reason header"
    headers: Headers = dataclasses.field(default_factory=dict)
    "of the peer's response or BYE"
    by_us: bool = False
    "ENDED: we hung up"
    cause: str = ""
    """ENDED: our word (`gateway.outcome`) for an end that no message of the peer's explains: nothing could
    be sent, or nothing came back. `reason` is then a sentence, and `code` has not been on the wire"""


@dataclasses.dataclass(frozen=True, slots=True)
class MediaChanged:
    """An offer/answer exchange completed: ask the session what now holds."""

    call_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class OfferFailed:
    """The peer turned down an offer of ours within the call; what held before goes on."""

    call_id: str
    code: int
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class InfoDtmf:
    """A key pressed by SIP INFO (application/dtmf-relay or application/dtmf)."""

    call_id: str
    digit: str
    duration_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class InfoDtmfAnswered:
    """What became of an INFO of ours with a digit."""

    call_id: str
    code: int
    "of its response; 0: it could not be sent"
    reason: str
    not_understood: bool
    "the peer does not take such INFO at all"
    digits: str
    "those that were not taken; after `not_understood` also all that waited behind it"
    duration_ms: int
    gap_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class RegistrationChanged:
    """A trunk's registration."""

    trunk: str
    registered: bool
    code: int
    reason: str
    expires_s: int
    retry_in_s: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class TransferChanged:
    """How a transfer of ours goes; `done` or `failed` comes once and last, unless the call ends before."""

    call_id: str
    state: str
    """`trying`: the peer does it; `ringing`: the target rings; `done`: it has answered; `failed`: the call with us
    goes on as it was"""
    code: int
    "SIP's: of the response to REFER, or out of a NOTIFY; 0 where no message had one"
    reason: str
    "phrase, or a sentence"


@dataclasses.dataclass(frozen=True, slots=True)
class SipMessage:
    """A message of a call that is traced, as it came or went; told before what it leads to."""

    call_id: str
    outbound: bool
    "we have sent it"
    text: str = dataclasses.field(repr=False)
    "whole, with whatever secrets are in it; bytes that are no UTF-8 as lone surrogates"
    time_ns: int
    "Unix time"
    peer: str
    "address:port of the other end; empty: not known"
    local_port: int
    "where we listen for its transport; 0: nowhere"


@dataclasses.dataclass(frozen=True, slots=True)
class ThreadFailed:
    """The SIP thread ended; the gateway must stop."""

    detail: str


Event = (
    Incoming
    | Placed
    | Refused
    | StateChanged
    | MediaChanged
    | OfferFailed
    | InfoDtmf
    | InfoDtmfAnswered
    | RegistrationChanged
    | ThreadFailed
    | TransferChanged
    | SipMessage
)
