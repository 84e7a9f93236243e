# SPDX-License-Identifier: GPL-2.0-or-later
"""Turns: agents and people are told who speaks, and a caller who interrupts is let speak.

    voice.py -> changes, once a tick -> the agent (`speech`), `on_speech`, the gateway if it wants to know
                                     -> barge-in, if the agent is being played: by the route's policy

    off     the agent is not told           clear   what is queued is thrown away, before the next packet
    tell    the agent is told (default)     pause   it stops and is kept, until it is clear what is meant:

A paused agent goes on by itself if the caller has spoken for less than `resume_ms`; one who
speaks for longer means it, and what is queued is thrown away.  An agent that says `pause`
itself in the meantime takes that decision over.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from trunkline.gateway.media import control
from trunkline.gateway.media.echo import Echo
from trunkline.gateway.media.playback import Playback
from trunkline.gateway.media.table import Stream, Table
from trunkline.gateway.media.telling import Telling
from trunkline.gateway.media.uplink import Uplink
from trunkline.gateway.media.voice import Change

ACTING = ("clear", "pause")

OnSpeech = Callable[[Stream, bool, int, int], None]
"(stream, started, position, now_ns)"


@dataclasses.dataclass(slots=True)
class _Interruption:
    """A caller speaks who began while the agent did."""

    position: int
    ducked: bool
    "the agent waits for what becomes of it"


class Turns:
    """Acts on the changes that Uplink has found."""

    def __init__(
        self, table: Table, uplink: Uplink, playback: Playback, telling: Telling, echo: Echo, post: control.Post
    ) -> None:
        """`post` sends a message to the gateway process."""
        self._table = table
        self._uplink = uplink
        self._playback = playback
        self._telling = telling
        self._echo = echo
        self._post = post
        self._interruptions: dict[int, _Interruption] = {}
        "by row"
        self._ducked = 0
        self.on_speech: OnSpeech = lambda stream, started, position, now_ns: None
        "called when a caller has begun to speak, or ceased, wherever that was on the agent's timeline"

    def begin(self, stream: Stream) -> None:
        """A call begins, or goes on in this worker."""
        self._uplink.voice.set(stream)
        self._uplink.withholding.set(stream)

    def end(self, stream: Stream) -> None:
        """The call is over."""
        self._uplink.withholding.end(stream.row)
        self._uplink.changes = [item for item in self._uplink.changes if item[0].row != stream.row]
        self._forget(stream.row)

    def advance(self, now_ns: int) -> None:
        """Once a tick, before anything is played."""
        if self._uplink.changes:
            changes, self._uplink.changes = self._uplink.changes, []
            for change, position in changes:
                stream = self._table.streams[change.row]
                if stream is not None and stream.accepted:
                    self._changed(stream, change, position, now_ns)
        if self._ducked:
            self._decide()

    def paused_by_agent(self, stream: Stream, paused: bool) -> None:
        """The agent says `pause`: from now on it decides."""
        interruption = self._interruptions.get(stream.row)
        if interruption is not None and interruption.ducked:
            interruption.ducked = False
            self._ducked -= 1
        self._playback.pause(stream, paused=paused)

    def _changed(self, stream: Stream, change: Change, position: int, now_ns: int) -> None:
        if change.row in self._table.muted_up:  # the agent hears silence in its place
            return
        turns, level = stream.start.turns, round(change.level_dbov, 1)
        if turns.barge_in != "off":
            self._telling.speech(stream, change.started, position, level)
        self.on_speech(stream, change.started, position, now_ns)
        if turns.events:
            self._post(control.CallerSpeech(stream.call_id, change.started, position, level))
        if change.started:
            self._interrupt(stream, position)
        else:
            self._stopped(stream, position, now_ns)

    def _interrupt(self, stream: Stream, position: int) -> None:
        row, policy = stream.row, stream.start.turns.barge_in
        if not self._playback.speaks(stream):
            return
        self._interruptions[row] = _Interruption(position, policy == "pause")
        if policy not in ACTING:
            return
        self._table.shared.barge_ins[row] += 1
        self._table.shared.worker.barge_ins[0] += 1
        if policy == "clear":
            self._playback.clear(stream, barge_in=True)
        else:
            self._ducked += 1
            self._playback.pause(stream, paused=True, barge_in=True)

    def _stopped(self, stream: Stream, position: int, now_ns: int) -> None:
        row = stream.row
        interruption = self._interruptions.get(row)
        if interruption is None:
            return
        self._echo.judge(row, now_ns - int(self._uplink.voice.quiet_ms(row) * 1e6))
        if interruption.ducked:
            self._playback.pause(stream, paused=False, barge_in=True)
        self._forget(row)

    def _decide(self) -> None:
        """Those who have spoken for so long mean it."""
        c = self._table.shared
        for row, interruption in self._interruptions.items():
            stream = self._table.streams[row]
            if stream is None or not interruption.ducked:
                continue
            rate, turns = stream.start.agent.sample_rate_hz, stream.start.turns
            heard_ms = (int(c.up_position[row]) - interruption.position) * 1000 / rate
            if heard_ms - self._uplink.voice.quiet_ms(row) >= turns.resume_ms:
                interruption.ducked = False
                self._ducked -= 1
                self._playback.clear(stream, barge_in=True)

    def _forget(self, row: int) -> None:
        interruption = self._interruptions.pop(row, None)
        if interruption is not None and interruption.ducked:
            self._ducked -= 1
