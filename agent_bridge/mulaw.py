# SPDX-License-Identifier: MIT
"""Mu-law of ITU-T G.711, for dialects that carry it: one table look-up a sample, both ways.

The standard leaves open what a value exactly on a decision level becomes; ours go away from
zero, as in most implementations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.companding import Law, decision_levels

_SCALE = 4
"The standard speaks of 14 bits, the top ones of our 16."


def _magnitudes() -> NDArray[np.int32]:
    """What the 128 codes of one sign stand for, the smallest first: 16 even steps in each of 8 segments."""
    codes = np.arange(128)
    segment, step = codes >> 4, codes & 15
    found: NDArray[np.int32] = ((((2 * step + 33) << segment) - 33) * _SCALE).astype(np.int32)
    return found


def _pcm_of_code() -> NDArray[np.int16]:
    magnitude = _magnitudes()
    both = np.concatenate([magnitude, -magnitude]).astype(np.int16)  # the sign bit is set for negative values
    return both[np.arange(256) ^ 0xFF]  # all bits are inverted on the wire


def _code_of_pcm() -> NDArray[np.uint8]:
    """For every int16, as its unsigned pattern."""
    pcm = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    levels = decision_levels(_magnitudes(), np.arange(15, 127, 16))
    codes = np.searchsorted(levels, np.abs(pcm), side="right") + np.where(pcm < 0, 128, 0)
    found: NDArray[np.uint8] = codes.astype(np.uint8)
    return found ^ np.uint8(0xFF)


_LAW = Law(_pcm_of_code(), _code_of_pcm())
decode, encode = _LAW.decode, _LAW.encode
