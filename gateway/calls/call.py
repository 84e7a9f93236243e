# SPDX-License-Identifier: GPL-2.0-or-later
"""One call: its state, what it holds, and when what happened.

A call has two legs that live and end on their own: SIP (`sip_over`) and media
(`media_over`).  Its state is what a person would say of it:

    inbound     INCOMING -> ANSWERING -> UP <-> HELD -> CLOSING -> ENDED
                INCOMING -> RINGING -> EARLY -> ANSWERING, where the agent lets it ring first
    outbound    PREPARING -> CALLING -> RINGING -> EARLY -> UP <-> HELD -> CLOSING -> ENDED

INCOMING and PREPARING last while the agent is being connected; ANSWERING from our
200 to the ACK.  CLOSING begins with the first sign of the end, from wherever it
comes, and lasts until both legs are over; then the ports are given back.  What may
follow what is `TRANSITIONS`, and anything else is not an error: events of two legs
cross each other, and a late one changes nothing.
"""

from __future__ import annotations

import dataclasses
import enum
import time
from typing import Literal, Protocol

from trunkline.gateway.calls.turn_figures import TurnFigures
from trunkline.gateway.calls.view import MediaView, State
from trunkline.gateway.config.model import Agent, Route, Trunk
from trunkline.gateway.media.control import CallInfo, SipSeen
from trunkline.gateway.media.ports import PortPair
from trunkline.gateway.sip.messages import IncomingInvite, PlaceCall, SdpSession
from trunkline.rtp.negotiation import MediaDescription


class Phase(enum.Enum):
    """State of a call; the value is the word that the API shows."""

    INCOMING = "incoming"
    ANSWERING = "answering"
    PREPARING = "preparing"
    CALLING = "calling"
    RINGING = "ringing"
    EARLY = "early"
    UP = "up"
    HELD = "held"
    CLOSING = "closing"
    ENDED = "ended"


class Trigger(enum.Enum):
    """What changes a call's state."""

    AGENT_READY = enum.auto()
    AGENT_WAITS = enum.auto()
    "it has taken an inbound call, and will say when to answer it"
    ANSWER = enum.auto()
    "... which is now"
    RING = enum.auto()
    PROGRESS = enum.auto()
    "183 with SDP: there is audio before the answer"
    CONFIRM = enum.auto()
    "the ACK of our 200, or the peer's 200"
    HOLD = enum.auto()
    RESUME = enum.auto()
    END = enum.auto()
    OVER = enum.auto()
    "both legs have ended"


P, T = Phase, Trigger
TRANSITIONS: dict[Phase, dict[Trigger, Phase]] = {
    P.INCOMING: {T.AGENT_READY: P.ANSWERING, T.AGENT_WAITS: P.RINGING, T.END: P.CLOSING},
    P.ANSWERING: {T.CONFIRM: P.UP, T.END: P.CLOSING},
    P.PREPARING: {T.AGENT_READY: P.CALLING, T.END: P.CLOSING},
    P.CALLING: {T.RING: P.RINGING, T.PROGRESS: P.EARLY, T.CONFIRM: P.UP, T.END: P.CLOSING},
    P.RINGING: {T.PROGRESS: P.EARLY, T.CONFIRM: P.UP, T.ANSWER: P.ANSWERING, T.END: P.CLOSING},
    P.EARLY: {T.CONFIRM: P.UP, T.ANSWER: P.ANSWERING, T.END: P.CLOSING},
    P.UP: {T.HOLD: P.HELD, T.END: P.CLOSING},
    P.HELD: {T.RESUME: P.UP, T.END: P.CLOSING},
    P.CLOSING: {T.OVER: P.ENDED},
    P.ENDED: {},
}

ANSWERED = frozenset({P.UP, P.HELD})
OPEN = ANSWERED | {P.ANSWERING}
"Our 200, or the peer's, has been sent: only a BYE can end it."
RINGING = frozenset({P.CALLING, P.RINGING, P.EARLY})
"Our INVITE is out and has no final response; or theirs, and the agent lets it ring."
SHOWN: dict[Phase, State] = {
    P.INCOMING: "incoming",
    P.ANSWERING: "answering",
    P.PREPARING: "calling",
    P.CALLING: "calling",
    P.RINGING: "ringing",
    P.EARLY: "early",
    P.UP: "up",
    P.HELD: "held",
    P.CLOSING: "ended",
    P.ENDED: "ended",
}
"How a person sees it: the agent being connected is part of calling, and closing is over."


class MediaSession(SdpSession, Protocol):
    """What call control needs of `rtp.negotiation.Session` beyond what SIP needs."""

    @property
    def held(self) -> bool:
        """The peer has put us on hold."""

    def description(self) -> MediaDescription | None:
        """What was agreed on; None before."""


