# SPDX-License-Identifier: GPL-2.0-or-later
"""Take out of log lines what must not be in them: secrets always, telephone numbers when asked.

`Cleaner` is a structlog processor.  It works on values before they are rendered,
strings at any depth, so it does not matter which renderer follows.  `printable` is
its last step alone, for what the command line prints.

Numbers are found in three ways, because a peer chooses where it writes them: the
numbers of the call at hand, wherever they stand and however they are punctuated;
the user part of any SIP or tel URI; and any run of digits long enough to be a
telephone number.  Numeric values (counters, codes, durations) are left alone, and so
are digits that their words make a fact: `status=171060`, `1048576 bytes`.
"""

from __future__ import annotations

import functools
import math
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import SecretStr
from structlog.typing import EventDict, WrappedLogger

from trunkline.gateway.routing import number_of

"".encode("unicode_escape")  # loaded from a file at its first use, for which there may be no descriptor then

NUMBERS_KEY = "_numbers"
"Key of an event under which the numbers of its call travel; taken off before it is written."

MASK = "***"

TEXTS_KEY = "variables"
"Texts of agents about a call, which may be anything: with numbers hidden only their names are written."

KEPT_DIGITS = 2
"Enough to tell two calls apart in a log, too few to call anybody."

LONG_DIGITS = 6
"Runs of so many digits are taken for telephone numbers, whoever wrote them. Shorter: ports, codes, years."

SURE_DIGITS = 5
"A call's own number of so many digits is hidden even where it could be part of an address or a UUID."

LEAST_DIGITS = 3
"A call's own number of fewer digits is hidden in URIs only: elsewhere it would be a code or a count."

MIN_SECRET_CHARS = 4
"A shorter secret is not searched for in texts: it would be found in every second word."

MAX_DEPTH = 6

_EXEMPT_KEYS = frozenset({"call_id", "level", "logger"})
"Ours alone, never a peer's words; a UUID may contain any digits."

_ID_KEYS = frozenset({"sip_call_id"})
"A peer's words, but random ones by which its log is searched: only the call's own long numbers are hidden."

_MULTILINE_KEYS = frozenset({"exception", "stack"})

_SECRET_KEY = re.compile(
    r"(^|[_\-. ])(password|passwd|secret|token|authorization|cookie|api[_-]?key)$", re.IGNORECASE
)
_CREDENTIALS = re.compile(r"((?:proxy-)?authorization['\"]?\s*[:=]\s*)[^\r\n]+", re.IGNORECASE)

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_KEEP = (
    r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
    rf"|(?<![\d.]){_OCTET}(?:\.{_OCTET}){{3}}(?!\d|\.\d)"
)
# What PJSIP and our own sentences say in digits; a peer who writes so hides nothing but from us.
_PJSIP_STATUS = r"\((?:120|170|171|220)\d{3}\)"
_FACT = (
    r"\b(?:status|code|errno|err|error|rc|pid|bytes|size|len|length)[ =:]{1,2}\d{1,9}(?![\w.-])"
    r"|(?<![\w.+-])\d{1,9} (?:bytes|[kMG]i?B|ms|us|ns|s|Hz|packets|frames|samples|calls)\b"
    rf"|{_PJSIP_STATUS}"
)
_URI = r"\b(?P<scheme>(?:sips?:(?=[^\s<>\"@]+@))|tel:)(?P<user>[^\s<>\"@,]+)"
_GAP = r"[\-.() ]{0,2}"
# With no condition on what follows: to give back digits one by one would take a peer's text quadratic time.
_LONG = rf"(?<!\w)\+?\d(?:{_GAP}\d){{{LONG_DIGITS - 1},}}"

# What must not reach a terminal: escape sequences, and marks that turn the direction of text.
# Lone surrogates (undecodable bytes of a command line) would stop the printing program itself.
_CONTROL = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_UNPRINTABLE = re.compile(rf"[{_CONTROL}\n]")
_UNPRINTABLE_BUT_NEWLINE = re.compile(rf"[{_CONTROL}]")


