# SPDX-License-Identifier: GPL-2.0-or-later
"""What the gateway process tells a media worker; how it travels is in control.py."""

from __future__ import annotations

import msgspec

from trunkline.gateway.media.call_params import AgentParams, CallInfo, DigitParams, RecordingParams
from trunkline.gateway.media.call_policy import PERMISSIONS, RescueParams, TurnParams
from trunkline.gateway.media.message import Message
from trunkline.rtp.negotiation import MediaDescription


class StartStream(Message, frozen=True):
    """Take a call: two file descriptors come with it, RTP then RTCP (one if rtcp-mux)."""

    info: CallInfo
    media: MediaDescription
    agent: AgentParams
    slot: int = -1
    "row to take over after a worker died; -1 lets the table choose"
    generation: int = 0
    "generation of that row, with `slot`"
    state: bytes = b""
    "columns of the row that the call had in another worker's table (`Columns.row_state`); without `slot`"
    digits: DigitParams = DigitParams()
    turns: TurnParams = TurnParams()
    rescue: RescueParams = RescueParams()
    others: tuple[AgentParams, ...] = ()
    "agents that get the call when its own is lost, in the order in which they are asked"
    agent_may: tuple[str, ...] = PERMISSIONS
    "what the agent may ask for: words of `call_policy.PERMISSIONS`"
    variables: dict[str, str] = msgspec.field(default_factory=dict)
    "that agents have set on the call"
    agent_state: bytes = b""
    "what the agent of the call has last left with us; for a worker that takes the call over"
    answered: bool = False
    "the call is up; only with `slot` or `state`"
    taken: bool = False
    "the agent has taken the call before: that it takes it again says nothing of the answer; only with the same"
    muted: tuple[bool, bool] = (False, False)
    "uplink and downlink, as the agent has muted them; only with `slot` or `state`"
    hold_media: bool = False
    "connect the agent but send and deliver nothing until an UpdateStream says so"
    attempt: int = 1
    "which agent this is that has the call"
    first_agent: str = ""
    "name of the one that was asked first, whose texts are in `info.metadata`; empty: `agent`"
    recording: RecordingParams | None = None
    "record the call from its start"
    agentless: bool = False
    "no agent is to be asked any more: its other party is being handed on; only with `slot` or `state`"


class UpdateStream(Message, frozen=True):
    """New negotiated media: answer received, hold, resume, moved address, other codec."""

    call_id: str
    media: MediaDescription


class StopStream(Message, frozen=True):
    """The call is over; tell the agent why, send RTCP BYE, give the row back."""

    call_id: str
    reason: str


class SendDtmf(Message, frozen=True):
    """Send digits to the caller: RFC 4733 events, or tones where the call's digits travel so."""

    call_id: str
    digits: str
    duration_ms: int = 160
    gap_ms: int = 80
    inband: bool = False
    "tones from now on, for the rest of the call: the peer takes neither events nor INFO"


class InjectDtmf(Message, frozen=True):
    """A digit that came by SIP INFO: hand it to the agent in order."""

    call_id: str
    digit: str
    duration_ms: int
    method: str = "info"


class DtmfRefused(Message, frozen=True):
    """Digits of the agent could not be sent: tell it why."""

    call_id: str
    text: str


class CommandRefused(Message, frozen=True):
    """A command of the agent could not be carried out: tell it why."""

    call_id: str
    code: str
    "a word for programs"
    text: str
    "a sentence for people"


class TellCallState(Message, frozen=True):
    """Tell the agent how far the call has got: `ringing`, `early`, `answered`."""

    call_id: str
    state: str


class TellTransfer(Message, frozen=True):
    """Tell the agent how its transfer goes: `trying`, `ringing`, `done`, `failed`."""

    call_id: str
    state: str
    code: int = 0
    reason: str = ""


class SetVariables(Message, frozen=True):
    """All variables that the call has from now on: the next agent is told of them."""

    call_id: str
    values: dict[str, str]


class PlaySound(Message, frozen=True):
    """Let the caller hear a sound file in place of the agent, until it ends or StopSound."""

    call_id: str
    path: str
    "WAV file that the gateway has checked; empty: the built-in music"
    loop: bool = False


class StopSound(Message, frozen=True):
    """The agent is heard again."""

    call_id: str


class ClearAudio(Message, frozen=True):
    """Silence what the agent has queued, as its own `clear` would."""

    call_id: str


class StartRecording(Message, frozen=True):
    """Record a call from now on."""

    call_id: str
    recording: RecordingParams


class StopRecording(Message, frozen=True):
    """The recording is complete."""

    call_id: str


class SipSeen(Message, frozen=True):
    """A SIP message of a call that is recorded, without secrets, between `peer` and `port`."""

    call_id: str
    outbound: bool
    data: bytes
    "at most `recordings.SIP_BYTES`: base64 of it must fit into a message"
    time_ns: int
    "Unix time"
    peer: tuple[str, int]
    "address, which may be empty, and port"
    port: int
    "ours; 5060 where it is not known"


class Adopt(Message, frozen=True):
    """To a spare worker: take this place. The descriptor of its table comes with it."""

    index: int
    capacity: int


class Drain(Message, frozen=True):
    """Finish: stop reading, close agent connections, exit when the last stream is gone."""

    deadline_ms: int = 0


ToCall = (
    SendDtmf | InjectDtmf | DtmfRefused | CommandRefused | TellCallState | TellTransfer | SetVariables | PlaySound
    | StopSound | ClearAudio | StartRecording | StopRecording | SipSeen
)  # fmt: skip
"About one call that a worker has."

ToWorker = (
    StartStream
    | UpdateStream
    | StopStream
    | SendDtmf
    | InjectDtmf
    | DtmfRefused
    | CommandRefused
    | TellCallState
    | TellTransfer
    | SetVariables
    | PlaySound
    | StopSound
    | ClearAudio
    | Adopt
    | Drain
    | StartRecording
    | StopRecording
    | SipSeen
)
