# SPDX-License-Identifier: GPL-2.0-or-later
"""Key tones in audio: the limits of ITU-T Q.24, another sender, speech, and batches."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench import speech, tones
from support import spandsp
from support.audio import decode_g711, encode_g711, goertzel, speechlike
from trunkline.codecs.tone_detector import Tone, ToneDetector
from trunkline.codecs.tones import COLUMNS_HZ, KEYS, ROWS_HZ, ToneSender, key_tone

Pcm = NDArray[np.int16]


def hear(pcm: Pcm, rate_hz: int = 8000, frame: int | None = None) -> list[Tone]:
    """Presses in one call's audio."""
    detector, row = ToneDetector(rate_hz, 1), np.zeros(1, np.intp)
    size = frame or rate_hz // 50
    found: list[Tone] = []
    for start in range(0, len(pcm) - size + 1, size):
        found += detector.process(row, pcm[None, start : start + size])[0]
    last = detector.finish(0)
    return [*found, *([last] if last else [])]


def digits(pcm: Pcm, rate_hz: int = 8000) -> str:
    return "".join(tone.digit for tone in hear(pcm, rate_hz))


def sequence(keys: str, ms: int, gap_ms: int, rate_hz: int = 8000) -> Pcm:
    sender = ToneSender(rate_hz)
    sender.queue(keys, ms, gap_ms)
    silence = np.zeros(rate_hz // 10, np.int16)
    return np.concatenate([silence, sender.next_frame(rate_hz * (ms + gap_ms) * len(keys) // 1000), silence])


@pytest.mark.parametrize("kind", tones.KINDS)
def test_the_limits_of_q24(kind: str) -> None:
    """What must be taken is taken, each press once; what must not, is not: all keys, at any place between windows."""
    rng = np.random.default_rng(11)
    for key, _ in itertools.product(KEYS, range(5)):
        found = digits(tones.tone(key, rng=rng, **tones.KINDS[kind]))  # type: ignore[arg-type]
        assert found == ("" if kind.startswith("must not") else key), (kind, key)


def test_presses_of_40_ms_with_pauses_of_40_ms_are_as_many_as_were_sent() -> None:
    """Also of one key again and again, through mu-law."""
    for keys in (KEYS, "1111", "##**"):
        pcm = sequence(keys, 40, 40)
        assert digits(decode_g711(encode_g711(pcm, 0), 0)) == keys


@pytest.mark.parametrize("ms", [40, 60, 100, 250, 1000, 7000])
def test_durations_are_those_of_the_tones(ms: int) -> None:
    for tone in hear(sequence("159D", ms, 100)):
        assert abs(tone.duration_ms - ms) <= 8, tone


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100, 48000])
def test_every_rate_of_the_line(rate_hz: int) -> None:
    assert digits(sequence(KEYS, 50, 50, rate_hz), rate_hz) == KEYS


def test_digits_of_another_sender() -> None:
    keys = "0123456789*#ABCD" * 2
    assert digits(np.concatenate([spandsp.sent(keys), np.zeros(800, np.int16)])) == keys


def test_no_digit_in_speech() -> None:
    """Ten minutes of five people's recordings, and noise in syllables; `make bench-dtmf` hears two hours."""
    found, minutes = tones.talk_off(digits, 10)
    assert minutes >= 10
    assert found == 0
    assert digits(speechlike(60)) == ""


def test_keys_are_found_while_the_far_end_speaks_softly() -> None:
    """Speech 15 dB below the tones, as an echo of what the agent says is."""
    voice = speech.clips(1)[0].astype(float)
    voice *= 4000 / 10 ** (15 / 20) / np.sqrt(np.mean(np.square(voice)))
    keys = sequence("1950#", 100, 100).astype(float)
    mixed = voice[: len(keys)] + keys * 4000 / np.sqrt(np.mean(np.square(keys[keys != 0])))
    assert digits(np.clip(mixed, -32768, 32767).astype(np.int16)) == "1950#"


def test_single_tones_and_wrong_pairs_are_no_keys() -> None:
    time = np.arange(8000) / 8000
    pairs = [(hz, 0) for hz in (*ROWS_HZ, *COLUMNS_HZ)] + [(350, 440), (480, 620), (697, 770), (1209, 1477), (425, 0)]
    for pair in pairs:
        wave = sum(5000 * np.sin(2 * np.pi * hz * time) for hz in pair if hz)
        assert digits(np.asarray(wave).astype(np.int16)) == "", pair


def test_amplitudes_are_those_of_goertzel() -> None:
    """The matrix product against the power of one frequency, computed another way."""
    detector = ToneDetector(8000, 1)
    window = np.hanning(242)[1:-1]
    pcm = (key_tone("8", 240, 8000).astype(float) * 0.5).astype(np.int16)
    values, energy = detector._amplitudes(pcm[None], 1)
    shaped = pcm * window
    for place, hz in enumerate((*ROWS_HZ, *COLUMNS_HZ)):
        expected = goertzel(shaped, hz) * float(shaped @ shaped) * len(shaped) / 2
        assert abs(values[0, 0, place]) ** 2 == pytest.approx(expected, rel=1e-3, abs=1e3)
    assert energy[0, 0] == pytest.approx(float(np.square(pcm.astype(float)) @ window), rel=1e-4)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 700), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_a_batch_is_its_rows_one_by_one_in_frames_of_any_length(seed: int, frames: list[int]) -> None:
    """Rows among others, cut otherwise, give the same presses."""
    rng = np.random.default_rng(seed)
    length = 8000
    audio = np.zeros((4, length), np.int16)
    for row in range(4):
        keys = "".join(rng.choice(list(KEYS), 4))
        pcm = sequence(keys, int(rng.integers(45, 120)), int(rng.integers(45, 100)))[:length]
        audio[row, : len(pcm)] = pcm
    audio += rng.integers(-200, 200, audio.shape, dtype=np.int16)
    detector, start = ToneDetector(8000, 9), 0
    found: list[Tone] = []
    rows = np.array([7, 0, 3, 5], np.intp)
    for size in itertools.cycle(frames):
        if start >= length:
            break
        order = rng.permutation(4)
        found += detector.process(rows[order], audio[order, start : start + size])[0]
        start += size
    for place, row in enumerate(rows.tolist()):
        last = detector.finish(row)
        batch = [(one.digit, one.duration_ms) for one in [*found, *([last] if last else [])] if one.row == row]
        assert batch == [(one.digit, one.duration_ms) for one in hear(audio[place], frame=length)]


def test_suspects_cover_the_tone_from_its_first_sample_to_its_last() -> None:
    """Windows that hold a tone reach beyond both of its ends, so that cutting them leaves none of it."""
    for shift in range(0, 160, 7):
        pcm = np.concatenate([np.zeros(shift, np.int16), sequence("5", 60, 60)])
        begins, ends = np.flatnonzero(pcm)[[0, -1]]
        detector = ToneDetector(8000, 1)
        spans = []
        for start in range(0, len(pcm) - 159, 160):
            _, suspects = detector.process(np.zeros(1, np.intp), pcm[None, start : start + 160])
            spans += [(start + one.start, start + one.stop) for one in suspects]
        assert min(start for start, _ in spans) <= begins
        assert max(stop for _, stop in spans) >= ends
        assert max(stop for _, stop in spans) <= ends + 8 * 45
