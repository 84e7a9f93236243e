# SPDX-License-Identifier: GPL-2.0-or-later
"""Which way digits take to the other party: RTP events, SIP INFO, or tones.

    trunk.dtmf   telephone-event agreed on      not agreed on
    auto         RTP events                     INFO; a peer that refuses INFO gets tones, from then on
    rfc4733      RTP events                     not sent
    info         INFO                           INFO
    inband       tones                          tones
"""

from __future__ import annotations

from trunkline.gateway.calls.book import Book, log
from trunkline.gateway.calls.call import ANSWERED, Call
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.media import control
from trunkline.gateway.sip.events import InfoDtmfAnswered
from trunkline.gateway.sip.messages import SendInfoDtmf


class Digits:
    """Digits to the other party."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def send(self, call: Call, digits: str, duration_ms: int, gap_ms: int) -> None:
        """Send them, or raise CallRefused."""
        if call.phase not in ANSWERED:
            raise CallRefused("not_up", "digits can be sent only while the call is up", 409)
        kind = call.trunk.dtmf
        events = call.media is not None and call.media.send_dtmf_pt >= 0
        inband = not events and (kind == "inband" or call.tones_only)
        if events or inband:
            if not self._book.media.send(control.SendDtmf(call.id, digits, duration_ms, gap_ms, inband)):
                raise CallRefused("no_worker", "the media worker of this call is being replaced: try again", 503)
        elif kind == "rfc4733":
            detail = "the peer takes no telephone-event, and the trunk's `dtmf` allows nothing else"
            raise CallRefused("no_dtmf", detail, 409)
        else:
            body = f"application/{call.trunk.dtmf_info_body}"
            self._book.post(SendInfoDtmf(call.id, digits, duration_ms, gap_ms, body))

    def asked_by_agent(self, call: Call, message: control.AgentDtmf) -> None:
        """The worker cannot send these as RTP events."""
        try:
            self.send(call, message.digits, message.duration_ms, message.gap_ms)
        except CallRefused as problem:
            self._failed(call, len(message.digits), 0, problem.detail)

    def info_answered(self, call: Call, event: InfoDtmfAnswered) -> None:
        """What the peer made of an INFO."""
        if event.code < 300:
            self._book.observer.digits_sent("info", 1)
        elif event.not_understood and call.trunk.dtmf == "auto":
            call.tones_only = True
            log.info("dtmf.info_refused", call_id=call.id, code=event.code, reason=event.reason, instead="tones")
            try:
                self.send(call, event.digits, event.duration_ms, event.gap_ms)
            except CallRefused as problem:
                self._failed(call, len(event.digits), event.code, problem.detail)
        else:
            self._failed(call, len(event.digits), event.code, event.reason)

    def _failed(self, call: Call, digits: int, code: int, reason: str) -> None:
        """Nobody waits for an answer any more: log line, event and agent say so. Never which digits: a PIN, perhaps."""
        log.warning("dtmf.not_sent", call_id=call.id, digits=digits, trunk=call.trunk.name, code=code, reason=reason)
        self._book.publish("call.dtmf_failed", call, digits=digits, code=code, reason=reason)
        self._book.media.send(control.DtmfRefused(call.id, f"{code} {reason}" if code else reason))
