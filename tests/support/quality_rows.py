# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows whose quality is looked at: strategies for what their columns hold."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from trunkline.rtp.loss_bursts import BurstCounter


def counts_of(events: list[tuple[int, int]]) -> list[int]:
    """Counts that really come about: after so many packets, so many are missing."""
    counter = BurstCounter()
    for arrived, missing in events:
        for fate in [True] * arrived + [False] * missing:
            counter.packet(fate)
    return counter.counts


big = st.integers(0, 10**6)
percent = st.integers(0, 400).map(lambda quarter: quarter / 4)
ROW = {
    "packets_received": big, "packets_lost": st.integers(-5, 10**6), "rx_ptime_ts": st.sampled_from([80, 160, 480]),
    "rx_target_ns": st.sampled_from([0.0, 4e7, 2e8]), "rtt_ms": st.sampled_from([0.0, 12.5, 400.0]),
    "rx_next_seq": st.integers(65536, 10**7), "loss_from_seq": st.integers(65536, 10**7), "loss_carry": big,
    "loss_counts": st.lists(st.tuples(st.integers(0, 40), st.integers(1, 4)), max_size=8).map(counts_of),
    "peer_expected": st.sampled_from([0, 1000]), "peer_lost": st.integers(0, 1000),
    "peer_xr": st.sampled_from([[0.0] * 7]) | st.lists(percent, min_size=6, max_size=6).map(lambda x: [1.0, *x])
    | st.just([1.0, np.nan, np.nan, 5.0, 1.0, 200.0, 50.0]),
}  # fmt: skip
"Columns that quality is made of."