class Cleaner:
    """The processor; one for the life of a logging set-up."""

    def __init__(self, redact_numbers: bool, secrets: Iterable[SecretStr] = ()) -> None:
        self._redact = redact_numbers
        values = {secret.get_secret_value() for secret in secrets}
        forms = values | {urllib.parse.quote(value, safe="") for value in values}
        usable = sorted((form for form in forms if len(form) >= MIN_SECRET_CHARS), key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, usable))) if usable else None

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Clean all values of an event; keys that begin with `_` are structlog's own."""
        known = event.pop(NUMBERS_KEY, ())
        numbers = digits_of(known) if self._redact else ()
        for key, value in event.items():
            if not key.startswith("_") and key not in _EXEMPT_KEYS:
                event[key] = self._value(key, value, numbers, MAX_DEPTH)
        return event

    def _value(self, key: str, value: Any, numbers: tuple[str, ...], depth: int) -> Any:
        if _SECRET_KEY.search(key) and value not in (None, ""):
            return MASK
        match value:
            case str():
                if key in _ID_KEYS:
                    return self._text(value, tuple(n for n in numbers if len(n) >= LONG_DIGITS), guess=False)
                return self._text(value, numbers, key in _MULTILINE_KEYS)
            case bool() | None:
                return value
            case int():
                is_number = len(text := str(abs(value))) >= LONG_DIGITS and text in numbers
                return mask_number(text) if is_number else value
            case float():
                return value if math.isfinite(value) else None
            case Mapping() if self._redact and key == TEXTS_KEY:
                return {self._text(str(name), numbers): MASK for name in value}
            case Mapping() if depth:
                return {
                    self._text(str(name), numbers): self._value(str(name), item, numbers, depth - 1)
                    for name, item in value.items()
                }
            case list() | tuple() | set() | frozenset() if depth:
                return [self._value(key, item, numbers, depth - 1) for item in value]
            case _:
                return self._text(str(value) if isinstance(value, SecretStr) else repr(value), numbers)

    def _text(self, text: str, numbers: tuple[str, ...], multiline: bool = False, guess: bool = True) -> str:
        if self._secrets is not None:
            text = self._secrets.sub(MASK, text)
        text = _CREDENTIALS.sub(rf"\g<1>{MASK}", text)
        if self._redact:
            text = redact(text, numbers) if guess else _hide_sure(text, numbers)
        return printable(text, multiline)


def printable(text: str, multiline: bool = False) -> str:
    """`text` with everything made visible that would steer a terminal; `multiline` keeps line ends."""
    unprintable = _UNPRINTABLE_BUT_NEWLINE if multiline else _UNPRINTABLE
    return unprintable.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def digits_of(numbers: Iterable[str]) -> tuple[str, ...]:
    """The bare digits of numbers or URIs, longest first; what has no digits is left out."""
    users = (number_of(number) or number for number in numbers)
    digits = {re.sub(r"\D", "", user.split("@")[0]) for user in users}
    return tuple(sorted(digits - {""}, key=len, reverse=True))


def mask_number(number: str) -> str:
    """`***56`: the last digits, if there are more than those; the length is hidden too."""
    digits = re.sub(r"\D", "", number)
    return MASK + digits[-KEPT_DIGITS:] if len(digits) > KEPT_DIGITS else MASK


def redact(text: str, numbers: tuple[str, ...] = ()) -> str:
    """`text` with telephone numbers masked; `numbers` are digits known to be some."""
    # First, and alone: a number with blanks in it may begin inside a URI and end behind it.
    text = _hide_sure(text, numbers)
    short = tuple(number for number in numbers if LEAST_DIGITS <= len(number) < SURE_DIGITS)
    return _finder(short).sub(_replacement, text)


def _hide_sure(text: str, numbers: tuple[str, ...]) -> str:
    """Only the numbers of the call at hand that are too long to be anything else."""
    sure = tuple(number for number in numbers if len(number) >= SURE_DIGITS)
    return _alternatives(sure).sub(lambda match: mask_number(match[0]), text) if sure else text


@functools.lru_cache(maxsize=4096)
def _alternatives(numbers: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(_spelled, numbers)))


@functools.lru_cache(maxsize=4096)
def _finder(short: tuple[str, ...]) -> re.Pattern[str]:
    """What to look for. Alternatives are tried in this order at each place of a text."""
    parts = [_URI, rf"(?P<keep>{_KEEP}|{_FACT})"]
    if short:
        parts.append(rf"(?P<short>{'|'.join(map(_spelled, short))})")
    parts.append(rf"(?P<long>{_LONG})")
    return re.compile("|".join(parts))


def _spelled(digits: str) -> str:
    """An expression for a number with any punctuation in it, and no further digits around it."""
    return rf"(?<!\d)\+?{_GAP.join(digits)}(?!\d)"


def _replacement(match: re.Match[str]) -> str:
    groups = match.groupdict()
    if groups.get("keep"):
        return match[0]
    if groups.get("scheme"):
        return groups["scheme"] + _masked_user(groups["user"])
    return mask_number(match[0])


def _masked_user(user: str) -> str:
    """The user part of a URI: numbers masked, names left; passwords and parameters go with a number."""
    plain = urllib.parse.unquote(user, errors="replace")
    if not re.search(rf"\d{{{LEAST_DIGITS},}}", re.sub(r"[\-.() ]", "", plain)) and not plain.isdigit():
        return user
    return mask_number(re.split(r"[;:?]", plain)[0])
