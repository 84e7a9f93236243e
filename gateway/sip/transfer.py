# SPDX-License-Identifier: GPL-2.0-or-later
"""Handing the peer of a call on: REFER, and what its NOTIFYs say of it (RFC 3515, 3891, 5589).

    ask() -> REFER -> 2xx: trying -> NOTIFY 18x: ringing -> NOTIFY 2xx: done
                      else: failed          NOTIFY 3xx-6xx, none in time, the end of the reports: failed

PJSIP keeps the subscription, answers the NOTIFYs and ends it after a 2xx.  What they
say is read here, out of the requests as they come by: PJSIP's own callback for it
belongs to the number of a call, which may be another call's by the time that it comes.

There are peers that end their reports before the result: such a one has a moment to
hang up, which means that the transfer has gone well, and otherwise it has failed.
"""

from __future__ import annotations

import dataclasses
import re
import time
from typing import Protocol
from urllib.parse import quote

import structlog

from trunkline.gateway.sip.events import TransferChanged
from trunkline.gateway.sip.guard import LegError
from trunkline.gateway.sip.headers import HeaderError, check_headers
from trunkline.gateway.sip.leg import Leg, Step
from trunkline.gateway.sip.message import SipText
from trunkline.gateway.sip.messages import Transfer
from trunkline.gateway.sip.services import Services
from trunkline.gateway.sip.timers import Timer

log = structlog.get_logger(__name__)

LAST_WORD_S = 2.0
"How long a peer that has ended its reports without a result may take for its BYE."
CREDENTIALS_S = 4.0
"After a 401 or 407 PJSIP sends the REFER again if it has credentials; nothing within this time: it had none."
MAX_PHRASE = 128

_SIPFRAG = re.compile(r"SIP/2\.0[ \t]+([1-6]\d\d)(?:[ \t]+([^\r\n]*))?[ \t]*(?:\r?\n|$)", re.I)
_TAG = re.compile(r";\s*tag\s*=\s*([^;,\s]+)", re.I)
_EVENT_ID = re.compile(r";\s*id\s*=\s*(\d+)", re.I)


@dataclasses.dataclass(frozen=True, slots=True)
class DialogName:
    """What names a dialog for others (RFC 3891 section 3)."""

    call_id: str
    ours: str
    "our tag"
    theirs: str
    "the peer's"

    @classmethod
    def of(cls, message: SipText, sent_by_peer_as: str) -> DialogName | None:
        """From a message of the dialog in which the peer is `From` or `To`; None when a tag is missing."""
        us = "To" if sent_by_peer_as == "From" else "From"
        ours, theirs = _tag(message.header(us)), _tag(message.header(sent_by_peer_as))
        call_id = message.header("Call-ID")
        return cls(call_id, ours, theirs) if ours and theirs and call_id else None

    def refer_to(self, contact: str) -> str:
        """Refer-To that has the dialog's peer, at its Contact, take a new call in place of this one."""
        # The tags are those of whoever gets the INVITE: "to" is its own (RFC 3891 section 3).
        replaces = f"{self.call_id};to-tag={self.theirs};from-tag={self.ours}"
        return f"<{contact.partition('?')[0]}?Replaces={quote(replaces, safe='')}>"


def _tag(value: str) -> str:
    found = _TAG.search(value.rpartition(">")[2] if "<" in value else value)
    return found[1] if found else ""


def sipfrag_status(message: SipText) -> tuple[int, str] | None:
    """Code and phrase in a NOTIFY's message/sipfrag (RFC 3420, RFC 3515 2.4.5); None where there is none."""
    if message.media_type != "message/sipfrag":
        return None
    found = _SIPFRAG.match(message.body.lstrip()[:1024])
    if found is None:
        return None
    phrase = "".join(c for c in found[2] or "" if c.isprintable())
    return int(found[1]), phrase.strip()[:MAX_PHRASE]


