# SPDX-License-Identifier: GPL-2.0-or-later
"""The VoIP metrics that we send (RFC 3611 4.7), from the `quality` column."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.figures import Figure
from trunkline.gateway.media.table import Table
from trunkline.rtp import emodel
from trunkline.rtp.voip_metrics import UNKNOWN

RX_CONFIG = 0xB1
"Enhanced concealment, an adaptive buffer, and one that grows within two packets (4.7.7)."

Rows = NDArray[np.intp]
Column = NDArray[np.int64]


class VoipColumns:
    """Fields of the blocks of many rows."""

    def __init__(self, table: Table, longest_wait_ms: float) -> None:
        """`longest_wait_ms` is the most that a missing packet is ever waited for."""
        self._table = table
        self._longest_wait_ms = int(longest_wait_ms)

    def metrics(self, rows: Rows) -> dict[str, Column | int]:
        """Field by name (`VoipMetrics`), as of the last look at the rows, which is a second ago at most."""
        table, c = self._table, self._table.shared
        q = c.quality[rows].astype(np.float64).T
        q[:, q[Figure.MOS] == 0] = np.nan  # not looked at yet
        wait_ms = c.rx_target_ns[rows] / 1e6
        nominal = _ms(wait_ms)
        return {
            "loss_rate": _share(q[Figure.LOSS_PERCENT]),
            "discard_rate": _share(q[Figure.DISCARD_PERCENT]),
            "burst_density": _share(q[Figure.BURST_LOSS_PERCENT]),
            "gap_density": _share(q[Figure.GAP_LOSS_PERCENT]),
            "burst_ms": _ms(q[Figure.BURST_MS]),
            "gap_ms": _ms(q[Figure.GAP_MS]),
            "round_trip_ms": _ms(c.rtt_ms[rows]),
            "end_system_ms": _ms(table.ptime_ns[rows] / 1e6 + wait_ms),
            "r_factor": _or_unknown(q[Figure.R_FACTOR]),
            "mos_lq": _or_unknown(emodel.mos(q[Figure.R_LISTENING]) * 10),
            "mos_cq": _or_unknown(q[Figure.MOS] * 10),
            "rx_config": RX_CONFIG,
            "nominal_ms": nominal,
            "maximum_ms": nominal,
            "absolute_maximum_ms": min(self._longest_wait_ms, 0xFFFF),
        }


def _share(percent: NDArray[np.float64]) -> Column:
    """In 1/256, the integer part; a whole loss does not fit and is 255."""
    return np.minimum(np.nan_to_num(percent) * 2.56 + 1e-4, 255).astype(np.int64)


def _ms(value: NDArray[np.floating]) -> Column:
    return np.minimum(np.rint(np.nan_to_num(value)), 0xFFFF).astype(np.int64)


def _or_unknown(value: NDArray[np.float64]) -> Column:
    return np.where(np.isnan(value), UNKNOWN, np.rint(np.nan_to_num(value))).astype(np.int64)
