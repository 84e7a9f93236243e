# SPDX-License-Identifier: GPL-2.0-or-later
"""A pjsua2 call, reduced to what `SipCall` needs: plain values in, plain values out.

Callbacks run inside PJSIP, mostly inside `libHandleEvents`.  An exception that left
one would come out of there and end the thread, so each is caught here, and the call
that it belongs to is ended.  A Leg must live until PJSIP has reported DISCONNECTED,
and must die on the SIP thread, outside of any callback (`bury`).
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import pjsua2 as pj
import structlog

from trunkline.gateway.sip.guard import checked, guarded
from trunkline.gateway.sip.message import SipText, name_and_uri
from trunkline.gateway.sip.native import Native

log = structlog.get_logger(__name__)

MOST_HEADER_BYTES = 32_768
"Of headers in the responses to an INVITE: what does not fit into a datagram (64 kB) is not sent, be it the last one."
NO_MESSAGE = SipText("", {}, "")


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A transaction of the dialog changed its state."""

    server: bool
    "the request is the peer's"
    method: str
    state: int
    "PJSIP_TSX_STATE_*"
    previous: int
    code: int
    reason: str
    message: SipText
    "what came in, or an empty message for a timer or what we sent"
    respond: Callable[[int], bool]
    "answer the request now, instead of PJSIP"
    by_tls: bool = False
    "what came in came by TLS"

    @property
    def arrived(self) -> bool:
        """A request of the peer, before anything has been done about it."""
        return self.server and self.state == pj.PJSIP_TSX_STATE_TRYING

    @property
    def finished(self) -> bool:
        """It has just got its final response, or none in time."""
        done = pj.PJSIP_TSX_STATE_COMPLETED
        return self.state >= done > self.previous


class Account(Protocol):
    """A pjsua2 account of ours."""

    user_agent: str


class LegOwner(Protocol):
    """Who a leg reports to."""

    def on_state(self, state: int, code: int, reason: str, message: SipText) -> None:
        """PJSIP_INV_STATE_*; the message that caused it, if one did."""

    def on_step(self, step: Step) -> None:
        """A transaction changed its state."""

    def on_offer(self, offer: str) -> int:
        """An offer within the call: 200 or the code that refuses it. `offer` is empty when it is too long."""

    def on_sdp(self, remote: str) -> str | None:
        """Our SDP is needed: an answer if `remote` holds an offer. None leaves PJSIP's own."""

    def on_media(self) -> None:
        """Offer and answer have been negotiated."""

    def on_failure(self) -> None:
        """A callback of ours raised; it has been logged."""


def call_parameters(code: int = 0, reason: str = "", headers: dict[str, str] | None = None) -> pj.CallOpParam:
    """Parameters of a call operation; headers must have been checked."""
    parameters = pj.CallOpParam()
    parameters.statusCode, parameters.reason = code, reason
    for name, value in (headers or {}).items():
        header = pj.SipHeader()
        header.hName, header.hValue = name, value
        parameters.txOption.headers.append(header)
    return parameters


