# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands between pjsua2 and Python's exceptions, in either direction."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, TypeVar

import pjsua2 as pj
import structlog

log = structlog.get_logger(__name__)
Method = TypeVar("Method", bound=Callable[..., Any])


class LegError(Exception):
    """PJSIP would not do what was asked of it; the text is its reason, for people."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(f"{reason} (PJSIP error {status})" if status else reason)
        self.status = status


def guarded(method: Method) -> Method:
    """Keep an exception out of PJSIP; log it, and tell the leg's owner."""

    @functools.wraps(method)
    def wrapper(self: Any, *arguments: Any) -> Any:
        try:
            return method(self, *arguments)
        except Exception:
            log.exception("sip.callback_failed", callback=method.__name__)
            try:
                if getattr(self, "owner", None) is not None:
                    self.owner.on_failure()
            except Exception:
                log.exception("sip.callback_failed", callback="on_failure")

    return wrapper  # type: ignore[return-value]


def checked(method: Method) -> Method:
    """Turn pjsua2's error, which is no Exception that says anything, into a LegError."""

    @functools.wraps(method)
    def wrapper(*arguments: Any, **keywords: Any) -> Any:
        try:
            return method(*arguments, **keywords)
        except pj.Error as error:
            log.debug("sip.pjsip_error", title=error.title, status=error.status)
            readable = re.sub(r" \(PJ\w+\)", "", error.reason)  # the name of the constant follows the words
            raise LegError(readable, error.status) from None

    return wrapper  # type: ignore[return-value]
