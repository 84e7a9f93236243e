# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages between the gateway process and a media worker.

They travel as JSON over one SOCK_SEQPACKET pair per worker, to it one message per
packet, with the RTP and RTCP sockets of a call attached to its `StartStream`
(SCM_RIGHTS), and from it those of a tick in one packet, one a line.  Counters do
not travel: the worker writes them into columns in shared memory (`columns.py`) and
the gateway reads them there.

    call_params.py, call_policy.py   what a worker must know of a call
    to_worker.py                     what it is told
    from_worker.py, agent_asks.py    what it tells, and what agents ask of call control

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
from trunkline.gateway.media.call_params import (
    AgentParams,
    CallInfo,
    DigitParams,
    RecordingParams,
)
from trunkline.gateway.media.call_policy import PERMISSIONS, RescueParams, TurnParams
from trunkline.gateway.media.from_worker import (
    AgentDtmf,
    AgentEvent,
    AgentHangup,
    CallerDtmf,
    CallerSpeech,
    DtmfQueued,
    FromWorker,
    KeysAgreed,
    MediaSilent,
    MediaStarted,
    RecordingEnded,
    StreamEnded,
    StreamFailed,
    StreamReady,
    WorkerReady,
)
from trunkline.gateway.media.message import Message, Post
from trunkline.gateway.media.to_worker import (
    Adopt,
    ClearAudio,
    CommandRefused,
    Drain,
    DtmfRefused,
    InjectDtmf,
    PlaySound,
    SendDtmf,
    SetVariables,
    SipSeen,
    StartRecording,
    StartStream,
    StopRecording,
    StopSound,
    StopStream,
    TellCallState,
    TellTransfer,
    ToCall,
    ToWorker,
    UpdateStream,
)

__all__ = [
    "PERMISSIONS",
    "Adopt",
    "AgentAnswer",
    "AgentChanged",
    "AgentDtmf",
    "AgentEvent",
    "AgentFailed",
    "AgentHangup",
    "AgentHold",
    "AgentMuted",
    "AgentParams",
    "AgentProgress",
    "AgentRing",
    "AgentState",
    "AgentTransfer",
    "AgentVariables",
    "CallInfo",
    "CallerDtmf",
    "CallerSpeech",
    "ClearAudio",
    "CommandRefused",
    "DigitParams",
    "Drain",
    "DtmfQueued",
    "DtmfRefused",
    "FromWorker",
    "InjectDtmf",
    "KeysAgreed",
    "MediaSilent",
    "MediaStarted",
    "Message",
    "PlaySound",
    "Post",
    "RecordingEnded",
    "RecordingParams",
    "RescueParams",
    "SendDtmf",
    "SetVariables",
    "SipSeen",
    "StartRecording",
    "StartStream",
    "StopRecording",
    "StopSound",
    "StopStream",
    "StreamEnded",
    "StreamFailed",
    "StreamReady",
    "TellCallState",
    "TellTransfer",
    "ToCall",
    "ToWorker",
    "TurnParams",
    "TurnTaken",
    "UpdateStream",
    "WorkerReady",
    "decode_from_worker",
    "decode_to_worker",
    "encode",
]

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
