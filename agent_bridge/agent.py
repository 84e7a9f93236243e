# SPDX-License-Identifier: MIT
"""The agent as a program: listens, runs a handler per call, keeps calls over a lost connection.

    asyncio.run(serve(echo, "unix:/run/trunkline/echo.sock"))

A handler's mistake ends its own call and no other.  When it returns, the call is hung
up once everything it said has been played.  When the call ends first, the iteration
over it ends, and the handler has ten seconds to finish what it is doing.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self

from trunkline.agent_bridge.agent_audiosocket import AudioSocketConnection
from trunkline.agent_bridge.agent_events import AgentSide
from trunkline.agent_bridge.agent_protocol import AgentConnection
from trunkline.agent_bridge.call import Call
from trunkline.agent_bridge.call_types import CallEnded
from trunkline.agent_bridge.dialect import StartInfo
from trunkline.agent_bridge.links import DIALECTS, TcpAddress
from trunkline.agent_bridge.listening import SocketFile, listen, listening_address
from trunkline.agent_bridge.session import AudioBatch, Session

Handler = Callable[[Call], Awaitable[None]]

RESUME_S = 2.0
"How long a call waits for a gateway whose media process is being replaced."
LINGER_S = 10.0
"How long a handler may go on after its call has ended."
OFFER_TIMEOUT_S = 2.5
"For `on_offer`; the gateway waits 3 s."

log = logging.getLogger("trunkline.agent")


class Agent:
    """A handler, and the calls and connections it serves."""

    def __init__(
        self,
        handler: Handler,
        *,
        name: str = "agent",
        dialect: str = "trunkline",
        token: str | None = None,
        on_offer: Callable[[Call], Awaitable[None] | None] | None = None,
        on_audio: Callable[[AudioBatch], None] | None = None,
    ) -> None:
        """`on_offer` may `call.reject()` before the call is taken.

        With `on_audio` the audio of all calls goes there, a batch at a time, and not to
        the handlers: far cheaper for agents that do the same to every call.
        """
        if dialect not in DIALECTS:
            raise ValueError(f"dialect {dialect!r} is unknown: it is one of {', '.join(DIALECTS)}")
        self._handler = handler
        self._name = name
        self._dialect = dialect
        self._token = token
        self._on_offer = on_offer
        self.on_audio = on_audio
        self.calls: dict[str, Call] = {}
        "calls that are up, by id"
        self._away: dict[str, asyncio.TimerHandle] = {}
        "calls whose connection is lost, and when they are given up"
        self._sessions: set[Session] = set()
        self._servers: list[asyncio.Server] = []
        self._files: list[SocketFile] = []
        self._tasks: set[asyncio.Task[None]] = set()

    # --- listening ---------------------------------------------------------------------------

    async def listen(self, address: str, mode: int = 0o600) -> str:
        """Listen on `unix:/path` (file permissions `mode`), `tcp:port` or `tcp:host:port`; returns where.

        Raises `links.AddressError` or `listening.ListenError`.
        """
        where = listening_address(address)
        sock = listen(where, mode)
        self._files.append(SocketFile(where))
        self._servers.append(await asyncio.get_running_loop().create_server(self._session, sock=sock))
        if isinstance(where, TcpAddress):
            where = TcpAddress(where.host, sock.getsockname()[1])
            if self._token is None and not where.host.startswith("127.") and where.host != "::1":
                log.warning("%s can be reached from other machines, and no token is asked for", where)
        return str(where)

    async def serve_socket(self, sock: socket.socket) -> None:
        """Serve a gateway on a stream socket that is connected already."""
        await asyncio.get_running_loop().connect_accepted_socket(self._session, sock)

    def _session(self) -> Session:
        native = self._dialect == "trunkline"
        side: AgentSide = AgentConnection(self._name, self._token) if native else AudioSocketConnection()
        return Session(self, side)

    async def close(self) -> None:
        """Hang up every call, stop the handlers, close everything."""
        for server in self._servers:
            server.close()
        for file in self._files:
            file.remove()
        for call in list(self.calls.values()):
            call.hangup("agent shuts down")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for timer in self._away.values():
            timer.cancel()
        self._away.clear()
        for call in list(self.calls.values()):
            self._end(call, "agent shuts down")
        for session in list(self._sessions):
            session.close()
        await asyncio.sleep(0)  # transports close in the next iteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- told by sessions --------------------------------------------------------------------

    def session_opened(self, session: Session) -> None:
        """A gateway has connected."""
        self._sessions.add(session)

    def session_greeted(self, session: Session, gateway: str) -> None:
        """It speaks our protocol."""
        log.info("gateway %s is connected", gateway)

    def session_closed(self, session: Session, reason: str) -> None:
        """Its calls wait for it."""
        self._sessions.discard(session)
        calls, session.calls = session.calls, {}
        session.offered.clear()
        if calls:
            log.warning("connection lost with %d calls up: %s", len(calls), reason)
        loop = asyncio.get_running_loop()
        for call in calls.values():
            call._detach()
            self._away[call.id] = loop.call_later(RESUME_S, self._end, call, "connection_lost")

    def call_offered(self, session: Session, channel: int, info: StartInfo) -> None:
        """A call that we know goes on; a new one is offered to `on_offer`, and starts."""
        known = self.calls.get(info.call_id)
        if known is not None and info.resumed:
            self._join_again(known, session, channel, info)
            return
        if known is not None:
            self._end(known, "replaced by a new call with its id")
        call = Call(info, session, channel)
        if self._on_offer is None:
            self._take(call, session, channel)
        else:
            self._spawn(self._ask(call, session, channel))

    def call_stopped(self, call: Call) -> None:
        """The gateway has ended a call."""
        if self.calls.get(call.id) is call:
            del self.calls[call.id]

    # --- calls -------------------------------------------------------------------------------

    def _join_again(self, call: Call, session: Session, channel: int, info: StartInfo) -> None:
        timer = self._away.pop(call.id, None)
        if timer is not None:
            timer.cancel()
        for other in self._sessions:  # the old connection may look alive still
            for old in [c for c, known in other.calls.items() if known is call]:
                del other.calls[old]
        session.accept(channel)
        session.calls[channel] = call
        call._attach(info, session, channel)
        log.info("call %s goes on over a new connection", call.id)

    async def _ask(self, call: Call, session: Session, channel: int) -> None:
        """Let `on_offer` look at the call first."""
        assert self._on_offer is not None
        session.offered[channel] = call
        try:
            answer = self._on_offer(call)
            if inspect.isawaitable(answer):
                await asyncio.wait_for(answer, OFFER_TIMEOUT_S)
        except Exception:
            log.exception("call %s: on_offer failed", call.id)
            call.reject(500, "agent error")
        if session.offered.pop(channel, None) is not call:
            return  # the caller has given up meanwhile, or the connection is lost
        if call.refusal is not None:
            session.reject(channel, *call.refusal)
        else:
            self._take(call, session, channel)

    def _take(self, call: Call, session: Session, channel: int) -> None:
        session.accept(channel)
        session.calls[channel] = call
        self.calls[call.id] = call
        self._spawn(self._run(call))

    def _end(self, call: Call, reason: str) -> None:
        self._away.pop(call.id, None)
        self.call_stopped(call)
        for session in self._sessions:
            for channel in [c for c, known in session.calls.items() if known is call]:
                del session.calls[channel]
        call._stop(reason, {})

    async def _run(self, call: Call) -> None:
        """The life of a handler."""
        handler = asyncio.ensure_future(self._handler(call))
        over = asyncio.ensure_future(call.ended())
        try:
            await asyncio.wait([handler, over], return_when=asyncio.FIRST_COMPLETED)
            if not handler.done():
                await asyncio.wait([handler], timeout=LINGER_S)
            if not handler.done():
                log.warning("call %s: its handler goes on after %.0f s and is cancelled", call.id, LINGER_S)
            else:
                await self._handler_done(call, None if handler.cancelled() else handler.exception())
        finally:
            handler.cancel()
            over.cancel()

    async def _handler_done(self, call: Call, error: BaseException | None) -> None:
        if error is None:
            await call.mark("trunkline: handler returned")
            call.hangup("agent is done")
        elif not (isinstance(error, CallEnded) and call.stopped):
            log.error("call %s: the handler failed", call.id, exc_info=error)
            call.hangup("agent error")

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def serve(handler: Handler, address: str, *, mode: int = 0o600, **options: Any) -> None:
    """Run an agent until this is cancelled (Ctrl-C); `options` are those of `Agent`."""
    async with Agent(handler, **options) as agent:
        log.info("listening on %s", await agent.listen(address, mode))
        await asyncio.get_running_loop().create_future()
