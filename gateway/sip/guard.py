# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands between pjsua2 and Python's exceptions, in either direction."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import pjsua2 as pj
import structlog

log = structlog.get_logger(__name__)
Method = TypeVar("Method", bound=Callable[..., Any])


class LegError(Exception):
    """PJSIP would not do what was asked of it."""


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
            raise LegError(f"{error.title}: {error.reason} ({error.status})") from None

    return wrapper  # type: ignore[return-value]
