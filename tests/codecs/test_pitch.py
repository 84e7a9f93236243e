# SPDX-License-Identifier: GPL-2.0-or-later
"""Pitch: found where there is one, and the same in every batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trunkline.codecs.pitch import pitch_period, pitch_periods, room_for_pitch


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 44100, 48000])
@pytest.mark.parametrize("period_ms", [3, 5, 8, 12.5])
def test_the_period_of_a_pulse_train(period_ms: float, rate_hz: int) -> None:
    """The very period, not a multiple of it, and full likeness."""
    period = round(period_ms * rate_hz / 1000)
    sound = np.zeros((1, rate_hz // 20))
    sound[:, ::period] = 9000
    found, likeness = pitch_periods(sound, rate_hz // 80, rate_hz)
    assert found.tolist() == [period] and likeness[0] == pytest.approx(1)


def test_noise_and_silence_have_none() -> None:
    """Silence is not like itself, noise only by chance."""
    noise = np.rint(np.random.default_rng(1).standard_normal((20, 400)) * 3000)
    assert np.median(pitch_periods(noise, 80, 8000)[1]) < 0.5
    assert pitch_periods(np.zeros((1, 400)), 80, 8000)[1].tolist() == [0]


def test_an_expected_period_breaks_a_tie() -> None:
    """A short template fits a pulse train at its period and at twice that; what is expected decides."""
    sound = np.zeros((2, 160))
    sound[:, ::30] = 9000
    found, _ = pitch_periods(sound, 40, 8000, np.array([0.0, 60.0]))
    assert found.tolist() == [30, 60]


def test_room_is_a_template_and_the_shortest_period() -> None:
    assert room_for_pitch(60, 40, 8000) and not room_for_pitch(59, 40, 8000)


@pytest.mark.parametrize("rate_hz", [44100, 48000])
def test_a_coarse_look_finds_as_good_a_period(rate_hz: int) -> None:
    """Voiced sound of any pitch, a little noisy: as alike as the best of all candidates, and a true period."""
    rng = np.random.default_rng(rate_hz)
    at, periods = np.arange(rate_hz // 20), rng.uniform(0.003, 0.0145, 60) * rate_hz
    phase = 2 * np.pi * at / periods[:, None]
    sound = np.rint(sum(6000 / k * np.sin(k * phase + k * k) for k in range(1, 8)) + rng.normal(0, 100, phase.shape))
    found, likeness = pitch_periods(sound, rate_hz // 100, rate_hz)
    times = np.rint(found / periods)
    assert times.min() == 1 and np.abs(found - times * periods).max() <= 1
    for row in range(0, 60, 6):
        best = max(
            np.corrcoef(sound[row, -rate_hz // 100 :], sound[row, -rate_hz // 100 - lag : -lag])[0, 1]
            for lag in range(round(0.0025 * rate_hz), round(0.015 * rate_hz) + 1)
        )
        assert likeness[row] > best - 0.01


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.int16, st.tuples(st.integers(1, 4), st.integers(60, 240))),
    st.sampled_from([0.0, 37.0]),
    st.sampled_from([8000, 32000, 44100, 48000]),
)
@example(np.zeros((1, 66), np.int16), 0.0, 44100)  # just room enough
@example(np.zeros((1, 67), np.int16), 37.0, 44100)
def test_batch_equals_scalar_twin(pcm: np.ndarray, expected: float, rate_hz: int) -> None:
    """To the bit, whatever the sound."""
    sound = np.repeat(pcm, rate_hz // 8000, axis=1).astype(float)
    template = rate_hz // 200
    assume(room_for_pitch(sound.shape[1], template, rate_hz))
    periods, likeness = pitch_periods(sound, template, rate_hz, np.full(len(sound), expected))
    one_by_one = [pitch_period(row, template, rate_hz, expected) for row in sound.tolist()]
    assert list(zip(periods.tolist(), likeness.tolist(), strict=True)) == one_by_one
