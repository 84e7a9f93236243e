# SPDX-License-Identifier: GPL-2.0-or-later
"""Concealment: goes on at the pitch, leads over to what follows, fades, depends on nothing but good audio."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trunkline.codecs.conceal import (
    HOLD_MS,
    SILENT_MS,
    can_look_ahead,
    conceal,
    conceal_between,
    conceal_between_row,
    conceal_row,
    fade_left,
    history_samples,
)


def voice(pitch_hz: float, samples: int, rate_hz: int) -> np.ndarray:
    """A voiced sound: four harmonics."""
    t = np.arange(samples) / rate_hz
    return sum(4000 / k * np.sin(2 * np.pi * k * pitch_hz * t) for k in (1, 2, 3, 4)).astype(np.int16)


def at(*samples: int) -> np.ndarray:
    return np.array(samples, np.int64)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("pitch_hz", [80, 125, 200, 320])
def test_a_steady_voice_goes_on_as_if_nothing_were_lost(pitch_hz: float, rate_hz: int) -> None:
    """The first lost frame of a periodic sound is what it would have been."""
    kept, frame = history_samples(rate_hz), rate_hz // 50
    sound = voice(pitch_hz, kept + frame, rate_hz)
    filled = conceal(sound[None, :kept], frame, at(0), rate_hz)
    assert filled.shape == (1, frame)
    assert np.corrcoef(filled[0], sound[kept:])[0, 1] > 0.97


def test_long_loss_fades_to_silence_and_stays_silent() -> None:
    """Full level for 40 ms, then less and less; from 240 ms on there is nothing."""
    history = voice(100, history_samples(), 8000)[None]  # two periods a frame
    energy = [float(np.square(conceal(history, 160, at(160 * lost))).sum()) for lost in range(15)]
    hold, silent = HOLD_MS // 20, SILENT_MS // 20
    assert energy[1] == pytest.approx(energy[0], rel=0.1)
    assert all(later < earlier for earlier, later in itertools.pairwise(energy[hold - 1 : silent]))
    assert energy[silent - 1] > 0 and energy[silent:] == [0] * (15 - silent)
    assert fade_left(at(0, 320, 1920), 1).ravel().tolist() == [1, 1, 0]


def test_frames_of_one_loss_join_without_a_step() -> None:
    """Two frames of 20 ms are one of 40 ms, and there is no jump where they meet, or at the start."""
    history = voice(130, history_samples(), 8000)[None]
    whole = conceal(history, 320, at(0))
    assert np.array_equal(whole, np.concatenate([conceal(history, 160, at(start)) for start in (0, 160)], axis=1))
    steps = np.abs(np.diff(np.concatenate([history, whole], axis=1)))
    assert steps[:, history.shape[1] - 1 :].max() <= 1.1 * steps[:, : history.shape[1] - 1].max()


def test_a_long_loss_is_no_tone() -> None:
    """A noise that is held does not repeat itself every 12 ms."""
    history = np.random.default_rng(7).normal(0, 2000, (1, history_samples())).astype(np.int16)
    held = conceal(history, 640, at(0))[0] / fade_left(at(0), 640)[0]
    likest = max(
        np.corrcoef(held[320:480], held[320 + lag : 480 + lag])[0, 1] for lag in range(20, 160)
    )
    assert likest < 0.9


@pytest.mark.parametrize("first", [1, 2])
def test_the_other_side_of_the_gap_is_reached(first: int) -> None:
    """A voice that has changed in the gap ends in its new sound, whether the end was known at once or later."""
    before, after = voice(100, history_samples(), 8000)[None], voice(160, 160, 8000)[None] // 2
    known, length = at(160 * (first - 1)), at(160 * first)
    last = conceal_between(before, after, 160, known, known, length)
    back = voice(160, 410, 8000)[250 - 40 : 250].astype(float) / 2  # two periods end where the next one begins
    assert np.corrcoef(last[0, -40:], back)[0, 1] > 0.9
    assert np.sqrt(np.mean(last[0, -40:] ** 2)) == pytest.approx(np.sqrt(np.mean(back**2)), rel=0.3)
    assert abs(last[0, -1] - after[0, 0]) < 1500
    assert np.allclose(last[0, :3], conceal(before, 160, known)[0, :3], atol=100)


def test_a_short_packet_tells_nothing_of_what_led_to_it() -> None:
    assert can_look_ahead(80, 8000) and not can_look_ahead(40, 8000)


def test_silence_before_the_loss_stays_silence() -> None:
    """A call that has heard nothing yet invents nothing; no rows is no work."""
    history = np.zeros((3, history_samples()), np.int16)
    assert not conceal(history, 160, at(0, 160, 9 * 160)).any()
    assert conceal(history[:0], 160, at()).shape == (0, 160)


@pytest.mark.parametrize("frame", [480, 960, 2880])
def test_a_short_history_at_a_high_rate_does(frame: int) -> None:
    """48 kHz with 17 ms of it: nothing raises, nothing is louder than before."""
    history = voice(300, 800, 48000)[None]
    assert np.abs(conceal(history, frame, at(0), 48000)).max() < 1.5 * np.abs(history).max()
    between = conceal_between(history, history, frame, at(0), at(0), at(frame), 48000)
    assert np.abs(between).max() < 1.5 * np.abs(history).max()


HISTORIES = hnp.arrays(np.int16, st.tuples(st.integers(1, 3), st.integers(200, 420)))
FRAMES = st.sampled_from([80, 160, 240, 480])


@settings(max_examples=30, deadline=None)
@given(HISTORIES, st.integers(0, 14), FRAMES)
def test_batch_equals_scalar_twin(history: np.ndarray, lost: int, samples: int) -> None:
    """Rows do not influence each other, whatever their place in the loss."""
    start = (lost + np.arange(len(history))) * samples
    filled = conceal(history, samples, start)
    expected = [
        conceal_row(row, samples, int(n)) for row, n in zip(history.astype(float).tolist(), start, strict=True)
    ]
    assert np.allclose(filled, expected, rtol=0, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(HISTORIES, st.integers(0, 3), st.integers(0, 2), st.integers(1, 3), FRAMES, st.data())
def test_between_equals_its_scalar_twin(
    history: np.ndarray, lost: int, unknown: int, left: int, samples: int, data: st.DataObject
) -> None:
    """The same with the other side of the gap in view."""
    ahead = data.draw(hnp.arrays(np.int16, (len(history), data.draw(st.sampled_from([80, 160, 240])))))
    start = (lost + np.arange(len(history))) * samples
    known = np.maximum(start - unknown * samples, 0)
    length = start + left * samples
    filled = conceal_between(history, ahead, samples, start, known, length)
    expected = [
        conceal_between_row(row, behind, samples, int(s), int(k), int(e))
        for row, behind, s, k, e in zip(
            history.astype(float).tolist(), ahead.astype(float).tolist(), start, known, length, strict=True
        )
    ]
    assert np.allclose(filled, expected, rtol=0, atol=1e-6)
