# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the API inside the gateway's own event loop.

Uvicorn is made to be a program: it takes over signals, and leaves the process
when it cannot bind.  Here it is a part of one, so the socket is bound by us
(the error goes to whoever starts the gateway), signals are left alone, and
stopping tells the event streams to end before it waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

STOP_TIMEOUT_S = 5
"Requests are short; what has not finished by then is cut."

BACKLOG = 128
"Connections that wait to be accepted."


class _Quiet(uvicorn.Server):
    """A uvicorn that leaves the process's signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ApiServer:
    """The API on one TCP address. `start()` raises OSError when it cannot be had."""

    def __init__(self, app: FastAPI, bind: str, port: int) -> None:
        self.app = app
        self.bind = bind
        self.port = port
        self._server: _Quiet | None = None
        self._task: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    async def start(self) -> tuple[str, int]:
        """Bind, serve, and return the address in use (port 0 asks for a free one)."""
        family = socket.AF_INET6 if ":" in self.bind else socket.AF_INET
        self._socket = socket.create_server((self.bind, self.port), family=family, backlog=BACKLOG)
        self._socket.setblocking(False)
        config = uvicorn.Config(
            self.app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
            backlog=BACKLOG,  # asyncio tries as many accepts at once, also when each fails for want of descriptors
        )
        self._server = _Quiet(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="api")
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise OSError(f"the API server ended while starting on {self.bind}:{self.port}")
            await asyncio.sleep(0.005)
        host, port = self._socket.getsockname()[:2]
        return host, port

    async def stop(self) -> None:
        """End event streams, finish requests, close the socket. May be called twice."""
        self.app.state.closing.set()
        if self._server is None or self._task is None:
            return
        self._server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._server = self._task = None
        if self._socket is not None:
            self._socket.close()
