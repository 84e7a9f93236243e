# SPDX-License-Identifier: GPL-2.0-or-later
"""What the callers say can be told again after codec and resampling, packet by packet."""

from __future__ import annotations

import numpy as np
import pytest

from trunkline.codecs.registry import open_codec
from trunkline.codecs.resample import get_resampler
from trunkline.gateway.bench import signal
from trunkline.gateway.bench.matching import LAST_LAG
from trunkline.gateway.bench.plan import Plan

NONE = np.zeros(200, np.intp)


def test_neighbours_in_the_pattern_differ_and_calls_are_far_apart() -> None:
    pattern = signal.pattern()
    assert len(pattern) == signal.PATTERN_LENGTH
    assert (pattern != np.roll(pattern, 1)).all() and (pattern != np.roll(pattern, 2)).all()
    assert set(pattern.tolist()) == set(range(signal.LEVELS))
    starts = np.sort(np.arange(300) * signal.PATTERN_STEP % signal.PATTERN_LENGTH)
    assert np.diff(starts).min() > LAST_LAG


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
@pytest.mark.parametrize("ptime_ms", [10, 20, 60])
@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 48000])
def test_each_packet_is_told_from_the_others_at_the_agent_and_back(
    codec: str, ptime_ms: int, rate_hz: int
) -> None:
    plan = Plan(1, codec, ptime_ms, agent_rate_hz=rate_hz)
    packets = np.arange(200)
    said = signal.said(0, packets)
    pcm = open_codec(codec, 8).decode(NONE, signal.payloads(plan)[said])
    up, down = get_resampler(8000, rate_hz), get_resampler(rate_hz, 8000)
    frames = _resampled(up, pcm)
    assert frames.shape == (200, plan.frame_samples)
    at = signal.window(plan.frame_samples, rate_hz)
    assert (signal.heard(frames[:, at]) == said).all()
    back = open_codec(codec, 8).encode(NONE, _resampled(down, frames))[0]
    at = signal.window(back.shape[1], 8000)
    assert (signal.heard(open_codec(codec, 8).decode(NONE, np.ascontiguousarray(back[:, at]))) == said).all()


def _resampled(resampler, frames: np.ndarray) -> np.ndarray:
    if not resampler.history_samples:
        return frames
    history = np.zeros((1, resampler.history_samples), np.int16)
    out = []
    for frame in frames:
        pcm, history = resampler.process(history, frame[None])
        out.append(pcm[0])
    return np.array(out)


def test_silence_is_no_loudness() -> None:
    periods = np.zeros((2, 16), np.int16)
    periods[1] = 8  # mu-law's least step
    assert signal.heard(periods).tolist() == [-1, -1]
