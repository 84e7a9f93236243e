# SPDX-License-Identifier: GPL-2.0-or-later
"""The figures of a call's quality, once: slots of the `quality` column, and their names everywhere else.

The same name stands in the API, the canonical log line, the agent's `quality` and `stop`.
A figure that is not known is nan, and is not told.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

QUALITY_SLOTS = 24
"Room for `Figure`, so that a new one does not move the columns."


class Figure(enum.IntEnum):
    """Of what we hear, since the start of the call where nothing else is said; `PEER_` is what the peer hears."""

    MOS = 0
    "estimate of the conversation's quality, 1 to 4.5 (G.107)"
    R_FACTOR = 1
    LOSS_PERCENT = 2
    "of the network"
    DISCARD_PERCENT = 3
    "came too late to be heard"
    BURSTS = 4
    BURST_MS = 5
    "mean (RFC 3611 4.7.2)"
    BURST_LOSS_PERCENT = 6
    "lost or discarded within bursts"
    GAP_MS = 7
    "mean"
    GAP_LOSS_PERCENT = 8
    "lost or discarded between bursts"
    DELAY_MS = 9
    "one way, estimated: half a round trip, a packet, and what a gap may wait"
    RECENT_MOS = 10
    "of the last seconds"
    RECENT_LOSS_PERCENT = 11
    "lost or discarded in the last seconds"
    MOS_MIN = 12
    "the least of all RECENT_MOS"
    PEER_MOS = 13
    "as the peer reports it (RFC 3611), else estimated from its receiver reports"
    PEER_R_FACTOR = 14
    PEER_LOSS_PERCENT = 15
    PEER_DISCARD_PERCENT = 16
    PEER_BURST_MS = 17
    PEER_BURST_LOSS_PERCENT = 18
    R_LISTENING = 19
    "R without delay; only for the VoIP metrics that we send"


NAMES = {figure: figure.name.lower() for figure in Figure if figure is not Figure.R_LISTENING}
"Figures that are told, and their names."
_DIGITS = {figure: 3 if "PERCENT" in figure.name else 2 if "MOS" in figure.name else 1 for figure in Figure}
_SCALES = 10.0 ** np.array([_DIGITS[figure] for figure in NAMES])
_PLACES = np.array(list(NAMES))


def told(slots: Sequence[float]) -> dict[str, float]:
    """Figures by name, out of one row of the column; those that are known."""
    if not any(slots):  # nothing was ever written
        return {}
    return {
        name: round(slots[figure], _DIGITS[figure])
        for figure, name in NAMES.items()
        if not math.isnan(slots[figure])
    }


def told_each(slots: NDArray[np.float32]) -> list[dict[str, float]]:
    """`told` of several rows of the column at once, f32[n, QUALITY_SLOTS]."""
    lines = (np.rint(slots[:, _PLACES] * _SCALES) / _SCALES).tolist()
    written = np.asarray(slots.any(axis=1))
    names = NAMES.values()
    return [
        {name: value for name, value in zip(names, line, strict=True) if value == value} if any_of_it else {}  # noqa: PLR0124 - nan
        for line, any_of_it in zip(lines, written, strict=True)
    ]
