# SPDX-License-Identifier: GPL-2.0-or-later
"""Whom agents may transfer calls to: entries of a route's `transfer_targets`.

0800*                numbers, called at the call's own trunk; a pattern as of routes
sip:6..@192.0.2.10   URIs: a pattern for the user, and the host, with a port if there is one
sip:*@*              any SIP URI
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from trunkline.gateway.config.patterns import Pattern, parse_number_pattern

_URI = re.compile(r"sips?:([^@]+)@([^@]+)", re.I)


def check_target(text: str) -> str:
    """The entry as it is; raises ValueError that says what is wrong with it."""
    _parse(text)
    return text


def _parse(text: str) -> tuple[Pattern, str]:
    """Pattern of number or user; host of a URI in lower case, empty for a number."""
    if not re.match("sips?:", text, re.I):
        return parse_number_pattern(text), ""
    match = _URI.fullmatch(text)
    if match is None:
        raise ValueError("a number's pattern is needed, or sip:user@host with patterns, such as sip:*@192.0.2.10")
    return Pattern.parse(match[1]), match[2].lower()


def may_call_number(entries: Sequence[str], number: str) -> bool:
    """Whether a number is among them; without entries, any is."""
    if not entries:
        return True
    return any(not host and pattern.matches(number) for pattern, host in map(_parse, entries))


def may_call_uri(entries: Sequence[str], user: str, host: str) -> bool:
    """Whether a URI is among them; `host` is in lower case, with its port if it has one."""
    rules = [(pattern, wanted) for pattern, wanted in map(_parse, entries) if wanted]
    return any(wanted in ("*", host) and pattern.matches(user) for pattern, wanted in rules)
