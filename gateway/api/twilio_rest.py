# SPDX-License-Identifier: GPL-2.0-or-later
"""The part of Twilio's REST API that agents in its dialect call: look at a call, and end it.

    POST /2010-04-01/Accounts/{account}/Calls/{call}.json   Status=completed
    GET  /2010-04-01/Accounts/{account}/Calls/{call}.json

A media stream cannot hang up, so a Twilio agent does it here.  `twilio_accounts` says who may.
"""

from __future__ import annotations

import datetime as dt
import email.utils
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from trunkline.agent_bridge import twilio_ids
from trunkline.gateway.api.service import Calls, refusal_of
from trunkline.gateway.api.twilio_accounts import PREFIX, TwilioAccounts, twilio_error, unauthorized
from trunkline.gateway.calls.view import CallView

_STATUS = {
    "incoming": "ringing", "calling": "queued", "ringing": "ringing", "early": "ringing", "answering": "ringing",
    "up": "in-progress", "held": "in-progress",
}  # fmt: skip
_ENDED = {"busy": "busy", "no_answer": "no-answer", "caller_cancelled": "canceled"}
_ENDINGS = frozenset({"completed", "canceled"})
REASON = "asked by the agent over Twilio's REST API"


def twilio_router(service: Calls, accounts: TwilioAccounts) -> APIRouter:
    """Both paths."""
    router = APIRouter(prefix=f"{PREFIX}Accounts", include_in_schema=False)

    def found(request: Request, account: str, sid: str) -> CallView | JSONResponse:
        """The call, if it is one of theirs."""
        agents = accounts.agents(request.headers.get("authorization", "").encode("latin-1"), account)
        if not agents:
            return unauthorized()
        try:
            view = service.get(twilio_ids.call_id(sid) or "")
        except KeyError:
            view = None
        return view if view is not None and view.agent in agents else _missing(request)

    @router.get("/{account}/Calls/{sid}.json")
    async def look(request: Request, account: str, sid: str) -> JSONResponse:
        """A call that is, or was until a moment ago."""
        view = found(request, account, sid)
        return view if isinstance(view, JSONResponse) else JSONResponse(_resource(view, account, sid))

    @router.post("/{account}/Calls/{sid}.json")
    async def change(request: Request, account: str, sid: str) -> JSONResponse:
        """End it; nothing else can be changed here."""
        view = found(request, account, sid)
        if isinstance(view, JSONResponse):
            return view
        if view.state == "ended":
            return _missing(request)
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        status, others = form.pop("Status", ""), sorted(form)
        if others or status not in _ENDINGS:
            what = f"Status={status}" if status else f"{', '.join(others)[:200] or 'nothing'}"
            message = f"This gateway changes a call by Status=completed or Status=canceled only, not by {what}"
            return twilio_error(400, 20001, message)
        if status == "canceled" and _status(view) == "in-progress":
            return twilio_error(400, 21220, "Invalid call state. A call in progress is ended by Status=completed")
        try:
            await service.hangup_by_agent(view.id, REASON)
        except KeyError:
            return _missing(request)
        except Exception as problem:
            refusal = refusal_of(problem)
            if refusal is None:
                raise
            return twilio_error(refusal[0], 20500, refusal[2])
        return JSONResponse({**_resource(view, account, sid), "status": status})

    return router


def _missing(request: Request) -> JSONResponse:
    return twilio_error(404, 20404, f"The requested resource {request.url.path} was not found")


def _status(view: CallView) -> str:
    if view.state == "ended":
        return "completed" if view.answered else _ENDED.get(view.cause, "failed")
    return _STATUS[view.state]


def _resource(view: CallView, account: str, sid: str) -> dict[str, Any]:
    """A call as Twilio shows one; what we do not have is null."""
    ended = view.ended
    return {
        "sid": sid,
        "account_sid": account,
        "parent_call_sid": None,
        "api_version": PREFIX.strip("/"),
        "uri": f"{PREFIX}Accounts/{account}/Calls/{sid}.json",
        "status": _status(view),
        "direction": "inbound" if view.direction == "inbound" else "outbound-api",
        "from": view.caller,
        "from_formatted": view.caller,
        "to": view.called,
        "to_formatted": view.called,
        "date_created": _date(view.created),
        "date_updated": _date(ended or view.answered or view.created),
        "start_time": _date(view.answered),
        "end_time": _date(ended),
        "duration": None if ended is None else str(round(ended - (view.answered or ended))),
        "queue_time": "0",
        "price": None,
        "price_unit": "USD",
        "answered_by": None,
        "annotation": None,
        "caller_name": None,
        "forwarded_from": None,
        "group_sid": None,
        "phone_number_sid": None,
        "trunk_sid": None,
        "subresource_uris": {},
    }


def _date(time: float | None) -> str | None:
    """RFC 2822, as Twilio writes it."""
    return None if time is None else email.utils.format_datetime(dt.datetime.fromtimestamp(time, dt.UTC))
