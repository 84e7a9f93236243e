# SPDX-License-Identifier: MIT
"""Read JSON messages of other people's dialects, without trusting them.

What is wrong raises `ProtocolViolation` with a sentence that names message and field.  Numbers may come as strings:
most of these dialects write them so, and their clients do as they like.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Mapping
from typing import Any, NoReturn

from trunkline.agent_bridge.reassembly import ProtocolViolation

MAX_NAME_CHARS = 256
SMALL_CHARS = 4096
MOST_VALUES = ((SMALL_CHARS, 1000), (65_536, 32))
"""Objects, lists and values in text of more characters than that. Long is what holds audio,
and that is one string: a mebibyte of `[]` takes 100 ms to read, as one string 1 ms."""


def parse_object(text: str) -> dict[str, Any]:
    """A message that must be a JSON object."""
    if len(text) > SMALL_CHARS:
        _check_shape(text)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ProtocolViolation(f"the agent sends text that is not JSON: {shown(text)}") from None
    if not isinstance(found, dict):
        raise ProtocolViolation(f"the agent sends JSON that is not an object: {shown(text)}")
    return found


def _check_shape(text: str) -> None:
    """Raise for long text that is not mostly strings, before it is read; commas in strings count too."""
    values = text.count(",") + text.count("[") + text.count("{")
    for longer_than, most in MOST_VALUES:
        if len(text) > longer_than and values > most:
            raise ProtocolViolation(
                f"the agent sends JSON of {len(text)} characters in more than {most} pieces: {shown(text)}"
            )


def shown(text: str) -> str:
    """The beginning of a peer's words, fit for one line of a log."""
    return repr("".join(c if c.isprintable() else " " for c in text[:60])) + ("..." if len(text) > 60 else "")


def quoted(text: str) -> str:
    """A string of ours in JSON."""
    return json.dumps(text)


class Fields:
    """An object within a message; `where` names it in sentences."""

    __slots__ = ("_fields", "where")

    def __init__(self, fields: Mapping[str, Any], where: str) -> None:
        self._fields = fields
        self.where = where

    def has(self, name: str) -> bool:
        """Whether the field is there, and not null."""
        return self._fields.get(name) is not None

    def within(self, name: str, *, optional: bool = False) -> Fields:
        """An object in this one; an optional one that is missing is this one itself."""
        value = self._fields.get(name)
        if value is None and optional:
            return self
        if not isinstance(value, dict):
            self._wrong(name, "is not an object")
        return Fields(value, self.where)

    def raw(self, name: str) -> Any:
        """Any value, None when it is missing."""
        return self._fields.get(name)

    def text(self, name: str, default: str | None = None, longest: int = MAX_NAME_CHARS) -> str:
        """A string that can be written as UTF-8; a number is taken for its digits."""
        value = self._fields.get(name)
        if value is None and default is not None:
            return default
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)[: longest + 1]
        if not isinstance(value, str):
            self._wrong(name, "is not a string")
        if len(value) > longest:
            self._wrong(name, f"is longer than {longest} characters")
        try:
            value.encode()
        except UnicodeEncodeError:  # "\ud800" is valid JSON, and no text
            self._wrong(name, "holds half a surrogate pair")
        return value

    def number(self, name: str, lowest: int, highest: int, default: int | None = None) -> int:
        """A whole number, or a string of its digits; `default` makes the field optional."""
        value = self._fields.get(name)
        if value is None and default is not None:
            return default
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            self._wrong(name, "is not a whole number")
        if not lowest <= value <= highest:
            self._wrong(name, f"is not within {lowest}..{highest}")
        return value

    def flag(self, name: str) -> bool:
        """True or false, or either as a string; missing is false."""
        value = self._fields.get(name)
        if isinstance(value, str):
            value = {"true": True, "false": False}.get(value.lower())
            if value is None:
                self._wrong(name, "is not true or false")
        if value is not None and not isinstance(value, bool):
            self._wrong(name, "is not true or false")
        return bool(value)

    def octets(self, name: str) -> bytes:
        """Bytes in base64 (RFC 4648, section 4)."""
        value = self._fields.get(name)
        if not isinstance(value, str):
            self._wrong(name, "is not a string of base64")
        try:
            return binascii.a2b_base64(value, strict_mode=True)
        except (binascii.Error, ValueError):
            self._wrong(name, "is not base64")

    def _wrong(self, name: str, what: str) -> NoReturn:
        raise ProtocolViolation(f'"{name}" of "{self.where}" {what}')