@dataclasses.dataclass(slots=True, eq=False)
class Call:
    """A call from its admission to its end. Identity is the object's: one call, one record."""

    info: CallInfo
    trunk: Trunk
    agent: Agent
    session: MediaSession
    ports: PortPair
    local: str
    "address:port of our RTP socket as the SDP says it"
    phase: Phase
    invite: IncomingInvite | None = None
    "inbound: what was asked"
    created: float = dataclasses.field(default_factory=time.time)
    "Unix time"
    created_at: float = dataclasses.field(default_factory=time.monotonic)
    deadline: float = 0.0
    "monotonic time at which the sweep looks at the call again; 0 never"
    deadline_for: str = ""
    "why: admission, agent, ack, media_stop, sip_end"
    answered: float | None = None
    ended: float | None = None
    agent_connect_ms: float | None = None
    media: MediaDescription | None = None
    "what the media worker was last told"
    dtls_suite: str = ""
    "of SRTP, that the last DTLS handshake has chosen"
    remote: str = ""
    "address:port that the first proven RTP packet came from"
    sip_over: bool = False
    media_over: bool = False
    cause: str = ""
    "our word for why it ended; the first one given stays"
    detail: str = ""
    "a sentence about it, for the log"
    sip_code: int = 0
    "code of the last response or request that said something of the call's fate; 0 before there was any"
    sip_reason: str = ""
    sip_call_id: str = ""
    "Call-ID of the dialog"
    left_out: tuple[str, ...] = ()
    "headers of the INVITE that were too much for the agent"
    silent_ms: int = 0
    "how long the peer had sent no RTP when the worker last said so; 0 while it sends"
    silent_packets: int = 0
    "packets received when that silence was told"
    quality: MediaView | None = None
    "figures of the audio, once it is ending: its row is soon another call's"
    cut_tones: bool = False
    "tones of keys are cut out of what the agent hears"
    tones_only: bool = False
    "the peer takes neither RTP events nor INFO: digits go as tones"
    place: PlaceCall | None = None
    "outbound: the INVITE that waits for the agent"
    route: Route | None = None
    "the route that it came by, or whose settings were asked for"
    others: tuple[Agent, ...] = ()
    "agents that get the call when `agent` fails, in the order in which they are asked"
    agents: list[str] = dataclasses.field(default_factory=list)
    "names of those that had it, one after the other"
    attempts: int = 1
    "which agent in turn has it"
    agentless: bool = False
    "no agent has it any more: it ends, or is handed on"
    variables: dict[str, str] = dataclasses.field(default_factory=dict)
    "texts that agents and the API have set"
    holding: bool = False
    "we have put the other party on hold"
    hold_sound: str = ""
    "... where it hears this file, or the built-in music"
    transfer: str = ""
    "how a transfer of it stands: empty, or `asked`, `trying`, `ringing`, `done`"
    transfer_ends: float = 0.0
    "... and by when, monotonic, its result is known"
    attended: str = ""
    "... id of the call whose other party it goes to, if that is another call of ours"
    recording: str = ""
    "file that it is being recorded into"
    sip_messages: int = 0
    "SIP messages that have gone into it"
    sip_waiting: list[SipSeen] = dataclasses.field(default_factory=list)
    "... and those for which there is no worker at the moment"
    targets: tuple[str, ...] = ()
    "whom it was to be transferred to, the last ones; for log lines, which may have to hide them"
    responded: dict[str, str] = dataclasses.field(default_factory=dict)
    "inbound: agents' headers in our responses to the INVITE"
    turns: TurnFigures = dataclasses.field(default_factory=TurnFigures)
    "how long the agent and we took for the turns that have been taken"

    @property
    def id(self) -> str:
        """Our id of the call."""
        return self.info.call_id

    @property
    def direction(self) -> Literal["inbound", "outbound"]:
        """Who rang."""
        return "inbound" if self.invite is not None else "outbound"

    @property
    def numbers(self) -> tuple[str, ...]:
        """Numbers and URIs that its log lines must not show if numbers are hidden."""
        return self.info.caller, self.info.called, *self.targets

    @property
    def closing(self) -> bool:
        """Whether it has begun to end."""
        return self.phase in (Phase.CLOSING, Phase.ENDED)

    @property
    def duration_s(self) -> float:
        """Seconds between answer and end, or now; 0 for a call that was never answered."""
        return 0.0 if self.answered is None else round((self.ended or time.time()) - self.answered, 3)

    def apply(self, trigger: Trigger) -> bool:
        """Change the state; False when `trigger` has no meaning in this one."""
        following = TRANSITIONS[self.phase].get(trigger)
        if following is None:
            return False
        self.phase = following
        return True

    def wait(self, seconds: float, what_for: str) -> None:
        """Ask the sweep to look at the call when nothing has happened for so long."""
        self.deadline = time.monotonic() + seconds
        self.deadline_for = what_for
