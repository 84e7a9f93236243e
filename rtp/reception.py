# SPDX-License-Identifier: GPL-2.0-or-later
"""Reception statistics (RFC 3550 6.4.1, A.3, A.8): jitter and loss, as kernels.

All are pure: the caller stores what they return, and decides when an interval
ends (when a report is sent, not when somebody looks).  Sequence numbers and
timestamps are extended int64, so no subtraction here can meet a wrap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOST_MIN, LOST_MAX = -(1 << 23), (1 << 23) - 1
"Range of the cumulative count: 24 bits, signed, because duplicates make it negative."


def interarrival_jitter(
    jitter: NDArray[np.float64],
    previous_transit: NDArray[np.int64],
    has_previous: NDArray[np.uint8],
    arrival_ts: NDArray[np.int64],
    timestamp: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """New jitter f64[n] and transit i64[n], both in timestamp units (A.8).

    `arrival_ts` is the arrival in ticks of the media clock, from any epoch;
    `timestamp` is extended.  Where `has_previous` is 0, the transit is only
    remembered.  A stream may appear once per call: two packets of one stream in a
    batch are two calls, or the second would not see the first.

    Packets that share a timestamp with others (telephone-event) say nothing about
    the network and are to be left out by the caller.
    """
    transit = arrival_ts - timestamp
    moved = (np.abs(transit - previous_transit) - jitter) / 16
    return np.where(has_previous, jitter + moved, jitter), transit


def interarrival_jitter_one(
    jitter: float, previous_transit: int | None, arrival_ts: int, timestamp: int
) -> tuple[float, int]:
    """Scalar twin of `interarrival_jitter`, as in A.8; None stands for no packet before."""
    transit = arrival_ts - timestamp
    if previous_transit is None:
        return jitter, transit
    difference = abs(transit - previous_transit)
    return jitter + (difference - jitter) / 16, transit


def expected_packets(base_seq: NDArray[np.int64], max_seq: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many packets the sender has sent, from the first to the highest extended number (A.3)."""
    return max_seq - base_seq + 1


def fraction_lost(
    expected: NDArray[np.int64],
    received: NDArray[np.int64],
    expected_prior: NDArray[np.int64],
    received_prior: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Share of the packets lost since the last report, i64[n] in 1/256 (A.3), 0..255.

    Late packets and duplicates can make an interval's loss negative, which counts as
    0, and so does an interval without packets.  A wholly lost interval would be 256
    and wrap to 0 in its octet: it is held at 255.
    """
    interval = expected - expected_prior
    lost = np.maximum(interval - (received - received_prior), 0)
    fraction = (lost << 8) // np.maximum(interval, 1)
    return np.where(interval > 0, np.minimum(fraction, 255), 0)


def fraction_lost_one(expected: int, received: int, expected_prior: int, received_prior: int) -> int:
    """Scalar twin of `fraction_lost`."""
    interval = expected - expected_prior
    lost = interval - (received - received_prior)
    if interval <= 0 or lost <= 0:
        return 0
    return min(lost * 256 // interval, 255)


def cumulative_lost(expected: NDArray[np.int64], received: NDArray[np.int64]) -> NDArray[np.int64]:
    """Packets lost since the start, i64[n], held within the 24 bits of a report (A.3).

    Late packets are not lost, and duplicates count as received, so it may be negative.
    """
    lost: NDArray[np.int64] = np.minimum(np.maximum(expected - received, LOST_MIN), LOST_MAX)
    return lost


def cumulative_lost_one(expected: int, received: int) -> int:
    """Scalar twin of `cumulative_lost`."""
    return max(LOST_MIN, min(LOST_MAX, expected - received))
