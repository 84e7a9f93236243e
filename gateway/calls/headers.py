# SPDX-License-Identifier: GPL-2.0-or-later
"""Which SIP headers travel between an INVITE and an agent, and which may be added to one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

MAX_HEADERS = 32
MAX_VALUE_CHARACTERS = 2048
"An agent's start message stays far below the 64 kB of a control message."

_TOKEN = re.compile(r"[A-Za-z0-9!%'*_`~+.-]{1,128}")
OURS = frozenset(
    {"via", "from", "to", "call-id", "cseq", "contact", "max-forwards", "route", "record-route"}
    | {"content-length", "content-type", "authorization", "proxy-authorization", "require", "supported"}
    | {"allow", "session-expires", "min-se", "rack", "rseq"}
)
"Headers that make the dialog work, or prove who we are: set by the SIP stack and by nobody else."


def for_agent(globs: Sequence[str], headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that a trunk's `headers_to_agent` names, as sent, within limits."""
    exact = {glob.lower() for glob in globs if not glob.endswith("*")}
    beginnings = tuple(glob[:-1].lower() for glob in globs if glob.endswith("*"))
    chosen: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower in exact or lower.startswith(beginnings):
            chosen[name] = value[:MAX_VALUE_CHARACTERS]
            if len(chosen) == MAX_HEADERS:
                break
    return chosen


def problem_of(headers: Mapping[str, str]) -> str:
    """Why these may not be added to an INVITE, or empty."""
    if len(headers) > MAX_HEADERS:
        return f"{len(headers)} headers; {MAX_HEADERS} are allowed"
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            return f"{name!r} is not the name of a header"
        if name.lower() in OURS:
            return f"the header {name} is set by the gateway itself"
        if len(value) > MAX_VALUE_CHARACTERS or not value.isprintable():
            return f"the value of {name} is too long, or has control characters in it"
    return ""
