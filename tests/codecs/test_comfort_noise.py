# SPDX-License-Identifier: GPL-2.0-or-later
"""Background noise: described, and made, as loud and of the same colour."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trunkline.codecs.comfort_noise import (
    ORDER,
    analyse,
    length_of_piece,
    synthesise,
    synthesise_row,
    white_spectra,
)
from trunkline.codecs.level import level_dbov
from trunkline.codecs.resample import get_resampler


def coloured(samples: int, pole: float, seed: int = 1) -> np.ndarray:
    """Noise through a filter of one pole: i16[1, samples]."""
    white, out, last = np.random.default_rng(seed).normal(0, 500, samples), np.zeros(samples), 0.0
    for i in range(samples):
        last = out[i] = white[i] + pole * last
    return out.astype(np.int16)[None]


def endless(level: float, reflection: np.ndarray, samples: int = 160, frames: int = 64) -> np.ndarray:
    """Consecutive frames of one row."""
    pieces = [
        synthesise(np.array([level]), reflection, samples, np.array([i], np.int64)) for i in range(frames)
    ]
    return np.concatenate(pieces, axis=1)


@pytest.mark.parametrize("pole", [0.9, 0.0, -0.7])
def test_a_filter_of_one_pole_is_recognised(pole: float) -> None:
    """The first coefficient is the pole with the sign of the lattice, the others are about 0."""
    found = analyse(coloured(8000, pole))[0]
    assert found[0] == pytest.approx(-pole, abs=0.03) and np.abs(found[1:]).max() < 0.06


def test_silence_and_tones_give_stable_filters() -> None:
    """Also a full-scale square wave."""
    square = np.where(np.arange(160) % 20 < 10, 32767, -32768).astype(np.int16)
    found = analyse(np.stack([np.zeros(160, np.int16), square]))
    assert not found[0].any() and np.abs(found).max() <= 0.98


@pytest.mark.parametrize("level", [-30.0, -55.0])
@pytest.mark.parametrize("pole", [0.95, 0.0, -0.9])
def test_noise_has_the_level_and_the_colour_that_were_asked_for(level: float, pole: float) -> None:
    """Within 1 dB over 1.3 s, and analysis finds what synthesis was given."""
    reflection = np.zeros((1, ORDER))
    reflection[0, 0] = -pole
    noise = endless(level, reflection)
    assert level_dbov(np.rint(noise).astype(np.int16))[0] == pytest.approx(level, abs=1)
    assert analyse(noise.astype(np.int16))[0, 0] == pytest.approx(-pole, abs=0.1)


@pytest.mark.parametrize("rate_hz", [16000, 44100, 48000])
def test_background_of_the_telephone_band_at_high_rates(rate_hz: int) -> None:
    """Noise of 8 kHz, resampled: what is made of it is as loud, within 1.5 dB over 1.3 s."""
    resampler = get_resampler(8000, rate_hz)
    heard, _ = resampler.process(resampler.new_history(1), coloured(8000, 0.9))
    samples = rate_hz // 50
    noise = endless(-45.0, analyse(heard[:, samples : 2 * samples]), samples)
    assert level_dbov(np.rint(noise).astype(np.int16))[0] == pytest.approx(-45, abs=1.5)


def test_frames_join_without_a_seam() -> None:
    """Steps between frames are like those within, for noise of low pitch, in which a seam would stand out."""
    noise = endless(-40, np.array([[-0.9] + [0.0] * (ORDER - 1)]))[0]
    steps = np.abs(np.diff(noise))
    assert np.mean(steps[159::160]) < 1.3 * np.mean(steps)
    assert np.array_equal(noise[:160], endless(-40, np.array([[-0.9] + [0.0] * (ORDER - 1)]), frames=1)[0])


def test_rows_at_different_pieces_are_independent() -> None:
    """Two callers' noises are not the same noise."""
    both = synthesise(np.array([-40.0, -40.0]), np.zeros((2, ORDER)), 160, np.array([3, 10]))
    assert abs(np.corrcoef(both)[0, 1]) < 0.3


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 44100, 48000])
def test_frames_of_many_lengths_are_of_few_pieces(rate_hz: int) -> None:
    """A piece is as long as the usual packets, and never much longer than others; all there are stay in the cache."""
    lengths = {samples: length_of_piece(samples, rate_hz) for samples in range(1, rate_hz * 182 // 1000)}
    for ms in (2.5, 5, 7.5, 10, 20, 30, 40, 60, 120):
        if rate_hz * ms % 1000 == 0:
            assert lengths[int(rate_hz * ms / 1000)] == rate_hz * ms / 1000
    assert all(samples <= piece < samples + rate_hz // 99 for samples, piece in lengths.items())
    assert 5 * len(set(lengths.values())) < (white_spectra.cache_info().maxsize or 0)


def test_a_frame_of_an_odd_length_is_the_end_of_a_piece() -> None:
    """As loud, and no table is made for its length."""
    level, colour, piece = np.array([-40.0]), np.array([[-0.8]]), np.zeros(1, np.int64)
    whole = synthesise(level, colour, 240, piece)
    tables = white_spectra.cache_info().currsize
    for samples in range(161, 241):
        frame = synthesise(level, colour, samples, piece, length_of_piece(samples, 8000))
        assert np.array_equal(frame, whole[:, -samples:])
    assert white_spectra.cache_info().currsize == tables


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.lists(st.floats(-0.9, 0.9), min_size=3, max_size=3), min_size=1, max_size=3),
    st.floats(-90, 0),
    st.integers(0, 1000),
    st.sampled_from([80, 160]),
)
@example([[-0.75, -0.875, -0.875]], 0.0, 0, 80)  # rings on for 12,000 samples
@example([[-0.9, -0.9, -0.9]], 0.0, 0, 80)  # for longer than any other
def test_batch_equals_scalar_twin(rows: list[list[float]], level: float, piece: int, samples: int) -> None:
    """The frequency domain does what the recursive filter does."""
    pieces = np.array([piece + 5 * i for i in range(len(rows))], np.int64)
    made = synthesise(np.full(len(rows), level), np.array(rows), samples, pieces)
    expected = [synthesise_row(level, row, samples, int(p)) for row, p in zip(rows, pieces, strict=True)]
    assert np.allclose(made, expected, rtol=1e-6, atol=1e-6)