class Leg(pj.Call):
    """The pjsua2 side of one call."""

    def __init__(
        self, account: Account, owner: LegOwner, native: Native, call_id: int = pj.PJSUA_INVALID_ID
    ) -> None:
        super().__init__(account, call_id)
        self.owner: LegOwner | None = owner
        self._sent_headers: set[tuple[str, str]] = set()
        self._room = MOST_HEADER_BYTES
        self._server = {"Server": account.user_agent}
        self._native = native
        self.on_message: Callable[[bool, str, str], None] | None = None
        "told of each message, while somebody wants it: whether it is ours, its text, the other end's address:port"
        self._told: collections.deque[str] = collections.deque(maxlen=4)
        "the last ones"

    def bury(self) -> None:
        """Delete the C++ object, here and now; nothing may be called afterwards.

        Left to Python, a reference in some traceback would put it off to any moment on any thread, and its
        destructor hangs up whatever call has the same number by then.
        """
        self.owner = self.on_message = None
        pj.Call.__swig_destroy__(self)

    # --- what we ask of PJSIP -----------------------------------------------------------------

    @checked
    def place(self, target: str, from_uri: str, headers: dict[str, str]) -> None:
        """Send the INVITE; the SDP is asked for by `on_sdp` meanwhile."""
        parameters = call_parameters(headers=headers)
        parameters.opt.audioCount, parameters.opt.videoCount = 1, 0
        if hasattr(parameters.opt, "textCount"):
            parameters.opt.textCount = 0
        # In brackets always: without, a parameter of the URI would be one of the header (RFC 3261 20.10).
        parameters.txOption.localUri = from_uri if not from_uri or "<" in from_uri else f"<{from_uri}>"
        self.makeCall(target, parameters)

    @checked
    def identity(self) -> tuple[str, str]:
        """Call-ID and the URI of our side, From for a call of ours."""
        info = self.getInfo()
        return info.callIdString, name_and_uri(info.localUri)[1]

    @checked
    def respond(self, code: int, reason: str = "", headers: dict[str, str] | None = None) -> None:
        """Answer the INVITE; within `onIncomingCall` PJSIP keeps it until its 100 has been sent."""
        # PJSIP makes each response out of the one before, which has those headers already
        wanted = {**self._server, **(headers or {})}
        new = {name: value for name, value in wanted.items() if (name, value) not in self._sent_headers}
        size = sum(len(f"{name}: {value}\r\n".encode()) for name, value in new.items())
        if size > self._room:
            log.warning("sip.headers_dropped", code=code, headers=list(new), detail=f"no room for {size} bytes")
            new, size = {}, 0
        self._room -= size
        self._sent_headers.update(new.items())
        self.answer(call_parameters(code, reason, new))

    @checked
    def end(self, code: int = 0, reason: str = "", headers: dict[str, str] | None = None) -> None:
        """BYE, CANCEL or a refusal. PJSIP reports DISCONNECTED before this returns."""
        self.hangup(call_parameters(code, reason, headers))

    @checked
    def offer(self, update: bool) -> None:
        """Send a re-INVITE or an UPDATE with the SDP that `on_sdp` returns."""
        parameters = call_parameters()
        parameters.opt.audioCount, parameters.opt.videoCount = 1, 0
        (self.update if update else self.reinvite)(parameters)

    @checked
    def info(self, content_type: str, body: str) -> None:
        """Send an INFO."""
        request = pj.CallSendRequestParam()
        request.method = "INFO"
        request.txOption.contentType, request.txOption.msgBody = content_type, body
        self.sendRequest(request)

    @checked
    def refer(self, refer_to: str, headers: dict[str, str]) -> None:
        """Send a REFER; PJSIP adds Referred-By, and answers the NOTIFYs."""
        self.xfer(refer_to, call_parameters(headers=headers))

    @checked
    def contact(self) -> str:
        """URI at which the peer is reached within the dialog."""
        return name_and_uri(self.getInfo().remoteContact)[1]

    @checked
    def remote_media(self) -> pj.StreamInfo:
        """What PJSIP negotiated for the audio; raises LegError while it is inactive."""
        return self.getStreamInfo(0)

    # --- what PJSIP tells ---------------------------------------------------------------------

    @guarded
    def onCallState(self, prm: pj.OnCallStateParam) -> None:  # noqa: N802
        if self.owner is None:
            return
        info = self.getInfo()
        event, message = prm.e, NO_MESSAGE
        if event.type == pj.PJSIP_EVENT_TSX_STATE:
            change = event.body.tsxState
            self._tell(change.type, change.src)
            if change.type == pj.PJSIP_EVENT_RX_MSG:
                message = SipText.parse(change.src.rdata.wholeMsg)
        elif event.type == pj.PJSIP_EVENT_RX_MSG:
            message = SipText.parse(event.body.rxMsg.rdata.wholeMsg)
        self._tell(event.type, event.body)
        self.owner.on_state(info.state, info.lastStatusCode, info.lastReason, message)

    @guarded
    def onCallTsxState(self, prm: pj.OnCallTsxStateParam) -> None:  # noqa: N802
        if self.owner is None:
            return
        change = prm.e.body.tsxState
        self._tell(change.type, change.src)
        transaction, request, message = change.tsx, None, NO_MESSAGE
        if change.type == pj.PJSIP_EVENT_RX_MSG:
            message, request = SipText.parse(change.src.rdata.wholeMsg), change.src.rdata.pjRxData
        server = transaction.role != pj.PJSIP_ROLE_UAC
        pointer = transaction.pjTransaction
        self.owner.on_step(
            Step(
                server,
                transaction.method,
                transaction.state,
                change.prevState,
                transaction.statusCode,
                transaction.statusText,
                message,
                lambda code: self._native.respond(pointer, request, code),
                self._native.by_tls(request),
            )
        )

    def _tell(self, kind: int, body: Any) -> None:
        """A message, if it is one and somebody wants it; `body` has it as `rdata` or `tdata`, or in a room of its own.

        An ACK is of no transaction: only the one that moves the call on is seen, and by `onCallState` alone. What
        moves the call on otherwise is seen by both callbacks, a 200 by that one first, before its ACK.
        """
        if self.on_message is None:
            return
        ours = kind == pj.PJSIP_EVENT_TX_MSG
        if ours:
            sent = getattr(body, "txMsg", body).tdata
            text, peer = sent.wholeMsg, sent.dstAddress
        elif kind == pj.PJSIP_EVENT_RX_MSG:
            received = getattr(body, "rxMsg", body).rdata
            text, peer = received.wholeMsg, received.srcAddress
        else:
            return
        if text not in self._told:
            self._told.append(text)
            self.on_message(ours, text, peer)

    @guarded
    def onCallRxOffer(self, prm: pj.OnCallRxOfferParam) -> None:  # noqa: N802
        if self.owner is not None:
            prm.statusCode = 500  # stands if the owner raises
            prm.statusCode = self.owner.on_offer(prm.offer.wholeSdp)

    @guarded
    def onCallSdpCreated(self, prm: pj.OnCallSdpCreatedParam) -> None:  # noqa: N802
        if self.owner is None:
            return
        sdp = self.owner.on_sdp(prm.remSdp.wholeSdp)
        if sdp is not None:
            prm.sdp.wholeSdp = sdp

    @guarded
    def onCallMediaState(self, prm: pj.OnCallMediaStateParam) -> None:  # noqa: N802
        if self.owner is not None:
            self.owner.on_media()

    @guarded
    def onCallTransferRequest(self, prm: pj.OnCallTransferRequestParam) -> None:  # noqa: N802
        prm.statusCode = 603

    @guarded
    def onCallReplaceRequest(self, prm: pj.OnCallReplaceRequestParam) -> None:  # noqa: N802
        prm.statusCode = 603
