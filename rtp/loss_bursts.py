# SPDX-License-Identifier: GPL-2.0-or-later
"""Bursts and gaps of loss (RFC 3611 4.7.2, A.2): the same loss sounds worse when it comes in heaps.

A *burst* begins and ends with a packet that is missing, and less than Gmin = 16 packets
in a row arrive within it.  All else is *gap*: time in which packets are missing one by
one and far apart, which concealment hides.  Missing is what the network lost, and what
came too late to be heard.

A.2 counts the transitions of a four-state chain, here at each run of missing packets
rather than at each packet, so packets that arrive cost nothing:

    C11  packets that arrived in gaps          C22  packets that arrived in bursts, ...
    C14  packets missing alone, in gaps        C23  ... but for the last of each such stretch
    C13  bursts                                C33  packets missing right behind another

and LOST, how many are missing in the event that is not closed yet: one, and it may
become C14, or more, and it is a burst.  The stream is taken to have Gmin good packets
before its start and behind its end (4.7.2), so A.2's first loss is not counted twice.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

GMIN = 16
LOST, C11, C13, C14, C22, C23, C33 = range(7)
COUNTS = 7
"columns of a row's counts"


def note_missing(
    counts: NDArray[np.int64], received: NDArray[np.int64], missing: NDArray[np.int64]
) -> NDArray[np.int64]:
    """New counts i64[n, COUNTS] after one event in each of n streams.

    After `received` i64[n] packets in a row, which may be 0, `missing` i64[n] in a row,
    at least 1, did not come.
    """
    out = counts.copy()
    lost = counts[:, LOST]
    closes = (received >= GMIN) | (lost == 0)
    within = ~closes & (received > 0)
    out[:, C11] += np.where(closes, received, 0)
    out[:, C14] += closes & (lost == 1)
    out[:, C13] += closes & (lost > 1)
    out[:, C22] += np.where(within, received - 1, 0)
    out[:, C23] += within
    out[:, C33] += missing - 1 + (~closes & ~within)
    out[:, LOST] = np.where(closes, 0, lost) + missing
    return out


@dataclasses.dataclass(slots=True)
class BurstCounter:
    """Scalar twin, packet by packet as A.2 has it; for streams of which every packet's fate is known."""

    counts: list[int] = dataclasses.field(default_factory=lambda: [0] * COUNTS)
    received: int = 0
    "since the last missing one"

    def packet(self, arrived: bool) -> None:
        """The next packet in sequence."""
        c = self.counts
        if arrived:
            self.received += 1
            return
        if self.received >= GMIN or c[LOST] == 0:
            if c[LOST] == 1:
                c[C14] += 1
            elif c[LOST] > 1:
                c[C13] += 1
            c[C11] += self.received
            c[LOST] = 1
        else:
            c[LOST] += 1
            if self.received == 0:
                c[C33] += 1
            else:
                c[C23] += 1
                c[C22] += self.received - 1
        self.received = 0


@dataclasses.dataclass(frozen=True, slots=True)
class BurstMetrics:
    """What the counts come to, each f64[n]; lengths in packets."""

    bursts: NDArray[np.float64]
    burst_density: NDArray[np.float64]
    "missing share of the packets in bursts, 0..1; 0 without bursts"
    burst_packets: NDArray[np.float64]
    "mean length of a burst"
    gap_density: NDArray[np.float64]
    gap_packets: NDArray[np.float64]
    """mean length of a gap; there is one more of them than bursts, where A.2 divides by
    the bursts alone and has no answer without any"""
    loss_run: NDArray[np.float64]
    "mean number of packets that are missing in a row; 1 without loss"


def burst_metrics_one(counts: list[int], received: int) -> tuple[int, float, float, float, float, float]:
    """Scalar twin of `burst_metrics`: the fields of `BurstMetrics` of one stream, in their order."""
    lost, c11, c13, c14, c22, c23, c33 = counts
    c11 += received
    c13 += lost > 1
    c14 += lost == 1
    in_bursts = c13 + c23 + c33
    burst_length = in_bursts + c22 + c23
    missing = in_bursts + c14
    return (
        c13,
        in_bursts / burst_length if burst_length else 0.0,
        burst_length / c13 if c13 else 0.0,
        c14 / (c11 + c14) if c11 + c14 else 0.0,
        (c11 + c14) / (c13 + 1),
        max(missing, 1) / max(missing - c33, 1),
    )


def burst_metrics(counts: NDArray[np.int64], received: NDArray[np.int64]) -> BurstMetrics:
    """Metrics of n streams as of now: counts i64[n, COUNTS], `received` i64[n] since the last missing packet."""
    lost, c11, c13, c14, c22, c23, c33 = counts.T
    c11 = c11 + received
    c13 = c13 + (lost > 1)
    c14 = c14 + (lost == 1)
    in_bursts = c13 + c23 + c33
    burst_length = in_bursts + c22 + c23
    missing = in_bursts + c14
    gap_length = c11 + c14
    return BurstMetrics(
        bursts=c13.astype(np.float64),
        burst_density=in_bursts / np.maximum(burst_length, 1),
        burst_packets=burst_length / np.maximum(c13, 1),
        gap_density=c14 / np.maximum(gap_length, 1),
        gap_packets=gap_length / (c13 + 1),
        loss_run=np.maximum(missing, 1) / np.maximum(missing - c33, 1),
    )
