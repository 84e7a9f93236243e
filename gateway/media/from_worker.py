# SPDX-License-Identifier: GPL-2.0-or-later
"""What a media worker tells the gateway process; what agents ask of call control is in agent_asks.py."""

from __future__ import annotations

import msgspec

from trunkline.gateway.media.agent_asks import (
    AgentAnswer,
    AgentChanged,
    AgentFailed,
    AgentHold,
    AgentMuted,
    AgentProgress,
    AgentRing,
    AgentState,
    AgentTransfer,
    AgentVariables,
    TurnTaken,
)
from trunkline.gateway.media.message import Message
from trunkline.rtp.dtls_certificate import Fingerprint
from trunkline.rtp.sdes import CryptoKey


class WorkerReady(Message, frozen=True):
    """The loop runs and takes streams."""

    pid: int


class StreamReady(Message, frozen=True):
    """The agent has taken the call: it may be answered now."""

    call_id: str
    slot: int
    generation: int
    agent_connect_ms: float
    answer: bool = True
    "False: not yet; the agent will ask for it (AgentAnswer)"
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    "SIP headers for our 200"
    agent: str = ""
    "name of the one that has taken it"
    tries: int = 1
    "agents and retries that it took"


class StreamFailed(Message, frozen=True):
    """The stream never came up, or cannot go on."""

    call_id: str
    reason: str
    """`agent_unreachable`, `agent_rejected`, `agent_timeout`, `agent_version`, `agent_lost`, `table_full`,
    `no_descriptors`, `bad_media`, `dtls_failed`"""
    detail: str
    "a sentence for a person: what was tried, where, what to do"
    sip_code: int = 0
    "code that an agent asked for with its rejection, else 0"
    sip_reason: str = ""
    "reason phrase with it, or empty"


class StreamEnded(Message, frozen=True):
    """Answer to StopStream, after the last packet: the final quality of the call."""

    call_id: str
    stats: dict[str, float]


class KeysAgreed(Message, frozen=True):
    """A DTLS handshake has made keys: a successor of the worker will need them."""

    call_id: str
    active: bool
    "with `fingerprints`, what of the call's terms they belong to"
    fingerprints: tuple[Fingerprint, ...]
    send_key: CryptoKey
    receive_key: CryptoKey


class AgentHangup(Message, frozen=True):
    """The agent ends the call."""

    call_id: str
    reason: str = ""
    sip_code: int = 0
    "used only before answer"
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    "SIP headers for the BYE or the refusal"


class AgentDtmf(Message, frozen=True):
    """The agent asked for digits that this call cannot take as RTP events (no telephone-event)."""

    call_id: str
    digits: str
    duration_ms: int
    gap_ms: int = 80


class DtmfQueued(Message, frozen=True):
    """Digits are on their way to the caller, by RTP event or tone."""

    call_id: str
    digits: int
    method: str


class RecordingEnded(Message, frozen=True):
    """A recording's file is closed."""

    call_id: str
    path: str
    octets: int
    left_out: int
    "packets that were not written because the disk was slow"
    outcome: str
    "`complete`, `limit` or `failed`"
    detail: str = ""


class CallerDtmf(Message, frozen=True):
    """The caller pressed a key, once per press."""

    call_id: str
    digit: str
    duration_ms: int
    method: str


class AgentEvent(Message, frozen=True):
    """Something a person would like to see in the event stream.

    `mark`      one was played: name, position (samples of the agent's played so far)
    `clear`     played_ms, discarded_ms, marks (how many were cut), first_marks (names of a few)
    `pause`     paused: whether the agent's speech stands still now
    `overflow`  queues of the call are full, once a second: dropped_ms (speech), marks, digits
    `underrun`  speech goes on that had run dry: position, missing_ms (since it was told last)

    barge_in is true where the route did it because the caller spoke.
    A call posts 20 marks, clears and underruns a second at most; left_out says how many were not told.
    """

    call_id: str
    event: str
    data: dict[str, str | int | float | bool]


class MediaStarted(Message, frozen=True):
    """The first proven RTP packet of the call; `address` is where it came from."""

    call_id: str
    address: str


class MediaSilent(Message, frozen=True):
    """No RTP from the caller for this long, while it should send."""

    call_id: str
    idle_ms: int


class CallerSpeech(Message, frozen=True):
    """The caller begins to speak or has stopped, at that sample of the agent's timeline; if the route wants it told."""

    call_id: str
    started: bool
    position: int
    level_dbov: float


FromWorker = (
    WorkerReady
    | StreamReady
    | StreamFailed
    | StreamEnded
    | KeysAgreed
    | AgentHangup
    | AgentRing
    | AgentProgress
    | AgentAnswer
    | AgentHold
    | AgentTransfer
    | AgentVariables
    | AgentMuted
    | AgentState
    | AgentChanged
    | AgentFailed
    | TurnTaken
    | AgentDtmf
    | DtmfQueued
    | AgentEvent
    | CallerDtmf
    | MediaStarted
    | MediaSilent
    | CallerSpeech
    | RecordingEnded
)
