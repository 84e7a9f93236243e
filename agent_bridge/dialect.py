# SPDX-License-Identifier: MIT
"""What every dialect offers to whoever carries calls over it (sans-I/O).

A `Link` is one connection to an agent, seen from the gateway.  The owner of the
socket feeds it bytes and takes bytes from it; the link never touches a socket,
a clock or a thread.  A multiplexing dialect carries many calls on one link, by
channel number; another carries exactly one (`Link.max_calls == 1`).

    bytes from the socket -> receive() -> events, in the order they were said
    commands and audio    -> start() send_audio() ... -> data_to_send()
    time                  -> next_deadline_ns, handle_timeout()

A link never raises on what an agent sends: a violation of the protocol becomes
one `LinkFailed` event, after which the link is dead and returns nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.link_events import LinkEvent
from trunkline.agent_bridge.wire import AudioMessage

# Flags of an audio frame (PCM contract). The same values on the wire of our dialect.
FLAG_SPEECH = 0x01
FLAG_CONCEALED = 0x02
FLAG_COMFORT_NOISE = 0x04
FLAG_GAP = 0x08
FLAG_REPLAY = 0x10
"Said before: to an agent that was lost, or while there was none."


@dataclasses.dataclass(frozen=True, slots=True)
class StartInfo:
    """What an agent learns when a call starts."""

    call_id: str
    direction: str
    caller: str
    called: str
    trunk: str
    route: str
    headers: Mapping[str, str]
    metadata: Mapping[str, str]
    sample_rate_hz: int
    frame_ms: int
    resumed: bool = False
    "the call goes on after the gateway's media process was replaced"
    position: int = 0
    "sample position of the first frame that will follow"
    gap_ms: int = 0
    "with `resumed`: for how long the caller has been sent nothing"
    answered: bool = True
    "the caller hears what is said; False for one that still rings, until `call_state` says `answered`"
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
    "what agents have set on the call"
    attempt: int = 1
    "which agent this is that gets the call: 2 after the first was lost"
    state: bytes = b""
    "with `attempt` above 1: what the agent before it left with us"
    played_ms: int = 0
    "... what has been played of agents before it,"
    replay_ms: int = 0
    "... and how much of the caller's audio comes again, flagged, before it goes on"


@dataclasses.dataclass(frozen=True, slots=True)
class LinkSettings:
    """What a connection to an agent needs to know, beyond where it listens."""

    url: str = ""
    "WebSocket dialects: `ws://` or `wss://` host, port and path, as the user wrote it"
    sample_rate_hz: int = 16000
    frame_ms: int = 20
    timeout_ms: int | None = None
    "how long the agent may take for the handshake, and for each answer; None: the dialect's own"
    gateway_name: str = "trunkline"
    token: str | None = dataclasses.field(default=None, repr=False)
    "our dialect: shown in the hello. WebSocket: bearer token, or the key that a dialect signs with"
    username: str = ""
    password: str | None = dataclasses.field(default=None, repr=False)
    "WebSocket: basic credentials, with `username`"
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    "WebSocket: further headers of the request"
    account: str = ""
    "account id that some dialects name"
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    "what can be chosen in some dialects, by name: `MessageDialect.options`"
    hang_timeout_ms: int | None = None
    "an agent that says nothing for so long in spite of a ping hangs; None: the dialect's own"


class Link(Protocol):
    """One connection to an agent, from the gateway's side."""

    max_calls: int
    "calls that one connection carries"
    supports_marks: bool
    supports_flow_control: bool
    most_messages: int
    "messages that one receive() or resume() handles, so that one agent cannot keep all calls waiting; 0: all"
    unread: bool
    "the last receive() or resume() has stopped there: its bytes must stay as they are, for resume()"

    unheeded: int
    "messages that have led to no event since the owner set it to 0; always 0 where a connection carries many calls"

    @property
    def ignored(self) -> Mapping[str, int]:
        """Messages without effect, by reason."""

    @property
    def lingers(self) -> bool:
        """After stop(): the agent has not closed yet, and what it says must be read, for a while at most."""

    @property
    def next_deadline_ns(self) -> int | None:
        """Monotonic time at which handle_timeout() wants to be called."""

    def connected(self, now_ns: int) -> None:
        """The socket is connected: say hello."""

    def receive(self, data: bytes | bytearray | memoryview, now_ns: int) -> Sequence[LinkEvent]:
        """Take bytes from the socket; empty data means end of stream."""

    @property
    def takes_records(self) -> bool:
        """Whether what is read next begins with a message of our dialect, of which the owner may take audio itself.

        That is from the first message on, as many whole ones (wire.py) as follow each other; receive() gets the rest.
        """

    def hears_records(self, now_ns: int) -> bool:
        """The same of what was read now: if so, the agent counts as heard."""

    def resume(self, now_ns: int) -> Sequence[LinkEvent]:
        """Go on with the bytes of the last receive(), while `unread`."""

    def handle_timeout(self, now_ns: int) -> Sequence[LinkEvent]:
        """Do what time demands: keep-alive, handshake and answer time-outs."""

    def start(self, channel: int, info: StartInfo, now_ns: int) -> None:
        """Offer a call to the agent; it answers Accepted or Rejected."""

    def stop(self, channel: int, reason: str, stats: Mapping[str, float]) -> None:
        """The call is over."""

    def send_audio(
        self,
        channels: NDArray[np.uint32],
        positions: NDArray[np.int64],
        flags: NDArray[np.uint16],
        pcm: NDArray[np.int16],
    ) -> None:
        """Send one frame for each of n calls: pcm[n, samples], all of one rate and length."""

    def audio_message(self, count: int, samples: int) -> AudioMessage | None:
        """In place of `send_audio`: room for so many records of our dialect, for whoever writes them as bytes.

        None where that cannot be, as in any other dialect. Must be done with before anything else is said.
        """

    def send_frame(self, channel: int, position: int, flags: int, pcm: NDArray[np.int16]) -> None:
        """Send one frame of one call: int16[samples]. Arrays of one cost more than all the rest."""

    def send_dtmf(self, channel: int, digit: str, duration_ms: int, method: str) -> None:
        """The caller pressed a key."""

    def send_mark(self, channel: int, name: str, position: int, outcome: str) -> None:
        """A mark's fate: `played` or `cleared`; position in samples played so far."""

    def send_cleared(
        self, channel: int, name: str, played_ms: int, discarded_ms: int, marks: Sequence[str]
    ) -> None:
        """Answer to Clear: ms played since the start and thrown away; its marks need no send_mark."""

    def send_flow(self, channel: int, ready: bool, queued_ms: int) -> None:
        """Ask the agent to pause (ready=False) or to go on."""

    def send_hold(self, channel: int, held: bool) -> None:
        """The caller has put us on hold, or is back."""

    def send_quality(self, channel: int, stats: Mapping[str, float]) -> None:
        """How good the call is now: figures by name, nan where one is not known."""

    def send_network(self, channel: int, silent: bool, idle_ms: int) -> None:
        """Nothing comes from the caller's side since `idle_ms`, or something does again, after so long."""

    def send_speech(self, channel: int, started: bool, position: int, level_dbov: float) -> None:
        """The caller begins to speak at this position of the timeline, or has stopped there."""

    def send_turn(self, channel: int, turn: Mapping[str, float]) -> None:
        """How long one turn took, and whose part that was: figures by name."""

    def send_underrun(self, channel: int, position: int, missing_ms: int) -> None:
        """The agent's speech ran dry at this position of its own samples, and went on so much later."""

    def send_call_state(self, channel: int, state: str) -> None:
        """`ringing`, `early`, `answered`: how far the call has got that was not up when it started."""

    def send_transfer(self, channel: int, state: str, code: int, reason: str) -> None:
        """How a transfer goes: `trying`, `ringing`, `done`, `failed`; code and reason as SIP said them."""

    def send_status(self, channel: int, status: Mapping[str, float]) -> None:
        """Answer to AskStatus: figures by name, `queued_ms` and `max_queue_ms` among them."""

    def send_error(self, channel: int, code: str, text: str) -> None:
        """A command about the call was not carried out; `code` is a word for programs, `text` for people."""

    @property
    def has_data(self) -> bool:
        """Whether data_to_send() may have something; cheap, as most of a thousand connections have nothing."""

    def data_to_send(self) -> list[bytes | memoryview]:
        """Take everything that waits to be written, in order."""


