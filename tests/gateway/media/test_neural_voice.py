# SPDX-License-Identifier: GPL-2.0-or-later
"""The neural detector: chosen by route, state per call, fed by frames of any rate and length."""

from __future__ import annotations

import numpy as np
import pytest

from bench.speech import clips
from support.talk import TalkRig, noise
from trunkline.gateway.media import neural_voice
from trunkline.gateway.media.neural_voice import CHUNK, RATE_HZ, NeuralVoice


def test_recorded_speech_is_heard_and_told_with_its_place() -> None:
    rig = TalkRig(detector="neural")
    rig.hear(noise(0.6, -60))
    clip = clips(1)[0][: 8000 * 3]
    begun = int(rig.table.shared.up_position[0])
    rig.hear(clip)
    rig.hear(noise(1, -60))
    states = [state for state, _ in rig.speech]
    assert states[0] == "started" and states[-1] == "stopped"
    loud = int(np.flatnonzero(np.abs(clip) > 1000)[0])
    assert abs(rig.speech[0][1] - begun - loud) < 8 * 150


def test_noise_and_keys_are_no_speech() -> None:
    rig = TalkRig(detector="neural", barge_in="clear")
    rig.say(np.full(80000, 3000, np.int16))
    rig.hear(noise(2, -35))
    assert not rig.speech


@pytest.mark.parametrize("line_hz", [8000, 16000, 44100, 48000])
def test_frames_of_any_rate_become_chunks_and_calls_keep_apart(line_hz: int) -> None:
    asked: list[int] = []

    class Fake:
        def process_samples(self, samples: list[float]) -> float:
            assert len(samples) == CHUNK and all(-1 <= sample < 1 for sample in samples)
            asked.append(id(self))
            return 1.0 if max(samples) > 0.1 else 0.0

        def reset(self) -> None:
            """Nothing is kept."""

    voices = NeuralVoice(np.zeros(4, bool))
    for row in (1, 3):
        voices.listens[row] = True
        voices._detectors[row], voices._waiting[row] = Fake(), np.zeros(0, np.int16)
    width = line_hz // 50
    pcm = np.zeros((3, width), np.int16)
    pcm[2] = 8000
    opinion = np.ones(3, bool)
    for _ in range(16):
        voices.hear(line_hz, np.array([0, 1, 3]), pcm, opinion)
    assert opinion.tolist() == [True, False, True], "row 0 is not ours"
    chunks = 16 * width * RATE_HZ // line_hz // CHUNK
    assert abs(len(asked) - 2 * chunks) <= 2
    voices.forget(3)
    assert not voices.listens[3] and len(voices._spare) == 1


def test_a_package_that_has_gone_leaves_the_call_to_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neural_voice, "available", lambda: False)
    rig = TalkRig(detector="neural")
    rig.hear(noise(0.6, -60))
    rig.hear(clips(1)[0][:16000])
    assert rig.speech
