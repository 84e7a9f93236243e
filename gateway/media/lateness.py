# SPDX-License-Identifier: GPL-2.0-or-later
"""How late packets are, and what their streams' target delay becomes (rtp/jitter.py).

Most packets are on time and change nothing: those that cannot wait are looked at in
their batch, and all of one batch in 17.  At 20 ms a row has its turn three times a second.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media import compiled
from trunkline.gateway.media.table import Table
from trunkline.rtp.jitter import TargetParams, update_target, wants_update

TURN = 17
"Batches from one look at everything to the next."

Rows = NDArray[np.intp]
Delays = NDArray[np.float64]


def draws(one_in: int) -> Iterator[bool]:
    """Whether it is a batch's turn, one after the other: that of one in so many, drawn at random.

    Any order would meet the same rows again and again.
    """
    return map((1 / one_in).__gt__, iter(random.Random(one_in).random, None))


class Lateness:
    """Base delay and target of every row."""

    def __init__(self, table: Table, params: TargetParams) -> None:
        self._table = table
        self._params = params
        self.ordinary_ns = -params.early_ns, params.min_ns - params.margin_ns
        "packets whose lateness lies between may wait for their row's turn (`wants_update`)"
        self.turns = draws(TURN)
        self.turn = next(self.turns)
        "what `all_now` will say; who goes by it draws anew for the next batch"
        c = table.shared
        self._kernel = compiled.bind(
            "learn_late", c.rx_base_delay_ns, c.rx_target_ns, table.late_counts, table.late_weight, c.packets_received,
            table.noted_packets, table.noted_ns, params.min_ns, params.max_ns, params.margin_ns, params.late_share,
            params.memory_ns, params.shrink_ns, params.forget_ns, params.leap_ns,
        )  # fmt: skip
        self.expected_kernel = None if self._kernel is None else compiled.bind(
            "late", (self._kernel,), c.flow, table.clock_hz, c.rx_base_delay_ns, c.rx_target_ns
        )
        "does what `note_expected` does, unless `hurried`"
        self.hurried = False
        "Packets have waited for us: what is late says nothing of the network, what is early does."

    def begin(self, rows: Rows | int) -> None:
        """Sources start. What was learned of the network before holds for them too."""
        c = self._table.shared
        c.rx_target_ns[rows] = np.maximum(c.rx_target_ns[rows], self._params.min_ns)

    def note(self, rows: Rows, relative_ns: Delays, late_ns: Delays, now_ns: int, turn: bool) -> None:
        """Packets of these rows: arrival minus media time, and how much that is above the base; `turn`: of all_now."""
        if not turn:
            wanted = wants_update(late_ns, self._params)
            if not wanted.any():
                return
            rows, relative_ns = rows[wanted], relative_ns[wanted]
        self.update(rows, relative_ns, now_ns)

    def all_now(self) -> bool:
        """Whether all of this batch have their turn; ask once."""
        turn, self.turn = self.turn, next(self.turns)
        return turn

    def note_expected(self, rows: Rows, relative_ns: Delays, now_ns: int) -> None:
        """Packets that were as expected, and have moved their rows: what their deadlines are now."""
        if self.expected_kernel is not None and not self.hurried:
            self.expected_kernel(rows, relative_ns, now_ns)
            return
        self.update(rows, relative_ns, now_ns)
        c = self._table.shared
        wait_ns = (c.rx_base_delay_ns[rows] + c.rx_target_ns[rows]).astype(np.int64)
        c.rx_deadline_ns[rows] = self._table.media_ns(rows, c.rx_next_ts[rows]) + wait_ns

    def note_overtaken(self, rows: Rows, relative_ns: Delays, now_ns: int) -> None:
        """Packets that came after a later one: their delay counts, but they set no base."""
        late = relative_ns - self._table.shared.rx_base_delay_ns[rows]
        which = np.flatnonzero(late > 0)
        if len(which):
            self.update(rows[which], relative_ns[which], now_ns)

    def update(self, rows: Rows, relative_ns: Delays, now_ns: int) -> None:
        """New base and target of these rows, after packets whose arrival minus media time this is.

        In a compiled kernel, if there is one (native/lateness.c).
        """
        table, c = self._table, self._table.shared
        if self.hurried:
            early = ~(relative_ns >= c.rx_base_delay_ns[rows])  # or the first of all
            if not early.any():
                return
            rows, relative_ns = rows[early], relative_ns[early]
        if self._kernel is not None:
            self._kernel(rows, relative_ns, now_ns)
            return
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
