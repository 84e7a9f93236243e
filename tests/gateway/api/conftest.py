# SPDX-License-Identifier: GPL-2.0-or-later
"""The API in this process, over a service that only pretends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from support.fake_calls import TOKEN, FakeService, Refused
from trunkline.gateway.api import create_app


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def metrics() -> SimpleNamespace:
    registry = CollectorRegistry()
    Counter("trunkline_calls", "calls", registry=registry).inc(3)
    refused: list[str] = []
    return SimpleNamespace(registry=registry, refused=refused, unauthorized=refused.append)


@pytest.fixture
def app(service: FakeService, metrics: SimpleNamespace) -> Any:
    return create_app(service, metrics, TOKEN)


@pytest.fixture
def ask(app: Any) -> Callable[..., httpx.Response]:
    """One request to the application in this process, with the right token unless told otherwise."""

    def request(method: str, path: str, token: str | None = TOKEN, **kwargs: Any) -> httpx.Response:
        async def run() -> httpx.Response:
            headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
            headers |= kwargs.pop("headers", {})
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8070") as client:
                return await client.request(method, path, headers=headers, **kwargs)

        return asyncio.run(run())

    return request


@pytest.fixture
def refusal() -> type[Refused]:
    return Refused
