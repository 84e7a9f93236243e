# SPDX-License-Identifier: GPL-2.0-or-later
"""Silence that a route keeps from its agent: what is sent, what is counted, and what is not touched by it."""

from __future__ import annotations

import pytest

from support.talk import TalkRig, noise, voice
from trunkline.agent_bridge.dialect import FLAG_GAP


def rig_after(*, silent_s: float = 2.0, frame_ms: int = 20, **turns: object) -> TalkRig:
    rig = TalkRig(withhold_silence=True, more={"frame_ms": frame_ms}, **turns)
    rig.hear(noise(silent_s, -60))
    return rig


@pytest.mark.parametrize(("frame_ms", "min_speech_ms"), [(20, 60), (40, 60), (20, 200), (10, 20)])
def test_an_agent_gets_speech_and_a_little_before_and_after_it(frame_ms: int, min_speech_ms: int) -> None:
    rig = rig_after(frame_ms=frame_ms, min_speech_ms=min_speech_ms)
    assert not rig.frames
    begun = int(rig.table.shared.up_position[0])
    rig.hear(voice(1))
    ended = int(rig.table.shared.up_position[0])
    rig.hear(noise(2, -60))
    positions = [position for position, _ in rig.frames]
    step = 8 * frame_ms
    assert positions == list(range(positions[0], positions[-1] + step, step)), "in order, without a hole"
    assert 200 <= (begun - positions[0]) / 8 <= 320
    assert 380 - frame_ms <= (positions[-1] + step - ended) / 8 <= 440
    assert rig.speech[0] == ("started", begun)


def test_every_frame_is_sent_or_counted() -> None:
    rig = rig_after()
    for _ in range(3):
        rig.hear(voice(0.5))
        rig.hear(noise(1.5, -60))
    c = rig.table.shared
    rig.engine.turns.end(rig.streams[0])
    whole = int(c.up_position[0]) // 160
    assert int(c.frames_to_agent[0]) + int(c.frames_withheld[0]) == whole
    assert int(c.frames_to_agent[0]) == len(rig.frames) and c.frames_withheld[0] > 200
    assert c.worker.frames_withheld[0] == c.frames_withheld[0]


def test_positions_tell_what_was_left_out_and_no_flag_says_otherwise() -> None:
    rig = rig_after()
    for _ in range(2):
        rig.hear(voice(0.5))
        rig.hear(noise(2, -60))
    jumps = [b - a - 160 for (a, _), (b, _) in zip(rig.frames, rig.frames[1:], strict=False) if b - a != 160]
    assert len(jumps) == 1 and 8 * 1200 < jumps[0] < 8 * 1500
    assert not any(flags & FLAG_GAP for _, flags in rig.frames)


def test_a_caller_who_sends_nothing_is_silent_too() -> None:
    rig = rig_after()
    rig.hear(voice(0.5))
    rig.run(3)
    sent = len(rig.frames)
    rig.run(3)
    assert len(rig.frames) == sent, "filled frames are silence"


def test_what_else_is_told_is_told() -> None:
    """Marks, digits, hold and the link's life do not hang on frames."""
    rig = rig_after()
    channel = next(iter(rig.agent.channels))
    rig.agent.say("mark", channel=channel, name="here")
    rig.engine.keys.press(rig.streams[0], "5", 100, "info", rig.now_ns)
    rig.hear(noise(0.1, -60))
    assert rig.told("mark") and rig.told("dtmf") and not rig.frames


def test_speech_that_goes_on_in_another_worker_goes_on_to_the_agent() -> None:
    rig = rig_after()
    rig.hear(voice(0.5))
    after = rig.successor()
    got: list[int] = []
    after.agent.on_audio = lambda calls, records: got.extend(records["position"].tolist())
    after.run(0.2)
    assert got, "the caller still speaks, as far as anybody knows"
