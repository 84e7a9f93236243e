# SPDX-License-Identifier: GPL-2.0-or-later
"""The short way for packets that are exactly what was expected: header prediction.

Nearly every packet of a call follows from the one before: same source and payload type,
next sequence number, timestamp on by one packet time, same length.  So what the next
header will be is known (`expected_*`, `rx_next_*` in `columns.FLOW_FIELDS`), and one
comparison tells that a packet is well-formed, proven, in order, no duplicate and not
late: all that `receive.py` and `timeline.py` find out step by step.  What such a packet
moves lies side by side, and is moved by one addition.  Of an encoding whose packets have
any length, the duration is compared in place of it.

    Batch -> as expected? -> yes: statistics, decode     (here)
                          -> no:  Receiver -> Timeline    (and then: what is expected now?)

Both ways leave the same state behind; a property test compares them.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.batch import Batch
from trunkline.gateway.media.columns import FLOW_FIELDS
from trunkline.gateway.media.credit import CREDIT_NS, CREDIT_RATE
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.lateness import Lateness
from trunkline.gateway.media.table import Table
from trunkline.gateway.media.timeline import MIN_PTIME_DIVISOR
from trunkline.gateway.media.uplink import Uplink
from trunkline.rtp.packet import HEADER_BYTES

AHEAD_NS = 1_000_000
"""A packet that is so much faster than the fastest before it goes the long way, where audio that comes faster
than time passes may not be paid for (credit.py)."""

_MARKER = 0x00800000
_VERSION = 0x80000000
_ONE = np.uint64(1)
KIND = np.int64(1 << 16)
"More than a packet has bytes or, of any length, timestamp units."

Rows = NDArray[np.intp]
Flow = NDArray[np.int64]

_AT = {name: place for place, name in enumerate(FLOW_FIELDS)}
_SEQ, _TS, _MAX_TS = _AT["rx_next_seq"], _AT["rx_next_ts"], _AT["rx_max_ts"]
_TRANSIT, _LAST, _DEADLINE = _AT["rx_transit_ts"], _AT["rx_last_ns"], _AT["rx_deadline_ns"]
_LEAD, _SSRC, _BYTES = _AT["expected_lead"], _AT["expected_ssrc"], _AT["expected_bytes"]
_CREDIT, _CREDIT_AT = _AT["credit_ns"], _AT["credit_at_ns"]
_OCTETS = _AT["octets_received"]
_BY_ONE = ("rx_next_seq", "rx_max_seq", "rx_received", "packets_received")


@dataclasses.dataclass(slots=True)
class _Expected:
    """Packets that are as expected, one of each row."""

    rows: Rows
    flow: Flow
    "copies of their rows' `flow`"
    packets: NDArray[np.uint8]
    lengths: NDArray[np.int32]
    relative_ns: NDArray[np.float64]
    "arrival minus media time"
    late_ns: NDArray[np.float64]
    "... above the base"

    def part(self, which: NDArray[np.intp]) -> _Expected:
        """Some of them."""
        return _Expected(
            self.rows[which], self.flow[which], self.packets[which], self.lengths[which],
            self.relative_ns[which], self.late_ns[which],
        )


class Express:
    """Takes the packets that are as expected out of a batch."""

    def __init__(self, table: Table, uplink: Uplink, lateness: Lateness) -> None:
        self._table = table
        self._uplink = uplink
        self._lateness = lateness
        self._steps: dict[tuple[int, int], Flow] = {}

    def take(self, batch: Batch, now_ns: int) -> Batch | None:
        """Deal with what was expected; returns the rest, None if there is none."""
        flow = self._table.shared.flow[batch.rows]
        relative_ns = now_ns - flow[:, _TS] * self._table.tick_ns[batch.rows]
        late_ns = relative_ns - self._table.shared.rx_base_delay_ns[batch.rows]
        fits = self._as_expected(batch, flow)
        fits &= late_ns >= -AHEAD_NS  # false for nan
        expected = _Expected(batch.rows, flow, batch.packets, batch.lengths, relative_ns, late_ns)
        if fits.all():
            self._take_all(expected, now_ns)
            return None
        which = np.flatnonzero(fits)
        if not len(which):
            return batch
        self._take_all(expected.part(which), now_ns)
        return batch.part(np.flatnonzero(~fits))

    def _as_expected(self, batch: Batch, flow: Flow) -> NDArray[np.bool_]:
        """Which packets have the header and the length that was expected."""
        words = batch.packets[:, :HEADER_BYTES].view(">u4").astype(np.int64)
        fits = (words[:, 0] & ~_MARKER) == (flow[:, _LEAD] | flow[:, _SEQ] & 0xFFFF)
        fits &= words[:, 1] == flow[:, _TS] & 0xFFFFFFFF
        fits &= words[:, 2] == flow[:, _SSRC]
        fits &= batch.named
        if self._table.any_variable:
            return fits & self._as_long(batch, flow, fits)
        fits &= batch.lengths == flow[:, _BYTES]
        return fits

    def _as_long(self, batch: Batch, flow: Flow, header: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which packets have the length that was expected or, where any will do, the duration."""
        fits = batch.lengths == flow[:, _BYTES]
        any_length = np.flatnonzero(header & (flow[:, _BYTES] < 0) & (batch.lengths > HEADER_BYTES))
        rows = batch.rows[any_length]
        for fmt, part in self._table.formats.groups(rows):
            which = any_length[part]
            lengths = batch.lengths[which] - HEADER_BYTES
            payload = batch.packets[which, HEADER_BYTES : HEADER_BYTES + int(lengths.max())]
            samples = fmt.codec.durations(payload, lengths)
            fits[which] = samples * self._table.clock_hz[rows[part]] == -flow[which, _BYTES] * fmt.line_hz
        return fits

    def _take_all(self, expected: _Expected, now_ns: int) -> None:
        """Packets of any formats and lengths, kind by kind."""
        kinds = expected.flow[:, _BYTES] + self._table.formats.of_row[expected.rows] * KIND
        if (kinds == kinds[0]).all():
            self._take_alike(expected, now_ns)
            return
        for kind in np.unique(kinds):
            self._take_alike(expected.part(np.flatnonzero(kinds == kind)), now_ns)

    def _take_alike(self, expected: _Expected, now_ns: int) -> None:
        """Packets of one format and one length (or duration): statistics, then the audio."""
        table, c = self._table, self._table.shared
        rows, flow = expected.rows, expected.flow
        fmt, size, clock = table.formats.at(int(rows[0])), int(flow[0, _BYTES]), int(table.clock_hz[rows[0]])
        transit = now_ns // 1000 * clock // 1_000_000 - flow[:, _TS]
        jitter = c.rx_jitter_ts[rows]  # RFC 3550 A.8
        c.rx_jitter_ts[rows] = jitter + (np.abs(transit - flow[:, _TRANSIT]) - jitter) / 16
        flow[:, _TRANSIT] = transit
        flow[:, _CREDIT] += now_ns - flow[:, _CREDIT_AT]
        flow[:, _LAST] = flow[:, _CREDIT_AT] = now_ns
        step = self._step(fmt, size, clock)
        flow += step
        if size < 0:
            flow[:, _OCTETS] += expected.lengths - HEADER_BYTES
        # What is earned beyond what time brought (a stall of ours) is for the packets that waited.
        flow[:, _CREDIT] += (flow[:, _CREDIT] < CREDIT_NS) * int(step[_DEADLINE] * (CREDIT_RATE - 1))
        c.flow[rows] = flow
        table.seen[rows] = table.seen[rows] << _ONE | _ONE
        c.worker.packets_received[0] += len(rows)
        changed = self._lateness.note(rows, expected.relative_ns, expected.late_ns, now_ns)
        if changed is not None:  # else each deadline has moved by one packet time
            wait_ns = (c.rx_base_delay_ns[changed] + c.rx_target_ns[changed]).astype(np.int64)
            c.rx_deadline_ns[changed] = table.media_ns(changed, c.rx_next_ts[changed]) + wait_ns
        if size > 0:
            pcm = fmt.codec.decode(rows, expected.packets[:, HEADER_BYTES:size])
        else:
            lengths = expected.lengths - HEADER_BYTES
            payload = expected.packets[:, HEADER_BYTES : HEADER_BYTES + int(lengths.max())]
            pcm = fmt.codec.decode_variable(rows, payload, lengths, -size * fmt.line_hz // clock)
        self._uplink.hear(fmt, rows, pcm)

    def _step(self, fmt: Format, size: int, clock: int) -> Flow:
        """What a packet of `size` bytes, or of -`size` timestamp units, adds to each field of its row."""
        step = self._steps.get((fmt.index, size))
        if step is None:
            step = np.zeros(len(FLOW_FIELDS), np.int64)
            for name in _BY_ONE:
                step[_AT[name]] = 1
            if size > 0:
                payload = step[_OCTETS] = size - HEADER_BYTES
                step[_TS] = step[_MAX_TS] = fmt.codec.samples_for(int(payload)) * clock // fmt.line_hz
            else:
                step[_TS] = step[_MAX_TS] = -size
            step[_DEADLINE] = step[_TS] * 1_000_000_000 // clock
            step[_CREDIT] = -step[_DEADLINE]
            self._steps[fmt.index, size] = step
        return step

    def expect(self, rows: Rows) -> None:
        """After packets that took the long way: what their rows expect now, if anything."""
        table, c = self._table, self._table.shared
        steady = (c.rx_proven[rows] == 1) & table.receiving[rows] & (c.rx_has_transit[rows] == 1)
        steady &= (table.held[rows] == 0) & (table.lost_run[rows] == 0) & (table.late_since_ns[rows] == 0)
        steady &= c.rx_max_seq[rows] + 1 == c.rx_next_seq[rows]
        steady &= c.rx_max_ts[rows] + table.payload_ts[rows] == c.rx_next_ts[rows]
        lasts = table.payload_ts[rows]
        steady &= (lasts == c.rx_ptime_ts[rows]) | (lasts * MIN_PTIME_DIVISOR < table.clock_hz[rows])
        steady &= table.payload_bytes[rows] > 0
        expected = HEADER_BYTES + table.payload_bytes[rows]
        if table.any_variable:
            expected = np.where(table.variable[rows], -table.payload_ts[rows], expected)
        c.expected_bytes[rows] = np.where(steady, expected, 0)
        c.expected_lead[rows] = _VERSION | table.receive_pt[rows].astype(np.int64) << 16
        c.expected_ssrc[rows] = c.rx_ssrc[rows]
