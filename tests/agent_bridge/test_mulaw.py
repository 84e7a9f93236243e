# SPDX-License-Identifier: MIT
"""Mu-law beside the line's own, which was written apart from it."""

from __future__ import annotations

import numpy as np

from trunkline.agent_bridge import mulaw
from trunkline.codecs import g711


def test_every_sample_and_every_code_are_those_of_the_line():
    """Bit by bit: a call in PCMU reaches an agent as it came."""
    every = np.arange(65536, dtype=np.uint16).view(np.int16)
    assert mulaw.encode(every) == g711.encode_ulaw(every).tobytes()
    codes = np.arange(256, dtype=np.uint8)
    assert (mulaw.decode(codes.tobytes()) == g711.decode_ulaw(codes)).all()


def test_rows_of_a_larger_array_are_encoded_too():
    """Frames come as rows, and perhaps as every other sample."""
    pcm = np.arange(-800, 800, dtype=np.int16).reshape(4, 400)
    assert mulaw.encode(pcm[1]) == g711.encode_ulaw(pcm[1]).tobytes()
    assert mulaw.encode(pcm[0, ::2]) == g711.encode_ulaw(pcm[0, ::2]).tobytes()
