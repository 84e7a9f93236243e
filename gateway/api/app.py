# SPDX-License-Identifier: GPL-2.0-or-later
"""The API as a FastAPI application; OpenAPI at /docs and /openapi.json."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from fastapi import FastAPI, Request, Response
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel

from trunkline.gateway.api import errors
from trunkline.gateway.api.calls import SECURITY, calls_router
from trunkline.gateway.api.guard import Guard, is_loopback
from trunkline.gateway.api.service import Calls, Metrics
from trunkline.gateway.api.strangers import Strangers
from trunkline.gateway.api.twilio_accounts import TwilioAccount, TwilioAccounts
from trunkline.gateway.api.twilio_rest import twilio_router

DESCRIPTION = """
Place, watch and end telephone calls whose audio goes to an AI agent.

Every path except `/healthz` and these pages wants `Authorization: Bearer TOKEN`.
The token comes from the environment variable or file that the configuration names;
without either the gateway makes one at its first start and keeps it in
`api-token` in its state directory. A missing or wrong token gets 401.

Errors are `{"error": word, "detail": sentence}`. Times are Unix seconds, ids are UUIDs.
"""

TAGS = [
    {"name": "calls", "description": "Place, list, inspect, end; send digits."},
    {"name": "agents", "description": "Which are up, and why others are not."},
    {"name": "events", "description": "What happens, as it happens (Server-Sent Events)."},
    {"name": "gateway", "description": "State and metrics of the gateway itself."},
]


class Health(BaseModel):
    """The process serves requests; nothing more is told without a token."""

    status: str = "ok"


def create_app(
    service: Calls,
    metrics: Metrics,
    token: str,
    *,
    bind: str = "127.0.0.1",
    twilio: Sequence[TwilioAccount] = (),
) -> FastAPI:
    """The API over `service`; `bind` decides whether only loopback names are answered to.

    `twilio` are agents whose clients may end their calls as they would at Twilio.

    `app.state.closing` is an asyncio.Event that ends the event streams; set it
    before the server is stopped (`ApiServer.stop` does).
    """
    app = FastAPI(
        title="trunkline",
        version=_version(),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        docs_url="/docs",
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.closing = asyncio.Event()
    accounts = TwilioAccounts(twilio)
    strangers = Strangers(metrics.unauthorized)
    app.add_middleware(
        Guard, token=token, loopback_only=is_loopback(bind), twilio=accounts, strangers=strangers
    )
    errors.install(app)
    app.include_router(calls_router(service, app.state.closing))
    app.include_router(twilio_router(service, accounts))
    _add_gateway_routes(app, service, metrics)
    return app


def _add_gateway_routes(app: FastAPI, service: Calls, metrics: Metrics) -> None:
    @app.get("/v1/status", tags=["gateway"], dependencies=SECURITY, responses=errors.documented(401))
    async def status() -> dict[str, Any]:
        """What the gateway is and does: calls, workers, trunks, version."""
        return service.status()

    @app.get(
        "/metrics",
        tags=["gateway"],
        dependencies=SECURITY,
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **errors.documented(401)},
    )
    async def prometheus(request: Request) -> Response:
        """Prometheus metrics; the scraper needs the token too (`authorization.credentials_file`)."""
        encoder, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encoder(metrics.registry), media_type=content_type)

    @app.get("/healthz", tags=["gateway"])
    async def healthz() -> Health:
        """Needs no token, and says only that the gateway answers."""
        return Health()


def _version() -> str:
    try:
        return metadata.version("trunkline")
    except metadata.PackageNotFoundError:  # run from a plain checkout
        return "0"
