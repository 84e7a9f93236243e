# SPDX-License-Identifier: GPL-2.0-or-later
"""Key tones that we make: what Q.23 says, and what another implementation hears."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import spandsp
from support.audio import decode_g711, dtmf_keys, encode_g711, goertzel
from trunkline.codecs.tones import (
    COLUMN_DBM0,
    COLUMNS_HZ,
    KEYS,
    ROW_DBM0,
    ROWS_HZ,
    ToneSender,
    amplitude,
    key_tone,
)


def said(sender: ToneSender, frame: int) -> np.ndarray:
    """Frames until there is nothing left to say."""
    frames = []
    while sender.active:
        frames.append(sender.next_frame(frame))
    return np.concatenate(frames)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 48000])
def test_each_key_is_its_two_tones_at_their_levels(rate_hz: int) -> None:
    for index, key in enumerate(KEYS):
        pcm = key_tone(key, rate_hz // 10, rate_hz)
        power = np.mean(np.square(pcm.astype(float)))
        row, column = ROWS_HZ[index // 4], COLUMNS_HZ[index % 4]
        shares = [goertzel(pcm, hz, rate_hz) for hz in (row, column)]
        assert sum(shares) > 0.97
        for share, dbm0 in zip(shares, (ROW_DBM0, COLUMN_DBM0), strict=True):
            level = 10 * np.log10(share * power / (amplitude(0) ** 2 / 2))
            assert abs(level - dbm0) < 0.5, (key, dbm0)


def test_another_receiver_hears_every_key_at_the_shortest_times_of_the_standard() -> None:
    """40 ms and 40 ms pause, through mu-law and A-law, each once (spandsp)."""
    sender = ToneSender(8000)
    sender.queue(KEYS + "11##", 40, 40)
    pcm = said(sender, 160)
    for payload_type in (0, 8):
        assert spandsp.heard(decode_g711(encode_g711(pcm, payload_type), payload_type)) == KEYS + "11##"


@given(st.sampled_from([8000, 16000, 48000]), st.integers(40, 300), st.integers(20, 300), st.integers(1, 2000))
@settings(max_examples=50, deadline=None)
def test_frames_of_any_length_are_one_and_the_same_sound(rate_hz: int, ms: int, gap_ms: int, frame: int) -> None:
    """Presses and gaps are as long as was asked, to the sample, wherever frames begin."""
    sender, whole = ToneSender(rate_hz), ToneSender(rate_hz)
    for one in (sender, whole):
        one.queue("5#", ms, gap_ms)
    assert sender.waiting == 2
    length = 2 * (rate_hz * ms // 1000 + rate_hz * gap_ms // 1000)
    pcm, expected = said(sender, frame), whole.next_frame(length)
    assert np.array_equal(pcm[:length], expected)
    assert not pcm[length:].any() and len(pcm) - length < frame
    assert not whole.active and not whole.next_frame(frame).any()
    press = rate_hz * ms // 1000
    assert np.abs(expected[press - rate_hz // 100 : press]).max() > 1000
    assert not expected[press : press + rate_hz * gap_ms // 1000].any()


def test_a_press_neither_begins_nor_ends_with_a_click() -> None:
    pcm = key_tone("1", 800, 8000).astype(int)
    assert pcm[0] == 0 and abs(pcm[-1]) < 500
    assert dtmf_keys(pcm.astype(np.int16)) == "1"


def test_what_is_no_key_is_refused_whole() -> None:
    sender = ToneSender(8000)
    with pytest.raises(ValueError, match="not a DTMF digit: 'x'"):
        sender.queue("12x")
    assert not sender.active
    sender.queue("d")
    sender.next_frame(80)
    assert sender.digit == "D"
