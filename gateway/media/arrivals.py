# SPDX-License-Identifier: GPL-2.0-or-later
"""Admitted packets on their way from reception to the timeline, as columns."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.batch import Batch
from trunkline.rtp.packet import HEADER_BYTES

AUDIO, EMPTY = 0, 1
"Kinds of arrivals: EMPTY takes a sequence number but brings no samples (events, comfort noise)."

Rows = NDArray[np.intp]


@dataclasses.dataclass(slots=True)
class Arrivals:
    """Packets of one batch, or that have waited, as columns; rows are unique."""

    rows: Rows
    seq: NDArray[np.int64]
    "extended"
    timestamp: NDArray[np.int64]
    "extended"
    kind: NDArray[np.uint8]
    packets: NDArray[np.uint8]
    "[batch, PACKET_BYTES] or the reorder buffer's"
    index: NDArray[np.intp]
    "row of each in `packets`"
    start: NDArray[np.int32]
    "first payload byte"
    size: NDArray[np.int32]
    "payload bytes"

    @classmethod
    def of(cls, batch: Batch) -> Arrivals:
        """All packets of a batch: plain audio, whose place in the sequence is to be filled in."""
        n = len(batch.rows)
        start: NDArray[np.int32] = np.full(n, HEADER_BYTES, np.int32)
        seq, timestamp = np.zeros((2, n), np.int64)
        kind, every = np.zeros(n, np.uint8), np.arange(n)
        return cls(batch.rows, seq, timestamp, kind, batch.packets, every, start, batch.lengths - start)

    def put(self, places: NDArray[np.intp], part: Arrivals) -> None:
        """What has become of the packets in these places."""
        for mine, its in (
            (self.seq, part.seq), (self.timestamp, part.timestamp), (self.kind, part.kind), (self.start, part.start),
            (self.size, part.size),
        ):  # fmt: skip
            mine[places] = its

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
