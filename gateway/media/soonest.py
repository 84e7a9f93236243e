# SPDX-License-Identifier: GPL-2.0-or-later
"""The soonest of the times in a column: what most ticks want to know of it, and all that they want."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media import compiled
from trunkline.gateway.media.deadlines import NEVER_NS

Rows = NDArray[np.intp]


def soonest_of(column: NDArray[np.int64]) -> Callable[[Rows], int]:
    """A function of rows: the least value of the column i64[capacity] in them, `NEVER_NS` if there are none."""
    return compiled.bind("least", column) or _by_numpy(column)


def _by_numpy(column: NDArray[np.int64]) -> Callable[[Rows], int]:
    return lambda rows: int(column[rows].min(initial=NEVER_NS))
