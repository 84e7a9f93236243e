# SPDX-License-Identifier: GPL-2.0-or-later
"""First stages of the uplink: headers, admission, reception statistics.

    packets -> parse -> payload type -> source -> sequence -> statistics -> Timeline

Everything is a column operation over the batch; the rare row that needs thought
(a new source, a jump) leaves the columns for a few lines of `source.py`.

Compiled (`native/admit.c`), audio of the proven source goes through all of this in one
pass, the timeline included, wherever in the sequence it is; the others are left to `_think`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media import compiled, source
from trunkline.gateway.media.arrivals import AUDIO, EMPTY, Arrivals
from trunkline.gateway.media.batch import PACKET_BYTES, Batch
from trunkline.gateway.media.lateness import Lateness
from trunkline.gateway.media.table import Stream, Table
from trunkline.gateway.media.timeline import Timeline
from trunkline.rtp.dtmf import EventReceiver
from trunkline.rtp.jitter import TargetParams
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.packet import Headers, parse_headers
from trunkline.rtp.reception import interarrival_jitter
from trunkline.rtp.sequence import extend

MAX_DROPOUT = 3000
"Sequence numbers that a source may jump ahead (RFC 3550 A.1)."
MAX_MISORDER = 100
"... and back."
EARLY_NS = 100_000_000
"A packet next in sequence and so much ahead of its timestamp's schedule restarts the timeline:"
LEAP_NS = 500_000_000
"a faster route would have brought it before its predecessor. One behind a gap must be so much ahead."
EVENT_AHEAD_S = 10
"A telephone-event so far ahead of the audio does not count in the audio's clock: nothing is to be learned from it."
CN_PT = 13
"Comfort noise has a static number (RFC 3551); some send it without having said so: it means the same either way."

_MOST = (1 << 15) - 1
_ADMITTED = 7
"Rows of what `admit` fills in: native/admit.c."

Rows = NDArray[np.intp]
Indices = NDArray[np.intp]


class Receiver:
    """Takes batches of RTP, keeps reception state, hands what is good to the timeline."""

    def __init__(self, table: Table, timeline: Timeline, params: TargetParams) -> None:
        self._table = table
        self._timeline = timeline
        self.lateness = Lateness(table, params)
        c = table.shared
        self._admit = compiled.bind(
            "admit", *timeline.columns(), c.rx_ssrc, table.receiving, table.receive_pt, c.rx_base_seq,
            c.rx_has_transit, c.rx_jitter_ts, c.rx_lost_before, c.packets_lost, c.packets_reordered, table.seen,
            c.worker.packets_received,
        )  # fmt: skip
        self._out: NDArray[np.int64] = np.zeros((_ADMITTED, table.capacity), np.int64)
        self._relative_ns = np.zeros(table.capacity)
        "what it fills in"
        self.on_event_packet = _ignore_event
        "called (stream, header timestamp, payload bytes, now_ns) for each telephone-event packet"
        self.on_comfort_noise = _ignore_noise
        "called (stream, payload bytes) for each comfort noise packet"
        self.on_source_end = _ignore_end
        "called (stream, now_ns) when another source takes the place of one whose key was down"
        self.on_first_packet = _ignore_first
        "called (stream) at the first proven packet"
        self.on_begin = _ignore_begin
        "called (row) when the extended sequence numbers of a row begin anew"

    def receive(self, batch: Batch, now_ns: int) -> None:
        """One batch, at most one packet a row."""
        turn = self.lateness.all_now()
        if self._admit is None or len(batch.rows) > _MOST:
            arrivals = Arrivals.of(batch)
            good = self._think(batch, arrivals, now_ns, turn)
            self._timeline.arrive(arrivals, good, good[:0], now_ns)
            return
        rest, left, moved, places = self._take_in(batch, now_ns, turn)
        if not len(rest) + len(left) + len(moved):
            return
        arrivals = Arrivals.of(batch)
        arrivals.seq, arrivals.timestamp, arrivals.start[:] = places
        arrivals.size = batch.lengths - arrivals.start
        if len(rest):
            part = batch.part(rest)
            thought = Arrivals.of(part)
            good = self._think(part, thought, now_ns, turn)
            left = np.sort(np.concatenate([left, rest[good]]))
            arrivals.put(rest, thought)
        if len(left) + len(moved):
            self._timeline.arrive(arrivals, left, moved, now_ns)

    def _take_in(
        self, batch: Batch, now_ns: int, turn: bool
    ) -> tuple[Indices, Indices, Indices, NDArray[np.int64]]:
        """By the kernel: places of packets that need thought, are for the timeline to accept, and have moved it.

        The others have gone all their way, or wait.  Last [3, n] sequence numbers, timestamps and first bytes of audio
        of all but the first.
        """
        assert self._admit is not None
        timeline, rows, n = self._timeline, batch.rows, len(batch.rows)
        out, relative_ns = self._out, self._relative_ns
        timeline.held.reserve(n)
        may = batch.named
        if self._table.restamped:
            may = may & ~np.isin(rows, list(self._table.restamped))
        if timeline.backlog.skips:
            may = may & ~timeline.backlog.skipped[rows]
        counts = self._admit(
            *timeline.moment(now_ns), *self.lateness.ordinary_ns, turn, rows, batch.packets, batch.lengths, may, out,
            relative_ns,
        )  # fmt: skip
        rest, left, moved, noted = (counts >> shift & _MOST for shift in (0, 16, 32, 48))
        if noted:
            self.lateness.update(rows[out[3, :noted]], relative_ns[:noted], now_ns)
        if moved and not rest and not left and timeline.onward is not None:
            which = out[2, :moved]
            start = out[6, which]
            size = batch.lengths[which] - start
            is_heard, waiting = timeline.onward.hear(rows[which], which, batch.packets, start, size, now_ns)
            if is_heard:
                moved = 0
                timeline.release(waiting, now_ns)
        return out[0, :rest], out[1, :left], out[2, :moved], out[4:, :n]

    def _think(self, batch: Batch, arrivals: Arrivals, now_ns: int, turn: bool) -> Indices:
        """All that a packet may be; returns the places of those that were admitted, and completes their columns."""
        table = self._table
        headers = parse_headers(batch.packets, batch.lengths)
        drop = headers.drop
        rows = batch.rows
        # What fills all its room was cut off by the kernel.
        drop[(drop == Drop.NONE) & (batch.lengths >= PACKET_BYTES)] = Drop.BAD_PAYLOAD
        kind = self._payload_kinds(rows, headers, drop)
        self._admit_sources(batch, headers, drop, now_ns)
        ext, delta = self._admit_sequence(batch, headers, drop, now_ns)
        self._drop_duplicates(rows, delta, drop)
        good = np.flatnonzero(drop == Drop.NONE)
        if len(good) < len(rows):
            bad = drop != Drop.NONE
            np.add.at(table.shared.drops, (rows[bad], drop[bad]), 1)
            np.add.at(table.shared.worker.drops, drop[bad], 1)
        if not len(good):
            return good
        if len(good) < len(rows):
            rows, ext, delta, kind = rows[good], ext[good], delta[good], kind[good]
        if table.restamped:
            self._restamp(rows, headers.timestamp[good], kind, now_ns)
        timestamp = extend(table.shared.rx_max_ts[rows], headers.timestamp[good], 32)
        self._count(rows, ext, delta, timestamp, headers.payload_bytes[good], kind, now_ns, turn)
        arrivals.seq[good], arrivals.timestamp[good], arrivals.kind[good] = ext, timestamp, kind
        arrivals.start, arrivals.size = headers.payload_start, headers.payload_bytes
        if (kind != AUDIO).any():
            self._events(arrivals, good[kind != AUDIO], headers, now_ns)
        return good

    def _restamp(self, rows: Rows, wire: NDArray[np.int64], kind: NDArray[np.uint8], now_ns: int) -> None:
        """First audio packets by another clock: wherever they say they are, the timeline goes on there."""
        for i in np.flatnonzero(kind == AUDIO):
            row = int(rows[i])
            if row in self._table.restamped:
                self._table.restamped.discard(row)
                timestamp = wire[i : i + 1] + (1 << 32)
                self._timeline.jump(rows[i : i + 1], timestamp, now_ns)
                self._table.shared.rx_max_ts[row] = timestamp[0]

    def _payload_kinds(self, rows: Rows, headers: Headers, drop: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """AUDIO or EMPTY (takes a sequence number, brings no samples) for each; drops the rest."""
        table = self._table
        pt = headers.payload_type
        audio = pt == table.receive_pt[rows]
        empty = (pt == table.dtmf_pt[rows]) | (pt == CN_PT) | (pt == table.receive_cn_pt[rows])
        drop[(drop == Drop.NONE) & ~audio & ~empty] = Drop.PAYLOAD_TYPE
        drop[(drop == Drop.NONE) & ~table.receiving[rows]] = Drop.NOT_RECEIVING
        return np.where(audio, AUDIO, EMPTY).astype(np.uint8)

    def _admit_sources(self, batch: Batch, headers: Headers, drop: NDArray[np.uint8], now_ns: int) -> None:
        """Address and SSRC of each packet, by the rules of `source.py`."""
        c, rows = self._table.shared, batch.rows
        known = batch.named & (c.rx_proven[rows] == 1) & (c.rx_ssrc[rows] == headers.ssrc)
        others = (drop == Drop.NONE) & ~known
        if not others.any():
            return
        first = np.flatnonzero(others & self._is_first(batch))
        if len(first):  # when many calls begin at once, these come by the hundred
            self._begin_first(rows[first], headers, first)
            others[first] = False
        for i in np.flatnonzero(others):
            drop[i] = self._judge(int(i), batch, headers, now_ns)

    def _is_first(self, batch: Batch) -> NDArray[np.bool_]:
        """Packets of rows that have heard nothing yet, from where signalling has named."""
        c, rows = self._table.shared, batch.rows
        plain = ~self._table.secure[rows] & (c.rx_followed_port[rows] == 0)
        return np.asarray(batch.named & plain & (c.rx_proven[rows] == 0))

    def _begin_first(self, rows: Rows, headers: Headers, which: NDArray[np.intp]) -> None:
        """`_judge` and `_begin` for such packets."""
        ssrc, seq, timestamp = headers.ssrc[which], headers.sequence[which], headers.timestamp[which]
        source.begin_first(self._table, rows, ssrc, seq, timestamp)
        self.lateness.begin(rows)
        self._table.restamped.difference_update(rows.tolist())
        for row in rows.tolist():
            stream = self._table.streams[row]
            if stream is not None:
                stream.named_spoke = stream.media_seen = True
                self.on_first_packet(stream)

    def _judge(self, i: int, batch: Batch, headers: Headers, now_ns: int) -> int:
        """A packet that does not belong to the row's proven source: Drop.NONE if it may from now on."""
        stream = self._table.streams[int(batch.rows[i])]
        if stream is None:
            return Drop.SOURCE
        address = batch.addresses[i]
        ssrc, seq = int(headers.ssrc[i]), int(headers.sequence[i])
        if not source.may_take_over(self._table, stream, address, ssrc, seq, now_ns):
            return Drop.SSRC if address == stream.remote else Drop.SOURCE
        source.take_over(self._table, stream, address)
        self._begin(stream, ssrc, seq, int(headers.timestamp[i]), now_ns)
        return Drop.NONE

    def _begin(self, stream: Stream, ssrc: int, seq: int, timestamp: int, now_ns: int) -> None:
        self._timeline.leave_source(stream.row, now_ns)
        self._table.restamped.discard(stream.row)
        if (
            int(self._table.shared.rx_ssrc[stream.row]) != ssrc
        ):  # else it may go on with a press, or end it again
            if stream.digits_in.open_digit:
                self.on_source_end(stream, now_ns)
            clock_hz, timestamp_hz = stream.digits_in.clocks
            stream.digits_in = EventReceiver(clock_hz, timestamp_hz=timestamp_hz)
        source.begin(self._table, stream.row, ssrc, seq, timestamp)
        self.lateness.begin(stream.row)
        self.on_begin(stream.row)
        if not stream.media_seen:
            stream.media_seen = True
            self.on_first_packet(stream)

    def _admit_sequence(
        self, batch: Batch, headers: Headers, drop: NDArray[np.uint8], now_ns: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Extended sequence numbers and their distance from the highest; jumps must prove themselves."""
        highest = self._table.shared.rx_max_seq[batch.rows]
        ext = extend(highest, headers.sequence, 16)
        delta = ext - highest
        jumped = (drop == Drop.NONE) & ((delta > MAX_DROPOUT) | (delta < -MAX_MISORDER))
        back = np.flatnonzero((drop == Drop.NONE) & (delta <= 0))
        if len(back):  # an old number with a new timestamp is no old packet: the sender has begun anew
            newest = self._table.shared.rx_max_ts[batch.rows[back]]
            jumped[back] |= extend(newest, headers.timestamp[back], 32) > newest
        for i in np.flatnonzero(jumped):
            stream = self._table.streams[int(batch.rows[i])]
            ssrc, seq = int(headers.ssrc[i]), int(headers.sequence[i])
            if stream is None or not source.consistent(
                stream, batch.addresses[i], ssrc, seq, source.RESTART_AFTER
            ):
                drop[i] = Drop.PROBATION
                continue
            self._begin(stream, ssrc, seq, int(headers.timestamp[i]), now_ns)
            ext[i] = self._table.shared.rx_next_seq[stream.row]
            delta[i] = 1
        return ext, delta

    def _drop_duplicates(self, rows: Rows, delta: NDArray[np.int64], drop: NDArray[np.uint8]) -> None:
        """Numbers at or below the highest: seen before, too old to know, or simply late in order."""
        back = -delta
        old = np.flatnonzero((back >= 0) & (drop == Drop.NONE))
        if not len(old):
            return
        distance = np.minimum(back[old], 63).astype(np.uint64)
        seen = (self._table.seen[rows[old]] >> distance & np.uint64(1)).astype(bool)
        drop[old[seen]] = Drop.DUPLICATE
        drop[old[~seen & (back[old] > 63)]] = Drop.LATE

    def _count(
        self,
        rows: Rows,
        ext: NDArray[np.int64],
        delta: NDArray[np.int64],
        timestamp: NDArray[np.int64],
        payload_bytes: NDArray[np.int32],
        kind: NDArray[np.uint8],
        now_ns: int,
        turn: bool,
    ) -> None:
        """Statistics of proven packets: counts, loss, jitter (RFC 3550 A.3, A.8), target delay."""
        table, c = self._table, self._table.shared
        ahead = delta > 0
        shift = np.clip(np.where(ahead, delta, -delta), 0, 63).astype(np.uint64)
        one = np.uint64(1)
        seen = table.seen[rows]
        moved = np.where(delta > 63, np.uint64(0), seen << shift) | one
        table.seen[rows] = np.where(ahead, moved, seen | one << shift)
        c.rx_max_seq[rows] = np.maximum(c.rx_max_seq[rows], ext)
        c.rx_received[rows] += 1
        c.packets_received[rows] += 1
        c.octets_received[rows] += payload_bytes
        c.packets_reordered[rows] += ~ahead
        lost = c.rx_max_seq[rows] - c.rx_base_seq[rows] + 1 - c.rx_received[rows]
        c.packets_lost[rows] = c.rx_lost_before[rows] + np.maximum(lost, 0)
        c.worker.packets_received[0] += len(rows)
        # Events repeat one timestamp for as long as the key is down: no measure of the network.
        # Nor are the timestamps of overtaken packets, but for how late these were.
        audio = (kind == AUDIO) & ahead
        if audio.all():
            self._measure(rows, timestamp, delta == 1, now_ns, turn)
        else:
            self._measure(rows[audio], timestamp[audio], delta[audio] == 1, now_ns, turn)
            # Audio that these have overtaken is old for all that; but an event's clock may be another one.
            other = ahead & ~audio & (timestamp - c.rx_max_ts[rows] < EVENT_AHEAD_S * table.clock_hz[rows])
            c.rx_max_ts[rows[other]] = np.maximum(c.rx_max_ts[rows[other]], timestamp[other])
            overtaken = (kind == AUDIO) & ~ahead
            relative = self._relative(rows[overtaken], timestamp[overtaken], now_ns)
            self.lateness.note_overtaken(rows[overtaken], relative, now_ns)
        c.rx_last_ns[rows] = now_ns

    def _relative(self, rows: Rows, timestamp: NDArray[np.int64], now_ns: int) -> NDArray[np.float64]:
        """Arrival minus media time, in ns from any epoch."""
        return np.asarray(now_ns - timestamp * 1_000_000_000.0 / self._table.clock_hz[rows])

    def _measure(
        self,
        rows: Rows,
        timestamp: NDArray[np.int64],
        in_sequence: NDArray[np.bool_],
        now_ns: int,
        turn: bool,
    ) -> None:
        table, c = self._table, self._table.shared
        clock = table.clock_hz[rows]
        relative = self._relative(rows, timestamp, now_ns)
        late = relative - c.rx_base_delay_ns[rows]  # nan for the first
        ahead = late < -EARLY_NS
        if ahead.any():
            leapt = np.flatnonzero(ahead & (in_sequence | (late < -LEAP_NS)))
            self._timeline.jump(rows[leapt], timestamp[leapt], now_ns)
            late[leapt] = np.nan
        arrival = now_ns // 1000 * clock // 1_000_000
        jitter, transit = interarrival_jitter(
            c.rx_jitter_ts[rows], c.rx_transit_ts[rows], c.rx_has_transit[rows], arrival, timestamp
        )
        c.rx_jitter_ts[rows] = jitter
        c.rx_transit_ts[rows] = transit
        c.rx_has_transit[rows] = 1
        c.rx_max_ts[rows] = np.maximum(c.rx_max_ts[rows], timestamp)
        self.lateness.note(rows, relative, late, now_ns, turn)

    def _events(self, arrivals: Arrivals, which: Indices, headers: Headers, now_ns: int) -> None:
        """Hand telephone-event and comfort noise payloads to their streams (rare, so one by one)."""
        for i in which.tolist():
            row = int(arrivals.rows[i])
            stream = self._table.streams[row]
            if stream is None:
                continue
            if headers.payload_type[i] == self._table.dtmf_pt[row]:
                self.on_event_packet(stream, int(headers.timestamp[i]), arrivals.payload(i), now_ns)
            else:
                self.on_comfort_noise(stream, arrivals.payload(i))


def _ignore_event(stream: Stream, timestamp: int, payload: bytes, now_ns: int) -> None:
    """Until somebody wants the events."""


def _ignore_end(stream: Stream, now_ns: int) -> None:
    """Until somebody wants the presses."""


def _ignore_noise(stream: Stream, payload: bytes) -> None:
    """Until somebody fills pauses."""


def _ignore_begin(row: int) -> None:
    """Until somebody counts rollovers."""


def _ignore_first(stream: Stream) -> None:
    """Until somebody wants to know."""
