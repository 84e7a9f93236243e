# SPDX-License-Identifier: MIT
"""Read fields of a control message, without trusting them.

A wrong type or a number out of range raises `ProtocolViolation`: the peer's code is
wrong, and guessing would hide it.  Free text for people is only cleaned: a line
break in a reason, often the text of an exception, must not end everybody's calls, nor
reach a SIP header.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from trunkline.agent_bridge.reassembly import ProtocolViolation

MAX_CHANNEL = 0xFFFF_FFFF
MAX_NAME_CHARS = 256
MAX_REASON_CHARS = 256

Message = Mapping[str, Any]


def integer(message: Message, name: str, lowest: int, highest: int, default: int | None = None) -> int:
    """A whole number; `default` makes the field optional. 160.0 is 160: JSON has one kind of number."""
    value = message.get(name)
    if value is None and default is not None:
        return default
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ProtocolViolation(f'"{name}" of "{message["type"]}" is not a whole number')
    if not lowest <= value <= highest:
        raise ProtocolViolation(f'"{name}" of "{message["type"]}" is not within {lowest}..{highest}')
    return value


def channel(message: Message) -> int:
    """The call that a message is about."""
    return integer(message, "channel", 0, MAX_CHANNEL)


def sip_code(message: Message) -> int:
    """An optional SIP code of refusal; one that refuses nothing (below 400) is 0: the gateway chooses."""
    code = integer(message, "code", 0, 699, default=0)
    return code if code >= 400 else 0


def text(message: Message, name: str, default: str | None = None, longest: int = MAX_NAME_CHARS) -> str:
    """A string that can be written as UTF-8; `default` makes the field optional."""
    value = message.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise ProtocolViolation(f'"{name}" of "{message["type"]}" is not a string')
    if len(value) > longest:
        raise ProtocolViolation(f'"{name}" of "{message["type"]}" is longer than {longest} characters')
    try:
        value.encode()
    except UnicodeEncodeError:  # "\ud800" is valid JSON, and no text
        raise ProtocolViolation(f'"{name}" of "{message["type"]}" holds half a surrogate pair') from None
    return value


def prose(message: Message, name: str) -> str:
    """Optional text for people: control characters become spaces, and it is cut to 256 characters."""
    value = text(message, name, default="", longest=1 << 20)
    return "".join(c if c.isprintable() else " " for c in value[:MAX_REASON_CHARS])


def boolean(message: Message, name: str, default: bool = False) -> bool:
    """An optional truth value."""
    value = message.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise ProtocolViolation(f'"{name}" of "{message["type"]}" is not true or false')
    return value


def choice(message: Message, name: str) -> bool | None:
    """A truth value that may be left out: None."""
    return None if message.get(name) is None else boolean(message, name)


def octets(message: Message, name: str, longest: int) -> bytes:
    """Bytes in base64 (RFC 4648, section 4)."""
    try:
        value = base64.b64decode(text(message, name, longest=longest * 4 // 3 + 4), validate=True)
    except binascii.Error:
        raise ProtocolViolation(f'"{name}" of "{message["type"]}" is not base64') from None
    if len(value) > longest:
        raise ProtocolViolation(f'"{name}" of "{message["type"]}" is longer than {longest} bytes')
    return value


def texts(message: Message, name: str) -> dict[str, str]:
    """An optional object whose values are strings."""
    value = message.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise ProtocolViolation(f'"{name}" is not an object of strings')
    return value
