# SPDX-License-Identifier: MIT
"""What an agent says, as events: the same for every dialect; `dialect.Link` returns them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, slots=True)
class LinkUp:
    """The handshake is done: calls may be started."""

    agent: str


@dataclasses.dataclass(frozen=True, slots=True)
class LinkFailed:
    """The link is dead. `reason`: `agent_version`, `agent_protocol`, `agent_timeout`, ...
    (gateway/outcome.py has them all)."""

    reason: str
    detail: str


# --- before the answer ----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Accepted:
    """The agent takes the call. An inbound one is answered at once, unless the agent says so later (`Answer`)."""

    channel: int
    answer: bool = True
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    "SIP headers of the 200 that follows"


@dataclasses.dataclass(frozen=True, slots=True)
class Rejected:
    """The agent does not take the call; `code` is a SIP code or 0."""

    channel: int
    code: int
    reason: str
    timeout: bool = False
    "it did not say so: it was silent for too long (`reason` says how long, `code` is 0)"


@dataclasses.dataclass(frozen=True, slots=True)
class Ring:
    """Let the caller hear that it rings (180)."""

    channel: int
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """Open the audio before the answer (183 with SDP): what the agent says is heard, and costs the caller nothing."""

    channel: int
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """Answer the call that was accepted without (200)."""

    channel: int
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


# --- speech ---------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class Audio:
    """Speech for callers, one row per record; rows keep the order of arrival.

    Not frozen, as the others are: that takes four times as long to make, 50 times a second for each call.
    """

    channels: NDArray[np.uint32]
    "[n]"
    pcm: NDArray[np.int16]
    "[n, samples]; a view of the bytes given to receive(), valid as long as they are"
    sample_rate_hz: int = 0
    "0: the call's. A dialect may let an agent name a rate with each piece"


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """Report when all audio of this channel sent before this has been played."""

    channel: int
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Clear:
    """Throw away what is queued for this channel, at once."""

    channel: int
    name: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Pause:
    """Stop playing and keep what is queued, or go on (paused is False)."""

    channel: int
    paused: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Dtmf:
    """Send digits to the caller."""

    channel: int
    digits: str
    duration_ms: int = 160
    gap_ms: int = 80


# --- the call -------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Mute:
    """Let the caller (downlink) not hear the agent, or the agent (uplink) not hear the caller; None: as it is."""

    channel: int
    uplink: bool | None = None
    downlink: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class HoldCall:
    """Put the other party on hold, with the music of that name (empty: the route's), or take it back."""

    channel: int
    held: bool
    music: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Transfer:
    """Hand the other party on: to a number or SIP URI, or to that of another call of ours (attended)."""

    channel: int
    target: str
    attended: str = ""
    "call id of the other call; the target is then its other party (RFC 3891)"
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Variables:
    """Texts that belong to the call from now on, by name; an empty one removes it."""

    channel: int
    values: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """What the agent wants to be given back when it, or another in its place, gets the call again."""

    channel: int
    data: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Acknowledge:
    """The caller's audio before this position needs no replay if the agent is lost."""

    channel: int
    position: int


@dataclasses.dataclass(frozen=True, slots=True)
class AskStatus:
    """Say how much is queued and how the call is."""

    channel: int


@dataclasses.dataclass(frozen=True, slots=True)
class Hangup:
    """End the call."""

    channel: int
    reason: str = ""
    code: int = 0
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    parting: bool = dataclasses.field(default=False, compare=False)
    "the connection ends with it: this agent cannot go on with the call, whatever it may do"


Command = (
    Ring | Progress | Answer | Mark | Clear | Pause | Dtmf | Mute | HoldCall | Transfer | Variables | State
    | Acknowledge | AskStatus | Hangup
)  # fmt: skip
"About one call that the agent has accepted."

LinkEvent = LinkUp | LinkFailed | Accepted | Rejected | Audio | Command
