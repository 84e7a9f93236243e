# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of SIP headers: their compact forms, and which of them nobody but the SIP stack may write.

The one list for all who add headers: the API, which refuses a wrong one with a sentence
before anything is held, and the SIP thread, which lets none out whoever asked.
"""

from __future__ import annotations

import re

COMPACT = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}
"IANA's compact forms; everybody else gets to see the long name."

OURS = frozenset(
    {"via", "from", "to", "call-id", "cseq", "contact", "max-forwards", "route", "record-route"}
    | {"content-length", "content-type", "content-encoding", "content-disposition", "mime-version"}
    | {"authorization", "proxy-authorization", "www-authenticate", "proxy-authenticate"}
    | {"require", "proxy-require", "supported", "unsupported", "allow", "session-expires", "min-se"}
    | {"rack", "rseq", "event", "subscription-state", "replaces", "refer-to", "join"}
    | {"referred-by", "refer-sub", "target-dialog"}
    | {"user-agent", "server"}
)
"They make the dialog work or prove who we are; PJSIP sets them and nobody else."

_TOKEN = re.compile(r"[A-Za-z0-9!%'*_`~+.-]{1,128}")


class HeaderError(ValueError):
    """A header that may not be added to a message."""


def check_headers(headers: dict[str, str]) -> None:
    """Raise HeaderError for the first header that may not be added; a line break would smuggle in another one."""
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise HeaderError(f"{name!r} is not the name of a header")
        long_name = COMPACT.get(name.lower(), name)
        if long_name.lower() in OURS or name.lower() in COMPACT:
            called = name if long_name == name else f"{name} ({long_name})"
            raise HeaderError(f"the header {called} belongs to the SIP stack, which writes it itself")
        if any(_unfit(character) for character in value):
            raise HeaderError(f"the value of {name} has control characters or halves of surrogates in it")


def _unfit(character: str) -> bool:
    """Whether a character can be no part of a header's value: C0 and C1 controls but TAB, and lone surrogates."""
    code = ord(character)
    return (code < 0x20 and character != "\t") or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000
