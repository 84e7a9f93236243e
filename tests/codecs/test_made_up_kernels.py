# SPDX-License-Identifier: GPL-2.0-or-later
"""What is made up by compiled kernels is what NumPy makes up: pitch, concealment, noise; and so with voices."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trunkline.codecs import compiled, conceal, voicing
from trunkline.codecs.comfort_noise import LIMIT, ORDER, analyse, synthesise, white_spectra, window
from trunkline.codecs.fourier import MOST_POINTS, turns
from trunkline.codecs.pitch import periods_by_numpy, pitch_periods, room_for_pitch


@pytest.fixture(autouse=True, scope="module")
def _there_are_kernels() -> None:
    if compiled.native is None:
        pytest.skip("built without a compiler, or kept to NumPy")


RATES = [8000, 16000, 24000, 32000, 44100, 48000]
KINDS = ["noise", "voice", "pulses", "silence", "square", "click"]
seeds = st.integers(0, 2**32 - 1)
kinds = st.lists(st.sampled_from(KINDS), min_size=1, max_size=4)


def sound(kind: str, samples: int, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """i16[samples] of any loudness."""
    at, peak = np.arange(samples), rng.choice([1, 40, 3000, 32767])
    period = rng.uniform(0.002, 0.018) * rate_hz
    match kind:
        case "noise":
            made = rng.uniform(-peak, peak, samples)
        case "voice":
            made = sum(np.sin(2 * np.pi * k * at / period) / k for k in range(1, 6)) * peak / 3
            made = made + rng.normal(0, peak / 50 + 0.1, samples)
        case "pulses":
            made = np.where(at % max(int(period), 1) == 0, peak, 0)
        case "square":
            made = np.where(at % period < period / 2, peak, -peak - 1)
        case "click":
            made = np.where(at == rng.integers(samples), -32768, 0)
        case _:
            made = np.zeros(samples)
    return np.clip(np.rint(made), -32768, 32767).astype(np.int16)


def sounds(kinds: list[str], samples: int, rate_hz: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([sound(kind, samples, rate_hz, rng) for kind in kinds])


def both(work: Any, *arguments: Any) -> tuple[Any, Any]:
    """With kernels, and without."""
    ours = work(*arguments)
    with mock.patch.object(compiled, "native", None):
        return ours, work(*arguments)


# --- twins ---------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    kinds,
    st.sampled_from(RATES),
    st.floats(5.5, 50),
    st.floats(1, 12),
    st.sampled_from([0.0, 0.2, 1.0]),
    seeds,
)
@example(["pulses", "square"], 8000, 50, 10, 1.0, 1)
@example(["silence", "click"], 48000, 50, 10, 1.0, 1)
def test_a_pitch_is_the_same_to_the_last_bit(
    kinds: list[str], rate_hz: int, ms: float, template_ms: float, expecting: float, seed: int
) -> None:
    """Of any sound, ties and all, whatever is expected."""
    samples, template = round(ms * rate_hz / 1000), round(template_ms * rate_hz / 1000)
    if not room_for_pitch(samples, template, rate_hz):
        samples = template + rate_hz // 300
    recent = sounds(kinds, samples, rate_hz, seed).astype(np.float64)
    expected = np.random.default_rng(seed).uniform(0, rate_hz / 50, len(kinds)) * expecting
    if expecting == 1.0:
        expected = np.rint(expected)
    ours = pitch_periods(recent, template, rate_hz, expected)
    theirs = periods_by_numpy(recent, template, rate_hz, expected)
    assert np.array_equal(ours[0], theirs[0]) and np.array_equal(ours[1], theirs[1])


@settings(max_examples=150, deadline=None)
@given(
    kinds, st.sampled_from(RATES), st.sampled_from([2.5, 5, 10, 20, 30, 60, 120]), st.floats(12.6, 50), seeds
)
@example(["voice"], 8000, 20, 50, 3)
def test_what_is_made_up_is_that_of_numpy(
    kinds: list[str], rate_hz: int, frame_ms: float, history_ms: float, seed: int
) -> None:
    """From behind and from both sides, anywhere in a loss, with any history."""
    rng = np.random.default_rng(seed)
    samples, n = int(rate_hz * frame_ms / 1000), len(kinds)
    history = sounds(kinds, int(rate_hz * history_ms / 1000), rate_hz, seed)
    start = rng.integers(0, 13, n) * samples + rng.choice([0, 0, 1, 37], n)
    ours, theirs = both(conceal.conceal, history, samples, start, rate_hz)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    ahead = sounds(kinds[::-1], int(rate_hz * rng.choice([7.6, 10, 20, 60]) / 1000), rate_hz, seed + 1)
    known = np.maximum(start - rng.integers(0, 3, n) * samples, 0)
    length = start + rng.integers(0, 3 * samples, n)
    ours, theirs = both(conceal.conceal_between, history, ahead, samples, start, known, length, rate_hz)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_what_is_longer_than_a_kernel_takes_is_left_to_numpy() -> None:
    """A history of 100 ms at 48 kHz, or one that is hardly any; a frame of a second; noise for that."""
    rng = np.random.default_rng(2)
    for kept, samples in ((4800, 960), (560, 960), (2400, 48_000)):
        history = rng.normal(0, 3000, (2, kept)).astype(np.int16)
        ours, theirs = both(conceal.conceal, history, samples, np.zeros(2, np.int64), 48_000)
        assert np.array_equal(ours, theirs)
    quiet = np.zeros((1, ORDER))
    ours, theirs = both(synthesise, np.full(1, -40.0), quiet, 8000, np.zeros(1, np.int64))
    assert np.array_equal(ours, theirs) and ours.any()
    assert np.array_equal(*both(analyse, rng.normal(0, 900, (1, 6000)).astype(np.int16)))


@settings(max_examples=100, deadline=None)
@given(kinds, st.sampled_from([0, 1, 9, 10, 11, 80, 160, 882, 5760]), seeds)
def test_a_background_has_the_same_colour(kinds: list[str], samples: int, seed: int) -> None:
    pcm = sounds(kinds, samples, 8000, seed) if samples else np.zeros((len(kinds), 0), np.int16)
    ours, theirs = both(analyse, pcm)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([1, 40, 80, 160, 240, 320, 441, 480, 882, 960, 1920, 5292, 5760]),
    st.lists(st.lists(st.floats(-0.8, 0.8), min_size=ORDER, max_size=ORDER), min_size=1, max_size=4),
    st.sampled_from([np.float32, np.float64]),
    st.floats(-90, -20),
    st.integers(-5, 100_000),
)
def test_noise_is_the_same_noise(
    samples: int, reflection: list[list[float]], kind: type, level: float, piece: int
) -> None:
    """Piece by piece, of any length that there are transforms for; to a hundredth of a step of a sample."""
    n = len(reflection)
    arguments = np.full(n, level), np.array(reflection, kind), samples, piece + 7 * np.arange(n)
    ours, theirs = both(synthesise, *arguments)
    assert ours.shape == (n, samples)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-2)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100, 48000])
@settings(max_examples=40, deadline=None)
@given(kinds, seeds)
def test_voices_are_as_much_like_voices(rate_hz: int, kinds: list[str], seed: int) -> None:
    pcm = sounds(kinds, voicing.span_samples(rate_hz), rate_hz, seed)
    ours, theirs = both(voicing.voicing, pcm, rate_hz)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_no_rows_are_no_work() -> None:
    none, at = np.zeros((0, 400), np.int16), np.zeros(0, np.int64)
    assert conceal.conceal(none, 160, at).shape == (0, 160)
    assert conceal.conceal_between(none, none, 160, at, at, at).shape == (0, 160)
    assert analyse(none).shape == (0, ORDER) and voicing.voicing(none, 8000).shape == (0,)
    assert synthesise(np.zeros(0), np.zeros((0, ORDER)), 160, at).shape == (0, 160)


@pytest.mark.parametrize("k", [-1.0, 1.0, -LIMIT, LIMIT, np.inf, -np.inf])
def test_a_peers_noise_of_any_colour_is_made_of_numbers(k: float) -> None:
    """Coefficients at their limit, all ten: a filter that rings for hours."""
    for count in (1, 2, ORDER):
        reflection = np.zeros((1, ORDER), np.float32)
        reflection[0, :count] = k
        noise = synthesise(np.full(1, -30.0), reflection, 160, np.zeros(1, np.int64))
        assert not np.isnan(noise).any()


# --- what is refused -----------------------------------------------------------------------------

WHOLE: dict[str, list[Any]] = {
    "pitch": [np.ones((2, 400)), 80, 8000, np.zeros(2), np.zeros(2, np.int64), np.zeros(2)],
    "conceal": [np.ones((2, 400), np.int16), 8000, np.zeros(2, np.int64), np.zeros((2, 160))],
    "conceal_between": [
        np.ones((2, 400), np.int16), np.ones((2, 160), np.int16), 8000, np.zeros(2, np.int64), np.zeros(2, np.int64),
        np.full(2, 160), np.zeros((2, 160)),
    ],
    "analyse": [np.ones((2, 160), np.int16), window(160), np.zeros((2, ORDER))],
    "synthesise": [
        turns(256), white_spectra(160).view(np.float64), np.zeros(2), np.zeros((2, ORDER)), np.zeros(2, np.int64),
        np.zeros((2, 160)),
    ],
    "voicing": [
        turns(1024), np.ones(400), np.ones(513), np.ones(400), 20, 114, np.ones((2, 400), np.int16), np.zeros(2),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("pitch", 0, np.ones((2, 99))), ("pitch", 0, np.ones((2, 2401))), ("pitch", 1, 0), ("pitch", 1, 381),
        ("pitch", 1, -1), ("pitch", 1, 2**40), ("pitch", 2, 7999), ("pitch", 2, 2**32 + 8000), ("pitch", 2, 48_001),
        ("pitch", 3, np.zeros(1)), ("pitch", 4, np.zeros(1, np.int64)), ("pitch", 5, np.zeros(1)),
        ("conceal", 0, np.ones((2, 99), np.int16)), ("conceal", 0, np.ones((2, 2401), np.int16)),
        ("conceal", 1, 0), ("conceal", 1, -8000), ("conceal", 1, 96_000), ("conceal", 1, 2**32 + 8000),
        ("conceal", 2, np.zeros(1, np.int64)), ("conceal", 3, np.zeros((1, 160))), ("conceal", 3, np.zeros((2, 5761))),
        ("conceal_between", 1, np.ones((2, 59), np.int16)), ("conceal_between", 1, np.ones((1, 160), np.int16)),
        ("conceal_between", 1, np.ones((2, 5761), np.int16)), ("conceal_between", 3, np.zeros(1, np.int64)),
        ("conceal_between", 4, np.zeros(1, np.int64)), ("conceal_between", 5, np.zeros(1, np.int64)),
        ("conceal_between", 6, np.zeros((1, 160))), ("conceal_between", 2, 48_000),
        ("analyse", 0, np.ones((2, 5761), np.int16)), ("analyse", 1, window(159)), ("analyse", 1, np.ones(320)[::2]),
        ("analyse", 2, np.zeros((2, 9))), ("analyse", 2, np.zeros((1, 10))),
        ("synthesise", 0, turns(128)), ("synthesise", 0, turns(254)), ("synthesise", 0, turns(256)[:1]),
        ("synthesise", 0, np.ones((2, 0))), ("synthesise", 0, turns(8)), ("synthesise", 0, np.ones((2, 2**14))),
        ("synthesise", 1, np.ones((0, 258))), ("synthesise", 1, np.ones((64, 256))), ("synthesise", 2, np.zeros(1)),
        ("synthesise", 3, np.zeros((2, 11))), ("synthesise", 4, np.zeros(1, np.int64)),
        ("synthesise", 5, np.zeros((2, 257))), ("synthesise", 5, np.zeros((3, 160))),
        ("voicing", 0, turns(384)), ("voicing", 1, np.ones(399)), ("voicing", 2, np.ones(512)),
        ("voicing", 3, np.ones(113)), ("voicing", 4, -1), ("voicing", 4, 114), ("voicing", 5, 401),
        ("voicing", 5, 2**32), ("voicing", 6, np.ones((2, 0), np.int16)), ("voicing", 7, np.zeros(1)),
        ("voicing", 1, np.ones(800)[::2]),
    ],
)  # fmt: skip
def test_shapes_that_do_not_go_together_are_refused(name: str, place: int, value: Any) -> None:
    """Before anything is read or written; as they stand, they are taken."""
    kernel = compiled.get(name)
    assert kernel is not None
    assert kernel(*WHOLE[name]) == 0
    with pytest.raises(ValueError, match=f"^{name}: "):
        kernel(*[value if at == place else one for at, one in enumerate(WHOLE[name])])


def test_places_that_are_beyond_all_bounds_are_harmless() -> None:
    """Starts, gaps and pieces are what columns hold, and are not believed."""
    for wild in (-(2**62), -1, 2**40, 2**62):
        conceal_ = list(WHOLE["conceal"])
        conceal_[2] = np.full(2, wild)
        between = list(WHOLE["conceal_between"])
        noise = list(WHOLE["synthesise"])
        noise[4] = np.full(2, wild)
        for kernel, given_ in (("conceal", conceal_), ("synthesise", noise)):
            assert compiled.get(kernel)(*given_) == 0  # type: ignore[misc]
        for place in (3, 4, 5):
            assert (
                compiled.get("conceal_between")(  # type: ignore[misc]
                    *[np.full(2, wild // 4) if at == place else one for at, one in enumerate(between)]
                )
                == 0
            )


def test_transforms_have_room_for_all_that_is_asked() -> None:
    """The longest frame that kernels take, and the longest voice."""
    assert 2 * (white_spectra(5760).shape[1] - 1) <= MOST_POINTS
    assert voicing._size(48_000) <= MOST_POINTS
