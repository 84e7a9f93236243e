# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose packet is due, and how late packets were (compiled: `native/due.c`)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.compiled import Kernel
from trunkline.gateway.media import compiled
from trunkline.gateway.media.columns import DELAY_BUCKETS, DELAY_EDGES_US
from trunkline.gateway.media.soonest import soonest_of
from trunkline.gateway.media.table import Table

BEHIND_NS = 100_000_000
"""Lateness that a tick makes up for by sending all that has fallen due: a listener's jitter buffer takes a short
burst, and hears a hole in the timestamps. Beyond that the clock is moved on and the time is lost."""

_COUNT = 0xFFFFFFFF

Rows = NDArray[np.intp]
Times = NDArray[np.int64]


class PacketClocks:
    """The column `tx_due_ns` of all rows that run."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rows, self._late_ns = np.zeros(table.capacity, np.intp), np.zeros(table.capacity, np.int64)
        self._due = compiled.bind("due", table.shared.send, BEHIND_NS)
        self._soonest = soonest_of(table.shared.tx_due_ns)
        self.count_delays = delay_counter(table.shared.downlink_delay, table.shared.worker.downlink_delay)
        """Counts delays in the histograms of these rows and of the worker.

        Called (rows, late_ns[rows], since_ns): each row has been late by the sum of both."""

    def due(self, now_ns: int) -> tuple[Rows, Times, bool]:
        """Rows whose packet is due, for how long, and whether one is behind; the arrays last until the next call."""
        running = self._table.running
        if self._due is None:
            late_ns = now_ns - self._table.shared.tx_due_ns[running]
            due = late_ns >= 0
            late_ns = late_ns[due]
            return running[due], late_ns, len(late_ns) > 0 and int(late_ns.max()) > BEHIND_NS
        found = self._due(running, now_ns, self._rows, self._late_ns)
        count = found & _COUNT
        return self._rows[:count], self._late_ns[:count], found > _COUNT

    @property
    def kernels(self) -> tuple[Kernel, ...] | None:
        """`due`, `least` of the packet clocks, and `delays`; None where nothing is compiled."""
        return None if self._due is None else (self._due, self._soonest, self.count_delays)

    def earliest(self) -> int:
        """When the next packet of any row is due."""
        return self._soonest(self._table.running)


def delay_counter(of_row: NDArray[np.uint32], total: NDArray[np.int64]) -> Callable[[Rows, Times, int], int]:
    """What counts delays in of_row[rows, DELAY_BUCKETS] and total[DELAY_BUCKETS]."""

    def count(rows: Rows, late_ns: Times, since_ns: int) -> int:
        buckets = np.searchsorted(DELAY_EDGES_US, (late_ns + since_ns) // 1000)
        of_row[rows, buckets] += 1
        np.add(total, np.bincount(buckets, minlength=DELAY_BUCKETS), out=total)
        return 0

    return compiled.bind("delays", DELAY_EDGES_US, of_row, total) or count
