# SPDX-License-Identifier: GPL-2.0-or-later
"""How late packets are, and what their streams' target delay becomes (rtp/jitter.py).

Most packets are on time and change nothing: those that cannot wait are looked at in
their batch, and all of one batch in 17, drawn at random: any order would meet the same
rows again and again.  At 20 ms a row has its turn three times a second.
"""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.table import Table
from trunkline.rtp.jitter import TargetParams, update_target, wants_update

TURN = 17
"Batches from one look at everything to the next."

Rows = NDArray[np.intp]
Delays = NDArray[np.float64]


class Lateness:
    """Base delay and target of every row."""

    def __init__(self, table: Table, params: TargetParams) -> None:
        self._table = table
        self._params = params
        self.ordinary_ns = -params.early_ns, params.min_ns - params.margin_ns
        "packets whose lateness lies between may wait for their row's turn (`wants_update`)"
        self._rng = random.Random(TURN)
        self.hurried = False
        "Packets have waited for us: what is late says nothing of the network, what is early does."

    def begin(self, rows: Rows | int) -> None:
        """Sources start. What was learned of the network before holds for them too."""
        c = self._table.shared
        c.rx_target_ns[rows] = np.maximum(c.rx_target_ns[rows], self._params.min_ns)

    def note(self, rows: Rows, relative_ns: Delays, late_ns: Delays, now_ns: int) -> Rows | None:
        """In-order packets of these rows: arrival minus media time, and how much that is above the base.

        Returns the rows whose base or target may have changed, None if there is none.
        """
        if not self.all_now():
            wanted = wants_update(late_ns, self._params)
            if not wanted.any():
                return None
            rows, relative_ns = rows[wanted], relative_ns[wanted]
        self.update(rows, relative_ns, now_ns)
        return rows

    def all_now(self) -> bool:
        """Whether all of this batch have their turn; ask once."""
        return self._rng.random() * TURN < 1

    def note_overtaken(self, rows: Rows, relative_ns: Delays, now_ns: int) -> None:
        """Packets that came after a later one: their delay counts, but they set no base."""
        late = relative_ns - self._table.shared.rx_base_delay_ns[rows]
        which = np.flatnonzero(late > 0)
        if len(which):
            self.update(rows[which], relative_ns[which], now_ns)

    def update(self, rows: Rows, relative_ns: Delays, now_ns: int) -> None:
        """New base and target of these rows, after packets whose arrival minus media time this is."""
        table, c = self._table, self._table.shared
        if self.hurried:
            early = ~(relative_ns >= c.rx_base_delay_ns[rows])  # or the first of all
            if not early.any():
                return
            rows, relative_ns = rows[early], relative_ns[early]
        received = c.packets_received[rows]
        elapsed_ns = (now_ns - table.noted_ns[rows]).astype(np.float64)
        base, target, counts, weight = update_target(
            c.rx_base_delay_ns[rows], c.rx_target_ns[rows], table.late_counts[rows], table.late_weight[rows],
            relative_ns, received - table.noted_packets[rows], elapsed_ns, self._params,
        )  # fmt: skip
        c.rx_base_delay_ns[rows] = base
        c.rx_target_ns[rows] = target
        table.late_counts[rows], table.late_weight[rows] = counts, weight
        table.noted_packets[rows], table.noted_ns[rows] = received, now_ns
