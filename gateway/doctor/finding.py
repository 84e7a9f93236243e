# SPDX-License-Identifier: GPL-2.0-or-later
"""One line of the doctor's report."""

from __future__ import annotations

import dataclasses
import enum


class Level(enum.Enum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    "calls work, with less room or less comfort than configured"
    FAIL = "fail"
    "a call could not work"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and what to do about it."""

    name: str
    level: Level
    found: str
    cure: str = ""
    "what to type or edit; every warning and failure has one"

    def __post_init__(self) -> None:
        if (self.level is Level.OK) == bool(self.cure):
            raise ValueError(f"{self.name}: a cure belongs to a warning or failure, and only there")


def ok(name: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(name, Level.OK, found)


def warn(name: str, found: str, cure: str) -> Finding:
    """Works, but less well."""
    return Finding(name, Level.WARN, found, cure)


def fail(name: str, found: str, cure: str) -> Finding:
    """A call could not work."""
    return Finding(name, Level.FAIL, found, cure)
