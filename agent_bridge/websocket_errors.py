# SPDX-License-Identifier: MIT
"""What went wrong on a WebSocket, as a reason for programs and a sentence for people that names the cure."""

from __future__ import annotations

import http
from collections.abc import Sequence

from websockets.exceptions import InvalidStatus, NegotiationError, PayloadTooBig
from websockets.frames import CLOSE_CODE_EXPLANATIONS, Close

HANG_UP_CODES = frozenset({1000, 1005})
"""Close codes by which an agent ends a call: `close()` with 1000, or with no code at all. 1001 is a server that goes
down (or is restarted), and 1006 one that crashed: the caller may still want an answer, so these lose the agent, and
another one may get the call."""
_OUR_FAULT = frozenset({1002, 1003, 1007, 1009, 1010})
"Codes that say that what we have sent was wrong (RFC 6455, section 7.4.1)."

_CURES = {
    401: "it wants credentials, or others: see username and password, or the token, of this agent",
    403: "it does not want us: see credentials and headers of this agent, and whether the path is right",
    404: "there is nothing at this path: see `address` of this agent",
    405: "this path takes no WebSocket: see `address` of this agent",
    407: "a proxy stands before it, which this gateway does not speak to: give the agent's own address",
    426: "it wants another version of the protocol than WebSocket 13",
    429: "it has too much to do",
    503: "it is there and takes no calls now",
}


def handshake_failure(problem: Exception, path: str, offered: Sequence[str]) -> tuple[str, str]:
    """Reason and sentence of a handshake that the agent answered wrongly; `path` is what was asked for."""
    if isinstance(problem, InvalidStatus):
        return "agent_unreachable", _refused(problem, path)
    if isinstance(problem, NegotiationError):
        ours = f"subprotocol {' or '.join(offered)}" if offered else "no subprotocol"
        text = f"the agent answers the WebSocket handshake with {problem}; we offered {ours} and no extension"
        return "agent_protocol", printable(text)
    cause = problem.__cause__
    if isinstance(cause, EOFError):
        return "agent_unreachable", "the agent closed the connection in the WebSocket handshake"
    said = f"{problem}" + (f" ({cause})" if cause else "")
    cure = "is it the right port, and ws:// or wss:// as it has it?"
    return "agent_protocol", printable(f"what answers does not speak WebSocket ({said[:200]}): {cure}")


def _refused(problem: InvalidStatus, path: str) -> str:
    status = problem.response.status_code
    try:
        phrase = f" {http.HTTPStatus(status).phrase}"
    except ValueError:
        phrase = ""
    if 300 <= status < 400:
        cure = "it wants to send us elsewhere, which is not followed: write the final `address`"
    elif status in _CURES:
        cure = _CURES[status]
    elif status >= 500:
        cure = "see the agent's own log"
    else:
        cure = "see `address` of this agent"
    return f"the agent refused the WebSocket at {path.partition('?')[0] or '/'} with HTTP {status}{phrase}: {cure}"


def closed(close: Close | None, where: str) -> tuple[str, str]:
    """Reason and sentence of a connection that the agent ended and that was no hang-up; `where` as ` in ...`."""
    if close is None:
        return "agent_lost", f"the agent broke the connection off{where}, without a close frame"
    meaning = CLOSE_CODE_EXPLANATIONS.get(close.code, "")
    said = f", saying {close.reason!r}" if close.reason else ""
    text = f"the agent closed the WebSocket{where} with {close.code}{f' ({meaning})' if meaning else ''}{said}"
    return "agent_protocol" if close.code in _OUR_FAULT else "agent_lost", printable(text)


def broken_rules(problem: Exception, max_message_bytes: int) -> tuple[str, str]:
    """Reason and sentence of frames that are against RFC 6455, or too long."""
    if isinstance(problem, PayloadTooBig):
        text = f"the agent sends a message of more than {max_message_bytes} bytes: send audio in smaller pieces"
    elif isinstance(problem, UnicodeDecodeError):
        text = "the agent sends text that is not UTF-8: audio belongs into binary messages, or base64"
    else:
        text = f"the agent breaks the rules of WebSocket: {problem}"
    return "agent_protocol", printable(text)


def printable(text: str) -> str:
    """A peer's words in a line of a log: no control characters, of bounded length."""
    return "".join(c if c.isprintable() else " " for c in text[:400])
