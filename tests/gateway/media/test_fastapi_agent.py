# SPDX-License-Identifier: GPL-2.0-or-later
"""Agents as most people write them, with FastAPI on uvicorn: how they take, refuse and end calls."""

from __future__ import annotations

import contextlib
import json
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import uvicorn
from fastapi import FastAPI, WebSocket

from support.agent_rig import AgentRig
from support.certificates import Authority, Pair
from support.ports import free_port
from support.waiting import wait_for
from trunkline.gateway.media import control

HEARD: list[dict[str, Any]] = []


def application() -> FastAPI:
    """An echo that ends its calls in several ways, by the path."""
    app = FastAPI()

    @app.websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            message = json.loads(text)
            HEARD.append(message)
            if message["event"] == "media":
                await socket.send_json({"event": "media", "streamSid": message["streamSid"], "media": message["media"]})

    @app.websocket("/returns")
    async def returns(socket: WebSocket) -> None:
        await socket.accept()
        await socket.receive_text()

    @app.websocket("/closes")
    async def closes(socket: WebSocket) -> None:
        await socket.accept()
        await socket.receive_text()
        await socket.close(1000, "said all")

    @app.websocket("/raises")
    async def raises(socket: WebSocket) -> None:
        await socket.accept()
        await socket.receive_text()
        raise RuntimeError("a bug of the agent's")

    @app.websocket("/refuses")
    async def refuses(socket: WebSocket) -> None:
        await socket.close(1008)

    @app.get("/page")
    async def page() -> str:
        return "hello"

    return app


@contextlib.contextmanager
def serving(certificate: Pair | None = None) -> Iterator[str]:
    """uvicorn in a thread; its address without the path."""
    port = free_port()
    files = {"ssl_certfile": certificate.certificate, "ssl_keyfile": certificate.key} if certificate else {}
    config = uvicorn.Config(application(), port=port, log_level="critical", lifespan="off", **files)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started, "uvicorn")
    try:
        yield f"{'wss' if certificate else 'ws'}://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    """One server for all of them."""
    with serving() as address:
        yield address


def rig_for(folder: pathlib.Path, url: str, **agent: Any) -> AgentRig:
    """A worker's side, whose agent is at this URL."""
    rig = AgentRig(folder, "twilio")
    address = f"tcp:{url.partition('//')[2].partition('/')[0]}"
    rig.agent = msgspec.structs.replace(rig.agent, address=address, url=url, **agent)
    return rig


def turn_until(rig: AgentRig, condition: Any, what: str) -> Any:
    """Let the worker go on until then."""

    def turn() -> Any:
        rig.tick()
        return condition()

    return wait_for(turn, what, step_s=0)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_whole_call(short_path: pathlib.Path, tmp_path: pathlib.Path, scheme: str) -> None:
    """Start, stop, and a close that it takes for what it is."""
    authority = Authority(tmp_path)
    HEARD.clear()
    with serving(authority.issue("a") if scheme == "wss" else None) as address:
        rig = rig_for(short_path, f"{address}/echo", ca=str(authority.certificate))
        stream = rig.call(answered=True)
        turn_until(rig, lambda: stream.accepted, "the call is accepted")
        link = stream.link
        rig.links.stop(stream, "caller_hangup", {})
        turn_until(rig, lambda: link is not None and not link.open, "the connection is closed")
        wait_for(lambda: HEARD and HEARD[-1]["event"] == "stop", "the agent has heard it all")
    assert [message["event"] for message in HEARD] == ["connected", "start", "stop"]
    assert rig.posted == []


@pytest.mark.parametrize(
    ("path", "hangs_up", "says"),
    [
        ("closes", True, "said all"),
        ("returns", False, "without a close frame"),
        ("raises", False, "without a close frame"),
    ],
)
def test_ends_of_a_call(short_path: pathlib.Path, plain: str, path: str, hangs_up: bool, says: str) -> None:
    """`close()` hangs up. uvicorn ends a function that returns as one that fails: its connection just breaks."""
    rig = rig_for(short_path, f"{plain}/{path}")
    rig.call()
    kind = control.AgentHangup if hangs_up else control.StreamFailed
    first = turn_until(rig, lambda: rig.posted, "the end")[0]
    assert isinstance(first, kind), first
    assert says in (first.reason if isinstance(first, control.AgentHangup) else first.detail)
    if isinstance(first, control.StreamFailed):
        assert first.reason == "agent_lost"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("refuses", "HTTP 403 Forbidden: it does not want us"),
        ("nowhere", "HTTP 40"),
        ("page", "refused the WebSocket at /page with HTTP"),
    ],
)
def test_refusals(short_path: pathlib.Path, plain: str, path: str, says: str) -> None:
    """The call fails before it has begun, and the status says why."""
    rig = rig_for(short_path, f"{plain}/{path}")
    rig.call()
    (failed,) = turn_until(rig, lambda: rig.of(control.StreamFailed), "the failure")
    assert failed.reason == "agent_unreachable" and says in failed.detail, failed.detail
