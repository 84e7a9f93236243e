# SPDX-License-Identifier: GPL-2.0-or-later
"""The short way for packets that are exactly what was expected: header prediction.

Nearly every packet of a call follows from the one before: same source and payload type,
next sequence number, timestamp on by one packet time, same length.  So what the next
header will be is known (`expected_*`, `rx_next_*` in `columns.FLOW_FIELDS`), and one
comparison tells that a packet is well-formed, proven, in order, no duplicate and not
late: all that `receive.py` and `timeline.py` find out step by step.  What such a packet
moves lies side by side, and is moved by one addition (`Table.step`).  Of an encoding whose
packets have any length, the duration is compared in place of it.

    Batch -> usual? -> yes: all the way to the agent at once               (usual.py)
                    -> no:  as expected? -> yes: statistics, decode         (here)
                                         -> no:  Receiver -> Timeline       (and then: what is expected now?)

Both ways leave the same state behind; a property test compares them.  Compiled
(`native/express.c`), one pass over the batch does what stands in `_take_by_numpy`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.wire import AudioMessage
from trunkline.codecs.compiled import Kernel
from trunkline.gateway.media import compiled
from trunkline.gateway.media.batch import Batch
from trunkline.gateway.media.columns import FLOW_FIELDS
from trunkline.gateway.media.credit import CREDIT_NS, CREDIT_RATE
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.lateness import Lateness
from trunkline.gateway.media.table import Table
from trunkline.gateway.media.timeline import MIN_PTIME_DIVISOR
from trunkline.gateway.media.uplink import Uplink
from trunkline.gateway.media.usual import AHEAD_NS, WAITED_NS, Usual, columns_of_packets
from trunkline.rtp.packet import HEADER_BYTES

_MARKER = 0x00800000
_VERSION = 0x80000000
_ONE = np.uint64(1)
KIND_BITS = 16
"`expected_bytes` and its sign have room in so many; the format stands above."

_MOST = 1 << KIND_BITS - 1
_COUNT = (1 << 20) - 1

Rows = NDArray[np.intp]
Flow = NDArray[np.int64]
Mask = NDArray[np.bool_]

_AT = {name: place for place, name in enumerate(FLOW_FIELDS)}
_SEQ, _TS, _MAX_TS = _AT["rx_next_seq"], _AT["rx_next_ts"], _AT["rx_max_ts"]
_TRANSIT, _LAST, _DEADLINE = _AT["rx_transit_ts"], _AT["rx_last_ns"], _AT["rx_deadline_ns"]
_LEAD, _SSRC, _BYTES = _AT["expected_lead"], _AT["expected_ssrc"], _AT["expected_bytes"]
_CREDIT, _CREDIT_AT = _AT["credit_ns"], _AT["credit_at_ns"]
_OCTETS = _AT["octets_received"]
_BY_ONE = [_AT[name] for name in ("rx_next_seq", "rx_max_seq", "rx_received", "packets_received")]


@dataclasses.dataclass(slots=True)
class _Taken:
    """Packets that were as expected, and have moved their rows; arrays may be longer than there are such."""

    count: int
    which: NDArray[np.intp]
    "[count] their places in the batch"
    rest: NDArray[np.intp]
    "places of all others"
    kinds: NDArray[np.int64]
    "their format << KIND_BITS, plus `expected_bytes`"
    alike: bool
    "they are of one kind"
    relative_ns: NDArray[np.float64]
    "arrival minus media time"
    unusual: NDArray[np.intp]
    "places in `which` of those whose lateness cannot wait for their row's turn"


class Express:
    """Takes the packets that are as expected out of a batch."""

    def __init__(self, table: Table, uplink: Uplink, lateness: Lateness) -> None:
        self._table = table
        self._uplink = uplink
        self._lateness = lateness
        self.usual = Usual(table, uplink, lateness)
        c, n = table.shared, table.capacity
        self._kernel = compiled.bind("express", *columns_of_packets(table))
        self._expect = compiled.bind(
            "expect", c.flow, table.step, c.rx_ssrc, c.rx_proven, table.receiving, c.rx_has_transit, table.held,
            table.lost_run, table.late_since_ns, table.payload_bytes, table.payload_ts, c.rx_ptime_ts, table.clock_hz,
            table.receive_pt, table.variable, table.slip,
        )  # fmt: skip
        self._which, self._rest, self._unusual, self._kinds = np.zeros((4, n), np.int64)
        self._relative_ns = np.zeros(n)
        "what the kernel fills in"
        self.hurried = False
        """Packets have waited for us lately, and come as fast as they are read. Audio beyond what is paid for may come
        by then: as much as a socket holds."""
        self._expand: dict[int, Kernel | None] = {}
        "by format, where there is no more to decoding than a table: a kernel that does it"

    def take(self, batch: Batch, now_ns: int) -> Batch | None:
        """Deal with what was expected; returns the rest, None if there is none."""
        return self._take_left(batch, self.usual.take(batch, now_ns, waited=self.hurried), now_ns)

    def take_rest(self, batch: Batch, now_ns: int, message: AudioMessage, said: int) -> Batch | None:
        """`take`, where the usual packets are in this message already: as `Usual.take_rest` has it."""
        return self._take_left(batch, self.usual.take_rest(batch, now_ns, message, said), now_ns)

    def _take_left(self, batch: Batch, left: int, now_ns: int) -> Batch | None:
        """So many packets of the batch were not usual."""
        count, rest = len(batch.rows), None
        if left:
            batch = batch.part(self.usual.places[:left]) if left < count else batch.lasting()
            rest = self._take(batch, now_ns)
        if rest is None or len(rest.rows) < count:
            self._lateness.all_now()
            self._uplink.draw()
        return rest

    def _take(self, batch: Batch, now_ns: int) -> Batch | None:
        """The same step by step."""
        may = batch.named
        if self._table.any_variable:
            may = may & self._as_long(batch)
        take = self._take_by_numpy if self._kernel is None else self._take_compiled
        taken = take(batch, may, now_ns)
        if not taken.count:
            return batch
        rows = batch.rows[taken.which] if len(taken.rest) else batch.rows
        self._note_lateness(rows, taken, now_ns)
        rest = batch.part(taken.rest) if len(taken.rest) else None
        self._hear(batch, rows, taken)
        return rest

    def _take_compiled(self, batch: Batch, may: Mask, now_ns: int) -> _Taken:
        assert self._kernel is not None
        counts = self._kernel(
            now_ns, CREDIT_NS, CREDIT_RATE - 1, self._soonest_ns(), *self._lateness.ordinary_ns, batch.rows,
            batch.packets, batch.lengths, may, self._which, self._rest, self._unusual, self._kinds, self._relative_ns,
        )  # fmt: skip
        count, unusual = counts & _COUNT, counts >> 20 & _COUNT
        return _Taken(
            count, self._which[:count], self._rest[: len(batch.rows) - count], self._kinds, not counts >> 40,
            self._relative_ns, self._unusual[:unusual],
        )  # fmt: skip

    def _take_by_numpy(self, batch: Batch, may: Mask, now_ns: int) -> _Taken:
        """Statistics of the packets that are as expected."""
        table, c = self._table, self._table.shared
        flow = c.flow[batch.rows]
        relative_ns = now_ns - flow[:, _TS] * table.tick_ns[batch.rows]
        late_ns = relative_ns - c.rx_base_delay_ns[batch.rows]
        fits = may & _as_expected(batch, flow)
        fits &= late_ns >= self._soonest_ns()  # false for nan
        rest = np.flatnonzero(~fits)
        which = np.flatnonzero(fits)
        rows = batch.rows
        if len(rest):
            rows, flow, relative_ns, late_ns = rows[which], flow[which], relative_ns[which], late_ns[which]
        kinds = flow[:, _BYTES] + (table.formats.of_row[rows].astype(np.int64) << KIND_BITS)
        transit = now_ns // 1000 * table.clock_hz[rows] // 1_000_000 - flow[:, _TS]
        jitter = c.rx_jitter_ts[rows]  # RFC 3550 A.8
        c.rx_jitter_ts[rows] = jitter + (np.abs(transit - flow[:, _TRANSIT]) - jitter) / 16
        flow[:, _TRANSIT] = transit
        flow[:, _CREDIT] += now_ns - flow[:, _CREDIT_AT]
        flow[:, _LAST] = flow[:, _CREDIT_AT] = now_ns
        step = table.step[rows]
        flow += step
        if table.any_variable:
            flow[:, _OCTETS] += (batch.lengths[which] - HEADER_BYTES) * (flow[:, _BYTES] < 0)
        # What is earned beyond what time brought (a stall of ours) is for the packets that waited.
        earned = (step[:, _DEADLINE] * (CREDIT_RATE - 1)).astype(np.int64)
        flow[:, _CREDIT] += (flow[:, _CREDIT] < CREDIT_NS) * earned
        c.flow[rows] = flow
        table.seen[rows] = table.seen[rows] << _ONE | _ONE
        c.worker.packets_received[0] += len(rows)
        early_ns, soon_ns = self._lateness.ordinary_ns
        unusual = np.flatnonzero((late_ns < early_ns) | (late_ns > soon_ns))
        alike = bool((kinds == kinds[:1]).all())
        return _Taken(len(rows), which, rest, kinds, alike, relative_ns, unusual)

    def _soonest_ns(self) -> float:
        """How late a packet must be at least."""
        return -WAITED_NS if self.hurried else -AHEAD_NS

    def _as_long(self, batch: Batch) -> Mask:
        """Which packets last as long as was expected, if their encoding's have any length; the others do too."""
        rows, fits = batch.rows, np.ones(len(batch.rows), bool)
        expected = self._table.shared.expected_bytes[rows]
        fits[expected < 0] = False
        any_length = np.flatnonzero((expected < 0) & (batch.lengths > HEADER_BYTES))
        for fmt, part in self._table.formats.groups(rows[any_length]):
            which = any_length[part]
            lengths = batch.lengths[which] - HEADER_BYTES
            payload = batch.packets[which, HEADER_BYTES : HEADER_BYTES + int(lengths.max())]
            samples = fmt.codec.durations(payload, lengths)
            fits[which] = samples * self._table.clock_hz[rows[which]] == -expected[which] * fmt.line_hz
        return fits

    def _note_lateness(self, rows: Rows, taken: _Taken, now_ns: int) -> None:
        """Base and target of those whose turn it is, or that cannot wait; the others' deadlines have moved already."""
        relative_ns = taken.relative_ns[: taken.count]
        if not self._lateness.turn:
            if not len(taken.unusual):
                return
            rows, relative_ns = rows[taken.unusual], relative_ns[taken.unusual]
        self._lateness.note_expected(rows, relative_ns, now_ns)

    # -- audio ------------------------------------------------------------------------------

    def _hear(self, batch: Batch, rows: Rows, taken: _Taken) -> None:
        """Packets of any formats and lengths, kind by kind."""
        if taken.alike:
            self._hear_alike(batch, rows, taken.which, int(taken.kinds[0]), whole=not len(taken.rest))
            return
        kinds = taken.kinds[: taken.count]
        for kind in np.unique(kinds).tolist():
            same = np.flatnonzero(kinds == kind)
            self._hear_alike(batch, rows[same], taken.which[same], kind, whole=False)

    def _hear_alike(
        self, batch: Batch, rows: Rows, which: NDArray[np.intp], kind: int, *, whole: bool
    ) -> None:
        """Packets of one format and one length (or duration); `whole`: all of the batch."""
        size = (kind + _MOST & 2 * _MOST - 1) - _MOST
        fmt = self._table.formats.list[kind - size >> KIND_BITS]
        if size > 0:
            expand = self._expander(fmt)
            if expand is not None:
                pcm: NDArray[np.int16] = np.empty((len(rows), size - HEADER_BYTES), np.int16)
                expand(which, batch.packets, pcm)
            else:
                packets = batch.packets if whole else batch.packets[which]
                pcm = fmt.codec.decode(rows, packets[:, HEADER_BYTES:size])
        else:
            lengths = batch.lengths[which] - HEADER_BYTES
            payload = batch.packets[which, HEADER_BYTES : HEADER_BYTES + int(lengths.max())]
            clock_hz = int(self._table.clock_hz[rows[0]])
            pcm = fmt.codec.decode_variable(rows, payload, lengths, -size * fmt.line_hz // clock_hz)
        self._uplink.hear(fmt, rows, pcm)

    def _expander(self, fmt: Format) -> Kernel | None:
        if fmt.index not in self._expand:
            table = fmt.codec.decode_table
            self._expand[fmt.index] = None if table is None else compiled.bind("expand", table)
        return self._expand[fmt.index]

    def expect(self, rows: Rows) -> None:
        """After packets that took the long way: what their rows expect now, if anything."""
        table, c = self._table, self._table.shared
        if self._expect is not None:
            self._expect(rows)
            return
        steady = (c.rx_proven[rows] == 1) & table.receiving[rows] & (c.rx_has_transit[rows] == 1)
        steady &= (table.held[rows] == 0) & (table.lost_run[rows] == 0) & (table.late_since_ns[rows] == 0)
        steady &= c.rx_max_seq[rows] + 1 == c.rx_next_seq[rows]
        steady &= c.rx_max_ts[rows] + table.payload_ts[rows] == c.rx_next_ts[rows]
        lasts = table.payload_ts[rows]
        steady &= (lasts == c.rx_ptime_ts[rows]) | (lasts * MIN_PTIME_DIVISOR < table.clock_hz[rows])
        steady &= (table.payload_bytes[rows] > 0) & (table.slip[rows] < 1)  # or a frame is owed with the packet
        expected = HEADER_BYTES + table.payload_bytes[rows]
        if table.any_variable:
            expected = np.where(table.variable[rows], -table.payload_ts[rows], expected)
        c.expected_bytes[rows] = np.where(steady, expected, 0)
        c.expected_lead[rows] = _VERSION | table.receive_pt[rows].astype(np.int64) << 16
        c.expected_ssrc[rows] = c.rx_ssrc[rows]
        step, lasts_ns = table.step, lasts * 1_000_000_000 // table.clock_hz[rows]
        step[rows[:, None], _BY_ONE] = 1
        step[rows, _TS] = step[rows, _MAX_TS] = lasts
        step[rows, _DEADLINE], step[rows, _CREDIT] = lasts_ns, -lasts_ns
        step[rows, _OCTETS] = np.where(table.variable[rows], 0, table.payload_bytes[rows])


def _as_expected(batch: Batch, flow: Flow) -> Mask:
    """Which packets have the header that was expected, and the length unless any will do."""
    words = batch.packets[:, :HEADER_BYTES].view(">u4").astype(np.int64)
    fits = (words[:, 0] & ~_MARKER) == (flow[:, _LEAD] | flow[:, _SEQ] & 0xFFFF)
    fits &= words[:, 1] == flow[:, _TS] & 0xFFFFFFFF
    fits &= words[:, 2] == flow[:, _SSRC]
    fits &= (batch.lengths == flow[:, _BYTES]) | (flow[:, _BYTES] < 0)
    fits &= batch.lengths > HEADER_BYTES
    return fits
