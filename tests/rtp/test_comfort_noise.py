# SPDX-License-Identifier: GPL-2.0-or-later
"""The payload of RFC 3389."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp.comfort_noise import MAX_ORDER, ComfortNoise


def test_a_packet_as_the_rfc_has_it() -> None:
    """Level in -dBov; 127 is a coefficient of 0, 0 and 254 are the ends of the scale (section 3.2)."""
    noise = ComfortNoise.parse(bytes([64, 127, 0, 254]))
    assert noise is not None and noise.level_dbov == -64
    assert noise.reflection == pytest.approx((0, -0.99994, 0.99994), abs=1e-4)


def test_the_shortest_packet_is_white_noise() -> None:
    """One byte, as before RFC 3389; and as many implementations still send it."""
    assert ComfortNoise.parse(bytes([50])) == ComfortNoise(-50)
    assert bytes(ComfortNoise(-50)) == bytes([50])


@given(st.binary(max_size=40))
def test_whatever_comes_is_read_within_bounds(payload: bytes) -> None:
    """Nothing raises; levels and coefficients are in range; no filter of any length is accepted."""
    noise = ComfortNoise.parse(payload)
    assert (noise is None) == (not payload)
    if noise is not None:
        assert -127 <= noise.level_dbov <= 0
        assert len(noise.reflection) <= MAX_ORDER and all(-1 < k < 1 for k in noise.reflection)


@given(st.integers(-127, 0), st.lists(st.floats(-0.999, 0.999), max_size=MAX_ORDER))
def test_what_is_written_is_read(level: int, reflection: list[float]) -> None:
    """To half a step."""
    noise = ComfortNoise.parse(bytes(ComfortNoise(level, tuple(reflection))))
    assert noise is not None and noise.level_dbov == level
    assert noise.reflection == pytest.approx(reflection, abs=258 / 65536)
