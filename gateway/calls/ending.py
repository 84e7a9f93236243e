# SPDX-License-Identifier: GPL-2.0-or-later
"""How a call ends: both legs, in any order, exactly once.

    end()          we want it over: SIP is told, media is stopped
    sip_ended()    SIP says that it is over: media is stopped
    media_ended()  the worker has sent its last packet and has no socket of the call any more

Whatever comes first gives the cause.  When both legs are over, ports go back, and the
call is summed up once: log line, metrics, event.  A leg that does not report its end is
given up by the sweep, so nothing can keep a call for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from trunkline.gateway import logs
from trunkline.gateway.calls.book import Book, log
from trunkline.gateway.calls.call import OPEN, Call, Trigger
from trunkline.gateway.calls.media_view import finished, media_view
from trunkline.gateway.calls.view import CallView
from trunkline.gateway.calls.wire import hang_up, remote_cause, wire_code
from trunkline.gateway.sip.events import StateChanged

MEDIA_STOP_LIMIT_S = 2.0
"A worker answers StopStream within a tick; one that is being replaced has nothing left to say."
SIP_END_LIMIT_S = 40.0
"SIP gives up on a BYE or CANCEL that nobody answers after 32 s (RFC 3261 timer F)."


class Ending:
    """Ends calls of the book."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self.on_end: Callable[[Call], None] = lambda call: None
        "told of each call that begins to end, its cause known"
        self.on_overdue: dict[str, Callable[[Call], None]] = {}
        "by `Call.deadline_for`: who acts on deadlines that are not about the end"

    def end(
        self,
        call: Call,
        cause: str,
        detail: str = "",
        *,
        code: int = 0,
        reason: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """End it from our side; nothing happens when it is ending already.

        `code` and `reason` refuse an unanswered inbound call, or are the BYE's Reason; by default what the cause
        stands for. `headers` are added to either.
        """
        answered = call.phase in OPEN
        if not call.apply(Trigger.END):
            return
        call.cause, call.detail = cause, detail
        command = hang_up(call.id, cause, detail, answered, code, reason, dict(headers or {}))
        if call.direction == "inbound" and not answered:  # only then does a code of ours go out
            call.sip_code, call.sip_reason = command.code, command.reason
        if not call.sip_over:
            self._book.post(command)
        self._stop_media(call)

    def sip_ended(self, call: Call, event: StateChanged) -> None:
        """SIP is through with the call, whoever wanted it."""
        call.sip_over = True
        if call.closing:
            self._finish(call)
            return
        if (said := wire_code(call, event)) is not None:
            call.sip_code, call.sip_reason = said
        call.cause = remote_cause(call, event)
        call.detail = event.reason if event.cause else ""
        call.apply(Trigger.END)
        self._stop_media(call)

    def media_ended(self, call: Call, stats: dict[str, float]) -> None:
        """The media leg is over; its figures are final."""
        call.media_over = True
        call.quality = finished(call.quality, stats)
        if not call.sip_over:
            call.wait(SIP_END_LIMIT_S, "sip_end")
        self._finish(call)

    def _stop_media(self, call: Call) -> None:
        """Figures are read now: the worker gives the row to the next call before we hear that it is free."""
        self.on_end(call)
        call.quality = media_view(call, self._book.media.row(call.id))
        if call.media_over:
            self.media_ended(call, {})
        elif self._book.media.stop_stream(call.id, call.cause):
            call.wait(MEDIA_STOP_LIMIT_S, "media_stop")
        else:
            self.media_ended(call, {})

    def _finish(self, call: Call) -> None:
        """Sum up, once both legs are over."""
        if not (call.sip_over and call.media_over) or not call.apply(Trigger.OVER):
            return
        call.ended = time.time()
        call.deadline = 0.0
        view = self._book.view(call)
        self._book.media.forget(call.id)
        self._book.give_back(call)
        self._book.close(call, view)
        self._book.observer.call_ended(call.id, call.cause, call.duration_s)
        if view.media is not None:
            self._book.observer.call_quality(view.media)
        self._report(call, view)

    def _report(self, call: Call, view: CallView) -> None:
        """The canonical log line, and the event."""
        logger = logs.call_logger(call.id, view.caller, view.called, *call.targets)
        extra = {"detail": call.detail or None, "agent_connect_ms": call.agent_connect_ms}
        logs.log_summary(
            view, logger.bind(**{key: value for key, value in extra.items() if value is not None})
        )
        data = {"cause": call.cause, "code": call.sip_code, "reason": call.sip_reason, "detail": call.detail}
        data |= {"variables": dict(call.variables)} if call.variables else {}
        self._book.publish("call.ended", call, **data, duration_s=call.duration_s)

    def overdue(self, call: Call, now: float) -> None:
        """The sweep: act on a deadline that has passed."""
        if not call.deadline or now < call.deadline:
            return
        call.deadline = 0.0
        if call.deadline_for == "agent":
            self.end(call, "agent_timeout", "the media worker said nothing about the agent")
        elif call.deadline_for == "fallback":
            self.end(call, "agent_lost", "no agent took the call over, and its transfer came to nothing")
        elif call.deadline_for == "media_stop":
            log.warning("media.stop_timeout", call_id=call.id)
            self._book.media.forget(call.id)
            self.media_ended(call, {})
        elif call.deadline_for == "sip_end":
            log.error("sip.end_timeout", call_id=call.id)
            call.sip_over = True
            self._finish(call)
        elif call.deadline_for in self.on_overdue:
            self.on_overdue[call.deadline_for](call)
