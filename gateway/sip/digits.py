# SPDX-License-Identifier: GPL-2.0-or-later
"""SIP INFO of one call: digits that come, digits that go, and everything else that INFO carries (RFC 6086)."""

from __future__ import annotations

import collections
from typing import Protocol

import structlog

from trunkline.gateway.sip import info
from trunkline.gateway.sip.events import InfoDtmf
from trunkline.gateway.sip.guard import LegError
from trunkline.gateway.sip.leg import Leg, Step
from trunkline.gateway.sip.messages import SendInfoDtmf
from trunkline.gateway.sip.services import Services

log = structlog.get_logger(__name__)

UNSUPPORTED_MEDIA_TYPE = 415
BAD_REQUEST = 400


class Host(Protocol):
    """The call around it."""

    call_id: str
    leg: Leg | None


class InfoDigits:
    """INFO in both directions."""

    def __init__(self, host: Host, services: Services) -> None:
        self._host, self._services = host, services
        self._queue: collections.deque[info.Press] = collections.deque()
        self._sending = False
        self._pending: info.Press | None = None
        "a dtmf-relay INFO that PJSIP is about to judge"

    def arrived(self, step: Step) -> None:
        """An INFO of the peer. PJSIP answers dtmf-relay by itself and knows nothing else."""
        media_type, body = step.message.media_type, step.message.body
        press = info.parse(media_type, body)
        if media_type == info.DTMF_RELAY:
            self._pending = press
        elif press is not None:
            if step.respond(200):
                self._report(press)
        elif not body.strip():
            step.respond(200)
        elif media_type == info.DTMF:
            step.respond(BAD_REQUEST)
        elif media_type != "application/media_control+xml":  # PJSIP's own, too
            log.info("sip.info_unknown", call_id=self._host.call_id, content_type=media_type)
            step.respond(UNSUPPORTED_MEDIA_TYPE)

    def answered(self, step: Step) -> None:
        """PJSIP answered a request; its 200 to a digit makes that digit count, so a repetition cannot count twice."""
        if step.method == "INFO" and step.finished and self._pending is not None:
            press, self._pending = self._pending, None
            if step.code == 200:
                self._report(press)

    def _report(self, press: info.Press) -> None:
        self._services.emit(InfoDtmf(self._host.call_id, press.digit, press.duration_ms))

    def send(self, command: SendInfoDtmf) -> None:
        """Queue digits: each waits for the answer to the one before, for UDP keeps no order."""
        self._queue.extend(info.Press(digit.upper(), command.duration_ms) for digit in command.digits)
        self._next()

    def sent(self, step: Step) -> None:
        """The peer has answered a digit, or has not in time."""
        if step.code >= 300:
            log.warning("sip.info_refused", call_id=self._host.call_id, code=step.code, reason=step.reason)
        self._sending = False
        self._services.defer(self._next)

    def _next(self) -> None:
        leg = self._host.leg
        if self._sending or not self._queue or leg is None:
            return
        press = self._queue.popleft()
        try:
            leg.info(info.DTMF_RELAY, info.relay_body(press.digit, press.duration_ms))
            self._sending = True
        except LegError as error:
            self._queue.clear()
            log.warning("sip.info_failed", call_id=self._host.call_id, detail=str(error))
