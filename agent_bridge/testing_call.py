# SPDX-License-Identifier: MIT
"""A call of the gateway's double (`testing.py`): what the caller does, and what the agent did."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from trunkline.agent_bridge.call_types import Pcm
from trunkline.agent_bridge.dialect import Link, StartInfo
from trunkline.agent_bridge.link_events import Clear, Dtmf, Hangup, LinkEvent, Mark
from trunkline.agent_bridge.playout import Playout

E = TypeVar("E")


class Carrier(Protocol):
    """The double's connection."""

    link: Link

    def write(self) -> None:
        """Send what the link has to say."""

    def until(self, true: Callable[[], bool], what: str) -> Awaitable[None]:
        """Wait for a condition."""


class DoubleCall:
    """A call to the agent, from the gateway's and the caller's side."""

    def __init__(self, gateway: Carrier, channel: int, info: StartInfo, playback: str) -> None:
        """Made by `GatewayDouble.call`."""
        self.info = info
        self.channel = channel
        self.said: list[LinkEvent] = []
        "all that the agent said except audio, in order"
        self.heard: Pcm = np.zeros(0, np.int16)
        "all audio that the agent sent, cleared or not"
        self.playout = Playout(info.sample_rate_hz)
        self._instant = playback == "instant"
        self._gateway = gateway
        self._position = info.position

    # --- what the caller and the gateway do --------------------------------------------------

    def say(self, pcm: Pcm, flags: int = 0) -> None:
        """Send audio to the agent, all at once, in frames; the last one is filled with silence."""
        frame = self.info.sample_rate_hz * self.info.frame_ms // 1000
        padded = np.concatenate([pcm, np.zeros(-len(pcm) % frame, np.int16)]).astype(np.int16)
        channels, marks = np.array([self.channel], np.uint32), np.array([flags], np.uint16)
        for row in padded.reshape(-1, 1, frame):
            self._gateway.link.send_audio(channels, np.array([self._position]), marks, row)
            self._position += frame
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

    def play_out(self, ms: int) -> None:
        """Let this much time pass at the loudspeaker; only with `playback="manual"`."""
        self._report(self.playout.advance(ms * self.info.sample_rate_hz // 1000))
        self._gateway.write()

    def hang_up(self, reason: str = "caller_hangup") -> None:
        """End the call."""
        self._gateway.link.stop(self.channel, reason, {})
        self._gateway.write()

    # --- what the agent does -----------------------------------------------------------------

    async def hear(self, samples: int) -> Pcm:
        """Wait until the agent has said this much; returns all it said."""
        await self._gateway.until(lambda: len(self.heard) >= samples, f"{samples} samples from the agent")
        return self.heard

    async def event(self, kind: type[E], count: int = 1) -> E:
        """Wait for the count-th Mark, Clear, Dtmf or Hangup of the agent."""
        found: list[E] = []

        def there() -> bool:
            found[:] = [event for event in self.said if isinstance(event, kind)]
            return len(found) >= count

        await self._gateway.until(there, f"{kind.__name__} number {count} from the agent")
        return found[count - 1]

    def _take(self, event: Mark | Clear | Dtmf | Hangup) -> None:
        self.said.append(event)
        link = self._gateway.link
        if isinstance(event, Mark):
            self.playout.mark(event.name)
            self._play_if_instant()
        elif isinstance(event, Clear):
            played, discarded, marks = self.playout.clear()
            link.send_cleared(self.channel, event.name, played, discarded, marks)
        elif isinstance(event, Hangup):
            link.stop(self.channel, "agent_hangup", {})

    def _take_audio(self, pcm: Pcm) -> None:
        self.heard = np.concatenate([self.heard, pcm])
        self.playout.push(len(pcm))
        self._play_if_instant()

    def _play_if_instant(self) -> None:
        if self._instant:
            self._report(self.playout.advance(self.playout.queued_samples))

    def _report(self, reached: Sequence[tuple[str, int]]) -> None:
        for name, position in reached:
            self._gateway.link.send_mark(self.channel, name, position, "played")
