# SPDX-License-Identifier: GPL-2.0-or-later
"""PJSIP and its calls, seen by the one thread that owns them; no method here may be called from another.

What a callback wants done after PJSIP is out of it goes to `defer`; what is to be done
later goes to `later`.  Legs are not deleted where their end is reported, which is in
the middle of PJSIP, but after `libHandleEvents` has returned: `_graveyard`.
"""

from __future__ import annotations

import collections
import functools
import time
from collections.abc import Callable

import pjsua2 as pj
import structlog

from trunkline.gateway.sip.account import TrunkAccount, account_config, by_transport
from trunkline.gateway.sip.call import SipCall
from trunkline.gateway.sip.door import STRANGERS, InviteDoor, TurnedAway
from trunkline.gateway.sip.endpoint import Endpoint, listen, start_library
from trunkline.gateway.sip.events import CallState, Event, StateChanged
from trunkline.gateway.sip.hops import first_hop_transport, hop_address
from trunkline.gateway.sip.leg import NO_MESSAGE, Leg
from trunkline.gateway.sip.messages import (
    Command,
    HangUp,
    PlaceCall,
    Reinvite,
    ReloadCertificates,
    Respond,
    Screen,
    SendInfoDtmf,
    Trace,
    Transfer,
)
from trunkline.gateway.sip.native import Native
from trunkline.gateway.sip.settings import Credentials, SipConfig, SipStartError, Transport, Trunk
from trunkline.gateway.sip.timers import Timer, Timers
from trunkline.gateway.sip.tls_peers import TlsPeers
from trunkline.gateway.sip.tls_port import HANDSHAKE_TIMEOUT_MS, TlsPort

log = structlog.get_logger(__name__)

BUILD = "Cure: `trunkline pjsip build`"
OLD_HANDSHAKES_S = HANDSHAKE_TIMEOUT_MS / 1000 + 1
"How long a handshake with a listener that has been replaced may still go on."
FORGIVE_S = 60.0
"How long a client's certificate that did not verify keeps its listener, and so at least stays refused."


