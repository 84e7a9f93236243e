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
from collections.abc import Awaitable, Callable
from typing import Self

from trunkline.agent_bridge.agent_audiosocket import AudioSocketConnection
from trunkline.agent_bridge.agent_events import AgentSide
from trunkline.agent_bridge.agent_protocol import AgentConnection
from trunkline.agent_bridge.call import Call
from trunkline.agent_bridge.dialect import StartInfo
from trunkline.agent_bridge.doors import Doors
from trunkline.agent_bridge.handlers import Handler, Handlers
from trunkline.agent_bridge.links import DIALECTS, TcpAddress
from trunkline.agent_bridge.session import AudioBatch, Session

RESUME_S = 2.0
"How long a call waits for a gateway whose media process is being replaced."
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
        answer: bool = True,
        barge_in: str = "agent",
        ack_every_s: float | None = 1.0,
    ) -> None:
        """`on_offer` may `call.reject()` before the call is taken.

        With `on_audio` the audio of all calls goes there, a batch at a time, and not to
        the handlers: far cheaper for agents that do the same to every call.

        With `answer=False` the handlers answer calls, or do not.  `barge_in` says who silences
        what calls `say()` when the caller speaks: the `agent`, as soon as it is told; or the
        `route` alone, by its policy (`clear`, or `pause`, which lets it go on after a cough).

        What a handler has taken
        of the caller's audio is acknowledged to the gateway `ack_every_s`, so that it is not
        said again should the call get another agent; with None, by `call.ack()` alone.
        """
        if dialect not in DIALECTS:
            raise ValueError(f"dialect {dialect!r} is unknown: it is one of {', '.join(DIALECTS)}")
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
        self._doors = Doors(self._session)
        if barge_in not in ("agent", "route"):
            raise ValueError(f"barge_in {barge_in!r}: agent or route")
        self._answer = answer
        self._silences = barge_in == "agent"
        self._ack_every_s = ack_every_s
        self._keeper: asyncio.Task[None] | None = None
        self._leaving = False
        "takes no more calls"
        self._handlers = Handlers(handler)

    # --- listening ---------------------------------------------------------------------------

    async def listen(self, address: str, mode: int = 0o600) -> str:
        """Listen on `unix:/path` (file permissions `mode`), `tcp:port` or `tcp:host:port`; returns where.

        Raises `links.AddressError` or `listening.ListenError`.
        """
        where = await self._doors.open(address, mode)
        self._keep()
        if isinstance(where, TcpAddress) and self._token is None:
            if not where.host.startswith("127.") and where.host != "::1":
                log.warning("%s can be reached from other machines, and no token is asked for", where)
        return str(where)

    async def serve_socket(self, sock: socket.socket) -> None:
        """Serve a gateway on a stream socket that is connected already."""
        self._keep()
        await asyncio.get_running_loop().connect_accepted_socket(self._session, sock)

    def _session(self) -> Session:
        native = self._dialect == "trunkline"
        side: AgentSide = AgentConnection(self._name, self._token) if native else AudioSocketConnection()
        return Session(self, side)

    def _keep(self) -> None:
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._look_after())

    async def _look_after(self) -> None:
        """Once a second, or as often as acknowledgements shall leave."""
        while True:
            await asyncio.sleep(self._ack_every_s or 1.0)
            self._acknowledge()
            try:
                await self._doors.look_after()
            except OSError as error:  # no descriptors left, say: calls must be acknowledged all the same
                log.warning("cannot look after the sockets: %s", error)

    def _acknowledge(self) -> None:
        if self._ack_every_s is not None:
            for call in self.calls.values():
                call._acknowledge(everything=self.on_audio is not None)

    async def finish(self, grace_s: float = 0.0) -> None:
        """Take no more calls, let those that are up come to their end, and hand over what is left then.

        Handed over means: the connection is closed without a hang-up, so that the gateway gives the call to
        another agent, or to this one when it is there again, with what `call.save()` has left.
        """
        self._leaving = True
        self._doors.close()
        ends = [asyncio.ensure_future(call.ended()) for call in self.calls.values()]
        if ends and grace_s > 0:
            await asyncio.wait(ends, timeout=grace_s)
        for end in ends:
            end.cancel()
        self._acknowledge()
        if self.calls:
            log.warning("%d calls are handed over", len(self.calls))
        for session in list(self._sessions):
            session.calls.clear()  # nothing is held for them: they do not come back
            session.close()
        for call in list(self.calls.values()):
            self._end(call, "handed over")
        await self._close("handed over")

    async def close(self) -> None:
        """Hang up every call, stop the handlers, close everything."""
        self._doors.close()
        for call in list(self.calls.values()):
            call.hangup("agent shuts down")
        await self._close("agent shuts down")

    async def _close(self, reason: str) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        await self._handlers.cancel()
        for timer in self._away.values():
            timer.cancel()
        self._away.clear()
        for call in list(self.calls.values()):
            self._end(call, reason)
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
        if known is not None and (info.resumed or info.attempt > 1):
            self._join_again(known, session, channel, info)
            return
        if known is not None:
            self._end(known, "replaced by a new call with its id")
        if self._leaving:
            session.reject(channel, 503, "agent shuts down")
            return
        call = Call(info, session, channel)
        call.answer_at_once = self._answer
        call._silences = self._silences
        if self._on_offer is None:
            self._take(call, session, channel)
        else:
            self._handlers.spawn(self._ask(call, session, channel))

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
        session.accept(channel, call.answered or call.answer_at_once)
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
        call.answer_at_once = call.answer_at_once or not session.can_wait
        if call.info.direction != "outbound":
            call.state = "answered" if call.answer_at_once else "offered"
        session.accept(channel, call.answer_at_once)
        session.calls[channel] = call
        self.calls[call.id] = call
        self._handlers.spawn(self._handlers.run(call))

    def _end(self, call: Call, reason: str) -> None:
        self._away.pop(call.id, None)
        self.call_stopped(call)
        for session in self._sessions:
            for channel in [c for c, known in session.calls.items() if known is call]:
                del session.calls[channel]
        call._stop(reason, {})
