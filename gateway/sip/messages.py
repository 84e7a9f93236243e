# SPDX-License-Identifier: GPL-2.0-or-later
"""What call control says to the SIP thread, and is asked by it.

Commands go to the one thread that owns pjsua2 through `SipThread.post`; what comes
back is in `events.py`.  What SIP cannot wait for is asked of two synchronous
interfaces that run on the SIP thread: `Screen`, whether a new INVITE is admitted at
all, and `SdpSession`, what the SDP of a call says.

Nothing here imports pjsua2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

from trunkline.gateway.sip.settings import Credentials

Headers = dict[str, str]


# --- synchronous: asked on the SIP thread, must answer at once ------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class IncomingInvite:
    """A new INVITE as it came, before anything is decided."""

    source: str
    "address:port the request came from"
    transport: str
    """udp, tcp or tls. "tls" is what PJSIP has received by TLS, whatever the message says of itself"""
    request_uri: str
    from_uri: str
    from_name: str
    to_uri: str
    sip_call_id: str
    headers: Headers
    "all headers, first value of each, names as sent"
    sdp: str = dataclasses.field(repr=False)
    "the offer, or empty (offerless INVITE); may hold keys"
    certificate_names: tuple[str, ...] = ()
    "TLS: names in the peer's certificate, if it showed one that our authorities vouch for"
    way_back: str = ""
    "transport of our requests within its dialog, by its route or Contact; empty: the same"

    @property
    def keys_by(self) -> str:
        """What keys in SDP would travel by: tls only if that is so both ways, else in words what it is."""
        if self.transport == "tls" and self.way_back not in ("", "tls"):
            return f"{self.way_back}, which its Contact or Record-Route asks for instead of TLS"
        return self.transport


class SdpError(Exception):
    """SDP that cannot be used; `code` is 488 or 400 and the text says why."""

    def __init__(self, reason: str, code: int = 488) -> None:
        super().__init__(reason)
        self.code = code


class SdpSession(Protocol):
    """Offer/answer of one call (RFC 3264). All methods run on the SIP thread."""

    def answer(self, offer: str) -> str:
        """Our answer to the peer's offer; raises SdpError."""

    def withdraw(self) -> None:
        """That answer does not go out, as PJSIP has refused the offer: what was agreed before still holds."""

    def offer(self) -> str:
        """Our offer: outbound call, offerless INVITE, session refresh or hold of ours."""

    def repeated(self) -> None:
        """Another answer to our last offer comes, or one to what we said last, which SIP has offered by itself."""

    def accepted(self, answer: str, *, keys_unseen: bool = False) -> None:
        """The peer's answer to our last offer; raises SdpError.

        `keys_unseen`: we have put it together ourselves, without the peer's keys; those in force stay.
        """

    @property
    def encrypted(self) -> bool:
        """Keys that stood in SDP are in force."""

    def forgo_keys(self) -> None:
        """Neither offer nor take keys from now on: they could be read."""

    def hold(self, held: bool) -> None:
        """Let the next offer put the peer on hold, or take it back."""


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """Why an INVITE gets no call."""

    code: int
    reason: str
    "reason phrase that goes on the wire"
    cause: str
    "our word for it in logs and metrics: unknown_peer, no_route, limit, no_common_codec, ..."
    detail: str
    "a sentence for the log"
    retry_after_s: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Admission:
    """An INVITE that may become a call."""

    call_id: str
    session: SdpSession
    trunk: str
    tls_only: bool = False
    "keys of SRTP may stand in its SDP by TLS, and by nothing else"
    trace: bool = False
    "tell each of its messages (`events.SipMessage`)"


class Screen(Protocol):
    """Decides on a new INVITE; runs on the SIP thread and only consults memory."""

    def incoming(self, invite: IncomingInvite) -> Admission | Refusal:
        """Admit or refuse."""


# --- commands: call control -> SIP thread ---------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class PlaceCall:
    """Send an INVITE on a trunk."""

    call_id: str
    trunk: str
    target: str
    "sip: URI"
    session: SdpSession
    from_uri: str = ""
    "empty: the trunk's own"
    headers: Headers = dataclasses.field(default_factory=dict)
    timeout_s: float = 30.0
    "without a final answer by then: CANCEL, and the call ends with 408, or unreachable if nothing came at all"
    tls_only: bool = False
    "as in `Admission`"
    trace: bool = False
    "likewise"


@dataclasses.dataclass(frozen=True, slots=True)
class Respond:
    """Answer an incoming INVITE: 180, 183 (with SDP), 200 or a refusal."""

    call_id: str
    code: int
    reason: str = ""
    headers: Headers = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class HangUp:
    """BYE, CANCEL or a final refusal, whatever the state asks for."""

    call_id: str
    code: int = 0
    reason: str = ""
    headers: Headers = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class SendInfoDtmf:
    """Send digits by SIP INFO."""

    call_id: str
    digits: str
    duration_ms: int = 160
    gap_ms: int = 80
    media_type: str = "application/dtmf-relay"
    "or application/dtmf"


@dataclasses.dataclass(frozen=True, slots=True)
class Reinvite:
    """Offer again: the session says what (hold, resume, moved media).

    While another exchange runs, and after a 491, the offer waits and is made then.
    """

    call_id: str
    hold: bool | None = None
    "True or False: `SdpSession.hold` is called with it first, on the SIP thread"
    update: bool = False
    "UPDATE instead of re-INVITE (RFC 3311); the only one that is allowed before the answer"


@dataclasses.dataclass(frozen=True, slots=True)
class ReloadCertificates:
    """Make new TLS connections with other credentials; those that are up go on."""

    credentials: Credentials
    done: Callable[[str], None]
    "called on the SIP thread: empty, or why everything is as it was"
    call_id: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Transfer:
    """Ask the peer to call somebody else in our place: REFER (RFC 3515). `TransferChanged` tells how it goes."""

    call_id: str
    target: str = ""
    "sip: URI of whom it shall call"
    attended: str = ""
    "id of another call of ours instead: its other party is called, and takes that call for its own (RFC 3891)"
    headers: Headers = dataclasses.field(default_factory=dict)
    timeout_s: float = 60.0
    "from the REFER to the final NOTIFY; without one by then it has failed"


@dataclasses.dataclass(frozen=True, slots=True)
class Trace:
    """Tell each message of the call from now on (`events.SipMessage`), or no more."""

    call_id: str
    wanted: bool


Command = PlaceCall | Respond | HangUp | SendInfoDtmf | Reinvite | ReloadCertificates | Transfer | Trace
