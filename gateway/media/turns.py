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
MAX_MISSED = 64
"Changes of a call that nobody has which are kept for the next agent; then the oldest speech is forgotten."

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
        self.ducked = 0
        "interruptions of which it is still to be seen what they are"
        self._since: dict[int, tuple[int, float]] = {}
        "by row: position and level of the beginning of the speech that goes on"
        self._told: set[int] = set()
        "rows whose agent was told of a beginning, and not yet of its end"
        self._missed: dict[int, list[tuple[bool, int, float]]] = {}
        "by row: changes that nobody was there to be told of; started or not, position, level"
        self.on_speech: OnSpeech = lambda stream, started, position, now_ns: None
        "called when a caller has begun to speak, or ceased, wherever that was on the agent's timeline"

    def begin(self, stream: Stream) -> None:
        """A call begins, or goes on in this worker."""
        self._uplink.voice.set(stream)
        self._uplink.withholding.set(stream)
        c, row = self._table.shared, stream.row
        if stream.resumed and c.speaking[row] == 1:  # a predecessor has told of the beginning
            self._since[row] = int(c.up_position[row]), round(float(c.level_up_dbov[row]), 1)
            self._told.add(row)

    def end(self, stream: Stream) -> None:
        """The call is over."""
        self._uplink.withholding.end(stream.row)
        self._uplink.changes = [item for item in self._uplink.changes if item[0].row != stream.row]
        self._forget(stream.row)
        self._since.pop(stream.row, None)
        self._missed.pop(stream.row, None)
        self._told.discard(stream.row)

    def advance(self, now_ns: int) -> None:
        """Once a tick, before anything is played."""
        if self._uplink.changes:
            changes, self._uplink.changes = self._uplink.changes, []
            for change, position in changes:
                stream = self._table.streams[change.row]
                if stream is not None and stream.accepted:
                    self._changed(stream, change, position, now_ns)
                elif stream is not None:
                    self._miss(stream, change, position)
        if self.ducked:
            self._decide()

    def paused_by_agent(self, stream: Stream, paused: bool) -> None:
        """The agent says `pause`: from now on it decides."""
        interruption = self._interruptions.get(stream.row)
        if interruption is not None and interruption.ducked:
            interruption.ducked = False
            self.ducked -= 1
        self._playback.pause(stream, paused=paused)

    def _changed(self, stream: Stream, change: Change, position: int, now_ns: int) -> None:
        row, level = change.row, round(change.level_dbov, 1)
        self._note(row, change.started, position, level)
        if row in self._table.muted_up and (change.started or row not in self._told):
            return  # the agent hears silence in its place; but a beginning that it was told of has an end
        self._tell(stream, change.started, position, level)
        self.on_speech(stream, change.started, position, now_ns)
        self._tell_people(stream, change.started, position, level)
        if change.started:
            self._interrupt(stream, position)
        else:
            self._stopped(stream, position, now_ns)

    def _note(self, row: int, started: bool, position: int, level: float) -> None:
        if started:
            self._since[row] = position, level
        else:
            self._since.pop(row, None)

    def _tell(self, stream: Stream, started: bool, position: int, level: float) -> None:
        (self._told.add if started else self._told.discard)(stream.row)
        if stream.start.turns.barge_in != "off":
            self._telling.speech(stream, started, position, level)

    def _tell_people(self, stream: Stream, started: bool, position: int, level: float) -> None:
        if stream.start.turns.events:
            self._post(control.CallerSpeech(stream.call_id, started, position, level))

    # -- while nobody has the call ----------------------------------------------------------

    def orphaned(self, stream: Stream, kept: bool) -> None:
        """The agent is lost; what the caller says from now on is `kept` for the next one, or is not."""
        row = stream.row
        self._forget(row)
        self._told.discard(row)
        self._missed[row] = [(True, *self._since[row])] if row in self._since else []
        if not kept:
            self._uplink.withholding.drop(row)

    def _miss(self, stream: Stream, change: Change, position: int) -> None:
        row, level = change.row, round(change.level_dbov, 1)
        self._note(row, change.started, position, level)
        missed = self._missed.setdefault(row, [])
        missed.append((change.started, position, level))
        if len(missed) > MAX_MISSED:
            del missed[:2]
        if row not in self._table.muted_up:
            self._tell_people(stream, change.started, position, level)

    def taken(self, stream: Stream, position: int) -> None:
        """An agent has the call and hears the caller from `position` on: it is told of the speech that is there."""
        row, missed = stream.row, self._missed.pop(stream.row, [])
        while len(missed) > 1 and missed[0][0] and missed[1][1] <= position:  # it hears nothing of that
            del missed[:2]
        for started, at, level in missed:
            if started != (row in self._told) and not (started and row in self._table.muted_up):
                self._tell(stream, started, max(at, position), level)

    def muted(self, stream: Stream, muted: bool) -> None:
        """The agent hears the caller no more, or again: who is not heard interrupts nobody."""
        row = stream.row
        if muted:
            interruption = self._interruptions.get(row)
            if interruption is not None and interruption.ducked:
                self._playback.pause(stream, paused=False, barge_in=True)
            self._forget(row)
        elif row in self._since and row not in self._told:
            began, level = self._since[row]
            position = max(began, int(self._table.shared.up_position[row]))
            self._tell(stream, True, position, level)
            self._tell_people(stream, True, position, level)

    # -- barge-in ---------------------------------------------------------------------------

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
            self.ducked += 1
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
            if row not in self._table.halted:  # somebody has thrown away what waited: what comes now is an answer
                interruption.ducked = False
                self.ducked -= 1
                continue
            rate, turns = stream.start.agent.sample_rate_hz, stream.start.turns
            heard_ms = (int(c.up_position[row]) - interruption.position) * 1000 / rate
            if heard_ms - self._uplink.voice.quiet_ms(row) >= turns.resume_ms:
                interruption.ducked = False
                self.ducked -= 1
                self._playback.clear(stream, barge_in=True)

    def _forget(self, row: int) -> None:
        interruption = self._interruptions.pop(row, None)
        if interruption is not None and interruption.ducked:
            self.ducked -= 1
