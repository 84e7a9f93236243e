# SPDX-License-Identifier: GPL-2.0-or-later
"""Who took how long: a ledger of the turns of every call.

    caller   ...speech|                                           speech...
                      | detection |                   |queue, clock|
    agent             |           told  ---agent---   first sample | heard
                      |--------------------- total ----------------|

A turn begins when the caller begins to speak, and is done when the first packet with the
agent's answer is with the kernel.  The agent's part goes from when it was told that the
caller has stopped (or, if it did not wait for that, from the stop itself) to the first
audible sample of its answer; all else is ours.  Where the agent speaks when the caller
begins, the caller interrupts: from the first sample of that to the last packet with the
agent's speech is the barge-in time.

Audio is an answer if the agent was silent before it: what was queued when the caller
stopped is none, and neither is digital silence of an agent that never pauses.  A caller who
goes on before there is an answer has not ended the turn.

Detectors call `speech`; Playback calls the rest.  Nothing here costs a call that waits for
nothing: rows that do are marked in `watching` and `target`, and looked at all at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.agent_asks import TurnTaken
from trunkline.gateway.media.message import Post
from trunkline.gateway.media.table import Stream, Table
from trunkline.gateway.media.telling import Telling

AUDIBLE = 100
"Largest sample of what counts as said: -50 dBov, above the dither of a synthesiser."
NEVER = 1 << 62

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]
Samples = NDArray[np.int64]


@dataclasses.dataclass(slots=True)
class _Turn:
    """Of one call, from the caller's first word to the answer; times are monotonic, ns, -1 for not yet."""

    begin_ns: int
    "when the first sample of what the caller says now came in"
    end_ns: int = -1
    "when the last one did; -1 while the caller speaks"
    told_ns: int = -1
    "when the agent could know that"
    spoken_ns: int = 0
    "for how long the caller has spoken, pauses without an answer left out"
    interrupted_ns: int = -1
    "when the caller began to speak while it did"
    barge_in_ms: float = -1.0
    audio_ns: int = -1
    "first audible sample of the answer"
    sent_ns: int = -1
    "first packet of it"


