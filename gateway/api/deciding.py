# SPDX-License-Identifier: GPL-2.0-or-later
"""Routes that decide what becomes of a call: transfer, hold, variables."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body

from trunkline.gateway.api.asking import CallId, asked, found
from trunkline.gateway.api.errors import documented
from trunkline.gateway.api.service import Calls
from trunkline.gateway.calls.view import CallView, HoldRequest, TransferRequest, VariablesRequest

TRANSFER_EXAMPLES: dict[str, Any] = {
    "blind": {"summary": "to a number", "value": {"target": "601"}},
    "attended": {
        "summary": "to the other party of another call",
        "value": {"attended": "5f1c8f0e-0d3c-4a35-8f5a-0f6a6f0e2f77"},
    },
}


def deciding_routes(router: APIRouter, service: Calls) -> None:
    """Add them to those that are about calls."""

    @router.post(
        "/calls/{call_id}/transfer", status_code=202, tags=["calls"], responses=documented(401, 404, 409, 422)
    )
    async def transfer(
        call_id: CallId, request: Annotated[TransferRequest, Body(openapi_examples=TRANSFER_EXAMPLES)]
    ) -> CallView:
        """Hand the other party on (REFER). `call.transfer` events tell how it goes; what a route allows its agents
        (`transfer_targets`) does not bind the API."""
        found(service, call_id)
        await asked(service.transfer(call_id, request))
        return found(service, call_id)

    @router.post(
        "/calls/{call_id}/hold", status_code=202, tags=["calls"], responses=documented(401, 404, 409, 422)
    )
    async def hold(call_id: CallId, request: HoldRequest) -> CallView:
        """Put the other party on hold, with music, or take it back."""
        found(service, call_id)
        await asked(service.hold(call_id, request.held, request.music))
        return found(service, call_id)

    @router.put(
        "/calls/{call_id}/variables", tags=["calls"], responses=documented(401, 404, 409, 422)
    )
    async def variables(call_id: CallId, request: VariablesRequest) -> CallView:
        """Add and change variables of a call; an empty text removes one."""
        found(service, call_id)
        await asked(service.set_variables(call_id, request.values))
        return found(service, call_id)
