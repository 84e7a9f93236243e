# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a call was refused or ended: every reason there is, once.

A reason is one of our own words.  From this table come the SIP code and phrase
that the peer sees, the level of the log line, the label of the metric and the
text of the API.  Code elsewhere names a word and nothing else.

    refused    no call came to be: the INVITE got this code
    failed     a call that was wanted and did not work out
    ended      a call that was up, or was given up by someone who may do so
"""

from __future__ import annotations

import dataclasses
import http
from typing import Literal

from trunkline.gateway.sip.messages import Refusal

Kind = Literal["refused", "failed", "ended"]
Level = Literal["debug", "info", "warning", "error"]

OTHER = "other"
"Label of a word that is not in the table, so that labels stay bounded."

RETRY_SOON_S = 5
"Restarting a worker or an agent takes seconds; a peer that waits so long finds it up again."

RETRY_LATER_S = 30
"Calls last minutes: a peer that finds us full need not ask again at once."


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """One reason."""

    word: str
    kind: Kind
    sip_code: int
    "code of the refusal, or of what we send when this happens before answer; 0 when the peer's own holds"
    sip_reason: str
    level: Level
    help: str
    "a sentence for people: the metric's documentation, the API's text"
    retry_after_s: int | None = None

    @property
    def ok(self) -> bool:
        """Whether the call went as calls go."""
        return self.kind == "ended" and self.level == "info"


# fmt: off
_TABLE: list[tuple[str, Kind, int, str, Level, str, int | None]] = [
    # -- refused before anything was set up; the screen decides
    ("unknown_peer", "refused", 403, "Forbidden", "warning",
     "no trunk names the address that the INVITE came from", None),
    ("no_route", "refused", 404, "Not Found", "warning", "no route takes this call", None),
    ("route_refused", "refused", 603, "Decline", "info", "a route says that this call is refused", None),
    ("limit_calls", "refused", 503, "Service Unavailable", "warning",
     "limits.max_calls is reached", RETRY_LATER_S),
    ("limit_trunk", "refused", 503, "Service Unavailable", "warning",
     "the trunk has as many calls as it may have", RETRY_LATER_S),
    ("limit_rate", "refused", 503, "Service Unavailable", "warning",
     "more calls a second than limits.calls_per_second", 1),
    ("overloaded", "refused", 503, "Service Unavailable", "warning",
     "every media worker is busier than limits.max_worker_load", RETRY_SOON_S),
    ("no_ports", "refused", 503, "Service Unavailable", "error",
     "no free pair of ports in media.port_range that can be bound on media.bind", RETRY_LATER_S),
    ("no_descriptors", "refused", 503, "Service Unavailable", "error",
     "the process may open no more sockets; raise its limit of open files", RETRY_LATER_S),
    ("draining", "refused", 503, "Service Unavailable", "info",
     "the gateway is shutting down", RETRY_LATER_S),
    ("no_common_codec", "refused", 488, "Not Acceptable Here", "warning",
     "the offer has no codec that the trunk allows", None),
    ("srtp_without_tls", "refused", 488, "Not Acceptable Here", "warning",
     "the trunk requires SRTP, and its keys would have stood in SIP that is not encrypted", None),
    ("bad_sdp", "refused", 400, "Bad Request", "warning", "the SDP cannot be understood", None),
    ("bad_media", "refused", 488, "Not Acceptable Here", "warning",
     "the media offered cannot be carried", None),
    ("bad_request", "refused", 400, "Bad Request", "warning",
     "the INVITE cannot be understood, or ours could not be written", None),
    ("bad_extension", "refused", 420, "Bad Extension", "warning",
     "the INVITE requires an extension that we lack, or lacks one that the trunk requires", None),
    ("session_interval", "refused", 422, "Session Interval Too Small", "info",
     "the session timer asked for is too short; the peer will ask again", None),
    ("sip_stack", "refused", 0, "", "warning", "PJSIP refused the request by itself", None),
    # -- failed while it was set up
    ("agent_unreachable", "failed", 503, "Service Unavailable", "error",
     "nothing listens at the agent's address", RETRY_SOON_S),
    ("agent_timeout", "failed", 503, "Service Unavailable", "error",
     "the agent did not connect or accept in time", RETRY_SOON_S),
    ("agent_version", "failed", 503, "Service Unavailable", "error",
     "the agent speaks another version of the dialect", RETRY_LATER_S),
    ("agent_protocol", "failed", 503, "Service Unavailable", "error",
     "the agent broke the rules of its dialect", RETRY_SOON_S),
    ("agent_rejected", "failed", 480, "Temporarily Unavailable", "info",
     "the agent did not take the call", None),
    ("table_full", "failed", 503, "Service Unavailable", "error",
     "no media worker has a free row", RETRY_LATER_S),
    ("no_worker", "failed", 503, "Service Unavailable", "error", "no media worker runs", RETRY_SOON_S),
    ("caller_cancelled", "ended", 487, "Request Terminated", "info",
     "the caller gave up before the answer", None),
    ("no_ack", "failed", 0, "", "warning", "our 200 was never acknowledged", None),
    # -- outbound: what came of our INVITE
    ("busy", "failed", 486, "Busy Here", "info", "the called party is busy", None),
    ("no_answer", "failed", 408, "Request Timeout", "info", "nobody answered in time", None),
    ("declined", "failed", 603, "Decline", "info", "the called party or its network refused the call", None),
    ("not_found", "failed", 404, "Not Found", "info", "the number is unknown at the peer", None),
    ("auth_failed", "failed", 401, "Unauthorized", "error", "the peer did not take our credentials", None),
    ("peer_unavailable", "failed", 503, "Service Unavailable", "warning",
     "the peer says that it cannot place the call", None),
    ("peer_unreachable", "failed", 0, "", "warning", "the peer's SIP does not answer at all", None),
    ("unresolved", "failed", 0, "", "warning", "the name of the peer's host has no address", None),
    ("call_failed", "failed", 0, "", "warning", "the peer ended the set-up with a code of its own", None),
    # -- ended
    ("caller_hangup", "ended", 200, "OK", "info", "the caller hung up", None),
    ("callee_hangup", "ended", 200, "OK", "info", "the called party hung up", None),
    ("agent_hangup", "ended", 603, "Decline", "info", "the agent ended the call", None),
    ("api_hangup", "ended", 487, "Request Terminated", "info",
     "ended through the API or the command line", None),
    ("shutdown", "ended", 503, "Service Unavailable", "warning", "the gateway was stopped", RETRY_LATER_S),
    ("no_media", "ended", 0, "", "warning", "the peer sent no RTP for media.no_media_timeout_s", None),
    ("session_expired", "ended", 408, "Request Timeout", "warning",
     "the session timer ran out: the peer has vanished", None),
    ("agent_lost", "failed", 503, "Service Unavailable", "error",
     "the connection to the agent broke during the call", RETRY_SOON_S),
    ("agent_hung", "failed", 503, "Service Unavailable", "error",
     "the agent has neither said nor read anything for agent.hang_timeout_ms", RETRY_SOON_S),
    ("agent_flooded", "failed", 503, "Service Unavailable", "error",
     "the agent said more than agent.flood_ms or agent.flood_commands allow", RETRY_SOON_S),
    ("worker_lost", "failed", 503, "Service Unavailable", "error",
     "the media worker died and the call could not be put on another", RETRY_SOON_S),
    ("dtls_failed", "failed", 488, "Not Acceptable Here", "warning",
     "no DTLS handshake with the peer, or not with the certificate that its SDP names: no keys for the audio", None),
    ("media_failed", "failed", 488, "Not Acceptable Here", "error",
     "a new offer or answer during the call could not be carried", None),
    ("transferred", "ended", 200, "OK", "info", "the other party was handed on to somebody else", None),
    ("agent_no_answer", "failed", 480, "Temporarily Unavailable", "warning",
     "the agent took the call and did not answer it within answer_timeout_s", None),
    ("peer_lost", "ended", 0, "", "warning", "a request of ours within the call got no answer", None),
    ("internal_error", "failed", 500, "Server Internal Error", "error",
     "a fault of trunkline: see the log", None),
]
# fmt: on

OUTCOMES: dict[str, Outcome] = {row[0]: Outcome(*row) for row in _TABLE}
"""Every reason, by its word."""

_UNKNOWN = Outcome(OTHER, "failed", 500, "Server Internal Error", "error", "a reason that has no entry", None)

_PHRASES = {
    407: "Proxy Authentication Required",
    415: "Unsupported Media Type",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    491: "Request Pending",
    500: "Server Internal Error",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    580: "Precondition Failure",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
}
"""RFC 3261 21 where SIP's phrase is not that of HTTP."""

