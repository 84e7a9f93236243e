# SPDX-License-Identifier: GPL-2.0-or-later
"""Resampling: response, delay, seams, overflow, and the scalar twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.codecs.resample import Resampler, get_resampler, pass_edge, resample_row

RATES = (8000, 16000, 24000, 44100, 48000)
PAIRS = [(a, b) for a in RATES for b in RATES if a != b]


def convert(resampler: Resampler, pcm: np.ndarray) -> np.ndarray:
    """A whole recording of one stream, from silence."""
    out, _ = resampler.process(resampler.new_history(1), pcm[None])
    return out[0]


def tone(hz: float, rate_hz: int, samples: int, peak: float = 20000) -> np.ndarray:
    return np.rint(peak * np.sin(2 * np.pi * hz * np.arange(samples) / rate_hz)).astype(np.int16)


def spectrum_db(pcm: np.ndarray) -> np.ndarray:
    """Amplitude by frequency bin, 0 dB for a tone of peak 1; Blackman-Harris, so that skirts are 92 dB down."""
    n = len(pcm)
    a = 2 * np.pi * np.arange(n) / n
    window = 0.35875 - 0.48829 * np.cos(a) + 0.14128 * np.cos(2 * a) - 0.01168 * np.cos(3 * a)
    return 20 * np.log10(2 * np.abs(np.fft.rfft(pcm * window)) / window.sum() + 1e-9)


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_pass_band_is_flat_and_images_are_gone(from_hz: int, to_hz: int) -> None:
    """Tones up to the pass band's edge keep their level within 0.01 dB; all else is 80 dB down.

    Measured through int16 at both ends, as a call would hear it.
    """
    resampler = get_resampler(from_hz, to_hz)
    lower = min(from_hz, to_hz)
    for share in (0.01, 0.125, 0.25, 0.4, 0.42, pass_edge(lower)):
        samples = from_hz // 2
        hz = int(share * lower / 10) * 10
        out = convert(resampler, tone(hz, from_hz, samples))[to_hz // 10 :].astype(float)
        levels = spectrum_db(out) - 20 * np.log10(20000)
        at = round(hz * len(out) / to_hz)
        assert levels[at] == pytest.approx(0, abs=0.01)
        levels[max(at - 4, 0) : at + 5] = -200
        assert levels.max() < -80


@pytest.mark.parametrize(("from_hz", "to_hz"), [(a, b) for a, b in PAIRS if a > b])
def test_what_the_lower_rate_cannot_carry_does_not_alias(from_hz: int, to_hz: int) -> None:
    """Whatever tone there is above the new Nyquist frequency, the pass band below hears 80 dB less of it.

    From the mirror of the pass band's edge on, nothing of it comes out anywhere.
    """
    resampler = get_resampler(from_hz, to_hz)
    edge = pass_edge(to_hz)
    for hz in np.linspace(to_hz / 2 + 10, from_hz / 2 - 10, 7):
        out = convert(resampler, tone(hz, from_hz, from_hz // 4))[to_hz // 10 :].astype(float)
        levels = spectrum_db(out) - 20 * np.log10(20000)
        assert levels[: round(edge * len(out))].max() < -80
        if hz > (1 - edge) * to_hz:
            assert levels.max() < -80


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_delay_is_what_it_says(from_hz: int, to_hz: int) -> None:
    """A pulse comes out `delay_samples` later: to the sample at both rates, or, with 44.1 kHz, to the nearest."""
    resampler = get_resampler(from_hz, to_hz)
    exact = resampler.delay_samples * resampler.up / resampler.down
    assert 44100 in (from_hz, to_hz) or exact == int(exact)
    assert resampler.delay_ms < (2.3 if min(from_hz, to_hz) == 8000 else 1.4)
    pcm = np.zeros(from_hz // 5, dtype=np.int16)
    at = len(pcm) // 2 // resampler.down * resampler.down
    pcm[at] = 30000
    peak = int(np.argmax(convert(resampler, pcm)))
    assert abs(peak - at * to_hz / from_hz - exact) <= 0.5


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(PAIRS),
    st.lists(st.integers(0, 500), min_size=1, max_size=6),
    st.integers(1, 3),
    st.integers(0, 2**32 - 1),
)
def test_frames_of_any_length_join_without_a_seam(
    pair: tuple[int, int], lengths: list[int], rows: int, seed: int
) -> None:
    """Streaming in pieces equals the whole at once, first sample included.

    Within 1: float32 sums of another order may round to the neighbour.
    """
    resampler = get_resampler(*pair)
    lengths = [n * 6 // resampler.down * resampler.down for n in lengths]
    pcm = np.random.default_rng(seed).integers(-20000, 20000, (rows, sum(lengths))).astype(np.int16)
    whole, last = resampler.process(resampler.new_history(rows), pcm)
    history = resampler.new_history(rows)
    pieces = []
    for piece in np.split(pcm, np.cumsum(lengths)[:-1], axis=1):
        out, history = resampler.process(history, piece)
        assert out.shape == (rows, resampler.output_samples(piece.shape[1]))
        pieces.append(out)
    joined = np.concatenate(pieces, axis=1)
    assert joined.shape == whole.shape
    assert np.abs(joined.astype(int) - whole).max(initial=0) <= 1
    assert np.array_equal(history, last)  # the state is exact


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_batch_equals_scalar_twin(from_hz: int, to_hz: int) -> None:
    """The block matrix is the filter's definition: within 1 of exact sums, and rarely even that."""
    resampler = get_resampler(from_hz, to_hz)
    samples = max(600 // resampler.down, 2) * resampler.down
    pcm = np.random.default_rng(from_hz + to_hz).integers(-32768, 32768, samples).astype(np.int16)
    difference = np.abs(convert(resampler, pcm) - np.array(resample_row(resampler, pcm.tolist())))
    assert difference.max() <= 1
    assert np.count_nonzero(difference) <= 0.02 * len(difference)


def test_many_rows_are_independent() -> None:
    """250 streams, more than go through in one product, each as if it were alone."""
    resampler = get_resampler(8000, 16000)
    rng = np.random.default_rng(1)
    pcm = rng.integers(-9000, 9000, (250, 160)).astype(np.int16)
    history = rng.integers(-9000, 9000, (250, resampler.history_samples)).astype(np.int16)
    out, new_history = resampler.process(history, pcm)
    for row in (0, 99, 100, 249):
        alone, kept = resampler.process(history[row : row + 1], pcm[row : row + 1])
        assert np.abs(alone[0].astype(int) - out[row]).max() <= 1
        assert np.array_equal(kept[0], new_history[row])


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_overshoot_is_clipped_not_wrapped(from_hz: int, to_hz: int) -> None:
    """A full-scale square wave overshoots; its tops stay at full scale instead of changing sign."""
    resampler = get_resampler(from_hz, to_hz)
    pcm = np.where(np.arange(from_hz // 10) // (from_hz // 400) % 2 == 0, 32767, -32768).astype(np.int16)
    out = convert(resampler, pcm)
    exact = np.array(resample_row(resampler, pcm.tolist()))
    assert out.max() == 32767 and out.min() == -32768
    assert np.abs(out - exact).max() <= 1


def test_bands_of_the_codecs_pass() -> None:
    """The telephone band ends at 3.4 kHz and that of G.722 at 7 kHz."""
    assert [pass_edge(rate_hz) * rate_hz for rate_hz in (8000, 16000)] == [3400, 7000]


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_frames_of_agents_and_packets_are_whole_numbers(from_hz: int, to_hz: int) -> None:
    """Every packet time from 10 ms on, and the state is small enough for the media worker's table (512)."""
    resampler = get_resampler(from_hz, to_hz)
    for ms in (10, 20, 30, 40, 60):
        assert resampler.output_samples(from_hz * ms // 1000) == to_hz * ms // 1000
    assert resampler.history_samples <= 512


def test_equal_rates_change_nothing() -> None:
    """8 kHz to 8 kHz has no filter, no delay and no state."""
    resampler = Resampler(8000, 8000)
    pcm = np.arange(320, dtype=np.int16).reshape(2, 160)
    out, history = resampler.process(resampler.new_history(2), pcm)
    assert np.array_equal(out, pcm)
    assert history.shape == (2, 0) and resampler.delay_ms == 0


def test_a_frame_without_a_whole_number_of_outputs_is_refused() -> None:
    """100 samples at 48 kHz are 16.7 at 8 kHz; the error says which lengths work."""
    resampler = get_resampler(48000, 8000)
    assert [resampler.takes(samples) for samples in (0, 6, 100, 960)] == [True, True, False, True]
    with pytest.raises(ValueError, match="need a multiple of 6"):
        resampler.process(resampler.new_history(1), np.zeros((1, 100), np.int16))
    with pytest.raises(ValueError, match="need a multiple of 441"):
        get_resampler(44100, 16000).process(np.zeros((1, 114), np.int16), np.zeros((1, 440), np.int16))
