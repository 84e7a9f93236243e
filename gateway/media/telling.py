# SPDX-License-Identifier: GPL-2.0-or-later
"""What agents are told of their calls, beside audio, marks and the end: each stage says it here.

A call whose agent has not accepted it, or is lost, has nobody to tell; a dialect that has no
words for something says nothing (`dialect.Unsaid`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trunkline.agent_bridge.dialect import Link
from trunkline.gateway.media.table import Stream


class Telling:
    """Implements what `keys`, `quality`, `quiet` and others need of an agent's connection."""

    def __init__(self) -> None:
        self.on_untold_digit: Callable[[Stream, str, int, str], None] = lambda stream, digit, duration_ms, method: None
        "called with a key that there is nobody to tell"

    def digit(self, stream: Stream, digit: str, duration_ms: int, method: str) -> None:
        """The caller pressed a key."""
        if (link := _link(stream)) is not None:
            link.send_dtmf(stream.channel, digit, duration_ms, method)
        else:
            self.on_untold_digit(stream, digit, duration_ms, method)

    def quality(self, stream: Stream, figures: dict[str, float]) -> None:
        """How good the call is now."""
        if (link := _link(stream)) is not None:
            link.send_quality(stream.channel, figures)

    def hold(self, stream: Stream, held: bool) -> None:
        """The caller put us on hold or came back."""
        if (link := _link(stream)) is not None:
            link.send_hold(stream.channel, held)

    def network(self, stream: Stream, silent: bool, idle_ms: int) -> None:
        """Nothing comes from the caller's side, or something does again."""
        if (link := _link(stream)) is not None:
            link.send_network(stream.channel, silent, idle_ms)

    def speech(self, stream: Stream, started: bool, position: int, level_dbov: float) -> None:
        """The caller begins or ends to speak."""
        if (link := _link(stream)) is not None:
            link.send_speech(stream.channel, started, position, level_dbov)

    def turn(self, stream: Stream, turn: Mapping[str, float]) -> None:
        """What one turn took, and whose part it was."""
        if (link := _link(stream)) is not None:
            link.send_turn(stream.channel, turn)

    def underrun(self, stream: Stream, position: int, missing_ms: int) -> None:
        """The agent's speech ran dry, and goes on."""
        if (link := _link(stream)) is not None:
            link.send_underrun(stream.channel, position, missing_ms)

    def call_state(self, stream: Stream, state: str) -> None:
        """The call rings, has early audio, was answered."""
        if (link := _link(stream)) is not None:
            link.send_call_state(stream.channel, state)

    def transfer(self, stream: Stream, state: str, code: int, reason: str) -> None:
        """How a transfer goes that the agent has asked for."""
        if (link := _link(stream)) is not None:
            link.send_transfer(stream.channel, state, code, reason)

    def status(self, stream: Stream, status: Mapping[str, float]) -> None:
        """What the agent has asked for."""
        if (link := _link(stream)) is not None:
            link.send_status(stream.channel, status)

    def refused(self, stream: Stream, code: str, text: str) -> None:
        """A command of the agent could not be carried out."""
        if (link := _link(stream)) is not None:
            link.send_error(stream.channel, code, text)


def _link(stream: Stream) -> Link | None:
    return stream.link.speak() if stream.link is not None and stream.accepted else None
