# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets that came too early: they wait here for the ones before them.

Few rows have any (`table.held` says which), so they are kept one by one; they are
given back one of each row at a time, so that what follows a loss in a hundred calls
is decoded as one batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.arrivals import Arrivals
from trunkline.gateway.media.table import Table

HELD_PACKETS = 64
"Packets held back for one row at most: 1.3 s at 20 ms, beyond any target delay."

Rows = NDArray[np.intp]


class ReorderBuffer:
    """Waiting packets of every row, by extended sequence number."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._held: dict[int, dict[int, tuple[int, int, bytes]]] = {}
        "row -> extended sequence -> (timestamp, kind, payload)"

    def put(self, row: int, arrivals: Arrivals, i: int) -> bool:
        """Keep arrival `i`; False if its row has no room."""
        held = self._held.setdefault(row, {})
        if len(held) >= HELD_PACKETS:
            return False
        held[int(arrivals.seq[i])] = (
            int(arrivals.timestamp[i]), int(arrivals.kind[i]), arrivals.payload(i),
        )  # fmt: skip
        self._table.held[row] = len(held)
        return True

    def first(self, row: int) -> tuple[int, int, int, bytes]:
        """Sequence number, timestamp, kind and payload of the packet that is next of those that wait."""
        seq = min(self._held[row])
        return seq, *self._held[row][seq]

    def take_next(self, rows: Rows) -> Arrivals | None:
        """The packet that is in order now, of each row that has it; None if no row has."""
        found = []
        for row, seq in zip(rows.tolist(), self._table.shared.rx_next_seq[rows].tolist(), strict=True):
            packet = self._held.get(row, {}).pop(seq, None)
            if packet is not None:
                found.append((row, seq, *packet))
                self._table.held[row] -= 1
        if not found:
            return None
        size = np.array([len(packet[4]) for packet in found], np.int32)
        start = np.concatenate([[0], np.cumsum(size)])
        return Arrivals(
            rows=np.array([packet[0] for packet in found], np.intp),
            seq=np.array([packet[1] for packet in found], np.int64),
            timestamp=np.array([packet[2] for packet in found], np.int64),
            kind=np.array([packet[3] for packet in found], np.uint8),
            packets=np.frombuffer(b"".join(packet[4] for packet in found), np.uint8)[None],
            index=np.zeros(len(found), np.intp),
            start=start[:-1].astype(np.int32),
            size=size,
        )

    def drop_before(self, row: int, seq: int) -> int:
        """Forget packets of a row whose place has been passed; returns how many."""
        held = self._held.get(row, {})
        old = [number for number in held if number < seq]
        for number in old:
            del held[number]
        self._table.held[row] = len(held)
        if not held:
            self._held.pop(row, None)
        return len(old)

    def forget(self, row: int) -> int:
        """Forget all of a row; returns how many that was."""
        self._table.held[row] = 0
        return len(self._held.pop(row, ()))
