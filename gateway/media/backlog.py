# SPDX-License-Identifier: GPL-2.0-or-later
"""What has waited for us for too long: a worker that is a second behind gives it up, and is in time again.

    packets of a row that lacks a frame since `GIVE_UP_NS`  -> dropped as they are read, until the socket is empty
    its timeline                                            -> jumps to now: positions go on with time, the next frame
                                                               is flagged as one behind a gap
    its next packet                                         -> is in order, whatever was missed

That costs a system call a packet, and nothing for the frames that are left out: positions at the agent
are elapsed time all the same.  To make them up as silence would take half of what reading them takes,
of a worker that has not even that.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import FLAG_GAP
from trunkline.gateway.media.batch import Batch
from trunkline.gateway.media.table import SILENT_RUN, Table
from trunkline.rtp.outcomes import Drop

GIVE_UP_NS = 1_000_000_000
"Whoever talks with an agent that is so late has given up before; and a stall that is shorter is made good."

Rows = NDArray[np.intp]
Counts = NDArray[np.int64]


class Backlog:
    """Rows whose packets are given up, and those that wait for the packet after."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._given_up: NDArray[np.bool_] = np.zeros(table.capacity, bool)
        self.busy = False
        "somebody's packets are given up"
        self.skipped: NDArray[np.bool_] = np.zeros(table.capacity, bool)
        "rows whose next packet is in order, whichever it is"
        self.skips = 0
        "how many of them there are"

    def drop(self, batch: Batch, now_ns: int) -> Batch | None:
        """Give up the packets of those rows that have waited for too long; returns the others."""
        c, rows = self._table.shared, batch.rows
        old = self._given_up[rows] | (c.rx_deadline_ns[rows] < now_ns - GIVE_UP_NS)
        if not old.any():
            return batch
        self._given_up[rows[old]] = self.busy = True
        c.drops[rows[old], Drop.GIVEN_UP] += 1
        c.worker.drops[Drop.GIVEN_UP] += int(old.sum())
        return batch.part(np.flatnonzero(~old)) if not old.all() else None

    def jump(self, waiting: Rows, now_ns: int, set_deadlines: Callable[[Rows], None]) -> None:
        """The timelines of rows that were given up, and for which nothing waits any more, go on from now."""
        table, c = self._table, self._table.shared
        rows = np.flatnonzero(self._given_up)
        rows = rows[np.isin(rows, waiting, invert=True)]
        self._given_up[rows] = False
        self.busy = bool(self._given_up.any())
        rows = rows[table.used[rows] & (c.rx_proven[rows] == 1) & ~np.isnan(c.rx_base_delay_ns[rows])]
        if not len(rows):
            return
        now_ts = (now_ns - c.rx_base_delay_ns[rows]) * table.clock_hz[rows] / 1e9
        ptime_ts = c.rx_ptime_ts[rows]
        # One less than have passed: where its next packet stands exactly is the caller's to say.
        count = np.maximum((now_ts - c.rx_next_ts[rows]) / ptime_ts - 1, 0).astype(np.int64)
        c.rx_next_ts[rows] += count * ptime_ts
        c.credit_ns[rows] -= count * ptime_ts * 1_000_000_000 // table.clock_hz[rows]
        self._leave_out(rows, count * ptime_ts)
        table.lost_run[rows] = SILENT_RUN
        c.expected_bytes[rows] = 0
        self.skips += int((~self.skipped[rows]).sum())
        self.skipped[rows] = True
        set_deadlines(rows)

    def _leave_out(self, rows: Rows, duration_ts: Counts) -> None:
        """So much time of each row's agent goes by without frames."""
        table, c = self._table, self._table.shared
        for fmt, which in table.formats.groups(rows):
            of_rows = rows[which]
            samples = duration_ts[which] * fmt.key.agent_rate_hz // table.clock_hz[of_rows]
            c.up_position[of_rows] += samples // fmt.frame_samples * fmt.frame_samples
            packet = c.rx_ptime_ts[of_rows] * fmt.key.agent_rate_hz / table.clock_hz[of_rows]
            table.slip[of_rows] += samples % fmt.frame_samples / packet
        c.up_flags[rows] |= FLAG_GAP
        table.flagged = True

    def take_skipped(self, rows: Rows) -> NDArray[np.bool_]:
        """Which of these rows, whose packets are ahead of what was expected, go on with them."""
        skipped = self.skipped[rows]
        self.skipped[rows] = False
        self.skips -= int(skipped.sum())
        return skipped

    def forget(self, row: int) -> None:
        """The call is over."""
        self.skips -= int(self.skipped[row])
        self.skipped[row] = self._given_up[row] = False
