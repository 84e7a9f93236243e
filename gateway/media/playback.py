# SPDX-License-Identifier: GPL-2.0-or-later
"""What agents may do with the caller's ear: speech, marks, clear, digits, and the truth about them.

A mark is reported when the packet with the last sample before it has been
handed to the kernel, or as cut off by a `clear`, exactly once.  If the kernel
refuses that packet, its audio was not played, and the mark is reached with the
next packet that leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.tones import ToneSender
from trunkline.gateway.media import control
from trunkline.gateway.media.agent_events import AgentEvents
from trunkline.gateway.media.downlink import Downlink
from trunkline.gateway.media.frame_queue import FrameQueue
from trunkline.gateway.media.table import Stream, Table
from trunkline.gateway.media.telling import Telling
from trunkline.gateway.media.turn_ledger import TurnLedger
from trunkline.gateway.media.underruns import Underruns

Rows = NDArray[np.intp]
FLOW_PAUSE = 0.75
"Share of the queue from which the agent is asked to pause; it may go on below a quarter of it."
FLOW_RESUME = 0.25
MAX_MARKS = 1000
"""Marks of a call that wait at most (PROTOCOL.md, 8). A mark for each word of a minute of fast speech is 200;
a bound is needed because one `cleared` names all that it cut."""
MAX_DIGITS = 1024
"Digits of a call that wait at most: four commands of the longest kind, five minutes of keys."
ORPHAN_MS = 2000
"Of what a lost agent has queued so much is played on at most: the one that comes next speaks behind it."
NAMES_TOLD = 5
"Names of cut marks in an event for people; the agent is told all of them."


class Playback:
    """Commands of agents, applied to the downlink."""

    def __init__(self, table: Table, downlink: Downlink, post: control.Post) -> None:
        self._table = table
        self._downlink = downlink
        self.sounds = downlink.sounds
        self._post = post
        self._events = AgentEvents(post)
        self.telling = Telling()
        self._underruns = Underruns(self.telling, self._events)
        self.hurried = False
        "the worker is behind"
        self.ledger = TurnLedger(table, self.telling, post)
        self._marked: set[int] = set()
        "rows that have marks waiting"
        self._refused: set[int] = set()
        "rows whose last packet the kernel refused: nothing is reached there before another one leaves"
        self._paused: set[int] = set()
        "rows whose agent was asked to pause"
        self.on_dropped: Callable[[Stream, int, int], None] = lambda stream, dropped_ms, now_ns: None
        "called when speech of a call found no room"
        downlink.on_sent = self._on_sent
        downlink.packet_round.is_heeded = self._heeds_packets
        downlink.on_refused = self._on_refused
        downlink.talkspurts.on_underrun = self._on_underrun

    # -- commands ---------------------------------------------------------------------------

    def push(
        self, rows: Rows, pcm: NDArray[np.int16], now_ns: int, samples: NDArray[np.int64] | None = None
    ) -> None:
        """Speech for n different rows, as `Downlink.push` has it; asks for a pause where the queue gets long."""
        if self.ledger.watching:
            self.ledger.agent_audio(rows, pcm, samples, now_ns)
        dropped = self._downlink.push(rows, pcm, now_ns, samples)
        for fmt, which in self._table.formats.groups(rows):
            long = fmt.queue.count[rows[which]] > _pause_above(fmt.queue)
            if long.any():
                self.pause_agents(rows[which][long].tolist())
        if dropped is not None:
            self._tell_dropped(rows, dropped, now_ns)

    def _tell_dropped(self, rows: Rows, dropped: NDArray[np.int64], now_ns: int) -> None:
        for i in np.flatnonzero(dropped):
            stream = self._table.streams[int(rows[i])]
            if stream is not None:
                dropped_ms = -(-int(dropped[i]) * 1000 // stream.start.agent.sample_rate_hz)
                self._events.overflow(stream, "dropped_ms", dropped_ms, now_ns)
                self.on_dropped(stream, dropped_ms, now_ns)

    def mark(self, stream: Stream, name: str) -> None:
        """Remember a mark at the end of what is queued; at once if nothing is."""
        c, row = self._table.shared, stream.row
        queued = int(self._table.formats.at(row).queue.queued_samples(np.array([row]))[0])
        stream.marks.append((int(c.down_position[row]) + queued, name))
        self._marked.add(row)
        if row not in self._refused:
            self._report_marks(stream)
        if len(stream.marks) > MAX_MARKS:  # the oldest, so that marks are still settled in their order
            _, oldest = stream.marks.popleft()
            self._settle(stream, oldest, "cleared")
            self._events.overflow(stream, "marks", 1, self._downlink.now_ns)

    def clear(self, stream: Stream, name: str = "", *, barge_in: bool = False) -> None:
        """Silence the caller from the next packet on; answer what was played and what was not. Ends a pause."""
        c = self._table.shared
        discarded = self._downlink.clear(stream)
        if stream.row in self._table.halted:
            self._downlink.halt(stream.row, halted=False)
        self.ledger.silenced(stream, self._downlink.now_ns)
        rate = stream.start.agent.sample_rate_hz
        played_ms = int(c.down_position[stream.row]) * 1000 // rate
        discarded_ms = discarded * 1000 // rate
        cut = [mark for _, mark in stream.marks]
        stream.marks.clear()
        self._marked.discard(stream.row)
        if stream.link is not None:
            stream.link.speak().send_cleared(stream.channel, name, played_ms, discarded_ms, cut)
        self._resume_if_short(stream.row)
        data: dict[str, str | int | float] = {
            "played_ms": played_ms,
            "discarded_ms": discarded_ms,
            "marks": len(cut),
            "first_marks": ", ".join(cut[:NAMES_TOLD]),
            **({"barge_in": True} if barge_in else {}),
        }
        self._events.tell(stream, "clear", data, self._downlink.now_ns)

    def pause(self, stream: Stream, *, paused: bool, barge_in: bool = False) -> None:
        """Stop at the next packet and keep what is queued, positions and marks; or go on."""
        if paused == (stream.row in self._table.halted):
            return
        self._downlink.halt(stream.row, halted=paused)
        if paused:
            self.ledger.silenced(stream, self._downlink.now_ns)
        else:
            self.ledger.goes_on(stream)
        data: dict[str, str | int | float] = {"paused": paused, **({"barge_in": True} if barge_in else {})}
        self._events.tell(stream, "pause", data, self._downlink.now_ns)

    def speaks(self, stream: Stream) -> bool:
        """Whether the caller hears the agent now, or is about to."""
        row = stream.row
        if not self._table.sending[row] or row in self._table.halted:
            return False
        queue = self._table.formats.at(row).queue
        return bool(self._table.shared.tx_talking[row] or queue.count[row] or queue.partial[row])

    def send_digits(self, stream: Stream, digits: str, duration_ms: int, gap_ms: int) -> None:
        """Digits to the caller as RTP events or tones; where the call has neither, the gateway is asked."""
        if stream.tones_out is None and stream.start.digits.inband:
            self.use_tones(stream)
        sender = stream.digits_out or stream.tones_out
        if stream.held_media:  # nobody has answered yet: digits wait, as speech does
            waiting = sum(len(early) for early, _, _ in stream.early_digits)
        elif sender is None:
            self._post(control.AgentDtmf(stream.call_id, digits, duration_ms, gap_ms))
            return
        else:
            waiting = sender.waiting
        if waiting + len(digits) > MAX_DIGITS:
            self._events.overflow(stream, "digits", len(digits), self._downlink.now_ns)
        elif stream.held_media or sender is None:
            stream.early_digits.append((digits, duration_ms, gap_ms))
        else:
            sender.queue(digits, duration_ms, gap_ms)
            self._table.keying.add(stream.row)
            method = "inband" if sender is stream.tones_out else "rfc4733"
            self._post(control.DtmfQueued(stream.call_id, len(digits), method))

    def use_tones(self, stream: Stream) -> None:
        """From now on this call's digits are sent as sound."""
        if stream.tones_out is None:
            stream.tones_out = ToneSender(stream.start.agent.sample_rate_hz)

    def orphan(self, stream: Stream, *, discard: bool) -> tuple[int, int]:
        """The agent is lost: its marks are nobody's any more. What it has said is played on, or is not.

        Returns how many marks that were, and the milliseconds that are played on.
        """
        row = stream.row
        marks = len(stream.marks)
        stream.marks.clear()
        self._marked.discard(row)
        self._paused.discard(row)
        stream.flow_paused = False
        self.ledger.forget(row)
        if row in self._table.halted:  # whoever comes next knows of no pause
            self._downlink.halt(row, halted=False)
        if discard:
            self._downlink.clear(stream)
        queue, most = self._table.formats.at(row).queue, ORPHAN_MS * stream.start.agent.sample_rate_hz // 1000
        if (queued := int(queue.queued_samples(np.array([row]))[0])) > most:
            queue.push(np.array([row]), queue.take_all(row)[None, :most])
            self._table.shared.queued_samples[row] = queued = most
        return marks, queued * 1000 // stream.start.agent.sample_rate_hz

    def agent_changed(self, row: int, agent: control.AgentParams) -> None:
        """Another agent speaks from now on: what was learned of the rhythm of the one before it does not hold."""
        self._downlink.prebuffer.begin(row, agent)

    def tell_status(self, stream: Stream) -> None:
        """Answer how much waits, and how much may; `flow_paused` and `sending` are 0 or 1."""
        c, row, agent = self._table.shared, stream.row, stream.start.agent
        queue = self._table.formats.at(row).queue
        ms = 1000 / agent.sample_rate_hz
        figures = {
            "queued_ms": int(queue.queued_samples(np.array([row]))[0]) * ms,
            "max_queue_ms": queue.limit * queue.block_samples * ms,
            "played_ms": int(c.down_position[row]) * ms,
            "marks": len(stream.marks),
            "flow_paused": int(stream.flow_paused),
            "paused": int(row in self._table.halted),
            "sending": int(self._table.sending[row] and not stream.held_media),
            "underruns": int(c.underruns[row]),
            "prebuffer_ms": float(self._downlink.prebuffer.wait_ns[row]) / 1e6,
        }
        self.telling.status(stream, {name: round(value, 1) for name, value in figures.items()})

    def end(self, stream: Stream) -> None:
        """The call is over: no mark of it will ever be reached."""
        for _, name in stream.marks:
            self._settle(stream, name, "cleared")
        stream.marks.clear()
        for rows in (self._marked, self._paused, self._refused):
            rows.discard(stream.row)
        self._events.forget(stream)
        self._underruns.forget(stream)
        self.ledger.forget(stream.row)
        self._downlink.prebuffer.forget(stream.row)

    # -- what became of it ------------------------------------------------------------------

    def _heeds_packets(self) -> bool:
        """Whether `_on_sent` has anything to do."""
        return bool(self._marked or self._paused or self._refused or self.ledger.targets)

    def _on_sent(self, rows: Rows, now_ns: int) -> None:
        """Packets have left: marks may be reached, queues may be short again."""
        if self._refused:
            self._refused.difference_update(rows.tolist())
        if self.ledger.targets:
            self.ledger.packet_sent(rows, now_ns)
        if self._marked:
            for row in self._marked.intersection(rows.tolist()):
                stream = self._table.streams[row]
                if stream is not None:
                    self._report_marks(stream)
        if self._paused:
            for row in self._paused.intersection(rows.tolist()):
                self._resume_if_short(row)

    def _on_refused(self, rows: Rows, samples: NDArray[np.int64]) -> None:
        """These samples were not played and never will be: the marks behind them come earlier."""
        c = self._table.shared
        self._refused.update(rows.tolist())
        for row, lost in zip(rows.tolist(), samples.tolist(), strict=True):
            stream = self._table.streams[row]
            self.ledger.lost(row, lost)
            if lost and stream is not None and stream.marks:
                played = int(c.down_position[row])
                moved = [(max(played, position - lost), name) for position, name in stream.marks]
                stream.marks.clear()
                stream.marks.extend(moved)

    def _on_underrun(self, rows: Rows, missing_ns: NDArray[np.int64]) -> None:
        """Speech goes on that had run dry; if that is our own doing, of many calls at once, it is counted, not told."""
        if self.hurried:
            return
        positions = self._table.shared.down_position[rows].tolist()
        for row, position, missing in zip(rows.tolist(), positions, missing_ns.tolist(), strict=True):
            stream = self._table.streams[row]
            if stream is not None:
                self._underruns.note(stream, position, missing, self._downlink.now_ns)

    def _report_marks(self, stream: Stream) -> None:
        played = int(self._table.shared.down_position[stream.row])
        while stream.marks and stream.marks[0][0] <= played:
            _, name = stream.marks.popleft()
            self._settle(stream, name, "played")
            data: dict[str, str | int | float] = {"name": name, "position": played}
            self._events.tell(stream, "mark", data, self._downlink.now_ns)
        if not stream.marks:
            self._marked.discard(stream.row)

    def _settle(self, stream: Stream, name: str, outcome: str) -> None:
        if stream.link is not None:
            position = int(self._table.shared.down_position[stream.row])
            stream.link.speak().send_mark(stream.channel, name, position, outcome)

    # -- flow control -----------------------------------------------------------------------

    def _resume_if_short(self, row: int) -> None:
        queue = self._table.formats.at(row).queue
        if row in self._paused and queue.count[row] < _resume_below(queue):
            self._flow(row, ready=True)

    def pause_agents(self, rows: Iterable[int]) -> None:
        """The queues of these rows have become long."""
        for row in rows:
            self._flow(row, ready=False)

    def _flow(self, row: int, *, ready: bool) -> None:
        stream = self._table.streams[row]
        if stream is None or stream.flow_paused != ready:
            return
        stream.flow_paused = not ready
        (self._paused.discard if ready else self._paused.add)(row)
        queue = self._table.formats.at(row).queue
        queued_ms = int(queue.queued_samples(np.array([row]))[0]) * 1000 // stream.start.agent.sample_rate_hz
        if stream.link is not None:
            stream.link.speak().send_flow(stream.channel, ready, queued_ms)


def _pause_above(queue: FrameQueue) -> float:
    """Blocks from which an agent is asked to pause: earlier when all the queues together hold too much."""
    return min(FLOW_PAUSE * queue.limit, queue.promised) if queue.crowded else FLOW_PAUSE * queue.limit


def _resume_below(queue: FrameQueue) -> float:
    """Blocks below which it may go on."""
    return min(FLOW_RESUME * queue.limit, queue.promised / 2) if queue.crowded else FLOW_RESUME * queue.limit
