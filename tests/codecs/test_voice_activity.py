# SPDX-License-Identifier: GPL-2.0-or-later
"""Voice activity by energy: the batch is the loop, and neither noise nor hostile audio passes for a voice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.talk import PACKET, Pcm, fan, noise, silence, voice
from trunkline.codecs import voice_activity as va
from trunkline.codecs.level import level_dbov

levels = st.floats(-127, 0, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_batch_is_a_loop_over_its_rows(data: st.DataObject) -> None:
    """Whatever the levels, frame lengths and thresholds: states are equal bit by bit, and so are the answers."""
    n = data.draw(st.integers(1, 4))
    batch = np.array([va.new_state() for _ in range(n)])
    batch[:, va.START_MS] = data.draw(st.sampled_from([20.0, 60.0, np.inf]))
    batch[:, va.STOP_MS] = data.draw(st.sampled_from([100.0, 400.0, np.inf]))
    rows = batch.tolist()
    for _ in range(data.draw(st.integers(1, 60))):
        ms = data.draw(st.sampled_from([2.5, 10.0, 20.0, 60.0]))
        level = np.array([data.draw(levels) for _ in range(n)])
        least = np.array([data.draw(levels) for _ in range(n)])
        va.learn(batch, level, ms * 3)
        voiced = va.is_voice(batch, level, least)
        changed = va.count(batch, voiced, ms)
        for i, row in enumerate(rows):
            va.learn_one(row, float(level[i]), ms * 3)
            assert va.is_voice_one(row, float(level[i]), float(least[i])) == voiced[i]
            assert va.count_one(row, bool(voiced[i]), ms) == changed[i]
        np.testing.assert_array_equal(batch, np.array(rows))


def heard(pcm: Pcm) -> tuple[np.ndarray, np.ndarray]:
    """Each frame of one caller: is it voice, and the floor after it."""
    state = np.array([va.new_state()])
    out = []
    for level in level_dbov(pcm[: len(pcm) // PACKET * PACKET].reshape(-1, PACKET)):
        one = np.array([level], np.float64)
        va.learn(state, one, 20.0)
        voiced = va.is_voice(state, one, np.array([-127.0]))
        va.count(state, voiced, 20.0)
        assert np.isfinite(state[0, [va.FLOOR, va.ANCHOR, va.BEFORE]]).all()
        out.append((bool(voiced[0]), float(state[0, va.FLOOR])))
    flags, floors = zip(*out, strict=True)
    return np.array(flags), np.array(floors)


@pytest.mark.parametrize("dbov", [-60, -50, -40, -35])
def test_line_noise_of_any_level_is_the_floor_within_a_second(dbov: float) -> None:
    """And then no frame of it is voice."""
    flags, floors = heard(noise(20, dbov))
    assert not flags[50:].any()
    assert floors[-1] == pytest.approx(dbov, abs=4)


def test_a_fan_is_voice_in_few_frames() -> None:
    """It moves by more than noise does; that it is no voice is said by its pitch (test_voicing)."""
    flags, _ = heard(fan(30, -40))
    assert flags[100:].mean() < 0.2


@pytest.mark.parametrize("dbov", [-60, -50, -40])
def test_a_voice_18_db_above_noise_is_heard_from_its_first_frame(dbov: float) -> None:
    pcm = noise(3, dbov)
    talk = voice(1, dbov + 18)
    pcm[8000:16000] = np.clip(pcm[8000:16000].astype(int) + talk, -32768, 32767)
    flags, _ = heard(pcm)
    assert flags[50:52].any() and flags[50:100].mean() > 0.75
    assert not flags[104:].any() and not flags[40:50].any()


def test_a_floor_that_leaps_by_15_db_is_believed_within_a_second() -> None:
    """An automatic gain control has changed its mind."""
    flags, floors = heard(np.concatenate([noise(4, -55), noise(4, -40)]))
    assert not flags[200 + 50 :].any()
    assert floors[-1] > -46


def test_a_floor_falls_at_once() -> None:
    _, floors = heard(np.concatenate([noise(4, -40), noise(0.1, -60)]))
    assert floors[199] > -45 and floors[-1] < -58


HOSTILE: dict[str, Pcm] = {
    "silence": silence(5),
    "full scale, square": np.tile(np.repeat(np.array([32767, -32768], np.int16), 10), 2000),
    "the least there is": np.full(40000, -32768, np.int16),
    "alternating": np.tile(np.array([32767, -32768], np.int16), 20000),
    "one frame loud, one silent": np.tile(np.concatenate([np.full(160, 30000, np.int16), silence(0.02)]), 125),
    "clicks": np.tile(np.concatenate([np.full(8, 32767, np.int16), silence(0.199)]), 25),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_audio_leaves_a_finite_state_that_still_hears_a_voice(name: str) -> None:
    flags, floors = heard(np.concatenate([HOSTILE[name], silence(4), voice(1, -20)]))
    assert ((floors >= va.QUIETEST_DBOV) & (floors <= va.LOUDEST_FLOOR_DBOV)).all()
    assert flags[-50:].mean() > 0.8


def test_one_click_is_not_long_enough_for_speech() -> None:
    """Nor are clicks every 200 ms: the hole between them ends the run."""
    state = np.array([va.new_state()])
    state[0, va.START_MS] = 60.0
    for level in level_dbov(HOSTILE["clicks"].reshape(-1, PACKET)[:250]):
        one = np.array([level], np.float64)
        assert not va.count(state, va.is_voice(state, one, np.array([-127.0])), 20.0)[0]


def test_a_drawn_out_vowel_of_half_a_second_is_no_noise() -> None:
    """A level that holds for 0.6 s is; singers of longer notes are heard again when they move."""
    flags, _ = heard(np.concatenate([noise(2, -60), np.tile(voice(0.02, -25, pitch_hz=150), 25)]))
    assert flags[100:125].all()


def test_our_own_echo_must_be_beaten() -> None:
    state, level = np.array([va.new_state()]), np.array([-30.0])
    assert va.is_voice(state, level, np.array([-31.0]))[0]
    assert not va.is_voice(state, level, np.array([-29.0]))[0]