class Unsaid:
    """Base of links: what a dialect has no words for is not said."""

    lingers = False
    unheeded = 0
    takes_records = False

    def hears_records(self, now_ns: int) -> bool:
        """Not in our dialect."""
        return False

    def audio_message(self, count: int, samples: int) -> AudioMessage | None:
        """Not in our dialect."""
        return None

    def send_dtmf(self, channel: int, digit: str, duration_ms: int, method: str) -> None:
        """Not said."""

    def send_mark(self, channel: int, name: str, position: int, outcome: str) -> None:
        """Not said."""

    def send_cleared(
        self, channel: int, name: str, played_ms: int, discarded_ms: int, marks: Sequence[str]
    ) -> None:
        """Not said."""

    def send_flow(self, channel: int, ready: bool, queued_ms: int) -> None:
        """Not said."""

    def send_hold(self, channel: int, held: bool) -> None:
        """Not said."""

    def send_quality(self, channel: int, stats: Mapping[str, float]) -> None:
        """Not said."""

    def send_network(self, channel: int, silent: bool, idle_ms: int) -> None:
        """Not said."""

    def send_speech(self, channel: int, started: bool, position: int, level_dbov: float) -> None:
        """Not said."""

    def send_turn(self, channel: int, turn: Mapping[str, float]) -> None:
        """Not said."""

    def send_underrun(self, channel: int, position: int, missing_ms: int) -> None:
        """Not said."""

    def send_call_state(self, channel: int, state: str) -> None:
        """Not said."""

    def send_transfer(self, channel: int, state: str, code: int, reason: str) -> None:
        """Not said."""

    def send_status(self, channel: int, status: Mapping[str, float]) -> None:
        """Not said."""

    def send_error(self, channel: int, code: str, text: str) -> None:
        """Not said."""
