# SPDX-License-Identifier: GPL-2.0-or-later
"""The little that placing a call needs to know of SIP URIs (RFC 3261 sections 19.1 and 25.1).

Stricter than the grammar, because the URI comes from whoever may use the API and goes into
a message as it is: no headers (`?Contact=...` would write into the INVITE), no escaped
control characters.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import unquote

from trunkline.gateway.sip.hops import uri_transport

_USER = r"(?:[A-Za-z0-9_.!~*'()&=+$,;?/:-]|%[2-7][0-9A-Fa-f](?<!%7[Ff])|%[89A-Fa-f][0-9A-Fa-f])"
_PARAMETER = r"(?:[A-Za-z0-9_.!~*'()\[\]/:&+$-]|%[0-9A-Fa-f]{2})+"
_URI = re.compile(
    rf"(?P<scheme>sips?):(?:(?P<user>{_USER}+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>\d{{1,5}}))?"
    rf"(?P<parameters>(?:;{_PARAMETER}(?:={_PARAMETER})?)*)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\+?[0-9A-Da-d*#][-. ()0-9A-Da-d*#]{0,63}")
MAX_CHARACTERS = 512
"PJSIP keeps 1,024 for a request URI, and adds parameters of its own."


class UriError(ValueError):
    """Why a text is no URI that a call can be placed with."""


class SipUri(NamedTuple):
    """The parts that matter to us."""

    user: str
    "as written, escapes included; empty when absent"
    host: str
    "lower case; IPv6 in brackets"
    port: str
    "empty when absent"
    transport: str
    "lower case; empty when absent; `sips:` is TLS, whatever it says besides"
    parameters: frozenset[str] = frozenset()
    "names, lower case, without escapes"
    secure: bool = False
    "`sips:`"


def parse_uri(text: str) -> SipUri:
    """The parts of a SIP URI that is fit for a header; raises UriError."""
    if len(text) > MAX_CHARACTERS:
        raise UriError(f"{len(text)} characters; {MAX_CHARACTERS} are allowed")
    match = _URI.fullmatch(text)
    if match is None:
        raise UriError(_why_not(text))
    port, host = match["port"] or "", match["host"].lower()
    if port and not 1 <= int(port) <= 65535:
        raise UriError(f"there is no port {port}")
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise UriError(f"{host} is no IPv6 address") from None
    parameters = [unquote(one.partition("=")[0]).lower() for one in match["parameters"].split(";")[1:]]
    if twice := next((name for name in parameters if parameters.count(name) > 1), ""):
        raise UriError(f"it has {twice} twice")  # RFC 3261 19.1.1; PJSIP takes the last, others the first
    transport = uri_transport(f"sip:{match['host']}{match['parameters']}")
    secure = match["scheme"].lower() == "sips"
    if secure:
        if transport not in ("", "tcp", "tls"):  # RFC 3261 26.2.2: TLS over it
            raise UriError(f"sips: is TLS, which transport {transport} is not")
        transport = "tls"
    return SipUri(match["user"] or "", host, port, transport, frozenset(parameters), secure)


def is_uri(text: str) -> bool:
    """Whether somebody meant a URI, and no number."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) is not None


def _why_not(text: str) -> str:
    if not all(" " < character <= "~" for character in text):
        return "only printable ASCII characters without blanks may stand in a SIP URI"
    if not text.lower().startswith(("sip:", "sips:")):
        return "it does not begin with sip: or sips:"
    if "?" in (text.partition("@")[2] or text):
        return "headers behind `?` are not taken from a URI; give them as headers of the call"
    return "it is not of the form sip:user@host:port"


def compact_number(text: str) -> str | None:
    """A telephone number without the separators that people write; None when it is none."""
    text = text.strip()
    return re.sub(r"[-. ()]", "", text) if _NUMBER.fullmatch(text) else None
