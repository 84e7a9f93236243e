# SPDX-License-Identifier: GPL-2.0-or-later
"""Levels in dBov."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trunkline.codecs.level import FLOOR_DBOV, level_dbov, level_dbov_of


def test_known_levels() -> None:
    """Full-scale square 0, full-scale sine -3.01, half of it 6.02 less, silence -127."""
    sine = 32767 * np.sin(np.arange(160) * 2 * np.pi / 16)
    rows = np.array([[-32768] * 160, sine, sine / 2, [0] * 160]).astype(np.int16)
    assert level_dbov(rows) == pytest.approx([0, -3.01, -9.03, FLOOR_DBOV], abs=0.01)


def test_quietest_sound_is_not_silence() -> None:
    """One sample of 1 in a frame is still above the floor."""
    row = np.zeros((1, 160), dtype=np.int16)
    row[0, 7] = 1
    assert level_dbov(row) == pytest.approx([-112.35], abs=0.01)


def test_no_samples_is_silence() -> None:
    """An empty frame has no level of its own, and no stream none at all."""
    assert level_dbov(np.zeros((2, 0), dtype=np.int16)).tolist() == [FLOOR_DBOV, FLOOR_DBOV]
    assert level_dbov(np.zeros((0, 160), dtype=np.int16)).shape == (0,)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.int16, st.tuples(st.integers(1, 4), st.integers(1, 60))))
def test_batch_equals_scalar_twin(pcm: np.ndarray) -> None:
    """Each row is measured as if it were alone."""
    levels = level_dbov(pcm)
    assert levels.dtype == np.float32
    assert levels == pytest.approx([level_dbov_of(row) for row in pcm.tolist()], abs=1e-3)
