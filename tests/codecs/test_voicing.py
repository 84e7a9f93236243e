# SPDX-License-Identifier: GPL-2.0-or-later
"""What has a pitch is a voice; noises are not, whatever their colour."""

from __future__ import annotations

import numpy as np
import pytest

from support.talk import Pcm, fan, noise, voice
from trunkline.codecs.voicing import span_samples, voicing, voicing_of


def windows(pcm: Pcm, rate_hz: int) -> Pcm:
    """Spans, 20 ms apart."""
    size, step = span_samples(rate_hz), rate_hz // 50
    return np.stack([pcm[i : i + size] for i in range(0, len(pcm) - size, step)])


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_is_the_sums_as_they_are_defined(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pcm = np.stack([noise(0.05, -30, seed), voice(0.05, -20), rng.integers(-32768, 32768, 400).astype(np.int16)])
    found = voicing(pcm, 8000)
    assert found == pytest.approx([voicing_of(row.tolist(), 8000) for row in pcm], abs=1e-6)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("pitch_hz", [90, 130, 220, 350])
def test_voices_of_all_pitches_are_found_at_all_rates(rate_hz: int, pitch_hz: float) -> None:
    found = voicing(windows(voice(1, -25, rate_hz, pitch_hz), rate_hz), rate_hz)
    assert (found > 0.55).mean() > 0.75


def test_noise_is_not_a_voice() -> None:
    """One window of white noise in a thousand is; of a fan, one in ten at the most."""
    assert (voicing(windows(noise(20, -35), 8000), 8000) > 0.55).mean() < 0.005
    assert (voicing(windows(fan(20, -35), 8000), 8000) > 0.55).mean() < 0.12


def test_silence_and_full_scale_give_numbers() -> None:
    flat = np.stack([np.zeros(400, np.int16), np.full(400, -32768, np.int16), np.tile([32767, -32768], 200)])
    found = voicing(flat.astype(np.int16), 8000)
    assert found[:2].tolist() == [0.0, 0.0] and np.isfinite(found).all()
