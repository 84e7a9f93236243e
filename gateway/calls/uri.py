# SPDX-License-Identifier: GPL-2.0-or-later
"""The little that placing a call needs to know of SIP URIs (RFC 3261 section 19.1)."""

from __future__ import annotations

import re

_URI = re.compile(
    r"sips?:(?:(?P<user>[^@\s<>\"]*)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>\d{1,5}))?"
    r"(?:[;?][^\s<>\"]*)?",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\+?[0-9A-Da-d*#][-. ()0-9A-Da-d*#]{0,63}")


def parse_uri(text: str) -> tuple[str, str, str] | None:
    """User, host and port (empty where absent) of a SIP URI that is fit for a header; else None."""
    match = _URI.fullmatch(text)
    return (match["user"] or "", match["host"].lower(), match["port"] or "") if match else None


def compact_number(text: str) -> str | None:
    """A telephone number without the separators that people write; None when it is none."""
    text = text.strip()
    return re.sub(r"[-. ()]", "", text) if _NUMBER.fullmatch(text) else None
