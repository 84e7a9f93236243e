# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets that the callers leave out on purpose (`--loss`): which, every time the same.

Packet k of call i is left out if a hash of both falls below the share.  generator.c does the same sum.
The first packet of a call is always sent: it tells where a call's audio begins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MILLION = 1_000_000
HELD_MS = 200
"A worker holds back what follows a gap for so long at most (gateway/media/worker.py, --jitter-max-ms)."


def parts_per_million(percent: float) -> int:
    """The share as the generators take it."""
    return round(percent * MILLION / 100)


def left_out(percent: float, calls: int, packets: int) -> NDArray[np.bool_]:
    """bool[calls, packets]."""
    if not percent:
        return np.zeros((calls, packets), bool)
    k = np.arange(packets, dtype=np.uint64)
    x = (np.arange(calls, dtype=np.uint64)[:, None] << np.uint64(32) | k) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64
        x = (x ^ x >> np.uint64(shift)) * np.uint64(factor)
    x ^= x >> np.uint64(31)
    return np.asarray((x % np.uint64(MILLION) < np.uint64(parts_per_million(percent))) & (k > 0))


def behind(gone: NDArray[np.bool_], ptime_ms: int) -> NDArray[np.bool_]:
    """Packets [calls, packets] that may have to wait for one that was left out shortly before them."""
    out = np.zeros_like(gone)
    for distance in range(1, HELD_MS // ptime_ms + 1):
        out[:, distance:] |= gone[:, :-distance]
    return out & ~gone
