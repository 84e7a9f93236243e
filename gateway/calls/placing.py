# SPDX-License-Identifier: GPL-2.0-or-later
"""Placing a call: which trunk, to which URI, as whom; then the agent first.

The agent is connected before the INVITE leaves, so that an agent that is down makes no
telephone ring.  What cannot be done is refused before anything is held.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Collection
from urllib.parse import quote

from trunkline.gateway.calls.addresses import MediaAddress, UnresolvedError, is_address, resolve
from trunkline.gateway.calls.book import Book, log
from trunkline.gateway.calls.call import Call, Phase
from trunkline.gateway.calls.headers import problem_of
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.calls.screen import NewSession, word_of
from trunkline.gateway.calls.srtp_use import tls_only
from trunkline.gateway.calls.streams import Streams
from trunkline.gateway.calls.uri import SipUri, UriError, compact_number, is_uri, parse_uri
from trunkline.gateway.calls.view import PlaceRequest
from trunkline.gateway.config.addresses import bracketed, split_host_port
from trunkline.gateway.config.model import Agent, Route, Trunk
from trunkline.gateway.media.control import CallInfo
from trunkline.gateway.media.ports import PortPair, PortPool, PortsExhausted
from trunkline.gateway.routing import number_of
from trunkline.gateway.sip.hops import first_hop_transport
from trunkline.gateway.sip.messages import PlaceCall
from trunkline.gateway.sip.settings import DEFAULT_USER


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
        route = choose_route(request, config.routes)
        call_id = str(uuid.uuid4())
        agents = self._chosen(request, route, call_id)
        if problem := problem_of(request.headers):
            raise CallRefused("bad_header", problem)
        trunk = choose_trunk(request, config.trunks)
        target = target_uri(request.to, trunk, {t.protocol for t in config.sip.transports})
        from_uri = calling_uri(request.from_, trunk)
        host = await self._local_host(trunk, target)
        hit = self._book.limits.admit(trunk.name, config.trunk_limit(trunk), inbound=False)
        if hit is not None:
            raise CallRefused(hit.cause, hit.detail, 503)
        try:
            ports = self._ports.acquire()
        except PortsExhausted as error:
            self._book.limits.release(trunk.name)
            raise CallRefused(word_of(error), str(error), 503) from error
        try:
            call = self._call(request, trunk, agents, route, target, from_uri, host, ports, call_id)
        except BaseException:
            ports.release()
            self._book.limits.release(trunk.name)
            raise
        self._book.calls[call.id] = call
        self._book.observer.call_started(call.id, call.direction)
        log.debug("call.placed", call_id=call.id, trunk=trunk.name, agent=call.agent.name)
        self._streams.start(call)
        return call

    def _chosen(self, request: PlaceRequest, route: Route | None, call_id: str) -> list[Agent]:
        """The agent that is named and no other, else those of the route."""
        config = self._book.config
        if request.agent is not None:
            agent = config.agent(request.agent)
            if agent is None:
                known = ", ".join(a.name for a in config.agents) or "none"
                raise CallRefused("unknown_agent", f"there is no agent {request.agent!r}; configured: {known}")
            return [agent]
        if route is None or not route.all_agents:  # the model sees to it that one of them is named
            raise CallRefused("unknown_agent", f"route {request.route!r} refuses calls and has no agent: name one")
        return self._book.agents.order(route, request.to, call_id)

    def _call(
        self,
        request: PlaceRequest,
        trunk: Trunk,
        agents: list[Agent],
        route: Route | None,
        target: str,
        from_uri: str,
        host: str,
        ports: PortPair,
        call_id: str,
    ) -> Call:
        agent, *others = agents
        info = CallInfo(
            call_id=call_id,
            direction="outbound",
            caller=number_of(from_uri) or from_uri or own_user(trunk),
            called=number_of(target) or target,
            trunk=trunk.name,
            route="" if route is None else route.name,
            headers=dict(request.headers),
            metadata={**agent.metadata, **(route.metadata if route else {}), **request.metadata},
        )
        transport = first_hop_transport(trunk.outbound_proxy, target, trunk.transport)
        session = self._new_session(trunk, agent, host, ports, transport)
        local = f"{bracketed(host)}:{ports.rtp_port}"
        call = Call(info, trunk, agent, session, ports, local, Phase.PREPARING)
        # No SIP leg before the agent is there: an end that comes first has nothing to hang up.
        call.sip_over = True
        call.route, call.others = route, tuple(others)
        call.cut_tones = (request.dtmf_audio or (route.dtmf_audio if route else "keep")) == "cut"
        call.place = PlaceCall(
            call.id, trunk.name, target, session, from_uri, dict(request.headers), request.timeout_s,
            tls_only=tls_only(trunk, transport), trace=bool(route and route.record),
        )  # fmt: skip
        return call

    async def _local_host(self, trunk: Trunk, target: str) -> str:
        """Our address towards the next hop; a name is resolved off the event loop.

        Also where our address is fixed: PJSIP would ask DNS on the SIP thread, and a name that has no
        address is better told before an agent is troubled.
        """
        peer = _hop(trunk.outbound_proxy) if trunk.outbound_proxy else parse_uri(target).host.strip("[]")
        try:
            address = (
                peer if is_address(peer) else await asyncio.to_thread(resolve, peer, self._address.family)
            )
            return self._address.known(address) or self._address.towards(address)
        except UnresolvedError as error:
            detail = f"the name {peer} has no address ({error}): check it, or DNS"
            raise CallRefused("unresolved", detail, 503) from error
        except OSError as error:
            detail = f"no way to {peer}: {error.strerror or error}"
            raise CallRefused("peer_unreachable", detail, 503) from error


def choose_route(request: PlaceRequest, routes: list[Route]) -> Route | None:
    """The route whose settings are asked for."""
    if request.route is None:
        return None
    for route in routes:
        if route.name == request.route:
            return route
    known = ", ".join(route.name for route in routes) or "none"
    raise CallRefused("unknown_route", f"there is no route {request.route!r}; configured: {known}")


def choose_trunk(request: PlaceRequest, trunks: list[Trunk]) -> Trunk:
    """The one that is named; else the one whose host is the URI's; else the only one with a host."""
    if request.trunk is not None:
        for trunk in trunks:
            if trunk.name == request.trunk:
                return trunk
        known = ", ".join(trunk.name for trunk in trunks) or "none"
        raise CallRefused("unknown_trunk", f"there is no trunk {request.trunk!r}; configured: {known}")
    able = [trunk for trunk in trunks if trunk.outbound_host]
    if is_uri(request.to):
        uri = _parsed(request.to, "bad_target")
        exact = [trunk for trunk in able if _same_hop(trunk.outbound_host, uri.host, uri.port)]
        by_host = [trunk for trunk in able if _host(trunk.outbound_host) == uri.host]
        if exact or by_host:
            return (exact or by_host)[0]
    if len(able) == 1:
        return able[0]
    if not able:
        raise CallRefused("no_trunk", "no trunk has a host, so none can place calls")
    names = ", ".join(trunk.name for trunk in able)
    raise CallRefused("no_trunk", f"several trunks could place this call ({names}): name one")