_CLASSES = {4: "Request Failure", 5: "Server Failure", 6: "Global Failure"}

_BY_CODE = {
    401: "auth_failed",
    404: "not_found",
    407: "auth_failed",
    408: "no_answer",
    480: "no_answer",
    484: "not_found",
    486: "busy",
    487: "no_answer",
    488: "no_common_codec",
    503: "peer_unavailable",
    600: "busy",
    603: "declined",
    604: "not_found",
    606: "no_common_codec",
}


def outcome(word: str) -> Outcome:
    """The entry of a word; an unknown one is told as an internal error, not raised."""
    return OUTCOMES.get(word, _UNKNOWN)


def label(word: str) -> str:
    """The word as a metric's label value."""
    return word if word in OUTCOMES else OTHER


def reason_phrase(code: int) -> str:
    """The usual phrase of a SIP code."""
    if code in _PHRASES:
        return _PHRASES[code]
    try:
        return http.HTTPStatus(code).phrase
    except ValueError:
        return _CLASSES.get(code // 100, "Unknown")


def word_for_code(code: int) -> str:
    """Our word for a final code with which a peer answered our INVITE."""
    return _BY_CODE.get(code, "call_failed")


def refusal(
    word: str, detail: str, *, code: int = 0, reason: str = "", retry_after_s: int | None = None
) -> Refusal:
    """What the SIP thread needs to refuse an INVITE.

    `code`, `reason` and `retry_after_s` override the table, for routes and agents that
    bring their own.  The phrase follows the code unless one is given.
    """
    entry = outcome(word)
    actual = code or entry.sip_code
    usual = entry.sip_reason if actual == entry.sip_code else reason_phrase(actual)
    wait = entry.retry_after_s if retry_after_s is None else retry_after_s
    # RFC 3261 20.33 lets these codes carry Retry-After; on others it would only confuse.
    may_wait = actual in (404, 413, 480, 486, 500, 503, 600, 603)
    return Refusal(actual, reason or usual, word, detail, wait if may_wait else None)
