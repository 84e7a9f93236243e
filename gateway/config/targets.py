# SPDX-License-Identifier: GPL-2.0-or-later
"""Whom agents may transfer calls to: entries of a route's `transfer_targets`.

0800*                numbers, called at the call's own trunk; a pattern as of routes
sip:6..@192.0.2.10   URIs: a pattern for the user, and the host, with a port if there is one
sips:*@example.com   only with `sips:`; an entry with `sip:` stands for both
sip:*@*              any SIP URI

A regular expression (`re:`) has to match the whole number or user here. A user is compared
without its escapes, and has no parameters: a `;` in it is a part of the number for some and
the end of it for others.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote

from trunkline.gateway.config.patterns import Pattern, parse_number_pattern

_URI = re.compile(r"(sips?):([^@]+)@([^@]+)", re.I)
_HOST = re.compile(r"(?P<host>\*|\[[0-9A-F:.]+\]|[A-Z0-9_-][A-Z0-9_.-]*)(?P<port>:[0-9]{1,5})?", re.I)
_NUMBER = re.compile(r"\+?[0-9A-D*#][-. ()0-9A-D*#]{0,63}", re.I)
_NUMBERS = re.compile(r"[+0-9A-D*#.]*", re.I)
_NO_USER = frozenset(";:?@")
HARMLESS = frozenset({"transport", "user"})
"Parameters that a URI of an agent's may have: others send the call elsewhere (maddr) or make it no call (method)."


class _Entry(NamedTuple):
    pattern: Pattern
    "of number or user"
    host: str
    "as `plain_host` writes it, or `*`; empty for a number"
    secure: bool


def check_target(text: str) -> str:
    """The entry as it is; raises ValueError that says what is wrong with it."""
    pattern, host, _ = _parse(text)
    if pattern.is_regex:
        return text
    if host and _NO_USER & set(pattern.text):
        raise ValueError("a user with ; : or ? in it is never called: leave that out")
    if not host and not _NUMBERS.fullmatch(pattern.text):
        raise ValueError("no telephone number is like that: give digits and + * # ., or sip:user@host")
    return text


def check_destination(text: str) -> str:
    """A number or SIP URI that a call can be handed on to, as it is; raises ValueError."""
    if not text or _NUMBER.fullmatch(text):
        return text
    uri, *parameters = text.split(";")
    match = re.fullmatch(r"(sips?):(?:[^@\s<>?\"]+@)?([^@?]+)", uri, re.I)
    if match is None or "*" in match[2] or any(re.search(r'[\s<>?@"]', parameter) for parameter in parameters):
        raise ValueError("a telephone number is needed, or a SIP URI such as sip:100@192.0.2.10")
    plain_host(match[2])
    if match[1].lower() == "sips" and "transport=udp" in (parameter.lower() for parameter in parameters):
        raise ValueError("sips: is TLS, which transport udp is not")
    return text


def plain_host(text: str) -> str:
    """`host[:port]` as it is compared: lower case, IPv6 in its short form; raises ValueError for what is none."""
    match = _HOST.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no host, with or without a port; IPv6 stands in brackets, and parameters do not")
    host, port = match["host"].lower(), match["port"] or ""
    if port and host == "*":
        raise ValueError(f"{text!r}: * is any host with any port")
    if port and not 1 <= int(port[1:]) <= 65535:
        raise ValueError(f"there is no port {port[1:]}")
    if host.startswith("["):
        try:
            host = f"[{ipaddress.IPv6Address(host[1:-1])}]"
        except ValueError:
            raise ValueError(f"{host} is no IPv6 address") from None
    return host.removesuffix(".") + port


def _parse(text: str) -> _Entry:
    if not re.match("sips?:", text, re.I):
        return _Entry(parse_number_pattern(text), "", False)
    match = _URI.fullmatch(text)
    if match is None:
        raise ValueError("a number's pattern is needed, or sip:user@host with patterns, such as sip:*@192.0.2.10")
    return _Entry(Pattern.parse(match[2]), plain_host(match[3]), match[1].lower() == "sips")


def may_call_number(entries: Sequence[str], number: str) -> bool:
    """Whether a number is among them; without entries, any is."""
    if not entries:
        return True
    return any(not one.host and one.pattern.takes_whole(number) for one in map(_parse, entries))


def may_call_uri(entries: Sequence[str], user: str, host: str, *, secure: bool = False) -> bool:
    """Whether a URI is among them.

    `user` is as it is written, `host` has its port if it has one, `secure` is what `sips:` is.
    """
    try:
        user, host = unquote(user), plain_host(host)
    except ValueError:
        return False
    if _NO_USER & set(user) or not user.isprintable():
        return False
    rules = [one for one in map(_parse, entries) if one.host and (secure or not one.secure)]
    return any(one.host in ("*", host) and one.pattern.takes_whole(user) for one in rules)
