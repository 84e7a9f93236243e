# SPDX-License-Identifier: MIT
"""A-law of ITU-T G.711, for dialects that carry it: one table look-up a sample, both ways.

The standard leaves open what a value exactly on a decision level becomes; ours go away from
zero, as in most implementations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.companding import Law, decision_levels

_INVERTED = 0x55
"Every other bit of a code is inverted on the wire (G.711 table 1a, note 2)."


def _magnitudes() -> NDArray[np.int32]:
    """What the 128 codes of one sign stand for, the smallest first: segment, then step within it."""
    codes = np.arange(128)
    segment, step = codes >> 4, codes & 15
    steps = 2 * step + np.where(segment, 33, 1)
    found: NDArray[np.int32] = ((steps << np.maximum(segment - 1, 0)) * 8).astype(np.int32)
    return found


def _pcm_of_code() -> NDArray[np.int16]:
    magnitude = _magnitudes()
    both = np.concatenate([-magnitude, magnitude]).astype(np.int16)  # the sign bit is set for positive values
    return both[np.arange(256) ^ _INVERTED]


def _code_of_pcm() -> NDArray[np.uint8]:
    """For every int16, as its unsigned pattern; -1 mirrors 0, because both are half a step from their output."""
    pcm = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    size = np.where(pcm < 0, ~pcm, pcm)
    levels = decision_levels(_magnitudes(), np.arange(31, 127, 16))
    found: NDArray[np.uint8] = (np.searchsorted(levels, size, side="right") + np.where(pcm < 0, 0, 128)).astype(
        np.uint8
    )
    return found ^ np.uint8(_INVERTED)


_LAW = Law(_pcm_of_code(), _code_of_pcm())
decode, encode = _LAW.decode, _LAW.encode
