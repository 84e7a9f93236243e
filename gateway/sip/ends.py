# SPDX-License-Identifier: GPL-2.0-or-later
"""How a call ended, as it will be reported: by a message of the peer's, by us, or for want of either."""

from __future__ import annotations

import dataclasses

from trunkline.gateway.sip.guard import LegError
from trunkline.gateway.sip.headers import HeaderError
from trunkline.gateway.sip.message import SipText, reason_text

REQUEST_TIMEOUT = 408
BAD_GATEWAY = 502
UNAVAILABLE = 503

_ERESOLVE = 70018
_MESSAGE_TOO_LONG = 171023
_NOT_WRITABLE = frozenset(range(171039, 171052))
"PJSIP's errors about URIs and headers that it cannot parse (sip_errno.h)."
_NO_TRANSPORT = 171060


@dataclasses.dataclass(frozen=True, slots=True)
class Ending:
    """How the end will be reported, where we know better than PJSIP."""

    code: int
    reason: str
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    by_us: bool = False
    cause: str = ""
    "our word, when no message says it; `reason` is then a sentence"


def not_sent(error: Exception) -> Ending:
    """Our INVITE never left: the fault is ours or the request's, and no SIP code belongs to it."""
    if isinstance(error, HeaderError):
        return Ending(400, str(error), by_us=True, cause="bad_request")
    if isinstance(error, LegError):
        if error.status == _ERESOLVE:
            return Ending(BAD_GATEWAY, "the host of the URI has no address", by_us=True, cause="unresolved")
        if error.status == _MESSAGE_TOO_LONG:
            text = "the INVITE would be longer than a datagram; send fewer or shorter headers"
            return Ending(513, text, by_us=True, cause="bad_request")
        if error.status in _NOT_WRITABLE or error.status == _NO_TRANSPORT:
            text = f"PJSIP cannot send this INVITE: {error}"
            return Ending(400, text, by_us=True, cause="bad_request")
        return Ending(500, f"PJSIP did not send the INVITE: {error}", by_us=True, cause="internal_error")
    code = getattr(error, "code", 500)
    return Ending(code, str(error), by_us=True, cause="internal_error" if code == 500 else "media_failed")


def not_answered(heard: bool, target: str, seconds: float) -> Ending:
    """Time is up. A peer that has said nothing at all is another matter than a phone that rings."""
    if heard:
        return Ending(REQUEST_TIMEOUT, "Request Timeout", by_us=True)
    text = f"no response of any kind from {target} within {seconds:g} s"
    return Ending(REQUEST_TIMEOUT, text, by_us=True, cause="peer_unreachable")


def by_pjsip(
    code: int, reason: str, message: SipText, unanswered_outbound: bool, refused_certificate: str = ""
) -> Ending:
    """The final response, or what PJSIP gives for the lack of one.

    `refused_certificate` says what was wrong with one, if that is why there is no connection.
    """
    status, phrase = message.status
    if status >= 300:
        return Ending(
            status, reason_text(message.header("Reason"), told_only=True) or phrase, message.headers
        )
    if unanswered_outbound and not message.start_line:
        if code == BAD_GATEWAY:
            return Ending(code, "the host of the URI has no address", cause="unresolved")
        if code == REQUEST_TIMEOUT:
            return Ending(code, "no response of any kind to our INVITE", cause="peer_unreachable")
        if code == UNAVAILABLE and refused_certificate:
            return Ending(code, refused_certificate, cause="peer_unreachable")
        if code == UNAVAILABLE:
            return Ending(code, f"the INVITE could not be delivered: {reason}", cause="peer_unreachable")
    return Ending(code, reason, message.headers)
