# SPDX-License-Identifier: GPL-2.0-or-later
"""What call control will not do for whoever asked through the API or the command line."""

from __future__ import annotations


class CallRefused(Exception):
    """`cause` is one word, `detail` a sentence with the cure, `http_status` what HTTP calls it."""

    def __init__(self, cause: str, detail: str, http_status: int = 422) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail
        self.http_status = http_status
