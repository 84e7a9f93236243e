# SPDX-License-Identifier: GPL-2.0-or-later
"""Routes for calls and their events."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query
from fastapi.responses import Response
from fastapi.security import HTTPBearer

from trunkline.gateway.api.asking import CallId, asked, found
from trunkline.gateway.api.deciding import deciding_routes
from trunkline.gateway.api.errors import documented
from trunkline.gateway.api.events import EventStream
from trunkline.gateway.api.service import Calls
from trunkline.gateway.calls.texts import Plain
from trunkline.gateway.calls.view import AgentView, CallView, DtmfRequest, PlaceRequest, RecordRequest

# The guard has checked the token long before; this only tells OpenAPI about it, so
# that /docs has its "Authorize" button.
SECURITY = [Depends(HTTPBearer(auto_error=False, description="the gateway's API token"))]

PLACE_EXAMPLES: dict[str, Any] = {
    "uri": {"summary": "a SIP URI", "value": {"to": "sip:600@pbx.example.com", "agent": "echo"}},
    "number": {
        "summary": "a number on a trunk",
        "value": {
            "to": "+4930123456",
            "trunk": "carrier",
            "agent": "sales",
            "from": "+4930987654",
            "headers": {"X-Campaign": "spring"},
            "metadata": {"customer": "4711"},
            "timeout_s": 20,
        },
    },
}
DTMF_EXAMPLES: dict[str, Any] = {
    "pin": {"summary": "a PIN, then #", "value": {"digits": "1234#"}},
    "slow": {"summary": "long tones for an old PBX", "value": {"digits": "9", "duration_ms": 500}},
}


def calls_router(service: Calls, closing: asyncio.Event) -> APIRouter:
    """Everything under /v1 that is about calls."""
    router = APIRouter(prefix="/v1", dependencies=SECURITY)

    @router.post("/calls", status_code=201, tags=["calls"], responses=documented(401, 409, 422, 503))
    async def place_call(
        request: Annotated[PlaceRequest, Body(openapi_examples=PLACE_EXAMPLES)], response: Response
    ) -> CallView:
        """Place a call. The answer comes at once; ringing, answer and end are events."""
        view = await asked(service.place(request))
        response.headers["Location"] = f"/v1/calls/{view.id}"
        return view

    @router.get("/calls", tags=["calls"], responses=documented(401))
    async def list_calls() -> list[CallView]:
        """All calls that exist now, oldest first."""
        return sorted(service.list(), key=lambda view: view.created)

    @router.get("/calls/{call_id}", tags=["calls"], responses=documented(401, 404))
    async def get_call(call_id: CallId) -> CallView:
        """One call, with the quality of its audio so far."""
        return found(service, call_id)

    @router.delete("/calls/{call_id}", status_code=202, tags=["calls"], responses=documented(401, 404))
    async def hang_up(
        call_id: CallId,
        reason: Annotated[Plain, Query(max_length=200, description="for the log and the event")] = "api",
    ) -> CallView:
        """End a call: BYE, CANCEL or a refusal, as its state asks. `call.ended` tells when it is over."""
        view = found(service, call_id)
        await asked(service.hangup(call_id, reason))
        return view

    @router.post(
        "/calls/{call_id}/dtmf", status_code=202, tags=["calls"], responses=documented(401, 404, 409, 422)
    )
    async def send_dtmf(
        call_id: CallId, request: Annotated[DtmfRequest, Body(openapi_examples=DTMF_EXAMPLES)]
    ) -> CallView:
        """Send digits to the other party: RTP events (RFC 4733), SIP INFO or tones, as trunk and peer have it."""
        view = found(service, call_id)
        await asked(service.send_dtmf(call_id, request.digits, request.duration_ms, request.gap_ms))
        return view

    @router.post(
        "/calls/{call_id}/clear", status_code=202, tags=["calls"], responses=documented(401, 404, 409, 503)
    )
    async def clear_audio(call_id: CallId) -> CallView:
        """Silence the agent: what it has queued is thrown away, and it is told how much was played."""
        view = found(service, call_id)
        await asked(service.clear_audio(call_id))
        return view

    @router.post(
        "/calls/{call_id}/recording", status_code=202, tags=["calls"], responses=documented(401, 404, 409, 422, 503)
    )
    async def start_recording(call_id: CallId, request: RecordRequest) -> CallView:
        """Record the call from now on: RTP, and its talk with the agent, for `trunkline replay` and Wireshark."""
        view = found(service, call_id)
        await asked(service.start_recording(call_id, request.file))
        return view

    @router.delete(
        "/calls/{call_id}/recording", status_code=202, tags=["calls"], responses=documented(401, 404, 409, 503)
    )
    async def stop_recording(call_id: CallId) -> CallView:
        """End the recording. `recording.ended` tells when its file is complete."""
        view = found(service, call_id)
        await asked(service.stop_recording(call_id))
        return view

    @router.get("/agents", tags=["agents"], responses=documented(401))
    async def list_agents() -> list[AgentView]:
        """The agents of the configuration: which are up, why others are not, and their calls."""
        return list(service.agents())

    deciding_routes(router, service)

    @router.get(
        "/events",
        tags=["events"],
        response_class=Response,
        responses={
            200: {"content": {"text/event-stream": {}}, "description": "a stream that does not end"},
            **documented(401),
        },
    )
    async def events(
        call_id: Annotated[str | None, Query(description="only this call's events")] = None,
    ) -> Response:
        """Server-Sent Events: `event` is the event's name, `data` a CallEvent; comments keep it alive.

        Nothing is replayed: subscribe first, then place the call or list the calls.
        """
        return EventStream(service.subscribe, closing, call_id)

    return router
