# SPDX-License-Identifier: GPL-2.0-or-later
"""When the next frame of each row is filled if it has not come, and those whose time has run out.

All that this moves is moved here before a frame is made up, so that whoever makes them up gets
as many as there are in one batch.  `native/timeline.c` does the same in one pass over the rows.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media import compiled, credit
from trunkline.gateway.media.arrivals import AUDIO, EMPTY
from trunkline.gateway.media.credit import Credit
from trunkline.gateway.media.reorder import ReorderBuffer
from trunkline.gateway.media.soonest import soonest_of
from trunkline.gateway.media.table import Table

CONCEAL_MS = 240
"Concealment has faded to silence by then; what follows is a gap, not speech."

_COUNT = (1 << 20) - 1
LACKS = 9
"Rows of what `lacks` fills in: native/timeline.c."

Rows = NDArray[np.intp]


@dataclasses.dataclass(slots=True)
class Lacking:
    """Frames that did not come; the timelines are behind them already. Columns of i64[3, n]."""

    filled: NDArray[np.int64]
    "rows whose frame is to be made up, its timestamp units, whether it is silent"
    gaps: NDArray[np.int64]
    "those of them behind whose gap a packet waits, so many units after the frame begins; its slot"
    over: NDArray[np.int64]
    "rows that wait no longer, the first number that is missing, and that of the packet that is next now"


class Schedule:
    """Deadlines of every row, and the frames that they demand."""

    def __init__(self, table: Table, held: ReorderBuffer, account: Credit) -> None:
        self._table = table
        self.held = held
        self._credit = account
        self.soonest = soonest_of(table.shared.rx_deadline_ns)
        "least deadline of rows"
        self._lacks, self._set = (compiled.bind(name, *self.columns()) for name in ("lacks", "schedule"))
        self._out: NDArray[np.int64] = np.zeros((LACKS, table.capacity), np.int64)
        "what `lacks` fills in"

    def columns(self) -> tuple[NDArray[Any], ...]:
        """What the kernels of `native/timeline.h` take first."""
        table, c = self._table, self._table.shared
        return (
            c.flow, table.clock_hz, c.rx_base_delay_ns, c.rx_target_ns, c.rx_ptime_ts, table.ptime_ns, c.rx_proven,
            table.payload_bytes, table.payload_ts, table.variable, table.slip, table.lost_run, table.late_since_ns,
            c.drops, c.worker.drops, table.held, self.held.first,
        )  # fmt: skip

    def moment(self, now_ns: int) -> tuple[int, int, float, NDArray[Any], NDArray[Any], NDArray[Any]]:
        """... and with each call."""
        held = self.held
        return now_ns, credit.CREDIT_NS, credit.CREDIT_RATE, held.slots, held.payloads, held.free

    def set_deadlines(self, rows: Rows) -> None:
        """When their next frames are filled, if they have not come."""
        if self._set is not None:
            self._set(*self.moment(0), rows)
            return
        c = self._table.shared
        media_ns = self._table.media_ns(rows, c.rx_next_ts[rows])
        base = c.rx_base_delay_ns[rows]
        unknown = np.isnan(base)
        if unknown.any():  # nothing but events so far: no schedule to go by, our own clock serves
            c.rx_deadline_ns[rows[unknown]] += self._table.ptime_ns[rows[unknown]]
            rows, media_ns, base = rows[~unknown], media_ns[~unknown], base[~unknown]
        c.rx_deadline_ns[rows] = media_ns + (base + c.rx_target_ns[rows]).astype(np.int64)

    def overdue(self, running: Rows, now_ns: int) -> Lacking:
        """One frame of each of these rows whose time has run out."""
        if self._lacks is None:
            return self._overdue_by_numpy(running, now_ns)
        return self._compiled(running, now_ns, every=False)

    def lack(self, rows: Rows, now_ns: int) -> tuple[Lacking, NDArray[np.bool_]]:
        """One frame of each row, whatever the time; and for which of them it is paid."""
        if self._lacks is None:
            filled, paid = self._count(rows, now_ns)
            return Lacking(filled, filled[:, :0], filled[:, :0]), paid
        lacking = self._compiled(rows, now_ns, every=True)
        if len(lacking.filled[0]) == len(rows):
            return lacking, np.ones(len(rows), bool)
        return lacking, np.isin(rows, lacking.filled[0])

    def _compiled(self, rows: Rows, now_ns: int, *, every: bool) -> Lacking:
        assert self._lacks is not None
        counts = self._lacks(*self.moment(now_ns), every, rows, self._out)
        filled, gaps, over = counts & _COUNT, counts >> 20 & _COUNT, counts >> 40
        out = self._out
        return Lacking(out[:3, :filled].copy(), out[3:6, :gaps].copy(), out[6:, :over].copy())

    def _overdue_by_numpy(self, running: Rows, now_ns: int) -> Lacking:
        table, c = self._table, self._table.shared
        rows = running[c.rx_deadline_ns[running] <= now_ns]
        waits = table.held[rows] > 0
        waiting = rows[waits]
        slots = self.held.first[waiting]
        seq, timestamp, kind, _, _ = self.held.slots[slots].T
        packet_ts = c.rx_ptime_ts[waiting]
        half_ts = packet_ts - packet_ts // 2
        leap = (
            timestamp - c.rx_next_ts[waiting] > table.clock_hz[waiting]
        )  # behind the gap, not a second of loss
        leap |= self._credit.packets(waiting, now_ns) < 1  # or more than time has brought
        c.rx_next_ts[waiting[leap]] = timestamp[leap]
        gap_ts = timestamp - c.rx_next_ts[waiting]
        gap = (kind == AUDIO) & (gap_ts >= half_ts)
        fills = ~waits
        fills[waits] = gap
        filled, paid = self._count(rows[fills], now_ns)
        unpaid = rows[fills & ~waits]
        unpaid = unpaid[~paid[~waits[fills]]]
        if len(unpaid):  # its schedule is ahead of time: no more than a frame each packet time
            c.rx_deadline_ns[unpaid] = (
                now_ns + c.rx_ptime_ts[unpaid] * 1_000_000_000 // table.clock_hz[unpaid]
            )
        gap[gap] = paid[waits[fills]]
        over = (kind == EMPTY) | (timestamp - c.rx_next_ts[waiting] < half_ts)
        self.set_deadlines(waiting[~over])
        first = c.rx_next_seq[waiting[over]]
        c.rx_next_seq[waiting[over]] = seq[over]
        gaps = np.stack([waiting[gap], gap_ts[gap], slots[gap]])
        return Lacking(filled, gaps, np.stack([waiting[over], first, seq[over]]))

    def _count(self, rows: Rows, now_ns: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Move the timelines of these rows on by a frame that is to be made up, where that is paid for.

        Returns [3, n]: rows, timestamp units, whether they are silent; and of which of `rows` that is.
        """
        table, c = self._table, self._table.shared
        durations = c.rx_ptime_ts[rows]
        paid = self._credit.spend(rows, durations, now_ns)
        if not paid.all():
            rows, durations = rows[paid], durations[paid]
        table.lost_run[rows] += 1
        c.expected_bytes[rows] = 0
        lost_ms = (table.lost_run[rows] - 1).astype(np.int64) * durations * 1000 // table.clock_hz[rows]
        c.rx_next_ts[rows] += durations
        unproven = c.rx_proven[rows] == 0
        c.rx_deadline_ns[rows[unproven]] += (
            durations[unproven] * 1_000_000_000 // table.clock_hz[rows[unproven]]
        )
        self.set_deadlines(rows[~unproven])
        return np.stack([rows, durations, lost_ms >= CONCEAL_MS]), paid
