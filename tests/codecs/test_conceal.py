# SPDX-License-Identifier: GPL-2.0-or-later
"""Concealment: goes on at the pitch, fades, and depends on nothing but good audio."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trunkline.codecs.conceal import SILENT_MS, conceal, conceal_row, history_samples


def voice(pitch_hz: float, samples: int, rate_hz: int) -> np.ndarray:
    """A voiced sound: four harmonics."""
    t = np.arange(samples) / rate_hz
    return sum(4000 / k * np.sin(2 * np.pi * k * pitch_hz * t) for k in (1, 2, 3, 4)).astype(np.int16)


@pytest.mark.parametrize("rate_hz", [8000, 16000])
@pytest.mark.parametrize("pitch_hz", [80, 125, 200, 320])
def test_a_steady_voice_goes_on_as_if_nothing_were_lost(pitch_hz: float, rate_hz: int) -> None:
    """The first lost frame of a periodic sound is what it would have been."""
    kept, frame = history_samples(rate_hz), rate_hz // 50
    sound = voice(pitch_hz, kept + frame, rate_hz)
    filled = conceal(sound[None, :kept], frame, np.array([0], np.int32), rate_hz)
    assert filled.shape == (1, frame) and filled.dtype == np.int16
    assert np.corrcoef(filled[0], sound[kept:])[0, 1] > 0.97


def test_long_loss_fades_to_silence_and_stays_silent() -> None:
    """Energy falls from frame to frame; from 240 ms on there is none."""
    history = voice(100, history_samples(), 8000)[None]  # two periods a frame
    energy = [
        float(np.square(conceal(history, 160, np.array([lost], np.int32)).astype(float)).sum())
        for lost in range(15)
    ]
    silent = SILENT_MS // 20
    assert all(later < earlier for earlier, later in itertools.pairwise(energy[:silent]))
    assert energy[silent - 1] > 0 and energy[silent:] == [0] * (15 - silent)


def test_frames_of_one_loss_join_without_a_step() -> None:
    """Two frames of 20 ms are one of 40 ms: the period runs on over the seam."""
    history = voice(130, history_samples(), 8000)[None]
    whole = conceal(history, 320, np.array([0], np.int32))
    halves = [conceal(history, 160, np.array([lost], np.int32)) for lost in (0, 1)]
    assert np.array_equal(whole, np.concatenate(halves, axis=1))


def test_silence_before_the_loss_stays_silence() -> None:
    """A call that has heard nothing yet invents nothing; no rows is no work."""
    history = np.zeros((3, history_samples()), np.int16)
    assert not conceal(history, 160, np.array([0, 1, 9], np.int32)).any()
    assert conceal(history[:0], 160, np.zeros(0, np.int32)).shape == (0, 160)


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(np.int16, st.tuples(st.integers(1, 3), st.integers(200, 260))),
    st.integers(0, 14),
    st.sampled_from([80, 160, 240]),
)
def test_batch_equals_scalar_twin(history: np.ndarray, lost: int, samples: int) -> None:
    """Rows do not influence each other, whatever their place in the loss."""
    counts = (lost + np.arange(len(history))).astype(np.int32)
    filled = conceal(history, samples, counts)
    expected = [conceal_row(row, samples, int(n)) for row, n in zip(history.tolist(), counts, strict=True)]
    assert filled.tolist() == expected
