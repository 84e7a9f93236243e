# SPDX-License-Identifier: GPL-2.0-or-later
"""Placing a call: which trunk, to which URI, as whom; then the agent first.

The agent is connected before the INVITE leaves, so that an agent that is down makes no
telephone ring.  What cannot be done is refused before anything is held.
"""

from __future__ import annotations

import asyncio
import uuid
from urllib.parse import quote

from trunkline.gateway.calls.addresses import MediaAddress
from trunkline.gateway.calls.book import Book, log
from trunkline.gateway.calls.call import Call, Phase
from trunkline.gateway.calls.headers import problem_of
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.calls.screen import NewSession
from trunkline.gateway.calls.streams import Streams
from trunkline.gateway.calls.uri import compact_number, parse_uri
from trunkline.gateway.calls.view import PlaceRequest
from trunkline.gateway.config.model import Trunk
from trunkline.gateway.media.control import CallInfo
from trunkline.gateway.media.ports import PortPool, PortsExhausted
from trunkline.gateway.routing import number_of
from trunkline.gateway.sip.messages import PlaceCall


class Placing:
    """Makes outbound calls of requests."""

    def __init__(
        self, book: Book, streams: Streams, ports: PortPool, address: MediaAddress, new_session: NewSession
    ) -> None:
        self._book, self._streams = book, streams
        self._ports, self._address, self._new_session = ports, address, new_session

    async def place(self, request: PlaceRequest) -> Call:
        """The call on its way; raises CallRefused. Waits for nothing but a name's address."""
        config = self._book.config
        agent = config.agent(request.agent)
        if agent is None:
            known = ", ".join(a.name for a in config.agents) or "none"
            raise CallRefused("unknown_agent", f"there is no agent {request.agent!r}; configured: {known}")
        if problem := problem_of(request.headers):
            raise CallRefused("bad_header", problem)
        trunk = choose_trunk(request, config.trunks)
        target = target_uri(request.to, trunk)
        from_uri = calling_uri(request.from_, trunk)
        host = await self._local_host(trunk, target)
        hit = self._book.limits.admit(trunk.name, config.trunk_limit(trunk), inbound=False)
        if hit is not None:
            raise CallRefused(hit.cause, hit.detail, 503)
        try:
            ports = self._ports.acquire()
        except PortsExhausted as error:
            self._book.limits.release(trunk.name)
            raise CallRefused("no_ports", str(error), 503) from error
        info = CallInfo(
            call_id=str(uuid.uuid4()),
            direction="outbound",
            caller=number_of(from_uri) or from_uri or trunk.from_user or _registered_user(trunk),
            called=number_of(target) or target,
            trunk=trunk.name,
            route="",
            headers=dict(request.headers),
            metadata={**agent.metadata, **request.metadata},
        )
        session = self._new_session(trunk, host, ports)
        call = Call(info, trunk, agent, session, ports, f"{host}:{ports.rtp_port}", Phase.PREPARING)
        # No SIP leg before the agent is there: an end that comes first has nothing to hang up.
        call.sip_over = True
        call.place = PlaceCall(
            call.id, trunk.name, target, session, from_uri, dict(request.headers), request.timeout_s
        )
        self._book.calls[call.id] = call
        self._book.observer.call_started(call.id, call.direction)
        log.debug("call.placed", call_id=call.id, trunk=trunk.name, agent=agent.name)
        self._streams.start(call)
        return call

    async def _local_host(self, trunk: Trunk, target: str) -> str:
        """Our address towards the next hop; a name is resolved off the event loop."""
        parsed = parse_uri(trunk.outbound_proxy or target)
        peer = parsed[1].strip("[]") if parsed else ""
        try:
            return self._address.known(peer) or await asyncio.to_thread(self._address.towards, peer)
        except OSError as error:
            detail = f"no way to {peer}: {error.strerror or error}"
            raise CallRefused("peer_unreachable", detail, 503) from error


def choose_trunk(request: PlaceRequest, trunks: list[Trunk]) -> Trunk:
    """The one that is named; else the one whose host is the URI's; else the only one with a host."""
    if request.trunk is not None:
        for trunk in trunks:
            if trunk.name == request.trunk:
                return trunk
        known = ", ".join(trunk.name for trunk in trunks) or "none"
        raise CallRefused("unknown_trunk", f"there is no trunk {request.trunk!r}; configured: {known}")
    able = [trunk for trunk in trunks if trunk.outbound_host]
    if parsed := parse_uri(request.to):
        _, host, port = parsed
        exact = [trunk for trunk in able if _same_hop(trunk.outbound_host, host, port)]
        by_host = [trunk for trunk in able if trunk.outbound_host.lower().partition(":")[0] == host]
        if exact or by_host:
            return (exact or by_host)[0]
    if len(able) == 1:
        return able[0]
    if not able:
        raise CallRefused("no_trunk", "no trunk has a host, so none can place calls")
    names = ", ".join(trunk.name for trunk in able)
    raise CallRefused("no_trunk", f"several trunks could place this call ({names}): name one")


def target_uri(to: str, trunk: Trunk) -> str:
    """The URI to call: as given, or a number at the trunk's host."""
    if parse_uri(to) is not None:
        return to
    number = compact_number(to)
    if number is None:
        raise CallRefused("bad_target", f"{to!r} is neither a SIP URI nor a telephone number")
    if not trunk.outbound_host:
        raise CallRefused("no_trunk", f"trunk {trunk.name} has no host that a number could be called at")
    return f"sip:{_user(number)}@{trunk.outbound_host}"


def calling_uri(given: str | None, trunk: Trunk) -> str:
    """The From URI: as given, or a number at the trunk's domain; empty leaves it to the trunk."""
    if not given:
        return ""
    if parse_uri(given) is not None:
        return given
    number = compact_number(given)
    if number is None:
        raise CallRefused("bad_from", f"{given!r} is neither a SIP URI nor a telephone number")
    domain = trunk.caller_domain or trunk.outbound_host.partition(":")[0]
    if not domain:
        raise CallRefused("bad_from", f"trunk {trunk.name} has no caller_domain or host for a From header")
    return f"sip:{_user(number)}@{domain}"


def _same_hop(configured: str, host: str, port: str) -> bool:
    """Whether `host[:port]` is this host and port; 5060 is what no port means."""
    name, _, number = configured.lower().partition(":")
    return name == host and (number or "5060") == (port or "5060")


def _user(number: str) -> str:
    """A number as user part: `#` may not stand there as it is (RFC 3261 25.1)."""
    return quote(number, safe="+*")


def _registered_user(trunk: Trunk) -> str:
    return trunk.registration.username if trunk.registration is not None else ""
