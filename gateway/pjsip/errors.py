# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong on the way to a PJSIP, in words for the person at the terminal."""

from __future__ import annotations

from pathlib import Path


class PjsipError(Exception):
    """The reason in one sentence, what to do about it, and the log where there is one."""

    def __init__(self, reason: str, cure: str, log: Path | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cure = cure
        self.log = log


class NoSource(PjsipError):
    """There is no PJSIP source to build from."""


class BuildFailed(PjsipError):
    """A step of the build failed; the log says how."""
