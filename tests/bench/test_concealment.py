# SPDX-License-Identifier: GPL-2.0-or-later
"""Concealment on recorded speech, with measures that take no time; and the bench that has better ones."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from bench import lossy_calls
from bench.concealment import METHODS, Condition, Plan, figures, render
from bench.loss import BURST, SPARED, lost_packets
from trunkline.codecs import g711
from trunkline.gateway import demo

SPEECH = pathlib.Path(demo.__file__).with_name("speech.ulaw")


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """Six seconds of the demonstration's voice."""
    codes = np.frombuffer(SPEECH.read_bytes(), np.uint8)[: 6 * 8000]
    return g711.decode_ulaw(codes[: len(codes) // 160 * 160])


def spectral_distance_db(said: np.ndarray, heard: np.ndarray) -> float:
    """Log-spectral distance in bands of 250 Hz, of pieces of 32 ms in which somebody speaks; mean over them."""
    windows = [np.lib.stride_tricks.sliding_window_view(one, 256)[::64] * np.hanning(256) for one in (said, heard)]
    bands = [np.add.reduceat(np.abs(np.fft.rfft(one)) ** 2, np.arange(0, 129, 8), axis=1) for one in windows]
    spoken = bands[0].sum(axis=1) > bands[0].sum(axis=1).max() * 1e-4
    level = [10 * np.log10(one[spoken] + 1e5) for one in bands]
    return float(np.sqrt(np.mean((level[0] - level[1]) ** 2, axis=1)).mean())


@pytest.mark.parametrize("burst", [False, True])
def test_concealed_speech_is_nearer_to_what_was_said(clip: np.ndarray, burst: bool) -> None:
    """10 % loss: clearly nearer than repetition, which is nearer than silence; looking ahead helps most."""
    losses = np.stack([lost_packets(len(clip) // 160, 0.1, burst=burst, seed=seed) for seed in range(4)])
    distance = {
        name: np.mean([spectral_distance_db(clip, sound) for sound in method(clip, losses)])
        for name, method in METHODS.items()
    }
    assert distance["trunkline"] < distance["blind"] < distance["silence"]
    assert distance["repetition"] < distance["silence"]
    assert distance["trunkline"] < (0.9 if burst else 0.75) * distance["repetition"]


def test_what_is_not_lost_is_heard_as_it_was_said(clip: np.ndarray) -> None:
    """All frames in place; where the packet behind a gap was known, the good ones are not touched at all."""
    losses = np.zeros((2, len(clip) // 160), bool)
    losses[1, 50:300:25] = True
    heard = lossy_calls.heard(clip, losses).reshape(2, -1, 160)
    decoded = g711.decode_ulaw(g711.encode_ulaw(clip)).reshape(-1, 160)
    assert np.array_equal(heard[0], decoded)
    assert np.array_equal(heard[1, ~losses[1]], decoded[~losses[1]])


@pytest.mark.parametrize("burst", [False, True])
def test_networks_lose_what_they_should(burst: bool) -> None:
    """The rate, the length of bursts, the same again from the same seed."""
    lost = lost_packets(200_000, 0.1, burst=burst, seed=1)
    assert lost.mean() == pytest.approx(0.1, abs=0.005)
    runs = np.diff(np.flatnonzero(np.diff(lost.astype(int)) != 0))[::2]
    assert runs.mean() == pytest.approx(BURST if burst else 1 / 0.9, rel=0.05)
    assert not lost[:SPARED].any()
    assert np.array_equal(lost, lost_packets(200_000, 0.1, burst=burst, seed=1))


def test_the_table_says_what_was_gained() -> None:
    """Means of each method, the gain over repetition, and its share of winners."""
    plan = Plan(1, 2, (0.05,), tuning=True)
    scores = [dict.fromkeys(METHODS, 2.0) | {"trunkline": mos} for mos in (2.5, 1.9)]
    found = {Condition(0.05, False): scores, Condition(0.05, True): scores[:1]}
    records = list(figures(found, plan))
    assert [record["gain"] for record in records] == pytest.approx([0.2, 0.5])
    assert [record["better"] for record in records] == [0.5, 1.0]
    assert "5% bursts" in render(records)
