# SPDX-License-Identifier: MIT
"""A call of the gateway's double (`testing.py`): what the caller does, and what the agent did."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Protocol, TypeVar

import numpy as np

from trunkline.agent_bridge.call_types import Pcm
from trunkline.agent_bridge.dialect import FLAG_REPLAY, FLAG_SPEECH, Link, StartInfo
from trunkline.agent_bridge.link_events import LinkEvent
from trunkline.agent_bridge.testing_wishes import Wishes

E = TypeVar("E", bound=LinkEvent)

MIN_SPEECH_MS = 60
"After so much speech the gateway is sure of it."
RESUME_MS = 700
'`barge_in="pause"`: who says less does not mean to interrupt.'
_MOST_REPLAYED_FRAMES = 3000


class Carrier(Protocol):
    """The double's connection."""

    link: Link

    def write(self) -> None:
        """Send what the link has to say."""

    def until(self, true: Callable[[], bool], what: str) -> Awaitable[None]:
        """Wait for a condition."""

    def offer(self, info: StartInfo, **options: Any) -> Awaitable[DoubleCall]:
        """Offer a call."""


class DoubleCall(Wishes):
    """A call to the agent, from the gateway's and the caller's side; `Wishes` has what the agent asked for."""

    def __init__(
        self,
        gateway: Carrier,
        channel: int,
        info: StartInfo,
        playback: str = "instant",
        barge_in: str = "tell",
        forbid: Collection[str] = (),
    ) -> None:
        """Made by `GatewayDouble.call`."""
        super().__init__(channel, info, playback, forbid)
        self._gateway = gateway
        self._barge_in = barge_in
        self._position = info.position
        self._speaking = False
        self._began = 0
        self._told: deque[tuple[int, int, Pcm]] = deque(maxlen=_MOST_REPLAYED_FRAMES)
        "position, flags and samples of each frame that the agent was sent"

    # --- what the caller and the gateway do --------------------------------------------------

    def say(self, pcm: Pcm, flags: int = 0) -> None:
        """Send audio to the agent, all at once, in frames; the last one is filled with silence."""
        frame = self.info.sample_rate_hz * self.info.frame_ms // 1000
        padded = np.concatenate([pcm, np.zeros(-len(pcm) % frame, np.int16)]).astype(np.int16)
        for row in padded.reshape(-1, frame):
            self._frame(self._position, flags, row)
            self._position += frame
        self._gateway.write()

    def speak(self, pcm: Pcm) -> None:
        """Say this with a voice: the gateway notices speech, and does what the call's barge-in policy says."""
        start, sure = self._position, self.info.sample_rate_hz * MIN_SPEECH_MS // 1000
        flags = FLAG_SPEECH if self._barge_in != "off" else 0
        if self._speaking or self._barge_in == "off":
            self.say(pcm, flags)
            self._decide()
            return
        self.say(pcm[:sure], flags)
        self._speaking, self._began = True, start
        self._gateway.link.send_speech(self.channel, True, start, -20.0)
        if self._barge_in == "clear" and self.playout.queued_samples:
            self._gateway.link.send_cleared(self.channel, "", *self.playout.clear())
        self.playout.paused = self._barge_in == "pause"
        self.say(pcm[sure:], flags)
        self._decide()

    def _decide(self) -> None:
        """Whoever has spoken for so long means to interrupt."""
        spoken_ms = (self._position - self._began) * 1000 // self.info.sample_rate_hz
        if self._speaking and self.playout.paused and self._barge_in == "pause" and spoken_ms >= RESUME_MS:
            self._gateway.link.send_cleared(self.channel, "", *self.playout.clear())
            self._gateway.write()

    def stop_speaking(self, silence_ms: int = 400) -> None:
        """The caller has been silent for so long: the gateway notices the end; a paused agent goes on."""
        end = self._position
        self.say(np.zeros(self.info.sample_rate_hz * silence_ms // 1000, np.int16))
        if self._speaking:
            self._gateway.link.send_speech(self.channel, False, end, -60.0)
        self._speaking = self.playout.paused = False
        self._play_if_instant(self._gateway.link)
        self._gateway.write()

    def press(self, digits: str, duration_ms: int = 100) -> None:
        """Press keys."""
        for digit in digits:
            self._gateway.link.send_dtmf(self.channel, digit, duration_ms, "rfc4733")
        self._gateway.write()

    def hold(self, held: bool) -> None:
        """Put the agent on hold, or come back."""
        self._gateway.link.send_hold(self.channel, held)
        self._gateway.write()

    def quality(self, **stats: float) -> None:
        """Say how good the call is: `call.quality(mos=3.1, loss_percent=8.0)`."""
        self._gateway.link.send_quality(self.channel, stats)
        self._gateway.write()

    def network(self, silent: bool, idle_ms: int) -> None:
        """Let nothing come from the caller's side any more, or something again."""
        self._gateway.link.send_network(self.channel, silent, idle_ms)
        self._gateway.write()

    def flow(self, ready: bool) -> None:
        """Ask the agent to pause, or to go on."""
        self._gateway.link.send_flow(self.channel, ready, self.playout.queued_ms)
        self._gateway.write()

    def turn(self, **figures: float) -> None:
        """Say what a turn took: `call.turn(agent_ms=640)`."""
        self._gateway.link.send_turn(self.channel, figures)
        self._gateway.write()

    def underrun(self, missing_ms: int) -> None:
        """Say that the agent's speech ran dry."""
        self._gateway.link.send_underrun(self.channel, self.playout.position, missing_ms)
        self._gateway.write()

    def transfer(self, state: str, code: int = 0, reason: str = "") -> None:
        """Say how a transfer goes: `trying`, `ringing`, `failed`; `done` ends the call as well."""
        self._gateway.link.send_transfer(self.channel, state, code, reason)
        if state == "done":
            self._gateway.link.stop(self.channel, "transferred", {})
        self._gateway.write()

    def refuse(self, code: str, text: str = "") -> None:
        """Say that a command was not carried out."""
        self._gateway.link.send_error(self.channel, code, text)
        self._gateway.write()

    def play_out(self, ms: int) -> None:
        """Let this much time pass at the loudspeaker; only with `playback="manual"`."""
        self._report(self._gateway.link, self.playout.advance(ms * self.info.sample_rate_hz // 1000))
        self._gateway.write()

    def hang_up(self, reason: str = "caller_hangup") -> None:
        """End the call."""
        self._gateway.link.stop(self.channel, reason, {})
        self._gateway.write()

    async def hand_over(self, gateway: Carrier, replay_ms: int = 10_000, **options: Any) -> DoubleCall:
        """This agent is lost (`GatewayDouble.lose`): offer the call to the one that `gateway` is connected to.

        With all that an agent learns then: attempt, state, variables, and as replay what it had not acknowledged.
        """
        rate = self.info.sample_rate_hz
        since = max(self.acknowledged, self._position - replay_ms * rate // 1000)
        again = [(position, flags, row) for position, flags, row in self._told if position >= since]
        info = dataclasses.replace(
            self.info,
            attempt=self.info.attempt + 1,
            resumed=False,
            answered=self.state == "answered",
            position=again[0][0] if again else self._position,
            variables=dict(self.variables),
            state=self.saved,
            played_ms=self.info.played_ms + self.playout.position * 1000 // rate,
            replay_ms=sum(len(row) for _, _, row in again) * 1000 // rate,
        )
        call = await gateway.offer(info, **options)
        for position, flags, row in again:
            call._frame(position, flags | FLAG_REPLAY, row)
        call._position = self._position
        gateway.write()
        return call

    # --- what the agent does -----------------------------------------------------------------

    async def hear(self, samples: int) -> Pcm:
        """Wait until the agent has said this much; returns all it said."""
        await self._gateway.until(lambda: len(self.heard) >= samples, f"{samples} samples from the agent")
        return self.heard

    async def event(self, kind: type[E], count: int = 1) -> E:
        """Wait for the count-th event of this class (`link_events`) from the agent: Mark, Clear, Transfer, ..."""
        found: list[E] = []

        def there() -> bool:
            found[:] = [event for event in self.said if isinstance(event, kind)]
            return len(found) >= count

        await self._gateway.until(there, f"{kind.__name__} number {count} from the agent")
        return found[count - 1]

    def _frame(self, position: int, flags: int, row: Pcm) -> None:
        channels, marks = np.array([self.channel], np.uint32), np.array([flags], np.uint16)
        self._gateway.link.send_audio(channels, np.array([position]), marks, row.reshape(1, -1))
        self._told.append((position, flags, row))