class Host(Protocol):
    """The call around it."""

    call_id: str
    leg: Leg | None
    dialog: DialogName | None


class Transfers:
    """Transfers of one call, one at a time."""

    def __init__(self, host: Host, services: Services) -> None:
        self._host, self._services = host, services
        self._timer: Timer | None = None
        "time limit; there is one exactly while a transfer goes on"
        self._told = ""
        "state that was told last"
        self._heard: tuple[int, str] = (0, "")
        "code and phrase that came last"
        self._cseq = ""
        "of the REFER, once its response has come"
        self._limit_s = self._ends = 0.0
        "for all of it, and when that is over, monotonic"

    def ask(self, command: Transfer, other: Host | None) -> None:
        """Send the REFER; `other` is the call that `attended` names, None if there is none."""
        leg = self._host.leg
        if self._timer is not None or leg is None:
            self._services.emit(TransferChanged(command.call_id, "failed", 491, "another transfer is going on"))
            return
        try:
            check_headers(command.headers)
            leg.refer(_replacing(other) if command.attended else f"<{command.target}>", command.headers)
        except (LegError, HeaderError) as error:
            log.warning("sip.refer_failed", call_id=command.call_id, detail=str(error))
            self._services.emit(TransferChanged(command.call_id, "failed", 0, str(error)))
            return
        self._told, self._heard, self._cseq, self._limit_s = "", (0, ""), "", command.timeout_s
        self._ends = time.monotonic() + command.timeout_s
        self._wait_for_result()

    def answered(self, step: Step) -> None:
        """The REFER has its final response, or none in time."""
        if self._timer is None:
            return
        self._cseq = step.message.header("CSeq").partition(" ")[0]
        if step.code in (401, 407):
            self._wait(CREDENTIALS_S, step.code, step.reason)
        elif step.code >= 300:
            self._finish("failed", step.code, step.reason)
        elif step.message.header("Refer-Sub").strip().lower() == "false":  # RFC 4488: it will not tell
            self._finish("done", step.code, step.reason)
        elif not self._told:
            self._wait_for_result()
            self._tell("trying", step.code, step.reason)

    def notified(self, message: SipText) -> None:
        """A NOTIFY; it may be there before the response to the REFER."""
        event = message.header("Event")
        if self._timer is None or not event.lower().startswith("refer"):
            return
        subscription = _EVENT_ID.search(event)
        if subscription is not None and self._cseq and subscription[1] != self._cseq:
            return  # of an earlier one, which was given up
        code, phrase = sipfrag_status(message) or (0, "")
        if code:
            self._heard = code, phrase
        if code >= 200:
            self._finish("done" if code < 300 else "failed", code, phrase)
        elif message.header("Subscription-State").strip().lower().startswith("terminated"):
            self._wait(LAST_WORD_S, self._heard[0], "the peer ended its reports before the result")
        elif code > 100:
            self._tell("ringing", code, phrase)
        elif code and not self._told:
            self._tell("trying", code, phrase)

    def end(self) -> None:
        """The call is over, and with it whatever goes on; call control knows what that means."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait_for_result(self) -> None:
        self._wait(max(self._ends - time.monotonic(), 0.0), 408, f"no result within {self._limit_s:g} s")

    def _wait(self, seconds: float, code: int, reason: str) -> None:
        """It has failed unless something comes within this time."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._services.later(seconds, lambda: self._finish("failed", code, reason))

    def _finish(self, state: str, code: int, reason: str) -> None:
        self.end()
        self._tell(state, code, reason)

    def _tell(self, state: str, code: int, reason: str) -> None:
        if state != self._told:
            self._told = state
            self._services.emit(TransferChanged(self._host.call_id, state, code, reason))


def _replacing(other: Host | None) -> str:
    """Refer-To for the other party of this call; raises LegError when it cannot be called."""
    if other is None or other.leg is None or other.dialog is None:
        raise LegError("the other call is not up")
    return other.dialog.refer_to(other.leg.contact())
