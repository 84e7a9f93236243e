# SPDX-License-Identifier: GPL-2.0-or-later
"""What the caller hears of an agent that says this and that at these times: a queue, played on a clock."""

from __future__ import annotations

import dataclasses
from collections import deque

import numpy as np

from trunkline.agent_bridge.playout import Playout
from trunkline.gateway.recording.contents import Pcm

PAUSE_MS = 300
"Speech with a shorter gap in it is one turn."
LOUD = 200
"Of 32767: quieter is silence, which agents may say, too."


@dataclasses.dataclass(slots=True)
class Turn:
    """Speech of the agent without a pause."""

    start_ms: float
    "since the agent was offered the call"
    pcm: Pcm

    def length_ms(self, rate_hz: int) -> float:
        """How long it is."""
        return len(self.pcm) * 1000 / rate_hz


class Loudspeaker:
    """The downlink of one call, frame by frame."""

    def __init__(self, rate_hz: int, frame_ms: int) -> None:
        """Nothing is said yet."""
        self._rate_hz, self._frame = rate_hz, rate_hz * frame_ms // 1000
        self._queue: deque[Pcm] = deque()
        self._playout = Playout(rate_hz)
        self._played: list[Pcm] = []
        "one for each frame time, silence among them"

    @property
    def queued_ms(self) -> int:
        """Speech that waits."""
        return self._playout.queued_ms

    def say(self, pcm: Pcm) -> None:
        """The agent speaks."""
        self._queue.append(pcm)
        self._playout.push(len(pcm))

    def mark(self, name: str) -> list[tuple[str, int]]:
        """The agent sets a mark; those that are reached by now."""
        self._playout.mark(name)
        return self._playout.advance(0)

    def clear(self) -> tuple[int, int, list[str]]:
        """The agent takes back what waits: played and discarded ms, and marks that are cut."""
        self._queue.clear()
        return self._playout.clear()

    def play(self) -> list[tuple[str, int]]:
        """One frame time goes by; returns (name, position) of marks reached."""
        frame: Pcm = np.zeros(self._frame, np.int16)
        filled = 0
        while self._queue and filled < self._frame:
            piece = self._queue.popleft()
            taken = piece[: self._frame - filled]
            frame[filled : filled + len(taken)] = taken
            filled += len(taken)
            if len(taken) < len(piece):
                self._queue.appendleft(piece[len(taken) :])
        self._played.append(frame)
        return self._playout.advance(filled)

    def turns(self) -> list[Turn]:
        """What was heard, parted by pauses."""
        if not self._played:
            return []
        everything = np.concatenate(self._played)
        loud = np.flatnonzero(np.abs(everything.astype(np.int32)) > LOUD)
        if not len(loud):
            return []
        breaks = np.flatnonzero(np.diff(loud) > PAUSE_MS * self._rate_hz // 1000)
        starts, ends = loud[np.r_[0, breaks + 1]], loud[np.r_[breaks, len(loud) - 1]] + 1
        pairs = zip(starts.tolist(), ends.tolist(), strict=True)
        return [Turn(start * 1000 / self._rate_hz, everything[start:end]) for start, end in pairs]
