# SPDX-License-Identifier: GPL-2.0-or-later
"""PJSIP's log lines as structlog events, without anybody's credentials."""

from __future__ import annotations

import re
import time

import pjsua2 as pj
import structlog

log = structlog.get_logger("trunkline.gateway.sip.pjsip")

_CREDENTIALS = re.compile(
    r"^((?:proxy-)?authorization|authentication-info)\s*:.*(?:\r?\n[ \t].*)*", re.I | re.M
)
_DIGEST = re.compile(r'\b(response|nonce|cnonce|opaque|password)\s*=\s*("[^"]*"|[^\s,;]+)', re.I)
# Keys of SRTP: in messages (RFC 4568), and as PJMEDIA's transport tells them at level 5.
_KEYS = re.compile(r"\b(inline:|[RT]X: \S+ key=)\s*[^\s|;]+", re.I)
_PREFIX = re.compile(r"^\s*(?P<module>\S+)\s+(?P<text>.*)$", re.S)


RATIONED_LEVEL = 3


def redact(text: str) -> str:
    """Take digests, what they are computed from, and keys of SRTP out of a log line or a whole message."""
    text = _KEYS.sub(r"\1***", text)
    return _DIGEST.sub(r"\1=***", _CREDENTIALS.sub(r"\1: ***", text))


class Faucet:
    """Lets through a burst, and then so many a second; pure."""

    BURST = 50
    PER_SECOND = 10.0

    def __init__(self) -> None:
        self._left, self._filled_s = float(self.BURST), 0.0
        self.dropped = 0

    def admit(self, now_s: float) -> bool:
        """Whether this one may pass; counts those that may not in `dropped`."""
        self._left = min(self.BURST, self._left + (now_s - self._filled_s) * self.PER_SECOND)
        self._filled_s = now_s
        if self._left < 1:
            self.dropped += 1
            return False
        self._left -= 1
        return True


class PjsipLog(pj.LogWriter):
    """Levels: 1 error, 2 warning, 3 information, above that debugging.

    PJSIP's "error" is whatever fails, also at a stranger's fault, so it is no more
    than a warning of ours; and because any stranger can cause one with each datagram,
    they are rationed. Who asked for debugging gets everything.
    """

    def __init__(self) -> None:
        super().__init__()
        self._faucet = Faucet()

    def write(self, entry: pj.LogEntry) -> None:
        """Called by PJSIP on the SIP thread; must not raise."""
        try:
            if entry.level <= RATIONED_LEVEL:
                if not self._faucet.admit(time.monotonic()):
                    return
                if self._faucet.dropped:
                    log.warning("pjsip_lines_dropped", count=self._faucet.dropped)
                    self._faucet.dropped = 0
            match = _PREFIX.match(redact(entry.msg.rstrip()))
            if match is None:
                return
            method = {1: log.warning, 2: log.warning, 3: log.info}.get(entry.level, log.debug)
            method("pjsip", level_pjsip=entry.level, module=match["module"], text=match["text"].lstrip("."))
        except Exception:
            log.exception("sip.log_failed")
