# SPDX-License-Identifier: GPL-2.0-or-later
"""Call control without SIP and media: the real screen, service and ports; both ends are played by the test."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from support.ports import free_block
from trunkline.gateway.calls.addresses import MediaAddress
from trunkline.gateway.calls.book import Book
from trunkline.gateway.calls.limits import Limits
from trunkline.gateway.calls.screen import CallScreen
from trunkline.gateway.calls.service import CallService
from trunkline.gateway.calls.view import CallEvent
from trunkline.gateway.config import parse
from trunkline.gateway.media import control
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.pool import NoWorker
from trunkline.gateway.media.ports import PortPair, PortPool
from trunkline.gateway.metrics import Metrics
from trunkline.gateway.routing import RouteTable, TrunkTable
from trunkline.gateway.sip.events import CallState, Event, Incoming, Refused, StateChanged
from trunkline.gateway.sip.messages import Admission, Command, IncomingInvite, Refusal
from trunkline.rtp.negotiation import MediaDescription, NegotiationError

PORTS = free_block(200)
CONFIG = f"""
[media]
port_range = [{PORTS[0]}, {PORTS[-1]}]
[limits]
max_calls = 20
[[trunk]]
name = "pbx"
match = ["192.0.2.10"]
host = "192.0.2.10:5160"
from_user = "gw1"
[[trunk]]
name = "info"
match = ["192.0.2.20"]
host = "pbx.example.com"
dtmf = "info"
max_calls = 2
[[agent]]
name = "echo"
address = "unix:/nowhere"
metadata = {{ a = "agent", b = "agent" }}
[[route]]
name = "refused"
called = "666"
refuse = 486
reason = "Not today"
[[route]]
name = "all"
called = "6*"
agent = "echo"
metadata = {{ b = "route" }}
"""

MEDIA = MediaDescription("PCMU", 0, 0, "192.0.2.10", 4000, "192.0.2.10", 4001, 20, send_dtmf_pt=101)


AGENT_NEWS = (control.CommandRefused, control.TellCallState, control.TellTransfer, control.SetVariables)


class FakeSession:
    """Offer/answer whose outcome the test sets."""

    def __init__(self, agreed: MediaDescription | None) -> None:
        self.agreed = agreed
        self.held = False

    def description(self) -> MediaDescription | None:
        return self.agreed

    def answer(self, offer: str) -> str:
        if "G729" in offer:
            raise NegotiationError(488, "the offer has only G729")
        if "garbage" in offer:
            raise NegotiationError(400, "no SDP")
        self.agreed = MEDIA
        return "answer"

    def withdraw(self) -> None:
        """Not asked for here."""

    def offer(self) -> str:
        return "offer"

    def repeated(self) -> None:
        """Not asked for here."""

    def accepted(self, answer: str) -> None:
        self.agreed = MEDIA

    def hold(self, held: bool) -> None:
        """Not asked for here."""


class FakeMedia:
    """Media pool that notes what it is told; the test answers for the worker."""

    def __init__(self) -> None:
        self.started: dict[str, control.StartStream] = {}
        self.updates: list[MediaDescription] = []
        self.sent: list[control.Message] = []
        self.told: list[control.Message] = []
        "what the agents are told"
        self.stopped: list[tuple[str, str]] = []
        self.columns = Columns(4)
        self.works = True

    def start_stream(self, start: control.StartStream, ports: PortPair) -> None:
        if not self.works:
            raise NoWorker("no media worker has room")
        assert not ports.released
        self.started[start.info.call_id] = start

    def update(self, call_id: str, media: MediaDescription) -> None:
        self.updates.append(media)

    def send(self, message: control.Message) -> bool:
        for_agent = isinstance(message, AGENT_NEWS)
        (self.told if for_agent else self.sent).append(message)
        return self.works

    def remember(self, call_id: str, **changes: Any) -> None:
        if call_id in self.started:
            self.started[call_id] = msgspec.structs.replace(self.started[call_id], **changes)

    def stop_stream(self, call_id: str, reason: str) -> bool:
        self.stopped.append((call_id, reason))
        return call_id in self.started

    def forget(self, call_id: str) -> None:
        self.started.pop(call_id, None)

    def row(self, call_id: str) -> tuple[Columns, int] | None:
        return (self.columns, 0) if call_id in self.started else None


class Rig:
    """One gateway's call control, between two played ends. Use inside a running loop."""

    def __init__(self, config: str = CONFIG) -> None:
        self.config = parse(config)
        self.ports = PortPool("127.0.0.1", *self.config.media.port_range)
        self.limits = Limits(self.config.limits.max_calls, self.config.limits.calls_per_second)
        self.media = FakeMedia()
        self.commands: list[Command] = []
        names = [agent.name for agent in self.config.agents]
        self.metrics = Metrics([trunk.name for trunk in self.config.trunks], agents=names)
        self.fatal: list[str] = []
        address = MediaAddress("192.0.2.1", "0.0.0.0")
        self.screen = CallScreen(
            self.config, TrunkTable(self.config.trunks), RouteTable(self.config.routes), self.limits, self.ports,
            address, lambda trunk, agent, host, ports, transport: FakeSession(None),
        )  # fmt: skip
        book = Book(self.config, self.limits, self.media, self.commands.append, self.metrics)
        book.agent_params = {
            a.name: control.AgentParams(a.name, a.address, a.dialect) for a in self.config.agents
        }
        self.service = CallService(
            book, self.screen, self.ports, address, self.screen._new_session, self.fatal.append
        )
        self.events = self.service.subscribe()
        self.service.start()

    async def sip(self, event: Event) -> None:
        """An event of the SIP thread, handled."""
        self.service.sip_event(event)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def state(self, call_id: str, state: CallState, code: int = 0, **more: Any) -> None:
        """SIP's state of a call changes."""
        await self.sip(StateChanged(call_id, state, code, **more))

    async def invite(self, called: str = "600", sdp: str = "offer", source: str = "192.0.2.10:5060") -> str:
        """An INVITE that is admitted; returns the call's id."""
        verdict = self.screen.incoming(invite_of(called, sdp, source))
        assert isinstance(verdict, Admission), verdict
        await self.sip(Incoming(verdict.call_id, self.screen.admitted[verdict.call_id].invite))  # type: ignore[arg-type]
        return verdict.call_id

    async def refused(
        self, called: str = "600", sdp: str = "offer", source: str = "192.0.2.10:5060"
    ) -> Refusal:
        """An INVITE that is refused, told as the SIP thread does."""
        invite = invite_of(called, sdp, source)
        verdict = self.screen.incoming(invite)
        assert isinstance(verdict, Refusal), verdict
        await self.sip(Refused(invite, verdict))
        return verdict

    def ready(self, call_id: str) -> None:
        """The agent has taken the call."""
        self.service.media_message(control.StreamReady(call_id, 0, 1, 2.5))

    def ended(self, call_id: str, **stats: float) -> None:
        """The worker has finished the stream."""
        self.service.media_message(control.StreamEnded(call_id, stats))

    async def up(self, **invite: str) -> str:
        """An inbound call that is up."""
        call_id = await self.invite(**invite)
        self.ready(call_id)
        await self.state(call_id, CallState.CONFIRMED, 200)
        return call_id

    def take(self, kind: type[Any]) -> list[Any]:
        """Commands of a kind that were posted since the last time."""
        taken = [command for command in self.commands if isinstance(command, kind)]
        self.commands[:] = [command for command in self.commands if not isinstance(command, kind)]
        return taken

    def told(self) -> list[CallEvent]:
        """Events since the last time."""
        events = list(self.events._events)
        self.events._events.clear()
        return events

    def holds_nothing(self) -> bool:
        """No call, port, place or stream is left."""
        return not (
            self.service.calls or self.screen.admitted or self.ports.in_use or self.limits.calls
            or self.media.started
        )  # fmt: skip


def invite_of(called: str, sdp: str, source: str) -> IncomingInvite:
    """An INVITE from 100."""
    return IncomingInvite(
        source, "udp", f"sip:{called}@192.0.2.1", "sip:100@192.0.2.10", "Ann", f"sip:{called}@192.0.2.1",
        "abc@192.0.2.10", {"X-Tenant": "acme", "Subject": "secret", "Diversion": "<sip:1@x>"}, sdp,
    )  # fmt: skip


def with_ports(count: int) -> str:
    """The configuration with as few RTP ports."""
    return CONFIG.replace(f"{PORTS[0]}, {PORTS[-1]}", f"{PORTS[0]}, {PORTS[count - 1]}")
