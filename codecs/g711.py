# SPDX-License-Identifier: GPL-2.0-or-later
"""G.711 mu-law and A-law (ITU-T G.711): any shape, one table look-up per sample.

PCM is int16.  The standard speaks of 14-bit (mu-law) and 13-bit (A-law) uniform
PCM; both are the top bits of our 16, so the scales differ by 4 and 8.  It leaves
open what a value exactly on a decision level becomes; ours go away from zero,
as in most implementations, and the two halves of each law mirror each other.

`decode_*` and `encode_*` are what the media worker calls; the `*_sample`
functions are their scalar twins, one line per sentence of the standard.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SILENCE_ULAW = 0xFF
"code of +0 in mu-law"
SILENCE_ALAW = 0xD5
"code of the smallest positive value in A-law, which has no zero"

_ULAW_BIAS = 33 * 4
"added to magnitudes, so that each segment begins at a power of two"
_ULAW_CLIP = 8159 * 4 - 1
"G.711 table 2a: the virtual decision value 8159 bounds the last interval"


def decode_ulaw(payload: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Mu-law codes to PCM of the same shape."""
    return _DECODE_ULAW.take(payload)


def decode_alaw(payload: NDArray[np.uint8]) -> NDArray[np.int16]:
    """A-law codes to PCM of the same shape."""
    return _DECODE_ALAW.take(payload)


def encode_ulaw(pcm: NDArray[np.int16]) -> NDArray[np.uint8]:
    """PCM to mu-law codes of the same shape."""
    return ENCODE_ULAW.take(pcm.view(np.uint16))


def encode_alaw(pcm: NDArray[np.int16]) -> NDArray[np.uint8]:
    """PCM to A-law codes of the same shape."""
    return ENCODE_ALAW.take(pcm.view(np.uint16))


# --- scalar twins ---------------------------------------------------------------------------


def decode_ulaw_sample(code: int) -> int:
    """One mu-law code: all bits inverted, then sign, 3-bit segment, 4-bit step."""
    code = ~code & 0xFF
    segment, step = code >> 4 & 7, code & 15
    magnitude = (((2 * step + 33) << segment) - 33) * 4
    return -magnitude if code & 0x80 else magnitude


def decode_alaw_sample(code: int) -> int:
    """One A-law code: even bits inverted (G.711 table 1a, note 2), then sign, segment, step."""
    code ^= 0x55
    segment, step = code >> 4 & 7, code & 15
    magnitude = (2 * step + 33 << segment - 1 if segment else 2 * step + 1) * 8
    return magnitude if code & 0x80 else -magnitude


def encode_ulaw_sample(sample: int) -> int:
    """One PCM sample to mu-law; -x and x differ in the sign bit only."""
    sign = 0x80 if sample < 0 else 0
    biased = min(abs(sample), _ULAW_CLIP) + _ULAW_BIAS
    segment = biased.bit_length() - 8
    step = biased >> segment + 3 & 15
    return ~(sign | segment << 4 | step) & 0xFF


def encode_alaw_sample(sample: int) -> int:
    """One PCM sample to A-law; -1 mirrors 0, because both are half a step from their output."""
    sign = 0 if sample < 0 else 0x80
    magnitude = ~sample if sample < 0 else sample
    segment = max(magnitude.bit_length() - 8, 0)
    step = magnitude >> max(segment, 1) + 3 & 15
    return (sign | segment << 4 | step) ^ 0x55


# --- tables ---------------------------------------------------------------------------------
# The encoders' 65536 entries are computed in columns: with the scalar twins, importing this
# module would take 30 ms longer. A test compares every entry.


def _segments(magnitude: NDArray[np.int64]) -> NDArray[np.int64]:
    """`bit_length() - 8` of non-negative numbers; frexp's exponent is the bit length."""
    return np.frexp(magnitude)[1].astype(np.int64) - 8


def _ulaw_encode_table() -> NDArray[np.uint8]:
    sample = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int64)
    biased = np.minimum(np.abs(sample), _ULAW_CLIP) + _ULAW_BIAS
    segment = _segments(biased)
    step = biased >> segment + 3 & 15
    code = ~(np.where(sample < 0, 0x80, 0) | segment << 4 | step) & 0xFF
    return np.asarray(code, dtype=np.uint8)


def _alaw_encode_table() -> NDArray[np.uint8]:
    sample = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int64)
    magnitude = np.where(sample < 0, ~sample, sample)
    segment = np.maximum(_segments(magnitude), 0)
    step = magnitude >> np.maximum(segment, 1) + 3 & 15
    code = (np.where(sample < 0, 0, 0x80) | segment << 4 | step) ^ 0x55
    return np.asarray(code, dtype=np.uint8)


_DECODE_ULAW = np.array([decode_ulaw_sample(code) for code in range(256)], dtype=np.int16)
_DECODE_ALAW = np.array([decode_alaw_sample(code) for code in range(256)], dtype=np.int16)
ENCODE_ULAW = _ulaw_encode_table()
ENCODE_ALAW = _alaw_encode_table()
