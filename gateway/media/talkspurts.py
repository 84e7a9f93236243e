# SPDX-License-Identifier: GPL-2.0-or-later
"""Where an agent's speech begins, ends, and goes on after it had run dry; for `downlink.py`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.pace import Pace
from trunkline.gateway.media.prebuffer import CUSHION_NS, UNDERRUN_NS, Prebuffer
from trunkline.gateway.media.table import Table

Rows = NDArray[np.intp]
Times = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Talkspurts:
    """Looked at only where not all rows are in the middle of one."""

    def __init__(self, table: Table, pace: Pace) -> None:
        self._table = table
        self._pace = pace
        self.prebuffer = Prebuffer(table)
        self.on_underrun: Callable[[Rows, Times], None] = lambda rows, missing_ns: None
        "called (rows, ns for which there was nothing to say) when speech goes on that had run dry"

    def ready(self, fmt: Format, rows: Rows, talking: Mask, now_ns: int) -> tuple[Mask, Mask]:
        """Rows that may say a whole block if they have one, and those that may say an unfinished one."""
        waited_ns = now_ns - self._table.queued_since_ns[rows]
        if self.prebuffer.longer:
            late = talking | self.prebuffer.over(fmt, rows, self._table.shared.tx_due_ns[rows], waited_ns)
            return late, late
        late = talking | (waited_ns >= CUSHION_NS)
        return late | (fmt.queue.count[rows] > 1), late

    def note(self, fmt: Format, rows: Rows, opens: Mask, stops: Mask) -> None:
        """Talkspurts open with the packets that are due, or end with them, maybe in the middle of one."""
        due_ns = self._table.shared.tx_due_ns[rows]
        if opens.any():
            self.open(rows[opens])
        if stops.any():
            ended = rows[stops]
            last = fmt.queue.partial[ended].astype(np.int64)  # samples of the packet that is not full
            self._table.stopped_ns[ended] = due_ns[stops] + last * 1_000_000_000 // fmt.key.agent_rate_hz

    def open(self, rows: Rows) -> None:
        """Talkspurts of these rows open with the packets that are due."""
        c = self._table.shared
        due_ns = c.tx_due_ns[rows]
        missing_ns = due_ns - self._table.stopped_ns[rows]
        self.prebuffer.opened(rows, due_ns, missing_ns)
        ran_dry = missing_ns < UNDERRUN_NS
        self._pace.begin(rows[~ran_dry])
        if ran_dry.any():
            rows, missing_ns = rows[ran_dry], missing_ns[ran_dry]
            c.underruns[rows] += 1
            c.underrun_ns[rows] += missing_ns
            c.worker.underruns[0] += len(rows)
            self.on_underrun(rows, missing_ns)
