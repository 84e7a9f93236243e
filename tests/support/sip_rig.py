# SPDX-License-Identifier: GPL-2.0-or-later
"""A SIP thread between a screen and sessions that are made of constants.

The driver of a test posts commands and waits for events, both by hand, so that what
the gateway would do is visible in the test.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from trunkline.gateway.sip.events import CallState, Event, Incoming, StateChanged
from trunkline.gateway.sip.messages import Admission, Command, IncomingInvite, PlaceCall, Refusal, SdpError
from trunkline.gateway.sip.settings import SipConfig
from trunkline.gateway.sip.thread import SipThread

E = TypeVar("E")
RTP_PORT = 23456
"what our SDP says; nobody listens there"
WAIT_S = 8.0


def our_sdp(direction: str = "sendrecv", codec: str = "0 PCMU/8000", port: int = RTP_PORT) -> str:
    """An SDP of ours, with an attribute that PJSIP would never write."""
    number = codec.split(maxsplit=1)[0]
    return (
        "v=0\r\no=trunkline 77 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP {number}\r\na=rtpmap:{codec}\r\na=ptime:20\r\na=x-ours:yes\r\na={direction}\r\n"
    )


class StaticSession:
    """An SdpSession that knows one codec and remembers what it was asked."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []
        "(method, SDP of the peer or empty)"
        self.refuse_next = ""
        "the next answer is refused, for this reason"
        self.held = False
        self.encrypted = False

    def answer(self, offer: str) -> str:
        self.log.append(("answer", offer))
        if self.refuse_next:
            reason, self.refuse_next = self.refuse_next, ""
            raise SdpError(reason)
        if "a=sendonly" in offer:
            return our_sdp("recvonly")
        return our_sdp("inactive" if "a=inactive" in offer else "sendrecv")

    def withdraw(self) -> None:
        self.log.append(("withdraw", ""))

    def offer(self) -> str:
        self.log.append(("offer", ""))
        return our_sdp("sendonly" if self.held else "sendrecv")

    def repeated(self) -> None:
        self.log.append(("repeated", ""))

    def accepted(self, answer: str, *, keys_unseen: bool = False) -> None:
        self.log.append(("accepted", answer))
        if self.refuse_next:
            raise SdpError(self.refuse_next)

    def forgo_keys(self) -> None:
        self.log.append(("forgo_keys", ""))

    def hold(self, held: bool) -> None:
        self.log.append(("hold", str(held)))
        self.held = held

    @property
    def steps(self) -> list[str]:
        """Names of the methods called so far."""
        return [name for name, _ in self.log]

    def last(self, name: str) -> str:
        """SDP of the latest call of a method."""
        return next(sdp for step, sdp in reversed(self.log) if step == name)


class ScriptedScreen:
    """Admits everybody to the trunk that is named like the called user, else to `pbx`, unless told otherwise."""

    def __init__(self, trunks: Sequence[str]) -> None:
        self.trunks = trunks
        self.refusal: Refusal | None = None
        self.error: Exception | None = None
        self.tls_only = False
        self.seen: list[IncomingInvite] = []
        self.new_session: Callable[[], Any] = StaticSession
        self.sessions: dict[str, Any] = {}
        self._numbers = itertools.count(1)

    def incoming(self, invite: IncomingInvite) -> Admission | Refusal:
        self.seen.append(invite)
        if self.error is not None:
            raise self.error
        if self.refusal is not None:
            return self.refusal
        tls_only = self.tls_only and invite.keys_by == "tls"
        user = invite.request_uri.removeprefix("sip:").partition("@")[0]
        call_id = f"in-{next(self._numbers)}"
        self.sessions[call_id] = self.new_session()
        return Admission(call_id, self.sessions[call_id], user if user in self.trunks else "pbx", tls_only)


class SipRig:
    """A running SIP thread and everything that it has said."""

    def __init__(self, config: SipConfig) -> None:
        self.screen = ScriptedScreen([trunk.name for trunk in config.trunks])
        self.events: list[Event] = []
        self.react: Callable[[Event], Sequence[Command]] = lambda event: ()
        "called on the SIP thread for every event; what it returns is posted"
        self._changed = threading.Condition()
        self._numbers = itertools.count(1)
        self.thread = SipThread(config, self.screen, self._on_event)
        self.thread.start()
        self.port = self.thread.ports[0]

    def _on_event(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()
        for command in self.react(event):
            self.thread.post(command)

    def post(self, *commands: Command) -> None:
        for command in commands:
            self.thread.post(command)

    def place(
        self, target_host: str, *, trunk: str = "pbx", user: str = "600", scheme: str = "sip", **options: object
    ) -> tuple[str, StaticSession]:
        """Post a PlaceCall; returns its call id and session."""
        call_id, session = f"out-{next(self._numbers)}", StaticSession()
        self.post(PlaceCall(call_id, trunk, f"{scheme}:{user}@{target_host}", session, **options))  # type: ignore[arg-type]
        return call_id, session

    def wait(self, kind: type[E], count: int = 1, within_s: float = WAIT_S, **fields: object) -> E:
        """The `count`-th event of a kind with these fields; waits for it."""

        def found() -> list[E]:
            matching = (event for event in self.events if isinstance(event, kind))
            return [
                one for one in matching if all(getattr(one, name) == value for name, value in fields.items())
            ]

        give_up = time.monotonic() + within_s
        with self._changed:
            while len(found()) < count:
                left = give_up - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise AssertionError(f"no {kind.__name__} {fields} (x{count}) among {self.events}")
            return found()[count - 1]

    def incoming(self, count: int = 1) -> tuple[str, StaticSession]:
        """Wait for an INVITE; returns its call id and session."""
        event = self.wait(Incoming, count)
        return event.call_id, self.screen.sessions[event.call_id]

    def state(self, call_id: str, state: CallState, within_s: float = WAIT_S) -> StateChanged:
        """Wait until a call has been in a state."""
        return self.wait(StateChanged, within_s=within_s, call_id=call_id, state=state)

    def states(self, call_id: str) -> list[CallState]:
        """States of a call so far."""
        return [one.state for one in self.events if isinstance(one, StateChanged) and one.call_id == call_id]

    def count(self, kind: type[E]) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    def stop(self, deadline_s: float = 2.0) -> None:
        self.thread.stop(deadline_s)
