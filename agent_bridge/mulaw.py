# SPDX-License-Identifier: MIT
"""Mu-law of ITU-T G.711, for dialects that carry it: one table look-up a sample, both ways.

The standard leaves open what a value exactly on a decision level becomes; ours go away from
zero, as in most implementations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SCALE = 4
"The standard speaks of 14 bits, the top ones of our 16."


def decode(payload: bytes) -> NDArray[np.int16]:
    """Codes to PCM: int16[samples]."""
    return _PCM_OF_CODE.take(np.frombuffer(payload, np.uint8))


def encode(pcm: NDArray[np.int16]) -> bytes:
    """PCM, int16[samples], to codes."""
    return _CODE_OF_PCM.take(pcm.view(np.uint16)).tobytes()


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
    """For every int16, as its unsigned pattern. Decision levels lie half-way between the values of neighbours,
    and where a segment ends, half a step of the narrower one above its last value."""
    pcm = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    magnitude = _magnitudes()
    levels = (magnitude[1:] + magnitude[:-1]) // 2
    last = np.arange(15, 127, 16)
    levels[last] = magnitude[last] + (magnitude[last] - magnitude[last - 1]) // 2
    codes = np.searchsorted(levels, np.abs(pcm), side="right") + np.where(pcm < 0, 128, 0)
    found: NDArray[np.uint8] = codes.astype(np.uint8)
    return found ^ np.uint8(0xFF)


_PCM_OF_CODE = _pcm_of_code()
_CODE_OF_PCM = _code_of_pcm()
