# SPDX-License-Identifier: GPL-2.0-or-later
"""The measuring instruments measure."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from support import audio


def pad(pcm: audio.Pcm, before: int, after: int = 500) -> audio.Pcm:
    """Silence around it."""
    return np.concatenate([np.zeros(before, np.int16), pcm, np.zeros(after, np.int16)])


def test_the_same_sound_is_found_where_it_is() -> None:
    said = audio.speechlike(1.0)
    match = audio.compare(said, pad(said, 333))
    assert match == audio.Match(333.0, pytest.approx(1.0), float("inf"))
    assert audio.find(said, pad(said, 333)) == 333


def test_what_begins_before_the_recording_has_a_negative_offset() -> None:
    said = audio.speechlike(1.0)
    assert audio.compare(said, said[200:]).offset == -200


def test_other_sounds_do_not_match_and_noise_is_measured() -> None:
    said = audio.speechlike(1.0)
    assert audio.compare(said, audio.speechlike(1.0, seed=2)).correlation < 0.2
    noise = (
        np.random.default_rng(1).standard_normal(len(said)) * np.sqrt(np.mean(said.astype(float) ** 2)) / 10
    )
    assert audio.compare(said, (said + noise).astype(np.int16)).snr_db == pytest.approx(20, abs=0.5)


def test_half_a_sample_of_delay_is_no_difference() -> None:
    wide = audio.speechlike(1.0, 16000)
    match = audio.compare(wide[::2], wide[1::2])
    assert match.correlation > 0.999 and match.offset % 1 == 0.5


@pytest.mark.parametrize("payload_type", [0, 8])
def test_g711_of_the_tests_survives_itself(payload_type: int) -> None:
    codes = audio.encode_g711(audio.speechlike(1.0), payload_type)
    assert audio.encode_g711(audio.decode_g711(codes, payload_type), payload_type) == codes


def test_g711_reference_points() -> None:
    """ITU-T G.711 table 2a, 1a: the ends of the scale and the smallest steps."""
    assert audio.decode_g711(bytes([0x80, 0x00, 0xFF, 0xFE]), 0).tolist() == [32124, -32124, 0, 8]
    assert audio.decode_g711(bytes([0xAA, 0x2A, 0xD5, 0x55]), 8).tolist() == [32256, -32256, 8, -8]


def test_tones_are_measured() -> None:
    pcm = audio.tone(440.3, 0.9)
    assert audio.frequency_hz(pcm) == pytest.approx(440.3, abs=0.1)
    assert audio.tone_share(pcm, 440.3) > 0.999
    assert audio.goertzel(pcm, 440.3) == pytest.approx(1, abs=0.01)


def test_dtmf_tones_are_read() -> None:
    def key(row: int, column: int) -> audio.Pcm:
        return audio.tone(row, 0.1, peak=4000) + audio.tone(column, 0.1, peak=4000)

    pause = np.zeros(800, np.int16)
    pcm = np.concatenate(
        [key(697, 1209), pause, key(852, 1477), pause, key(852, 1477), pause, key(941, 1336)]
    )
    assert audio.dtmf_keys(pcm) == "1990"
    assert audio.dtmf_keys(audio.speechlike(3.0)) == ""


def test_wav_files(tmp_path: pathlib.Path) -> None:
    pcm = audio.speechlike(0.2, 16000)
    audio.write_wav(tmp_path / "a.wav", pcm, 16000)
    back, rate = audio.read_wav(tmp_path / "a.wav")
    assert rate == 16000 and (back == pcm).all()
