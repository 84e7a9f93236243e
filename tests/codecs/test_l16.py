# SPDX-License-Identifier: GPL-2.0-or-later
"""L16: network byte order, whole samples."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trunkline.codecs.l16 import SAMPLE_RATES_HZ, L16Codec

ROW = np.zeros(1, np.intp)


@pytest.mark.parametrize(("name", "rate_hz"), [("L16/8000", 8000), ("L16/16000", 16000), ("L16/44100", 44100)])
def test_rates(name: str, rate_hz: int) -> None:
    """The rate is part of the name."""
    codec = L16Codec(name, 10)
    assert (codec.name, codec.sample_rate_hz, codec.variable) == (name, rate_hz, False)
    assert list(SAMPLE_RATES_HZ) == ["L16/8000", "L16/16000", "L16/44100"]


@given(hnp.arrays(np.int16, st.tuples(st.integers(0, 4), st.integers(0, 50))))
def test_exact_both_ways(pcm: np.ndarray) -> None:
    """Each sample high byte first, as `struct` writes it; and back, from the middle of packets too."""
    codec, rows = L16Codec("L16/16000"), np.arange(len(pcm))
    payload, lengths = codec.encode(rows, pcm)
    assert lengths is None and payload.dtype == np.uint8
    packets = np.zeros((len(pcm), 13 + payload.shape[1]), np.uint8)
    packets[:, 13:] = payload
    for sound, wire in zip(pcm, payload, strict=True):
        assert wire.tobytes() == struct.pack(f"!{len(sound)}h", *sound.tolist())
    for decoded in (codec.decode(rows, packets[:, 13:]), codec.look_ahead(rows, payload)):
        assert decoded.dtype == np.dtype("=i2") and np.array_equal(decoded, pcm)
        decoded[:] = 1  # what is returned belongs to the caller
    assert np.array_equal(packets[:, 13:], payload)


def test_half_a_sample_is_refused() -> None:
    """A payload of an odd number of bytes has no size in samples."""
    codec = L16Codec("L16/44100")
    assert [codec.samples_for(size) for size in (0, 1, 2, 881, 882)] == [0, 0, 1, 0, 441]
    lengths = np.array([882, 881, 0], np.int32)
    assert codec.durations(np.zeros((3, 882), np.uint8), lengths).tolist() == [441, 0, 0]
    assert codec.conceal(ROW, 160, None) is None
    with pytest.raises(TypeError, match="one length"):
        codec.decode_variable(ROW, np.zeros((1, 9), np.uint8), np.array([9], np.int32), 18)
