# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages between the gateway process and a media worker.

They travel as JSON over one SOCK_SEQPACKET pair per worker, to it one message per
packet, with the RTP and RTCP sockets of a call attached to its `StartStream`
(SCM_RIGHTS), and from it those of a tick in one packet, one a line.  Counters do
not travel: the worker writes them into columns in shared memory (`columns.py`) and
the gateway reads them there.

Nothing here does I/O, and `gateway.sip` never sees these types.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
from trunkline.gateway.media.call_policy import PERMISSIONS, RescueParams, TurnParams
from trunkline.gateway.media.message import Message as Message  # noqa: PLC0414 - users of control need both
from trunkline.gateway.media.message import Post as Post  # noqa: PLC0414
from trunkline.rtp.dtls_certificate import Fingerprint
from trunkline.rtp.negotiation import MediaDescription
from trunkline.rtp.sdes import CryptoKey

# --- what the worker must know of an agent -------------------------------------------------


class AgentParams(msgspec.Struct, frozen=True):
    """Where an agent listens and in which form it wants its audio."""

    name: str
    address: str
    "`unix:/path` or `tcp:host:port`"
    dialect: str
    "one of `agent_bridge.links.DIALECTS`"
    sample_rate_hz: int = 16000
    frame_ms: int = 20
    connect_timeout_ms: int = 2000
    max_queue_ms: int = 60000
    "downlink audio held for one call at most; what does not fit is dropped and counted"
    token: str | None = None
    "secret for the `hello` of our dialect; WebSocket: bearer token, or the key that a dialect signs with"
    url: str = ""
    "WebSocket: `ws://` or `wss://`, as configured; `address` is what its host resolves to"
    username: str = ""
    password: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    "WebSocket: further headers of the request"
    account: str = ""
    "account id that some dialects name"
    ca: str = ""
    "wss: file with the authorities that are believed; empty: the system's"
    verify: bool = True
    "wss: whether the certificate must be good and name the host"
    options: tuple[tuple[str, str], ...] = ()
    "what can be chosen in some dialects"
    hang_timeout_ms: int = 5000
    "an agent that has said nothing for so long in spite of a ping, or has read nothing, hangs"
    connect_retries: int = 0
    "how often connecting is tried again before the answer, each time after"
    retry_pause_ms: int = 200
    flood_ms: int = 600_000
    "speech of one call beyond its queue, in 10 s, with which the agent has gone mad"
    flood_commands: int = 5000
    "... and commands about one call in a second"
    prebuffer_ms: int | None = None
    "how long the first words of a talkspurt wait; None: as long as the agent has shown to need (prebuffer.py),"
    prebuffer_max_ms: int = 200
    "and no longer than this"
    metadata: tuple[tuple[str, str], ...] = ()
    "texts that it is told with each call; those of the first agent are in `CallInfo.metadata` already"

    def __repr__(self) -> str:
        """Without the secrets, wherever a message may be shown."""
        return f"AgentParams({self.name!r}, {self.address!r}, {self.dialect!r})"


class CallInfo(msgspec.Struct, frozen=True):
    """What an agent is told of a call when it starts."""

    call_id: str
    "our id, a UUID4 in text form; also AudioSocket's UUID"
    direction: str
    "`inbound` (the caller rang us) or `outbound` (we rang)"
    caller: str
    called: str
    trunk: str
    route: str
    headers: dict[str, str] = {}
    metadata: dict[str, str] = {}


class DigitParams(msgspec.Struct, frozen=True):
    """How the keys of a call travel, beyond what its SDP says."""

    inband: bool = False
    "ours are sent as tones in the audio"
    detect: str = "auto"
    "`on`, `off` or `auto`: whether the caller's tones are told; auto: if no telephone-event was agreed on"
    cut: bool = False
    "tones are cut out of what the agent hears"


class RecordingParams(msgspec.Struct, frozen=True):
    """Where a call is recorded."""

    path: str
    "file that is made; must not be there"
    max_bytes: int
    redact: bool = False
    "telephone numbers, headers and metadata are left out"


# --- gateway -> worker ---------------------------------------------------------------------


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


# --- worker -> gateway ---------------------------------------------------------------------


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

encode = msgspec.json.Encoder().encode
decode_to_worker = msgspec.json.Decoder(ToWorker).decode
decode_from_worker = msgspec.json.Decoder(FromWorker).decode


def joined(messages: Iterable[bytes], most_bytes: int) -> Iterator[bytes]:
    """Encoded messages as packets of at most so many bytes; JSON has no line breaks of its own. See `apart`."""
    lines: list[bytes] = []
    size = 0
    for message in messages:
        if lines and size + len(message) > most_bytes:
            yield b"\n".join(lines)
            lines, size = [], 0
        lines.append(message)
        size += len(message) + 1
    if lines:
        yield b"\n".join(lines)


def apart(packet: bytes) -> list[bytes]:
    """The messages of a packet."""
    return packet.split(b"\n")
