# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile audio: whatever callers send, the detector stays within bounds, and rows stay apart."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.codecs.tone_detector import ToneDetector
from trunkline.codecs.tones import KEYS, key_tone

RATES = st.sampled_from([8000, 16000, 44100, 48000])


def piece(kind: str, samples: int, rng: np.random.Generator, rate_hz: int) -> np.ndarray:
    """Audio of one kind, i16[samples]."""
    match kind:
        case "key":
            return key_tone(str(rng.choice(list(KEYS))), samples, rate_hz)
        case "loud":
            return key_tone(str(rng.choice(list(KEYS))), samples, rate_hz, row_dbm0=3, column_dbm0=3)
        case "noise":
            return rng.integers(-32768, 32768, samples).astype(np.int16)
        case "least":
            return np.full(samples, -32768, np.int16)
        case _:
            return np.zeros(samples, np.int16)


KINDS = st.sampled_from(["key", "loud", "noise", "least", "silence"])


@given(
    RATES, st.lists(st.tuples(KINDS, st.integers(1, 3000)), min_size=1, max_size=20), st.integers(0, 1 << 32)
)
@settings(deadline=None, max_examples=150)
def test_any_audio(rate_hz: int, pieces: list[tuple[str, int]], seed: int) -> None:
    """Digits are keys, no longer than what was said; a silent row beside a noisy one hears nothing."""
    rng = np.random.default_rng(seed)
    detector, rows = ToneDetector(rate_hz, 4), np.array([2, 1], np.intp)
    said = 0
    for kind, samples in pieces:
        said += samples
        pcm = np.stack([piece(kind, samples, rng, rate_hz), np.zeros(samples, np.int16)])
        tones, suspects = detector.process(rows, pcm)
        for tone in tones:
            assert tone.row == 2 and tone.digit in KEYS
            assert 0 < tone.duration_ms <= said * 1000 / rate_hz + 30
        assert all(one.index == 0 and one.start < one.stop <= samples for one in suspects)
    assert detector.finish(1) is None
    last = detector.finish(2)
    assert last is None or last.digit in KEYS
