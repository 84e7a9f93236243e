# SPDX-License-Identifier: GPL-2.0-or-later
"""What agents may do with the caller's ear: speech, marks, clear, digits, and the truth about them.

A mark is reported when the packet with the last sample before it has been
handed to the kernel, or as cut off by a `clear`, exactly once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media import control
from trunkline.gateway.media.downlink import Downlink
from trunkline.gateway.media.table import Stream, Table

Rows = NDArray[np.intp]
FLOW_PAUSE = 0.75
"Share of the queue from which the agent is asked to pause; it may go on below a third of it."
FLOW_RESUME = 0.25


class Playback:
    """Commands of agents, applied to the downlink."""

    def __init__(self, table: Table, downlink: Downlink, post: control.Post) -> None:
        self._table = table
        self._downlink = downlink
        self._post = post
        self._marked: set[int] = set()
        "rows that have marks waiting"
        self._paused: set[int] = set()
        "rows whose agent was asked to pause"
        downlink.on_sent = self._on_sent

    def push(self, rows: Rows, pcm: NDArray[np.int16], now_ns: int) -> None:
        """Speech for n different rows: pcm[n, samples]; asks for a pause where the queue gets long."""
        self._downlink.push(rows, pcm, now_ns)
        for fmt, which in self._table.formats.groups(rows):
            of_format = rows[which]
            long = of_format[fmt.queue.count[of_format] > FLOW_PAUSE * fmt.queue.limit]
            for row in long:
                self._flow(int(row), ready=False)

    def mark(self, stream: Stream, name: str) -> None:
        """Remember a mark at the end of what is queued; at once if nothing is."""
        c, row = self._table.shared, stream.row
        queued = int(self._table.formats.at(row).queue.queued_samples(np.array([row]))[0])
        stream.marks.append((int(c.down_position[row]) + queued, name))
        self._marked.add(row)
        self._report_marks(stream)

    def clear(self, stream: Stream, name: str = "") -> None:
        """Silence the caller from the next packet on; answer what was played and what was not."""
        c = self._table.shared
        discarded = self._downlink.clear(stream)
        rate = stream.start.agent.sample_rate_hz
        played_ms = int(c.down_position[stream.row]) * 1000 // rate
        discarded_ms = discarded * 1000 // rate
        cut = [mark for _, mark in stream.marks]
        stream.marks.clear()
        self._marked.discard(stream.row)
        if stream.link is not None:
            stream.link.protocol.send_cleared(stream.channel, name, played_ms, discarded_ms, cut)
        self._resume_if_short(stream.row)
        data: dict[str, str | int | float] = {
            "played_ms": played_ms,
            "discarded_ms": discarded_ms,
            "marks": ", ".join(cut),
        }
        self._post(control.AgentEvent(stream.call_id, "clear", data))

    def send_digits(self, stream: Stream, digits: str, duration_ms: int, gap_ms: int) -> None:
        """Digits to the caller as RTP events; where the peer takes none, the gateway is asked."""
        if stream.held_media:  # nobody has answered yet: digits wait, as speech does
            stream.early_digits.append((digits, duration_ms, gap_ms))
            return
        if stream.digits_out is None:
            self._post(control.AgentDtmf(stream.call_id, digits, duration_ms))
            return
        stream.digits_out.queue(digits, duration_ms, gap_ms)
        self._table.keying.add(stream.row)

    def end(self, stream: Stream) -> None:
        """The call is over: no mark of it will ever be reached."""
        c = self._table.shared
        for _, name in stream.marks:
            if stream.link is not None:
                position = int(c.down_position[stream.row])
                stream.link.protocol.send_mark(stream.channel, name, position, "cleared")
        stream.marks.clear()
        self._marked.discard(stream.row)
        self._paused.discard(stream.row)

    def _on_sent(self, rows: Rows, now_ns: int) -> None:
        """Packets with speech have left: marks may be reached, queues may be short again."""
        if self._marked:
            for row in self._marked.intersection(rows.tolist()):
                stream = self._table.streams[row]
                if stream is not None:
                    self._report_marks(stream)
        if self._paused:
            for row in self._paused.intersection(rows.tolist()):
                self._resume_if_short(row)

    def _report_marks(self, stream: Stream) -> None:
        played = int(self._table.shared.down_position[stream.row])
        while stream.marks and stream.marks[0][0] <= played:
            _, name = stream.marks.popleft()
            if stream.link is not None:
                stream.link.protocol.send_mark(stream.channel, name, played, "played")
            self._post(control.AgentEvent(stream.call_id, "mark", {"name": name, "position": played}))
        if not stream.marks:
            self._marked.discard(stream.row)

    def _resume_if_short(self, row: int) -> None:
        queue = self._table.formats.at(row).queue
        if row in self._paused and queue.count[row] < FLOW_RESUME * queue.limit:
            self._flow(row, ready=True)

    def _flow(self, row: int, *, ready: bool) -> None:
        stream = self._table.streams[row]
        if stream is None or stream.flow_paused != ready:
            return
        stream.flow_paused = not ready
        (self._paused.discard if ready else self._paused.add)(row)
        queue = self._table.formats.at(row).queue
        queued_ms = int(queue.queued_samples(np.array([row]))[0]) * 1000 // stream.start.agent.sample_rate_hz
        if stream.link is not None:
            stream.link.protocol.send_flow(stream.channel, ready, queued_ms)
