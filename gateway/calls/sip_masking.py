# SPDX-License-Identifier: GPL-2.0-or-later
"""SIP messages as they may be kept: without credentials and keys, and without numbers and names where those are hidden.

What is masked is found line by line, without parsing: an odd message loses a line too many rather than keeps one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from trunkline.gateway.redaction import digits_of
from trunkline.gateway.sip.headers import COMPACT

MASK = "***"
_LINE_END = re.compile(r"\r\n|\r|\n")
_FOLD = re.compile(r"\r\n[ \t]+")
_SECRET_LINE = re.compile(
    r"^([^\s:]*(?:password|passwd|secret|token|authorization|authentication-info|cookie|api[_-]?key)[ \t]*:)[^\n]*",
    re.IGNORECASE | re.MULTILINE,
)
"Headers, also in bodies that quote some (message/sipfrag)."
_KEY_LINE = re.compile(r"^([ \t]*(?:a=(?:crypto|key-mgmt)[ \t]*:|k=))[^\n]*", re.IGNORECASE | re.MULTILINE)
_PASSWORD = re.compile(r"\b(sips?:[^:@\s<>;\"]{1,256}):[^@\s<>\"]{1,256}@", re.IGNORECASE)
_USER = re.compile(r"\b(sips?:)[^@\s<>\"]{1,512}@", re.IGNORECASE)
_TEL = re.compile(r"\btel:[^;,>\s\"]+", re.IGNORECASE)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.?)*(?:"|$)')
"To the end where it is not closed: to look for an end from each quotation mark anew would take quadratic time."
_NAME = re.compile(r"(^|,)[^<,]*<")
_ORIGIN = re.compile(r"^o=\S*", re.MULTILINE)
_WORDS = re.compile(r"^([siuep]=)[^\r\n]*", re.MULTILINE)
"Lines of SDP that are written for people."
_LENGTH = re.compile(r"^((?:Content-Length|l)[ \t]*:)[^\n]*", re.IGNORECASE | re.MULTILINE)
_ADDRESSES = frozenset({"from", "to", "contact", "route", "record-route"})
_PLAIN = frozenset(
    {"via", "call-id", "cseq", "max-forwards", "content-type", "content-length", "allow", "supported", "require"}
    | {"unsupported", "accept", "expires", "session-expires", "min-se", "rseq", "rack", "event", "reason", "server"}
    | {"subscription-state", "retry-after", "warning", "user-agent", "www-authenticate", "proxy-authenticate"}
)
"Headers that say nothing of who calls whom; own numbers are looked for in them all the same."
_SURE_DIGITS = 5


def masked(text: str, numbers: Sequence[str] | None = None) -> bytes:
    """A message without secrets; with the call's `numbers`, be they none, also without whom it is about."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    text = _LINE_END.sub("\r\n", text)
    head, gap, body = text.partition("\r\n\r\n")
    head, before = _without_secrets(_FOLD.sub(" ", head)), body
    body = _without_secrets(_FOLD.sub(" ", body)) if _SECRET_LINE.search(body) else _without_secrets(body)
    if numbers is not None:
        kind = next((value for name, value in _headers(head) if name == "content-type"), "")
        head, body = _anonymous(head), _body(kind.partition(";")[0].strip().lower(), body)
        for number in digits_of(numbers):
            if len(number) >= _SURE_DIGITS:
                head, body = head.replace(number, MASK), body.replace(number, MASK)
    if body != before:
        head = _LENGTH.sub(lambda found: f"{found[1]} {len(body.encode())}\r", head + "\r\n")[:-2]
    return (head + gap + body).encode()


def _without_secrets(text: str) -> str:
    for line in (_SECRET_LINE, _KEY_LINE):
        text = line.sub(lambda found: found[1] + MASK + "\r" * found[0].endswith("\r"), text)
    return _PASSWORD.sub(rf"\1:{MASK}@", text)


def _headers(head: str) -> list[tuple[str, str]]:
    """Names, long and in small letters, and values."""
    found = []
    for line in head.split("\r\n")[1:]:
        name, _, value = line.partition(":")
        name = name.strip().lower()
        found.append((COMPACT.get(name, name).lower(), value.strip()))
    return found


def _anonymous(head: str) -> str:
    first, *lines = head.split("\r\n")
    kept = [_hidden(first)]
    for line, (name, _) in zip(lines, _headers(head), strict=True):
        shown, colon, value = line.partition(":")
        if name in _ADDRESSES:
            value = " " + _NAME.sub(r"\1<", _QUOTED.sub("", _hidden(value)).strip())
        elif name not in _PLAIN:
            value = f" {MASK}"
        kept.append(shown + colon + _hidden(value))
    return "\r\n".join(kept)


def _hidden(text: str) -> str:
    return _TEL.sub(f"tel:{MASK}", _USER.sub(rf"\1{MASK}@", text))


def _body(kind: str, body: str) -> str:
    """SDP without names; keys that were pressed; of anything else nothing."""
    if kind == "application/sdp":
        return _WORDS.sub(r"\1-", _ORIGIN.sub(f"o={MASK}", _hidden(body)))
    return body if not body or kind.startswith("application/dtmf") else MASK
