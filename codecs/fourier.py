# SPDX-License-Identifier: GPL-2.0-or-later
"""What the compiled Fourier transforms (`native/fourier.c`) need to know; NumPy has its own."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

MOST_POINTS = 6144
"of a real signal, MOST_TURNS of native/made_up.h"


@functools.lru_cache(maxsize=32)
def turns(size: int) -> NDArray[np.float64]:
    """e^(-2 pi i k / size) for k below `size`: f64[2, size], real and imaginary parts."""
    angle = -2 * np.pi * np.arange(size) / size
    return np.stack([np.cos(angle), np.sin(angle)])
