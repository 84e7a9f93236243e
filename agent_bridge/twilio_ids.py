# SPDX-License-Identifier: MIT
"""Twilio's names of things, made from ours: two letters and 32 hex digits."""

from __future__ import annotations

import hashlib
import re
import uuid

ACCOUNT_SID = re.compile(r"AC[0-9a-f]{32}")
_CALL_SID = re.compile(r"CA[0-9a-f]{32}")


def account_sid(account: str) -> str:
    """What agents are told of whose call it is: the account of the configuration, or one that never changes."""
    return account or "AC" + _digest("trunkline")


def call_sid(call_id: str) -> str:
    """Of a call of ours: its UUID's digits, so that both ways are open."""
    return "CA" + uuid.UUID(call_id).hex


def call_id(sid: str) -> str | None:
    """The call that a sid names, None for what is no sid."""
    return str(uuid.UUID(sid[2:])) if _CALL_SID.fullmatch(sid) else None


def stream_sid(call: str, attempt: int, position: int) -> str:
    """Of one connection for a call: another agent, or the same after a break, has another stream."""
    return "MZ" + _digest(f"{call} {attempt} {position}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
