# SPDX-License-Identifier: GPL-2.0-or-later
"""What the parts of call control share: the calls there are, and ways to SIP, media and observers.

It decides nothing.  `ending.py`, `sip_flow.py` and `media_flow.py` act on it, `service.py`
is its face.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from trunkline.gateway import logs
from trunkline.gateway.calls.agents import Agents
from trunkline.gateway.calls.call import Call
from trunkline.gateway.calls.limits import Limits
from trunkline.gateway.calls.media_view import call_view, media_view
from trunkline.gateway.calls.recorded import Recorded
from trunkline.gateway.calls.subscribers import EventHub
from trunkline.gateway.calls.view import CallView, MediaView
from trunkline.gateway.config.model import Config
from trunkline.gateway.media import control
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.ports import PortPair
from trunkline.gateway.sip.messages import Command
from trunkline.rtp.negotiation import MediaDescription

KEPT_ENDED = 200
"Ended calls that can still be looked up; about 2 kB each."

log = logs.get_logger("trunkline.call")


class Media(Protocol):
    """What call control needs of the media pool."""

    def start_stream(self, start: control.StartStream, ports: PortPair) -> None:
        """Raises gateway.media.pool.NoWorker."""

    def update(self, call_id: str, media: MediaDescription) -> None:
        """New negotiated media."""

    def send(self, message: control.ToCall) -> bool:
        """Whether a worker took it."""

    def remember(self, call_id: str, **changes: Any) -> None:
        """What of StartStream has changed, for a worker that takes the call over."""

    def stop_stream(self, call_id: str, reason: str) -> bool:
        """Whether StreamEnded will follow."""

    def forget(self, call_id: str) -> None:
        """The stream is over."""

    def row(self, call_id: str) -> tuple[Columns, int] | None:
        """Where the figures are."""


class Observer(Protocol):
    """Counts for metrics, as `gateway.metrics.Metrics` keeps them."""

    def call_started(self, call_id: str, direction: str) -> None:
        """Admitted, or being placed."""

    def call_answered(self, call_id: str, setup_s: float) -> None:
        """Up."""

    def call_ended(self, call_id: str, cause: str, duration_s: float = 0.0) -> None:
        """Over, nothing is held any more."""

    def call_quality(self, media: MediaView) -> None:
        """How a call's audio was, at its end."""

    def refused(self, cause: str) -> None:
        """An INVITE that became no call."""

    def digit_received(self, method: str) -> None:
        """The other party pressed a key."""

    def digits_sent(self, method: str, count: int) -> None:
        """Digits went to the other party."""

    def turn(self, turn: Mapping[str, float]) -> None:
        """The caller spoke and the agent answered: what it took, in ms by name."""

    def registration(self, trunk: str, registered: bool, code: int = 0) -> None:
        """A REGISTER came to something."""

    def agent_state(self, name: str, up: bool) -> None:
        """An agent is down, or up again."""

    def agent_failed(self, name: str, reason: str) -> None:
        """An agent could not be reached, or was lost."""

    def agent_changed(self, found: bool, took_s: float) -> None:
        """A call whose agent was lost has another, or none came in time."""

    def transfer(self, kind: str, result: str) -> None:
        """A transfer, `blind` or `attended`, came to something: `done`, `failed`, or the call `ended` before."""

    def recorded(self, outcome: str, octets: int) -> None:
        """A recording's file is closed."""


class Book:
    """Calls by id, and the ended ones that are still remembered."""

    def __init__(
        self,
        config: Config,
        limits: Limits,
        media: Media,
        post: Callable[[Command], None],
        observer: Observer,
    ) -> None:
        """`post` takes a command to the SIP thread."""
        self.config = config
        self.limits = limits
        self.media = media
        self.post = post
        self.observer = observer
        self.hub = EventHub()
        self.recorded = Recorded()
        self.calls: dict[str, Call] = {}
        self._ended: OrderedDict[str, CallView] = OrderedDict()
        self.agent_params: Mapping[str, control.AgentParams] = {}
        "by agent name, with their tokens"
        self.agents = Agents(config)
        "order and health; the screen's, once there is one"
        self.registrations: dict[str, dict[str, Any]] = {}
        "by trunk: what SIP last said of its registration"

    def view(self, call: Call) -> CallView:
        """The call with the figures of this moment."""
        return call_view(call, call.quality or media_view(call, self.media.row(call.id)))

    def find(self, call_id: str) -> CallView:
        """A call that is, or was until recently; raises KeyError."""
        call = self.calls.get(call_id)
        return self.view(call) if call is not None else self._ended[call_id]

    def close(self, call: Call, view: CallView) -> None:
        """The call is over; its view is kept for a while."""
        self.calls.pop(call.id, None)
        self._ended[call.id] = view
        while len(self._ended) > KEPT_ENDED:
            self._ended.popitem(last=False)

    def publish(self, event: str, call: Call, /, **data: Any) -> None:
        """Tell subscribers, with who and where, which a person wants on every line."""
        if len(self.hub):
            info = call.info
            who = {"direction": info.direction, "caller": info.caller, "called": info.called}
            self.hub.publish(event, call.id, {**who, "route": info.route, "agent": call.agent.name, **data})

    def give_back(self, call: Call) -> None:
        """Ports and place in the limits; whoever comes second changes nothing."""
        if not call.ports.released:
            call.ports.release()
            self.limits.release(call.trunk.name)