class TurnLedger:
    """Turns of all calls; a finished one is told to the agent and posted to the gateway."""

    def __init__(self, table: Table, telling: Telling, post: Post) -> None:
        n = table.capacity
        self._table = table
        self._telling = telling
        self._post = post
        self._turns: dict[int, _Turn] = {}
        "by row"
        self._watched: NDArray[np.bool_] = np.zeros(n, bool)
        self.watching = 0
        "rows that wait for the agent to say something"
        self._over: NDArray[np.bool_] = np.zeros(n, bool)
        "their agent was speaking: what it says before it has stopped is no answer"
        self._target: Samples = np.full(n, NEVER, np.int64)
        "position in the agent's samples from which on its answer is heard"
        self.targets = 0
        "rows that wait for a packet with it"
        self.on_barge_in: Callable[[Stream, float, int], None] = lambda stream, ms, now_ns: None
        "called (stream, ms, now_ns) when an interrupted agent has fallen silent"

    # -- the caller -------------------------------------------------------------------------

    def speech(self, stream: Stream, started: bool, position: int, now_ns: int) -> None:
        """The caller begins to speak at this position of its timeline, or has stopped there: the agent is told now."""
        at_ns = now_ns - self._ago_ns(stream, position)
        turn = self._turns.get(stream.row)
        if started:
            self._started(stream.row, turn or _Turn(at_ns), at_ns)
        elif turn is not None and turn.end_ns < 0:
            self._stopped(stream, turn, at_ns, now_ns)

    def _started(self, row: int, turn: _Turn, at_ns: int) -> None:
        self._turns[row] = turn
        if self._audible(row):
            self._over[row] = True
            turn.interrupted_ns = at_ns
        turn.begin_ns, turn.end_ns = at_ns, -1
        self._wait_for_answer(row, turn)

    def _stopped(self, stream: Stream, turn: _Turn, at_ns: int, now_ns: int) -> None:
        turn.end_ns, turn.told_ns = max(at_ns, turn.begin_ns), now_ns
        turn.spoken_ns += turn.end_ns - turn.begin_ns
        if turn.audio_ns < turn.end_ns:  # what it said meanwhile was said over the caller, and may go on
            self._over[stream.row] |= turn.audio_ns >= 0 and self._audible(stream.row)
            self._wait_for_answer(stream.row, turn)
        elif turn.sent_ns >= 0:  # it has listened for itself, and been quicker
            self._done(stream, turn)

    def _wait_for_answer(self, row: int, turn: _Turn) -> None:
        turn.audio_ns = turn.sent_ns = -1
        self._aim(row, NEVER)
        self._watch(row, True)

    def _ago_ns(self, stream: Stream, position: int) -> int:
        """How long ago the sample at this position came in."""
        behind = int(self._table.shared.up_position[stream.row]) - position
        return max(behind, 0) * 1_000_000_000 // stream.start.agent.sample_rate_hz

    # -- the agent --------------------------------------------------------------------------

    def agent_audio(self, rows: Rows, pcm: Pcm, samples: Samples | None, now_ns: int) -> None:
        """Agents are about to add to the queues of these rows, as `Downlink.push` has it. Only while `watching`."""
        watched = np.flatnonzero(self._watched[rows])
        watched = watched[~self._speaks_on(rows[watched])]
        if samples is None:
            said = pcm[watched]  # of agents that never pause it is silence, as a rule: all of them at once
            for i in np.flatnonzero((said.max(axis=1) > AUDIBLE) | (said.min(axis=1) < -AUDIBLE)).tolist():
                self._heard(int(rows[watched[i]]), said[i], now_ns)
            return
        ends = np.cumsum(samples)
        for i in watched.tolist():
            self._heard(int(rows[i]), pcm[ends[i] - samples[i] : ends[i]], now_ns)

    def _speaks_on(self, rows: Rows) -> NDArray[np.bool_]:
        """Where the agent was speaking and has not stopped since."""
        speaks = self._table.shared.tx_talking[rows] == 1
        for fmt, part in self._table.formats.groups(rows) if len(rows) else ():
            speaks[part] |= (fmt.queue.count[rows[part]] > 0) | (fmt.queue.partial[rows[part]] > 0)
        return np.asarray(speaks & self._over[rows])

    def _heard(self, row: int, pcm: Pcm, now_ns: int) -> None:
        loud = np.flatnonzero((pcm > AUDIBLE) | (pcm < -AUDIBLE))
        if len(loud):
            queued = int(self._table.formats.at(row).queue.queued_samples(np.array([row]))[0])
            self.answered(row, queued + int(loud[0]) + 1, now_ns)

    def answered(self, row: int, samples: int, now_ns: int) -> None:
        """A watched agent has said something audible; the first of that is the last of so many samples to be played."""
        self._over[row] = False
        self._turns[row].audio_ns = now_ns
        self._watch(row, False)
        self._aim(row, int(self._table.shared.down_position[row]) + samples)

    def packet_sent(self, rows: Rows, now_ns: int) -> None:
        """Packets of these rows have left. Only while there are `targets`."""
        reached = rows[self._target[rows] <= self._table.shared.down_position[rows]]
        for row in reached.tolist():
            turn, stream = self._turns[row], self._table.streams[row]
            turn.sent_ns = now_ns
            self._aim(row, NEVER)
            if turn.end_ns >= 0 and stream is not None:
                self._done(stream, turn)

    def lost(self, row: int, samples: int) -> None:
        """So many samples of the agent's were in a packet that the kernel refused."""
        if self._target[row] != NEVER:
            self._target[row] = max(self._target[row] - samples, self._table.shared.down_position[row] + 1)

    def silenced(self, stream: Stream, now_ns: int) -> None:
        """What the agent has queued is not going to be heard, or not now: cleared, or paused."""
        turn, c = self._turns.get(stream.row), self._table.shared
        if turn is None:
            return
        if turn.interrupted_ns >= 0 and turn.barge_in_ms < 0:
            last_ns = int(c.tx_due_ns[stream.row] - self._table.ptime_ns[stream.row])
            turn.barge_in_ms = max(last_ns - turn.interrupted_ns, 0) / 1e6
            self.on_barge_in(stream, turn.barge_in_ms, now_ns)
        self._over[stream.row] = False
        self._wait_for_answer(stream.row, turn)

    def goes_on(self, stream: Stream) -> None:
        """What was paused is heard after all: that is no answer."""
        if (turn := self._turns.get(stream.row)) is not None:
            self._over[stream.row] = True
            self._wait_for_answer(stream.row, turn)

    def _audible(self, row: int) -> bool:
        """Whether the agent is being heard, or will be with the next packet."""
        queue, rows = self._table.formats.at(row).queue, np.array([row], np.intp)
        if queue.count[row] and int(np.abs(queue.peek(rows).astype(np.int32)).max()) > AUDIBLE:
            return True
        return abs(int(self._table.last_sample[row])) > AUDIBLE

    # -- the end ----------------------------------------------------------------------------

    def forget(self, row: int) -> None:
        """The call is over."""
        self._turns.pop(row, None)
        self._over[row] = False
        self._watch(row, False)
        self._aim(row, NEVER)

    def _done(self, stream: Stream, turn: _Turn) -> None:
        self.forget(stream.row)
        figures = _figures(turn)
        self._telling.turn(stream, figures)
        self._post(TurnTaken(stream.call_id, figures))

    def _watch(self, row: int, wanted: bool) -> None:
        self.watching += int(wanted) - int(self._watched[row])
        self._watched[row] = wanted

    def _aim(self, row: int, position: int) -> None:
        self.targets += int(position != NEVER) - int(self._target[row] != NEVER)
        self._target[row] = position


def _figures(turn: _Turn) -> dict[str, float]:
    """A finished turn in ms: total_ms = agent_ms + gateway_ms; gateway_ms = detect_ms + play_ms."""
    asked_ns = turn.told_ns if turn.audio_ns >= turn.told_ns else turn.end_ns
    figures = {
        "agent_ms": (turn.audio_ns - asked_ns) / 1e6,
        "gateway_ms": (asked_ns - turn.end_ns + turn.sent_ns - turn.audio_ns) / 1e6,
        "detect_ms": (asked_ns - turn.end_ns) / 1e6,
        "play_ms": (turn.sent_ns - turn.audio_ns) / 1e6,
        "total_ms": (turn.sent_ns - turn.end_ns) / 1e6,
        "speech_ms": turn.spoken_ns / 1e6,
    }
    if turn.barge_in_ms >= 0:
        figures["barge_in_ms"] = turn.barge_in_ms
    return {name: round(value, 1) for name, value in figures.items()}
