# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether an INVITE becomes a call: asked on the SIP thread, answered out of memory.

    who is it -> which route -> is there room -> ports -> can the SDP be answered

in this order, so that a stranger learns and costs nothing, and a refused call holds
nothing.  An admitted call is kept in `admitted` until call control, on the event loop,
takes it over; whoever takes it out of there (`dict.pop` is atomic) owns its ports.

Nothing is logged here: the SIP thread reports refusals as events.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from trunkline.gateway.calls.addresses import MediaAddress
from trunkline.gateway.calls.agents import Agents
from trunkline.gateway.calls.call import Call, MediaSession, Phase
from trunkline.gateway.calls.headers import for_agent
from trunkline.gateway.calls.limits import Limits
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.calls.srtp_use import tls_only
from trunkline.gateway.config.addresses import bracketed
from trunkline.gateway.config.model import Agent, Config, Route, Trunk
from trunkline.gateway.media.control import CallInfo
from trunkline.gateway.media.ports import PortPair, PortPool, PortsExhausted
from trunkline.gateway.outcome import refusal
from trunkline.gateway.routing import RouteQuery, RouteTable, TrunkTable
from trunkline.gateway.sip.messages import Admission, IncomingInvite, Refusal

NewSession = Callable[[Trunk, Agent, str, PortPair, str], MediaSession]
"""Makes the offer/answer session of a call between a trunk and an agent, with our host and ports; the last is the
transport of its SIP, tls or in words what else, which decides whether keys may stand in it. Raises CallRefused."""

ADMISSION_LIMIT_S = 10.0
"An admitted call of which SIP says nothing more is given up; PJSIP needs microseconds to go on."

MAX_NUMBER = 256
"Characters of a caller or called party that are kept: by TCP, a user part of 60 kB may come."


class CallScreen:
    """Implements `gateway.sip.messages.Screen`."""

    def __init__(
        self,
        config: Config,
        trunks: TrunkTable,
        routes: RouteTable,
        limits: Limits,
        ports: PortPool,
        address: MediaAddress,
        new_session: NewSession,
    ) -> None:
        self._config, self._routes = config, routes
        self.trunks = trunks
        "replaced as a whole when registrars' names resolve to other addresses"
        self._limits, self._ports = limits, ports
        self._address, self._new_session = address, new_session
        self.agents = Agents(config)
        "who gets a call, and how each of them is"
        self.admitted: dict[str, Call] = {}
        "calls that the event loop has not taken over yet"

    def incoming(self, invite: IncomingInvite) -> Admission | Refusal:
        """Admit or refuse; a refusal leaves nothing behind."""
        match = self.trunks.identify(invite.source, invite.certificate_names)
        if match is None:
            shown = f" with a certificate for {', '.join(invite.certificate_names)}" * bool(invite.certificate_names)
            detail = f"no trunk matches {invite.source}{shown}; name it in a trunk's `match` to let it in"
            return refusal("unknown_peer", detail)
        trunk = match.trunk
        query = RouteQuery.of_uris(trunk.name, invite.request_uri, invite.from_uri, invite.headers)
        route = self._routes.match(query)
        if route is None:
            return refusal(
                "no_route", f"no route takes {query.called or 'a call without number'} from {trunk.name}"
            )
        if route.agent is None:
            detail = f"route {route.name} refuses it"
            return refusal("route_refused", detail, code=route.refuse or 0, reason=route.reason)
        hit = self._limits.admit(trunk.name, self._config.trunk_limit(trunk), inbound=True)
        if hit is not None:
            return refusal(hit.cause, hit.detail)
        verdict = self._admit(invite, trunk, route, query)
        if isinstance(verdict, Refusal):
            self._limits.release(trunk.name)
        return verdict

    def _admit(
        self, invite: IncomingInvite, trunk: Trunk, route: Route, query: RouteQuery
    ) -> Admission | Refusal:
        """Take ports and try the offer."""
        try:
            ports = self._ports.acquire()
        except PortsExhausted as error:
            return refusal(word_of(error), str(error))
        try:
            call = self._call(invite, trunk, route, query, ports)
        except CallRefused as error:
            ports.release()
            return refusal(error.cause, error.detail)
        except Exception as error:  # noqa: BLE001 - whatever it is, the ports go back
            ports.release()
            code = getattr(error, "code", None)
            if not isinstance(code, int):
                return refusal("internal_error", f"{type(error).__name__}: {error}")
            return refusal("no_common_codec" if code == 488 else "bad_sdp", str(error), code=code)
        call.wait(ADMISSION_LIMIT_S, "admission")
        self.admitted[call.id] = call
        secure = tls_only(trunk, invite.keys_by)
        return Admission(call.id, call.session, trunk.name, secure, trace=bool(route.record))

    def _call(
        self, invite: IncomingInvite, trunk: Trunk, route: Route, query: RouteQuery, ports: PortPair
    ) -> Call:
        """The call, its offer tried; raises whatever the session raises."""
        call_id = str(uuid.uuid4())
        agent, *others = self.agents.order(route, query.calling, call_id)
        host = self._address.towards(invite.source.rpartition(":")[0].strip("[]"))
        session = self._new_session(trunk, agent, host, ports, invite.keys_by)
        if invite.sdp:
            session.answer(invite.sdp)
        headers, left_out = for_agent(trunk.headers_to_agent, invite.headers)
        info = CallInfo(
            call_id=call_id,
            direction="inbound",
            caller=(query.calling or invite.from_uri)[:MAX_NUMBER],
            called=(query.called or invite.request_uri)[:MAX_NUMBER],
            trunk=trunk.name,
            route=route.name,
            headers=headers,
            metadata={**agent.metadata, **route.metadata},
        )
        call = Call(
            info, trunk, agent, session, ports, f"{bracketed(host)}:{ports.rtp_port}", Phase.INCOMING, invite
        )
        call.route, call.others = route, tuple(others)
        call.cut_tones = route.dtmf_audio == "cut"
        call.sip_call_id, call.left_out = invite.sip_call_id, tuple(left_out)
        return call


def word_of(error: PortsExhausted) -> str:
    """Our word for the lack of sockets."""
    return "no_descriptors" if error.cause == "descriptors" else "no_ports"
