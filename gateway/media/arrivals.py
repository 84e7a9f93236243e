# SPDX-License-Identifier: GPL-2.0-or-later
"""Admitted packets on their way from reception to the timeline, as columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

AUDIO, EMPTY = 0, 1
"Kinds of arrivals: EMPTY takes a sequence number but brings no samples (events, comfort noise)."

Rows = NDArray[np.intp]


@dataclasses.dataclass(slots=True)
class Arrivals:
    """Admitted packets of one batch, as columns; rows are unique."""

    rows: Rows
    seq: NDArray[np.int64]
    "extended"
    timestamp: NDArray[np.int64]
    "extended"
    kind: NDArray[np.uint8]
    packets: NDArray[np.uint8]
    "[batch, PACKET_BYTES]"
    index: NDArray[np.intp]
    "row of each in `packets`"
    start: NDArray[np.int32]
    "first payload byte"
    size: NDArray[np.int32]
    "payload bytes"

    def payload(self, i: int) -> bytes:
        """Payload of one arrival, copied."""
        start = int(self.start[i])
        return self.packets[self.index[i], start : start + int(self.size[i])].tobytes()

    def payloads(self, which: NDArray[np.intp], size: int) -> NDArray[np.uint8]:
        """Payloads of arrivals that all have `size` bytes: [n, size]."""
        starts = self.start[which]
        first = int(starts[0])
        if (starts == first).all():
            return self.packets[self.index[which], first : first + size]
        return self.packets[self.index[which][:, None], starts[:, None] + np.arange(size)]

    def padded(self, which: NDArray[np.intp]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Payloads of arrivals of any sizes: [n, width], and their lengths; anything lies behind those."""
        starts, lengths = self.start[which], self.size[which]
        first, width = int(starts[0]), max(int(lengths.max()), 1)
        if (starts == first).all():
            return self.packets[self.index[which], first : first + width], lengths
        columns = np.minimum(starts[:, None] + np.arange(width), self.packets.shape[1] - 1)
        return self.packets[self.index[which][:, None], columns], lengths


class Speaker(Protocol):
    """Where the timeline's frames go (uplink.py)."""

    def durations(self, arrivals: Arrivals, which: NDArray[np.intp]) -> NDArray[np.int64]:
        """How long these payloads are, in timestamp units; 0: impossible."""

    def speak(self, arrivals: Arrivals, which: NDArray[np.intp]) -> None:
        """Payloads of different rows that are next in order, and good."""

    def fill(self, rows: Rows, duration_ts: int, silent: NDArray[np.bool_]) -> None:
        """One frame of so many timestamp units that never came, concealed or silent."""

    def expect(self, rows: Rows, gap_ts: NDArray[np.int64], payloads: Sequence[bytes]) -> None:
        """Before `fill`: what waits behind the gap, so many timestamp units after the frame begins."""
