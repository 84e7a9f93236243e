# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line against a real HTTP server, behind which a fake plays call control."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from support.fake_calls import TOKEN, FakeService, Refused
from trunkline.gateway.api import ApiServer, create_app
from trunkline.gateway.cli import agents, calls, deciding


class Running:
    """A server in a thread; `do` runs a function in its loop."""

    def __init__(self, service: Any) -> None:
        self.service = service
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(5)

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        metrics = SimpleNamespace(registry=CollectorRegistry(), unauthorized=lambda kind: None)
        server = ApiServer(create_app(self.service, metrics, TOKEN), "127.0.0.1", 0)
        host, port = await server.start()
        self.url = f"http://{host}:{port}"
        self._ready.set()
        await self._over.wait()
        await server.stop()

    def stop(self) -> None:
        """End it as a gateway ends."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._over.set)
            self._thread.join(5)


@pytest.fixture
def service() -> Any:
    return FakeService()


@pytest.fixture
def refusal() -> Any:
    return Refused


@pytest.fixture
def gateway(service: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A running gateway that the environment names."""
    running = Running(service)
    monkeypatch.setenv("TRUNKLINE_API_URL", running.url)
    monkeypatch.setenv("TRUNKLINE_API_TOKEN", TOKEN)
    yield running
    running.stop()


@pytest.fixture
def trunkline() -> Callable[..., Any]:
    """Run the program with these arguments; the result has exit_code, stdout and stderr."""
    app = typer.Typer()
    calls.register(app)
    agents.register(app)
    deciding.register(app)
    return lambda *args: CliRunner().invoke(app, list(args))
