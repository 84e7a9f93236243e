# SPDX-License-Identifier: MIT
"""What the gateway says of the one call of a WebSocket, in its dialect's messages, for `websocket_link.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.link_events import LinkEvent
from trunkline.agent_bridge.message_dialect import MessageDialect, Messages
from trunkline.agent_bridge.websocket_frames import FrameWriter


class WebSocketSpeech:
    """Messages about the call, from its start to its end; before and after, the agent is told nothing."""

    def __init__(self, dialect: MessageDialect) -> None:
        self._dialect = dialect
        self._writer = FrameWriter()
        self._out: list[bytes | memoryview] = []
        self._due: list[LinkEvent] = []
        "what comes by time alone, at once: Accepted, and what the dialect itself asks for"
        self._channel: int | None = None
        "of the call, while there is one"

    def send_audio(
        self,
        channels: NDArray[np.uint32],
        positions: NDArray[np.int64],
        flags: NDArray[np.uint16],
        pcm: NDArray[np.int16],
    ) -> None:
        """Frames of the one call, in their order."""
        for channel, position, flag, frame in zip(
            channels.tolist(), positions.tolist(), flags.tolist(), pcm, strict=True
        ):
            self.send_frame(channel, position, flag, frame)

    def send_frame(self, channel: int, position: int, flags: int, pcm: NDArray[np.int16]) -> None:
        """One frame of the one call."""
        if self._channel is not None:
            self._say(self._dialect.audio(position, flags, pcm))

    takes_records = False

    def hears_records(self, now_ns: int) -> bool:
        """Not in our dialect."""
        return False

    def audio_message(self, count: int, samples: int) -> None:
        """Not in our dialect."""

    def send_dtmf(self, channel: int, digit: str, duration_ms: int, method: str) -> None:
        """The caller pressed a key."""
        if channel == self._channel:
            self._say(self._dialect.dtmf(digit, int(duration_ms), method))

    def send_mark(self, channel: int, name: str, position: int, outcome: str) -> None:
        """A mark's fate."""
        if channel == self._channel:
            self._say(self._dialect.mark(name, int(position), outcome))
            self._due += self._dialect.asks()

    def send_cleared(
        self, channel: int, name: str, played_ms: int, discarded_ms: int, marks: Sequence[str]
    ) -> None:
        """What a clear did."""
        if channel == self._channel:
            self._say(self._dialect.cleared(name, int(played_ms), int(discarded_ms), marks))

    def send_flow(self, channel: int, ready: bool, queued_ms: int) -> None:
        """Ask for a pause, or for more."""
        if channel == self._channel:
            self._say(self._dialect.flow(ready, int(queued_ms)))

    def send_hold(self, channel: int, held: bool) -> None:
        """The caller does not listen now, or does again."""
        if channel == self._channel:
            self._say(self._dialect.hold(held))

    def send_quality(self, channel: int, stats: Mapping[str, float]) -> None:
        """How good the call is."""
        if channel == self._channel:
            self._say(self._dialect.quality(stats))

    def send_network(self, channel: int, silent: bool, idle_ms: int) -> None:
        """The caller's side has fallen silent as a network does, or is heard again."""
        if channel == self._channel:
            self._say(self._dialect.network(silent, int(idle_ms)))

    def send_speech(self, channel: int, started: bool, position: int, level_dbov: float) -> None:
        """The caller begins or ends to speak."""
        if channel == self._channel:
            self._say(self._dialect.speech(started, int(position), level_dbov))

    def send_turn(self, channel: int, turn: Mapping[str, float]) -> None:
        """What one turn took."""
        if channel == self._channel:
            self._say(self._dialect.turn(turn))

    def send_underrun(self, channel: int, position: int, missing_ms: int) -> None:
        """The agent's speech ran dry."""
        if channel == self._channel:
            self._say(self._dialect.underrun(int(position), int(missing_ms)))

    def send_call_state(self, channel: int, state: str) -> None:
        """How far the call has got."""
        if channel == self._channel:
            self._say(self._dialect.call_state(state))

    def send_transfer(self, channel: int, state: str, code: int, reason: str) -> None:
        """How a transfer goes."""
        if channel == self._channel:
            self._say(self._dialect.transfer(state, int(code), reason))

    def send_status(self, channel: int, status: Mapping[str, float]) -> None:
        """Figures of the moment."""
        if channel == self._channel:
            self._say(self._dialect.status(status))

    def send_error(self, channel: int, code: str, text: str) -> None:
        """A command about the call was not carried out."""
        if channel == self._channel:
            self._say(self._dialect.error(code, text))

    def _say(self, messages: Messages) -> None:
        for message in messages:
            written = self._writer.text(message) if isinstance(message, str) else self._writer.binary(message)
            self._out.append(written)