def target_uri(to: str, trunk: Trunk, transports: Collection[str] = ("udp", "tcp")) -> str:
    """The URI to call: as given, or a number at the trunk's host. `transports` are those that we listen on."""
    if is_uri(to):
        transport = _parsed(to, "bad_target").transport
        if transport and transport not in transports:
            have = " and ".join(sorted(transports))
            asks = f"{to!r} asks for transport {transport}"
            raise CallRefused("bad_target", f"{asks}; configured: {have}")
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
    if is_uri(given):
        _parsed(given, "bad_from")
        return given
    number = compact_number(given)
    if number is None:
        raise CallRefused("bad_from", f"{given!r} is neither a SIP URI nor a telephone number")
    domain = bracketed(trunk.caller_domain) if trunk.caller_domain else _host(trunk.outbound_host)
    if not domain:
        raise CallRefused("bad_from", f"trunk {trunk.name} has no caller_domain or host for a From header")
    return f"sip:{_user(number)}@{domain}"


def _same_hop(configured: str, host: str, port: str) -> bool:
    """Whether `host[:port]` is this host and port; 5060 is what no port means."""
    _, number = split_host_port(configured)
    return _host(configured) == host and (number or 5060) == int(port or 5060)


def _host(hop: str) -> str:
    """Host of `host[:port]` as it stands in a URI; empty for none."""
    return bracketed(split_host_port(hop)[0].lower()) if hop else ""


def _user(number: str) -> str:
    """A number as user part: `#` may not stand there as it is (RFC 3261 25.1)."""
    return quote(number, safe="+*")


def own_user(trunk: Trunk) -> str:
    """Who we are to a trunk when the call does not say (`gateway.sip.account.identity` puts it into From)."""
    registered = trunk.registration.username if trunk.registration is not None else ""
    return trunk.from_user or registered or DEFAULT_USER


def _parsed(text: str, cause: str) -> SipUri:
    try:
        return parse_uri(text)
    except UriError as error:
        raise CallRefused(cause, f"{text!r} cannot be used as a SIP URI: {error}") from error


def _hop(proxy: str) -> str:
    """Host of a SIP URI that the configuration has checked."""
    hop = re.sub(r"^sips?:", "", proxy).rpartition("@")[2]
    return split_host_port(re.split("[;?]", hop, maxsplit=1)[0])[0]
