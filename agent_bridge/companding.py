# SPDX-License-Identifier: MIT
"""What mu-law and A-law (ITU-T G.711) have in common: a table each way, and where its decision levels lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Law:
    """One table look-up a sample, both ways."""

    def __init__(self, pcm_of_code: NDArray[np.int16], code_of_pcm: NDArray[np.uint8]) -> None:
        """int16[256], and uint8[65536] by the unsigned pattern of a sample."""
        self._pcm_of_code, self._code_of_pcm = pcm_of_code, code_of_pcm

    def decode(self, payload: bytes) -> NDArray[np.int16]:
        """Codes to PCM: int16[samples]."""
        return self._pcm_of_code.take(np.frombuffer(payload, np.uint8))

    def encode(self, pcm: NDArray[np.int16]) -> bytes:
        """PCM, int16[samples], to codes."""
        return self._code_of_pcm.take(pcm.view(np.uint16)).tobytes()


def decision_levels(magnitude: NDArray[np.int32], ends: NDArray[np.int64]) -> NDArray[np.int32]:
    """int32[127] between the 128 values of one sign: half-way between neighbours.

    Steps double from segment to segment: behind the last value of one (`ends`), it is half a step of its own.
    """
    levels = (magnitude[1:] + magnitude[:-1]) // 2
    levels[ends] = magnitude[ends] + (magnitude[ends] - magnitude[ends - 1]) // 2
    return levels
