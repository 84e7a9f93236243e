# SPDX-License-Identifier: MIT
"""What the gateway says of calls in our dialect, for `native.py` (PROTOCOL.md, section 6)."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge import wire
from trunkline.agent_bridge.native_messages import number

MAX_ERROR_CHARS = 256
"A peer's words may be in it."
_UNUSED = 2
"References to an array that only its owner and who asks refer to."


class NativeSpeech:
    """Messages about calls that the agent has accepted; of others it is told nothing."""

    lingers = False
    unheeded = 0
    def __init__(self) -> None:
        self._out: list[bytes | memoryview] = []
        self._room: NDArray[np.uint8] = np.empty(0, np.uint8)
        """Of messages that have been written when the next is: what is allocated anew is cold, and beyond 128 KB it is
        the kernel's to give. Whoever still looks at a message refers to it."""
        self._up = False
        "the handshake is done, and the link has not failed"
        self._calls: set[int] = set()
        "channels that the agent has accepted"

    @property
    def has_data(self) -> bool:
        """Whether anything waits."""
        return bool(self._out)

    def data_to_send(self) -> list[bytes | memoryview]:
        """Everything that waits, as buffers for sendmsg; after LinkFailed, an error for the agent."""
        out, self._out = self._out, []
        return out

    def send_audio(
        self,
        channels: NDArray[np.uint32],
        positions: NDArray[np.int64],
        flags: NDArray[np.uint16],
        pcm: NDArray[np.int16],
    ) -> None:
        """One message for all of them."""
        if self._up:
            self._out.extend(wire.audio_messages(channels, positions, flags, pcm))

    def audio_message(self, count: int, samples: int) -> wire.AudioMessage | None:
        """Room for so many records, for whoever writes them as bytes, in place of `send_audio`."""
        size = wire.message_bytes(count, samples)
        if not self._up or size > wire.MAX_MESSAGE_BYTES:
            return None
        if len(self._room) < size:
            self._room = np.empty(1 << size.bit_length(), np.uint8)
        free = sys.getrefcount(self._room) == _UNUSED
        return wire.AudioMessage(count, samples, self._out, self._room if free else None)

    def send_frame(self, channel: int, position: int, flags: int, pcm: NDArray[np.int16]) -> None:
        """A message for one call alone."""
        one = np.array([channel], np.uint32), np.array([position], np.int64), np.array([flags], np.uint16)
        self.send_audio(*one, pcm[None])

    def send_dtmf(self, channel: int, digit: str, duration_ms: int, method: str) -> None:
        """The caller pressed a key."""
        self._tell(channel, "dtmf", digit=digit, duration_ms=int(duration_ms), method=method)

    def send_mark(self, channel: int, name: str, position: int, outcome: str) -> None:
        """A mark's fate."""
        self._tell(channel, "mark", name=name, position=int(position), outcome=outcome)

    def send_cleared(
        self, channel: int, name: str, played_ms: int, discarded_ms: int, marks: Sequence[str]
    ) -> None:
        """What a clear did."""
        self._tell(
            channel,
            "cleared",
            name=name,
            played_ms=int(played_ms),
            discarded_ms=int(discarded_ms),
            marks=list(marks),
        )

    def send_flow(self, channel: int, ready: bool, queued_ms: int) -> None:
        """Ask for a pause, or for more."""
        self._tell(channel, "flow", state="resume" if ready else "pause", queued_ms=int(queued_ms))

    def send_hold(self, channel: int, held: bool) -> None:
        """The caller does not listen now, or does again."""
        self._tell(channel, "hold", held=bool(held))

    def send_quality(self, channel: int, stats: Mapping[str, float]) -> None:
        """How good the call is."""
        self._tell(channel, "quality", stats={name: number(value) for name, value in stats.items()})

    def send_error(self, channel: int, code: str, text: str) -> None:
        """A command about the call was not carried out."""
        self._tell(channel, "error", code=code, text=text[:MAX_ERROR_CHARS])

    def send_network(self, channel: int, silent: bool, idle_ms: int) -> None:
        """The caller's side has fallen silent as a network does, or is heard again."""
        self._tell(channel, "network", state="silent" if silent else "heard", idle_ms=int(idle_ms))

    def send_speech(self, channel: int, started: bool, position: int, level_dbov: float) -> None:
        """The caller begins or ends to speak."""
        state = "started" if started else "stopped"
        self._tell(channel, "speech", state=state, position=int(position), level_dbov=number(level_dbov))

    def send_turn(self, channel: int, turn: Mapping[str, float]) -> None:
        """What one turn took."""
        self._tell(channel, "turn", turn={name: number(value) for name, value in turn.items()})

    def send_underrun(self, channel: int, position: int, missing_ms: int) -> None:
        """The agent's speech ran dry."""
        self._tell(channel, "underrun", position=int(position), missing_ms=int(missing_ms))

    def send_call_state(self, channel: int, state: str) -> None:
        """How far the call has got."""
        self._tell(channel, "call_state", state=state)

    def send_transfer(self, channel: int, state: str, code: int, reason: str) -> None:
        """How a transfer goes."""
        self._tell(channel, "transfer", state=state, code=int(code), reason=reason[:MAX_ERROR_CHARS])

    def send_status(self, channel: int, status: Mapping[str, float]) -> None:
        """Figures of the moment."""
        self._tell(channel, "status", status={name: number(value) for name, value in status.items()})

    def _tell(self, channel: int, kind: str, **content: Any) -> None:
        if channel in self._calls:
            self._say(kind, channel=int(channel), **content)

    def _say(self, kind: str, **content: Any) -> None:
        self._out.append(wire.control_message(kind, **content))
