# SPDX-License-Identifier: GPL-2.0-or-later
"""Call control as others see it: the API asks here, SIP and media report here.

All of it runs on the event loop, except `sip_event`, which the SIP thread calls.
A fault in a reaction ends that one call with `internal_error`, and is logged.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from trunkline.gateway.calls import recordings
from trunkline.gateway.calls.addresses import MediaAddress
from trunkline.gateway.calls.agent_flow import AgentFlow
from trunkline.gateway.calls.answering import ACK_DEADLINE, ANSWER_DEADLINE, Answering
from trunkline.gateway.calls.book import Book, log
from trunkline.gateway.calls.call import ANSWERED, Call
from trunkline.gateway.calls.digits import Digits
from trunkline.gateway.calls.ending import Ending
from trunkline.gateway.calls.holding import Holding
from trunkline.gateway.calls.media_flow import MediaFlow
from trunkline.gateway.calls.placing import Placing
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.calls.screen import CallScreen, NewSession
from trunkline.gateway.calls.sip_flow import SipFlow
from trunkline.gateway.calls.streams import Streams
from trunkline.gateway.calls.subscribers import Subscription
from trunkline.gateway.calls.transferring import RELEASED_DEADLINE, REPLACED_DEADLINE, Transferring
from trunkline.gateway.calls.variables import set_variables
from trunkline.gateway.calls.view import AgentView, CallView, PlaceRequest, TransferRequest
from trunkline.gateway.media import control
from trunkline.gateway.media.agent_asks import AgentFailed
from trunkline.gateway.media.ports import PortPool
from trunkline.gateway.sip.events import Event

SWEEP_S = 0.5
"One timer looks at the deadlines of all calls; half a second later than due harms none of them."


class CallService:
    """Places, lists, ends calls; turns events of SIP and media into what must be done."""

    def __init__(
        self,
        book: Book,
        screen: CallScreen,
        ports: PortPool,
        address: MediaAddress,
        new_session: NewSession,
        on_fatal: Callable[[str], None],
        about: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        """`on_fatal` is told why the gateway must stop; `about` adds to the status."""
        self._about = about
        self._book, self._ports = book, ports
        self._admitted = screen.admitted
        self._ending = Ending(book)
        book.agents = screen.agents
        screen.agents.params = lambda: book.agent_params
        screen.agents.tell = self.gateway_event
        screen.agents.on_state, screen.agents.on_failure = book.observer.agent_state, book.observer.agent_failed
        streams = Streams(book, self._ending)
        self._placing = Placing(book, streams, ports, address, new_session)
        self._digits = Digits(book)
        self._holding, self._transferring = Holding(book, streams), Transferring(book, self._ending)
        answering = Answering(book, self._ending)
        self._ending.on_end = self._transferring.ended
        self._ending.on_overdue = {
            ANSWER_DEADLINE: answering.overdue, REPLACED_DEADLINE: self._transferring.overdue,
            RELEASED_DEADLINE: self._transferring.released, ACK_DEADLINE: answering.unacknowledged,
        }  # fmt: skip
        self._sip = SipFlow(
            book, self._ending, streams, self._digits, screen.admitted, on_fatal, self._transferring
        )
        agent = AgentFlow(book, self._ending, answering, self._holding, self._transferring)
        self._media = MediaFlow(book, self._ending, self._digits, agent)
        fallback = self._media.fallback
        fallback.transfer = lambda call, target: self._transferring.hand_on(call, target, fallback.failed)
        fallback.wait_for_transfer = self._transferring.wait_for_result
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._recount_at = 0.0
        self.started = time.time()

    def start(self) -> None:
        """From now on events are taken."""
        self._loop = asyncio.get_running_loop()
        self._count_recordings()
        self._sweep_timer = self._loop.call_later(SWEEP_S, self._sweep)

    def stop(self) -> None:
        """No more events; subscribers are told that it is over."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        self._loop = None
        self._book.agents.stop()
        for call in [*self._book.calls.values(), *self._admitted.values()]:
            self._book.give_back(call)  # of peers that never answered our BYE
        self._sip.flush_refusals(math.inf)
        self._book.hub.close()

    # --- what the API asks --------------------------------------------------------------------

    async def place(self, request: PlaceRequest) -> CallView:
        """Start an outbound call; raises CallRefused."""
        return self._book.view(await self._placing.place(request))

    def list(self) -> builtins.list[CallView]:
        """Calls that exist now."""
        return [self._book.view(call) for call in self._book.calls.values()]

    def get(self, call_id: str) -> CallView:
        """One call, also for a while after its end; raises KeyError."""
        return self._book.find(call_id)

    async def hangup(self, call_id: str, reason: str = "api") -> None:
        """End a call in whatever state it is; nothing happens when it has ended. Raises KeyError."""
        call = self._book.calls.get(call_id)
        if call is None:
            self._book.find(call_id)
            return
        self._ending.end(call, "api_hangup", reason)

    async def hangup_by_agent(self, call_id: str, reason: str) -> None:
        """An agent that has only the API to hang up with; raises KeyError, and CallRefused where it may not."""
        self._book.find(call_id)
        call = self._book.calls.get(call_id)
        if call is None:
            return
        if call.route is not None and "hangup" not in call.route.agent_may:
            text = f"the route {call.route.name} does not allow its agents `hangup` (agent_may)"
            raise CallRefused("forbidden", text, 403)
        self._ending.end(call, "agent_hangup", reason)

    async def send_dtmf(self, call_id: str, digits: str, duration_ms: int = 160, gap_ms: int = 80) -> None:
        """Send digits the way that the call and its trunk take them (`digits.py`)."""
        self._book.find(call_id)
        call = self._book.calls.get(call_id)
        if call is None:
            raise CallRefused("not_up", "digits can be sent only while the call is up", 409)
        self._digits.send(call, digits, duration_ms, gap_ms)

    async def clear_audio(self, call_id: str) -> None:
        """Silence what the agent has queued for the caller; the agent is told as after its own clear."""
        self._book.find(call_id)
        call = self._book.calls.get(call_id)
        if call is None or call.phase not in ANSWERED:
            raise CallRefused("not_up", "audio can be cleared only while the call is up", 409)
        if not self._book.media.send(control.ClearAudio(call_id)):
            raise CallRefused("no_worker", "the media worker of this call is being replaced: try again", 503)

    def agents(self) -> builtins.list[AgentView]:
        """Agents, and how calls have found them."""
        having = [call.agent.name for call in self._book.calls.values()]
        return self._book.agents.views(Counter(having))

    async def transfer(self, call_id: str, request: TransferRequest) -> None:
        """Hand the other party on; raises KeyError and CallRefused. `call.transfer` events tell how it goes."""
        call = self._existing(call_id)
        self._transferring.ask(call, request.target, request.attended, request.headers, request.timeout_s)

    async def hold(self, call_id: str, held: bool, music: str = "") -> None:
        """Put the other party on hold or take it back; raises KeyError and CallRefused."""
        self._holding.hold(self._existing(call_id), held=held, music=music)

    async def set_variables(self, call_id: str, values: Mapping[str, str]) -> None:
        """Add, change and remove (by empty values) texts of a call; raises KeyError and CallRefused."""
        set_variables(self._book, self._existing(call_id), values)

    def _existing(self, call_id: str) -> Call:
        self._book.find(call_id)
        call = self._book.calls.get(call_id)
        if call is None or call.closing:
            raise CallRefused("not_up", "the call has ended", 409)
        return call

    async def start_recording(self, call_id: str, file: str) -> None:
        """Record a call that is up into a file that is not there yet."""
        self._book.find(call_id)
        recordings.start(self._book, self._book.calls.get(call_id), file)

    async def stop_recording(self, call_id: str) -> None:
        """The recording of a call is complete; `recording.ended` tells when its file is."""
        self._book.find(call_id)
        recordings.stop(self._book, self._book.calls.get(call_id))

    def subscribe(self) -> Subscription:
        """Events from now on."""
        return self._book.hub.subscribe()

    def status(self) -> dict[str, Any]:
        """Calls, limits, ports and registrations, as numbers and words."""
        phases: dict[str, int] = {}
        for call in self._book.calls.values():
            phases[call.phase.value] = phases.get(call.phase.value, 0) + 1
        return {
            "started": self.started,
            "uptime_s": round(time.time() - self.started, 1),
            "draining": self._book.limits.draining,
            "calls": len(self._book.calls),
            "calls_by_state": phases,
            "max_calls": self._book.limits.max_calls,
            "ports": {
                "in_use": self._ports.in_use,
                "capacity": self._ports.capacity,
                "skipped": self._ports.skipped,
            },
            "registrations": dict(self._book.registrations),
            "subscribers": len(self._book.hub),
            **self._about(),
            "agents_down": {view.name: view.reason for view in self.agents() if not view.up},
        }

    # --- what SIP and media report ------------------------------------------------------------

    def sip_event(self, event: Event) -> None:
        """An event of the SIP thread; called there, handled on the event loop."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just been closed
                loop.call_soon_threadsafe(self._guarded, self._sip.handle, event)

    def media_message(self, message: control.Message) -> None:
        """A message of a media worker."""
        if isinstance(message, AgentFailed):  # of no single call
            self._book.agents.failed(message)
            return
        self._guarded(self._media.handle, message)

    def gateway_event(self, event: str, data: dict[str, Any]) -> None:
        """Something that concerns no single call, for the event stream."""
        self._book.hub.publish(event, "", data)

    def _guarded(self, reaction: Callable[[Any], None], event: Any) -> None:
        try:
            reaction(event)
        except Exception as error:  # noqa: BLE001 - a fault in one call must not reach the others
            call_id = event.id if isinstance(event, Call) else getattr(event, "call_id", "")
            log.exception("call.internal_error", call_id=call_id, on=type(event).__name__)
            call = self._book.calls.get(call_id)
            if call is not None:
                self._ending.end(call, "internal_error", f"{type(error).__name__}: {error}")

    # --- the end of the gateway -----------------------------------------------------------------

    def drain(self) -> None:
        """Take no new calls."""
        self._book.limits.draining = True

    async def wait_empty(self, timeout_s: float) -> bool:
        """Wait until no call is left; False when time is up first."""
        deadline = time.monotonic() + timeout_s
        while self._book.calls or self._admitted:
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(0.02)
        return True

    def hang_up_all(self, cause: str = "shutdown") -> None:
        """End every call."""
        for call in list(self._book.calls.values()):
            self._ending.end(call, cause)

    # --- time -------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        if self._loop is None:
            return
        self._sweep_timer = self._loop.call_later(SWEEP_S, self._sweep)
        now = time.monotonic()
        self._book.agents.look_after()
        for call in list(self._book.calls.values()):
            if call.deadline and now >= call.deadline:
                self._guarded(lambda overdue: self._ending.overdue(overdue, now), call)
            if call.silent_ms:
                self._guarded(self._media.watch, call)
        self._sip.flush_refusals(now)
        if now >= self._recount_at:
            self._count_recordings()
        for call in list(self._admitted.values()):
            if now >= call.deadline and self._admitted.pop(call.id, None) is not None:
                self._book.give_back(call)
                log.warning("call.admission_timeout", call_id=call.id)

    def _count_recordings(self) -> None:
        """What stands in the folders of recordings, in a thread: a long list of files must not hold up calls."""
        self._recount_at = time.monotonic() + recordings.RECOUNT_S
        folders = recordings.folders_of(self._book.config)
        if folders and self._loop is not None:
            self._loop.run_in_executor(None, self._book.recorded.count, folders)

    @property
    def calls(self) -> dict[str, Call]:
        """All calls that exist, by id; for tests and status."""
        return self._book.calls