class Engine:
    """Implements Registry and door.Calls."""

    def __init__(self, config: SipConfig, screen: Screen, on_event: Callable[[Event], None]) -> None:
        self._config, self._on_event = config, on_event
        self._native = Native()
        self._peers = TlsPeers()
        self._native.tls = self._peers
        self._peers.on_doubt = self._forgive_later
        self._forgiving = False
        self._door = InviteDoor(screen, self, self._native, self._peers)
        self._timers = Timers()
        self._deferred: collections.deque[Callable[[], None]] = collections.deque()
        self._graveyard: list[Leg] = []
        self._calls: dict[str, SipCall] = {}
        self._turned_away: set[TurnedAway] = set()
        self._accounts: dict[str, TrunkAccount] = {}
        self._secure: dict[str, TrunkAccount] = {}
        "the same trunks for calls to and from `sips:`"
        self._endpoint: Endpoint | None = None
        self._tls: TlsPort | None = None
        self.stopping = False
        self.ports: dict[Transport, int] = {}
        "where each transport really listens"

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen, create the accounts and begin to register."""
        if not self._config.transports:
            raise SipStartError("SIP has no transport. Cure: configure a [[sip.transport]]")
        endpoint = self._endpoint = start_library(self._config, self._native)
        numbers = {}
        for transport in self._config.transports:
            if transport.tls is not None:
                if not self._native.available:  # connections that do not verify could not be shut down
                    raise SipStartError(f"SIP cannot speak TLS with this PJSIP. {BUILD}")
                excused = {trunk.unverified for trunk in self._config.trunks} - {""}
                self._tls = TlsPort(endpoint, transport, verify_servers=not excused)
                self.ports[transport] = self._tls.port
                strict = transport.tls.client_certificates != "off"
                self._peers.judge(self._tls.port, strict, frozenset(excused), self._native.shut_down)
            else:
                numbers[transport], self.ports[transport] = listen(endpoint, transport)
        endpoint.libStart()
        endpoint.door, endpoint.peers = self._door, self._peers
        for trunk in (Trunk(STRANGERS, transport=self._config.transports[0].protocol), *self._config.trunks):
            account = TrunkAccount(trunk, self._config.user_agent, self._door, self)
            bound_to = self._bound_to(trunk, numbers)
            account.create(account_config(trunk, self._config, bound_to), False)
            self._accounts[trunk.name] = account
            if self._tls is not None:
                secure = TrunkAccount(trunk, self._config.user_agent, self._door, self)
                secure.create(account_config(trunk, self._config, None, sips=True), False)
                self._secure[trunk.name] = secure
        for account in self._accounts.values():
            if account.trunk.registration is not None:
                account.register()

    def _bound_to(self, trunk: Trunk, numbers: dict[Transport, int]) -> int | None:
        """The transport that a trunk is tied to, if it must be: PJSIP finds it for a destination by itself."""
        own = [transport for transport in numbers if transport.protocol == trunk.transport]
        alike = [transport for transport in own if transport.ipv6 == own[0].ipv6]
        return numbers[alike[0]] if len(alike) > 1 else None  # of several alike it would take any

    def turn(self, longest_ms: int) -> None:
        """Handle what has come in, waiting at most so long, and then what that has led to."""
        assert self._endpoint is not None
        deadline_ns = self._timers.next_deadline_ns()
        if self._deferred:
            longest_ms = 0
        elif deadline_ns is not None:
            longest_ms = max(0, min(longest_ms, -(-(deadline_ns - time.monotonic_ns()) // 1_000_000)))
        self._endpoint.libHandleEvents(longest_ms)
        self._door.abandon(500, "Server Internal Error")
        for action in self._timers.due(time.monotonic_ns()):
            self._run(action)
        while self._deferred:
            self._run(self._deferred.popleft())
        self._bury()
        self._peers.forget_failure()

    def _bury(self) -> None:
        while self._graveyard:
            self._graveyard.pop().bury()

    def _run(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:
            log.exception("sip.action_failed")

    def begin_stop(self) -> None:
        """Refuse new calls, hang up all that there are, take registrations back."""
        self.stopping = True
        for call in list(self._calls.values()):
            code = 503 if call.state is None else 0
            self._run(functools.partial(call.hang_up, HangUp(call.call_id, code, "Gateway is shutting down")))
        for account in self._accounts.values():
            account.unregister()

    @property
    def idle(self) -> bool:
        """No dialog and no registration is left, as far as can be told."""
        return (
            not self._calls
            and not self._native.call_count()
            and not any(account.registered for account in self._accounts.values())
        )

    def destroy(self) -> None:
        """Give everything back; what has not been answered by now never will be."""
        for call in list(self._calls.values()):
            call.on_state(pj.PJSIP_INV_STATE_DISCONNECTED, 503, "Gateway stopped", NO_MESSAGE)
        for turned_away in list(self._turned_away):
            self.drop(turned_away)
        self._bury()
        for accounts in (self._secure, self._accounts):
            for account in accounts.values():
                account.bury()
            accounts.clear()
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.door = endpoint.peers = None
            try:
                endpoint.libDestroy(pj.PJSUA_DESTROY_NO_NETWORK)
            finally:
                # here and now: the next one cannot be created before, and a reference somewhere, say in a
                # traceback, would let another thread do it
                endpoint.__swig_destroy__(endpoint)
                if self._tls is not None:
                    self._tls.close()

    # --- commands -----------------------------------------------------------------------------

    def execute(self, command: Command) -> None:
        """Do what call control asks; commands for calls that are over are late, not wrong."""
        if isinstance(command, PlaceCall):
            self._place(command)
            return
        if isinstance(command, ReloadCertificates):
            self._reload(command)
            return
        call = self._calls.get(command.call_id)
        if call is None:
            log.debug("sip.command_late", call_id=command.call_id, command=type(command).__name__)
        elif isinstance(command, Respond):
            call.respond(command)
        elif isinstance(command, HangUp):
            call.hang_up(command)
        elif isinstance(command, SendInfoDtmf):
            call.digits.send(command)
        elif isinstance(command, Reinvite):
            call.exchange.reoffer(command)
        elif isinstance(command, Trace):
            call.trace(command.wanted)
        elif isinstance(command, Transfer):
            call.transfers.ask(command, self._calls.get(command.attended))

    def _reload(self, command: ReloadCertificates) -> None:
        problem = "the SIP thread failed; see the log"
        try:
            problem = self._new_listener(command.credentials)
        finally:
            command.done(problem)

    def _new_listener(self, credentials: Credentials) -> str:
        """Empty, or why the former stays."""
        if self._tls is None:
            return "there is no TLS transport"
        try:
            self._tls.reload(credentials)
        except SipStartError as error:
            return str(error)
        self.later(OLD_HANDSHAKES_S, self._peers.new_listener())
        return ""

    def _forgive_later(self) -> None:
        if not self._forgiving:
            self._forgiving = True
            self.later(FORGIVE_S, self._forgive)

    def _forgive(self) -> None:
        """No session with a certificate that did not verify is left: it may be shown again."""
        self._forgiving = False
        if self._tls is not None and (problem := self._new_listener(self._tls.credentials)):
            log.warning("sip.listener_kept", detail=problem, cure="tried again in a minute")
            self._forgive_later()

    def _place(self, command: PlaceCall) -> None:
        sips = command.target.lower().lstrip("<").startswith("sips:")
        account = (self._secure if sips and self._secure else self._accounts).get(command.trunk)
        if account is None or self.stopping:
            cause, reason = "internal_error", f"SIP has no trunk {command.trunk!r}"
            if self.stopping:
                cause, reason = "shutdown", "the gateway is shutting down"
            self.emit(StateChanged(command.call_id, CallState.ENDED, 503, reason, by_us=True, cause=cause))
            return
        call = SipCall(command.call_id, command.trunk, command.session, self, None)
        self.adopt(call)
        target = command.target.strip("<>")
        proxy = account.trunk.outbound_proxy
        if first_hop_transport(proxy, target, account.trunk.transport) == "tls" and not account.trunk.unverified:
            self._peers.give_up_unproven(*hop_address(proxy, target))
        call.place(Leg(account, call, self._native), command, f"<{by_transport(target, account.trunk.transport)}>")

    # --- for calls, accounts and the door -----------------------------------------------------

    def emit(self, event: Event) -> None:
        try:
            self._on_event(event)
        except Exception:
            log.exception("sip.event_failed", event_type=type(event).__name__)

    def later(self, delay_s: float, action: Callable[[], None]) -> Timer:
        return self._timers.at(time.monotonic_ns() + int(delay_s * 1e9), action)

    @property
    def refused_certificate(self) -> str:
        return self._peers.failure

    def port_of(self, protocol: str) -> int:
        return next((port for transport, port in self.ports.items() if transport.protocol == protocol), 0)

    def defer(self, action: Callable[[], None]) -> None:
        self._deferred.append(action)

    def account_for(self, trunk: str, sips: bool = False) -> TrunkAccount | None:
        accounts = self._secure if sips and self._secure else self._accounts
        return accounts.get(trunk) or accounts.get(STRANGERS)

    def adopt(self, call: SipCall) -> None:
        self._calls[call.call_id] = call

    def release(self, call: SipCall) -> None:
        self._calls.pop(call.call_id, None)
        if call.leg is not None:
            self._graveyard.append(call.leg)
            call.leg = None

    def keep(self, turned_away: TurnedAway) -> None:
        self._turned_away.add(turned_away)

    def drop(self, turned_away: TurnedAway) -> None:
        self._turned_away.discard(turned_away)
        if turned_away.leg is not None:
            self._graveyard.append(turned_away.leg)
            turned_away.leg = None
