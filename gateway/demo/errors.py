# SPDX-License-Identifier: GPL-2.0-or-later
"""What ends a demo early, as a sentence for the person in front of it."""

from __future__ import annotations


class DemoError(Exception):
    """The demo cannot go on; `log` are last lines of the program that failed, if any."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log
