# SPDX-License-Identifier: MIT
"""What the caller says, one turn at a time, out of frames and the gateway's news of where speech begins and ends.

Where speech began is known a moment later, so the last seconds are kept.  What comes again after an agent was
lost (`Frame.replay`) has no such news any more: there the frames' own flags tell.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import AsyncIterator, Callable

import numpy as np

from trunkline.agent_bridge.call_events import Speech
from trunkline.agent_bridge.call_types import Frame, Pcm

_HISTORY_MS = 3000
"Kept for speech that turns out to have begun already."
_LONGEST_MS = 60_000
"A turn is handed out in pieces of this length: somebody who reads a novel aloud, or a noise, fills no memory."
_PAUSE_MS = 500
"Replay: silence of this length ends a turn."


@dataclasses.dataclass(frozen=True, slots=True)
class CallerTurn:
    """What the caller has said."""

    pcm: Pcm
    "int16[samples], with some audio before it"
    position: int
    "of the first sample"
    replay: bool = False
    "part of it was said to an agent that was lost"
    complete: bool = True
    "False: he goes on, or the call ended in the middle"


async def caller_turns(
    items: AsyncIterator[Frame | Speech], need_from: Callable[[int | None], None], rate_hz: int, lead_ms: int
) -> AsyncIterator[CallerTurn]:
    """Turns out of frames and `Speech`. `need_from` is told from where on audio is needed should the agent be lost."""
    collector = Collector(rate_hz, lead_ms)
    async for item in items:
        turn = collector.speech(item) if isinstance(item, Speech) else collector.frame(item)
        if turn is not None:
            need_from(turn.position)
            yield turn
        need_from(collector.needed_from)
    rest = collector.rest()
    if rest is not None:
        yield rest
    need_from(None)


class Collector:
    """The state of `caller_turns`."""

    def __init__(self, rate_hz: int, lead_ms: int) -> None:
        """Nobody speaks."""
        self._ms = rate_hz / 1000
        self._lead = int(lead_ms * self._ms)
        self._kept: deque[Frame] = deque()
        self._start: int | None = None
        "position at which the turn that is collected begins"
        self._voice_end: int | None = None
        "turns that flags alone began: end of the last frame with a voice in it"

    @property
    def needed_from(self) -> int | None:
        """The oldest audio that a turn may still want."""
        if self._start is not None:
            return self._start
        return max(self._kept[-1].position - self._lead, 0) if self._kept else None

    def speech(self, event: Speech) -> CallerTurn | None:
        """The caller begins to speak, or has stopped."""
        if event.started:
            if self._start is None:
                self._begin(event.position)
            self._voice_end = None
            return None
        return self._turn(event.position) if self._start is not None else None

    def frame(self, frame: Frame) -> CallerTurn | None:
        """Audio."""
        self._kept.append(frame)
        end = frame.position + len(frame.pcm)
        if self._start is None:
            while self._kept[0].position < end - (_HISTORY_MS * self._ms):
                self._kept.popleft()
            if frame.replay and frame.speech:
                self._begin(frame.position)
                self._voice_end = end
            return None
        if self._voice_end is not None:
            self._voice_end = end if frame.speech else self._voice_end
            if end - self._voice_end >= _PAUSE_MS * self._ms:
                return self._turn(self._voice_end)
        if end - self._start >= _LONGEST_MS * self._ms:
            start_of_next = end
            turn = self._turn(end, complete=False)
            self._start = start_of_next
            return turn
        return None

    def rest(self) -> CallerTurn | None:
        """The call is over."""
        return self._turn(1 << 62, complete=False) if self._start is not None else None

    def _begin(self, position: int) -> None:
        self._start = max(position - self._lead, 0)

    def _turn(self, end: int, complete: bool = True) -> CallerTurn:
        start, self._start, self._voice_end = self._start, None, None
        assert start is not None
        frames = [f for f in self._kept if f.position + len(f.pcm) > start and f.position < end]
        self._kept = deque(f for f in self._kept if f.position >= end)
        if not frames:
            return CallerTurn(np.zeros(0, np.int16), start, complete=complete)
        pcm = np.concatenate([f.pcm for f in frames])
        return CallerTurn(pcm, frames[0].position, any(f.replay for f in frames), complete)
