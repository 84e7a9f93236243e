# SPDX-License-Identifier: GPL-2.0-or-later
"""SIP INFO of one call: digits that come, digits that go, and everything else that INFO carries (RFC 6086)."""

from __future__ import annotations

import collections
import dataclasses
import time
from typing import Protocol

import structlog

from trunkline.gateway.sip import info
from trunkline.gateway.sip.events import InfoDtmf, InfoDtmfAnswered
from trunkline.gateway.sip.guard import LegError
from trunkline.gateway.sip.leg import Leg, Step
from trunkline.gateway.sip.messages import SendInfoDtmf
from trunkline.gateway.sip.services import Services

log = structlog.get_logger(__name__)

UNSUPPORTED_MEDIA_TYPE = 415
BAD_REQUEST = 400
NOT_UNDERSTOOD = frozenset({403, 405, 406, 415, 420, 488, 489, 501, 606})
"Answers of a peer that will not take the next such INFO either. Others may be about this one, or have no peer."


class Host(Protocol):
    """The call around it."""

    call_id: str
    leg: Leg | None


@dataclasses.dataclass(slots=True)
class _Waiting:
    """A digit to be sent."""

    digit: str
    command: SendInfoDtmf
    "that asked for it"
    until_s: float = 0.0
    "when it and its gap are over, once it was sent"


class InfoDigits:
    """INFO in both directions."""

    def __init__(self, host: Host, services: Services) -> None:
        self._host, self._services = host, services
        self._queue: collections.deque[_Waiting] = collections.deque()
        self._sending: _Waiting | None = None
        "the digit whose answer has not come"
        self._pausing = False
        "the last digit and its gap are not over"
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
        """Queue digits: each waits for the answer to the one before, for UDP keeps no order, and for its time.

        The peer plays a key as long as the INFO says: the next one must not come before that and the gap are over.
        """
        self._queue.extend(_Waiting(digit.upper(), command) for digit in command.digits)
        self._next()

    def sent(self, step: Step) -> None:
        """The peer has answered a digit, or has not in time."""
        waiting, self._sending = self._sending, None
        if waiting is None:
            return
        if step.code >= 300:
            log.warning("sip.info_refused", call_id=self._host.call_id, code=step.code, reason=step.reason)
        refused = step.code in NOT_UNDERSTOOD
        self._tell(waiting, step.code, step.reason, refused)
        left_s = 0.0 if step.code >= 300 else waiting.until_s - time.monotonic()
        if left_s > 0:
            self._pausing = True
            self._services.later(left_s, self._go_on)
        else:
            self._services.defer(self._next)

    def _go_on(self) -> None:
        self._pausing = False
        self._next()

    def _tell(self, waiting: _Waiting, code: int, reason: str, refused: bool) -> None:
        """Call control counts, or finds another way; what waits behind a digit that is refused so goes with it."""
        digits = waiting.digit if code >= 300 or not code else ""
        if refused:
            digits += "".join(other.digit for other in self._queue)
            self._queue.clear()
        command = waiting.command
        self._services.emit(
            InfoDtmfAnswered(
                self._host.call_id, code, reason, refused, digits, command.duration_ms, command.gap_ms
            )
        )

    def _next(self) -> None:
        leg = self._host.leg
        if self._sending is not None or self._pausing or not self._queue or leg is None:
            return
        waiting = self._queue.popleft()
        command = waiting.command
        body = waiting.digit if command.media_type == info.DTMF else info.relay_body(waiting.digit, command.duration_ms)
        try:
            leg.info(command.media_type, body)
            waiting.until_s = time.monotonic() + (command.duration_ms + command.gap_ms) / 1000
            self._sending = waiting
        except LegError as error:
            log.warning("sip.info_failed", call_id=self._host.call_id, detail=str(error))
            left = waiting.digit + "".join(other.digit for other in self._queue)
            self._queue.clear()
            self._services.emit(
                InfoDtmfAnswered(
                    self._host.call_id, 0, str(error), False, left, command.duration_ms, command.gap_ms
                )
            )
