# SPDX-License-Identifier: GPL-2.0-or-later
"""Ids of the calls of a run: UUIDs that say which call it is, because AudioSocket tells its server nothing else."""

from __future__ import annotations

import uuid

_PREFIX = "00000000-0000-4000-8000-"


def call_id(number: int) -> str:
    """Decimal digits at the end of a UUID, so that a dial plan can write it as well."""
    return f"{_PREFIX}{number:012d}"


def call_number(text: str) -> int:
    """The number in an id; -1 when it is none of ours."""
    digits = text.removeprefix(_PREFIX)
    return int(digits) if len(digits) == 12 and digits.isdecimal() else -1


def call_number_of_bytes(raw: bytes) -> int:
    """The same of a UUID's 16 bytes."""
    return call_number(str(uuid.UUID(bytes=raw))) if len(raw) == 16 else -1
