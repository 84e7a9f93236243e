# SPDX-License-Identifier: GPL-2.0-or-later
"""How much audio callers may still bring: no more than time passes, and a little.

A sender whose clock runs wild, or who stamps packets ahead of time, cannot flood
its agent.  What waited while we stalled is not faster than time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.table import Table

CREDIT_NS = 400_000_000
"Audio that may come faster than time passes, at most."
CREDIT_RATE = 1.02
"It grows back with time and 2 % more; no clock drifts that much."

Rows = NDArray[np.intp]


class Credit:
    """Audio that each row may still bring."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def begin(self, row: int, now_ns: int) -> None:
        """The call is up."""
        c = self._table.shared
        c.credit_ns[row], c.credit_at_ns[row] = CREDIT_NS, now_ns

    def restore(self, rows: Rows) -> None:
        """Packets of these rows have waited for us, and come faster than time now: they have all that may be had."""
        credit = self._table.shared.credit_ns
        credit[rows] = np.maximum(credit[rows], CREDIT_NS)

    def spend(self, rows: Rows, durations_ts: NDArray[np.int64], now_ns: int) -> NDArray[np.bool_]:
        """Take audio of these durations from the rows' credit; False where there is not enough."""
        table = self._table
        credit = self._now(rows, now_ns)
        left = credit - durations_ts * 1e9 / table.clock_hz[rows]
        enough: NDArray[np.bool_] = left >= 0
        table.shared.credit_ns[rows] = np.where(enough, left, credit)
        table.shared.credit_at_ns[rows] = now_ns
        return enough

    def packets(self, rows: Rows, now_ns: int) -> NDArray[np.int64]:
        """How many packet times of each row its credit is good for."""
        packet_ns = self._table.shared.rx_ptime_ts[rows] * 1e9 / self._table.clock_hz[rows]
        return np.asarray(self._now(rows, now_ns) / packet_ns).astype(np.int64)

    def _now(self, rows: Rows, now_ns: int) -> NDArray[np.float64]:
        table = self._table
        earned = (now_ns - table.shared.credit_at_ns[rows]) * CREDIT_RATE
        before = table.shared.credit_ns[rows].astype(np.float64)
        # What a stall earned stays for the packets that waited, and fades when they have been read.
        extra = np.maximum(before - CREDIT_NS, 0) * np.exp(-earned / CREDIT_NS)
        return np.maximum(np.minimum(np.minimum(before, CREDIT_NS) + earned, CREDIT_NS), earned) + extra
