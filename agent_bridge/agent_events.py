# SPDX-License-Identifier: MIT
"""What a gateway says, as an agent sees it, and what the agent's side of every dialect can do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import StartInfo
from trunkline.agent_bridge.link_events import Command
from trunkline.agent_bridge.reassembly import Buffer


@dataclasses.dataclass(frozen=True, slots=True)
class Greeted:
    """The handshake is done."""

    gateway: str


@dataclasses.dataclass(frozen=True, slots=True)
class CallOffered:
    """A call wants to start: accept or reject it."""

    channel: int
    info: StartInfo


@dataclasses.dataclass(frozen=True, slots=True)
class AudioArrived:
    """One frame of each of n calls; rows keep the order of arrival."""

    channels: NDArray[np.uint32]
    "[n]"
    positions: NDArray[np.uint64]
    "[n] position of the first sample"
    flags: NDArray[np.uint16]
    "[n] FLAG_* of dialect.py"
    pcm: NDArray[np.int16]
    "[n, samples] a view of the received bytes"


@dataclasses.dataclass(frozen=True, slots=True)
class DtmfPressed:
    """The caller pressed a key."""

    channel: int
    digit: str
    duration_ms: int
    method: str


@dataclasses.dataclass(frozen=True, slots=True)
class MarkReported:
    """A mark's fate: `played` or `cleared`."""

    channel: int
    name: str
    position: int
    "samples played to the caller up to this mark"
    outcome: str


@dataclasses.dataclass(frozen=True, slots=True)
class ClearDone:
    """Answer to a clear."""

    channel: int
    name: str
    played_ms: int
    discarded_ms: int
    marks: tuple[str, ...]
    "marks that will never be played, the oldest first"


@dataclasses.dataclass(frozen=True, slots=True)
class FlowChanged:
    """The gateway's queue for a call is full (ready is False), or has room again."""

    channel: int
    ready: bool
    queued_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class HoldChanged:
    """The caller has put us on hold, or is back."""

    channel: int
    held: bool


@dataclasses.dataclass(frozen=True, slots=True)
class QualityReported:
    """How good the call is now."""

    channel: int
    stats: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkChanged:
    """Nothing has come from the caller's side for `idle_ms` (silent), or it is heard again after so long."""

    channel: int
    silent: bool
    idle_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class CallStopped:
    """The call is over."""

    channel: int
    reason: str
    stats: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class CommandRefused:
    """A command about one call was understood, and not carried out."""

    channel: int
    code: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class SpeechChanged:
    """The caller begins to speak at this position of the timeline (started), or has stopped there."""

    channel: int
    started: bool
    position: int
    level_dbov: float


@dataclasses.dataclass(frozen=True, slots=True)
class TurnReported:
    """How long one turn took: figures by name."""

    channel: int
    turn: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class UnderrunReported:
    """The agent's speech ran dry at this position of its own samples, and went on so much later."""

    channel: int
    position: int
    missing_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class CallStateChanged:
    """`ringing`, `early`, `answered`: how far the call has got."""

    channel: int
    state: str


@dataclasses.dataclass(frozen=True, slots=True)
class TransferReported:
    """How a transfer goes: `trying`, `ringing`, `done`, `failed`."""

    channel: int
    state: str
    code: int
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class StatusReported:
    """Answer to `status`: figures by name."""

    channel: int
    status: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class ConnectionFailed:
    """The connection is over. `reason`: `version`, `token`, `protocol`, `timeout`, `lost`."""

    reason: str
    detail: str


CallNews = (
    DtmfPressed
    | MarkReported
    | ClearDone
    | FlowChanged
    | HoldChanged
    | QualityReported
    | NetworkChanged
    | SpeechChanged
    | TurnReported
    | UnderrunReported
    | CallStateChanged
    | TransferReported
    | StatusReported
    | CommandRefused
)
"About one call that is up."

AgentEvent = Greeted | CallOffered | AudioArrived | CallNews | CallStopped | ConnectionFailed


class AgentSide(Protocol):
    """One connection from a gateway, in any dialect, without I/O; it never raises on what it receives."""

    closing: bool
    "the owner should write what is left and close"
    can_wait: bool
    "a call can be taken without being answered"

    @property
    def next_deadline_ns(self) -> int | None:
        """When `handle_timeout` wants to be called."""

    def connected(self, now_ns: int) -> None:
        """The connection is there."""

    def receive(self, data: Buffer, now_ns: int) -> Sequence[AgentEvent]:
        """Take bytes; empty data means end of stream."""

    def handle_timeout(self, now_ns: int) -> Sequence[AgentEvent]:
        """Do what time demands."""

    def data_to_send(self) -> list[bytes | memoryview]:
        """Take everything that waits to be written, in order."""

    def accept(self, channel: int, answer: bool = True) -> None:
        """Take a call; with `answer=False` it goes on ringing until `Answer` is said."""

    def reject(self, channel: int, code: int = 0, reason: str = "") -> None:
        """Do not take a call."""

    def send_audio(self, channels: NDArray[np.uint32], pcm: NDArray[np.int16]) -> None:
        """Speech for n calls, pcm[n, samples]."""

    def say(self, command: Command) -> None:
        """Anything else about a call that was accepted."""
