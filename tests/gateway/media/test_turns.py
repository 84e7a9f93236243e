# SPDX-License-Identifier: GPL-2.0-or-later
"""Who speaks is told with positions, and a caller who interrupts is let speak as the route says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from support.audio import decode_g711
from support.talk import TalkRig, fan, noise, silence, voice
from trunkline.agent_bridge.dialect import FLAG_SPEECH
from trunkline.gateway.media import control
from trunkline.gateway.media.table import ECHO_LOSS_DB

LONG = np.full(8000 * 20, 3000, np.int16)
"The agent says this for 20 s: loud, and no voice."


def quiet_line(rig: TalkRig, seconds: float = 1.0) -> None:
    """Line noise at -60 dBov, long enough to be known."""
    rig.hear(noise(seconds, -60))


def place(rig: TalkRig) -> int:
    """Position of the next frame of the agent's."""
    return int(rig.table.shared.up_position[0])


def events(rig: TalkRig) -> list[tuple[str, dict[str, object]]]:
    """What people were told."""
    return [(m.event, dict(m.data)) for m in rig.posted if isinstance(m, control.AgentEvent)]


# --- what is told ----------------------------------------------------------------------------


def test_a_speech_is_told_with_its_first_and_last_sample() -> None:
    """To a packet; not with where it was noticed, 60 and 400 ms later."""
    rig = TalkRig()
    quiet_line(rig)
    first = place(rig)
    rig.hear(voice(1))
    last = place(rig)
    quiet_line(rig)
    assert rig.speech == [("started", first), ("stopped", last)]
    started, stopped = rig.told("speech")
    assert -30 < started["level_dbov"] < -15 and stopped["level_dbov"] < -55


@pytest.mark.parametrize(("min_speech_ms", "frames"), [(20, 1), (60, 3), (100, 5)])
def test_it_is_told_after_min_speech_ms(min_speech_ms: int, frames: int) -> None:
    rig = TalkRig(min_speech_ms=min_speech_ms)
    quiet_line(rig)
    talk = voice(1)
    rig.hear(talk[: 160 * (frames - 1)])
    assert not rig.speech
    rig.hear(talk[160 * (frames - 1) : 160 * (frames + 1)])  # a vowel's pitch is sure within two packets
    assert len(rig.speech) == 1


def test_pauses_between_words_do_not_end_a_speech() -> None:
    rig = TalkRig(min_silence_ms=400)
    quiet_line(rig)
    for _ in range(4):
        rig.hear(voice(0.4))
        quiet_line(rig, 0.36)
    assert [state for state, _ in rig.speech] == ["started"]
    quiet_line(rig, 0.06)
    assert [state for state, _ in rig.speech] == ["started", "stopped"]


@pytest.mark.parametrize("what", ["clicks", "noise comes on", "fan", "gain leaps", "square", "key"])
def test_noises_interrupt_nobody(what: str) -> None:
    more = {"receive_dtmf_pt": -1} if what == "key" else {}
    rig = TalkRig(more=more, barge_in="clear")
    rig.hear(fan(6, -40, seed=2) if what == "fan" else noise(2, -60))
    rig.agent.control.clear()  # a fan may pass for a voice for a moment, before it is known
    rig.say(LONG)
    t = np.arange(4000) / 8000
    sound = {
        "clicks": np.tile(np.concatenate([np.full(8, 32767, np.int16), silence(0.199)]), 10),
        "noise comes on": noise(3, -35),
        "fan": fan(5, -40),
        "gain leaps": np.concatenate([noise(1, -60), noise(1, -45), noise(1, -33)]),
        "square": np.concatenate([silence(0.5), np.tile([20000, -20000], 120).astype(np.int16)]),
        "key": (9000 * (np.sin(2 * np.pi * 770 * t) + np.sin(2 * np.pi * 1336 * t))).astype(np.int16),
    }[what]
    rig.hear(sound)
    quiet_line(rig)
    assert not rig.speech and not rig.told("cleared")


def test_a_caller_who_stops_sending_has_stopped_speaking() -> None:
    """DTX, hold, a dead network: made-up frames are no speech."""
    rig = TalkRig()
    quiet_line(rig)
    rig.hear(voice(0.5))
    last = place(rig)
    rig.run(1.0)
    assert rig.speech[-1] == ("stopped", last)


def test_one_lost_packet_changes_nothing() -> None:
    rig = TalkRig()
    quiet_line(rig)
    talk = voice(1)
    rig.hear(talk[:1600])
    rig._seq += 1
    rig.run(0.02)
    rig.hear(talk[1600:])
    assert [state for state, _ in rig.speech] == ["started"]


def test_a_successor_tells_the_end_of_what_its_predecessor_told() -> None:
    """And not the beginning again."""
    rig = TalkRig()
    quiet_line(rig)
    rig.hear(voice(0.5))
    after = rig.successor()
    after.run(1.0)
    assert [m["state"] for m in after.agent.control if m["type"] == "speech"] == ["stopped"]


def test_without_a_detector_nothing_is_told_and_loud_frames_are_flagged() -> None:
    rig = TalkRig(detector="off")
    rig.hear(noise(1, -40))
    rig.hear(noise(1, -50))
    assert not rig.speech
    flags = [flags & FLAG_SPEECH for _, flags in rig.frames]
    assert all(flags[-95:-52]) and not any(flags[-48:])


def test_what_follows_a_key_and_the_hold_of_cut_audio_is_in_its_place() -> None:
    """Where tones are cut out, the agent's audio is 30 ms late, and so are positions."""
    rig = TalkRig(more={"digits": control.DigitParams(cut=True)})
    quiet_line(rig)
    first = place(rig)
    rig.hear(voice(0.5))
    assert rig.speech == [("started", first + 240)]


def test_people_are_told_if_the_route_says_so() -> None:
    rig = TalkRig(events=True)
    quiet_line(rig)
    rig.hear(voice(0.3))
    quiet_line(rig)
    told = [(m.started, m.position) for m in rig.posted if isinstance(m, control.CallerSpeech)]
    assert told == [(state == "started", position) for state, position in rig.speech] and len(told) == 2


# --- barge-in --------------------------------------------------------------------------------


def interrupted(speech_s: float = 1.0, **turns: object) -> tuple[TalkRig, int]:
    """An agent in the middle of a long speech, and a caller who speaks up; when the caller's first packet came."""
    rig = TalkRig(**turns)
    quiet_line(rig)
    rig.say(LONG)
    quiet_line(rig, 0.5)
    begun_ns = rig.now_ns
    rig.hear(voice(speech_s))
    return rig, begun_ns


@pytest.mark.parametrize(("policy", "told"), [("off", 0), ("tell", 1)])
def test_off_and_tell_let_the_agent_go_on(policy: str, told: int) -> None:
    rig, _ = interrupted(barge_in=policy)
    assert len(rig.speech) == told and not rig.told("cleared")
    assert rig.loud_until_ns() > rig.now_ns - 25_000_000


def test_clear_silences_the_agent_within_80_ms_of_the_first_sample() -> None:
    """The first sample was said 20 ms before its packet came."""
    rig, begun_ns = interrupted(barge_in="clear")
    assert rig.loud_until_ns() - begun_ns + 20_000_000 <= 80_000_000 + 20_000_000
    (cleared,) = rig.told("cleared")
    assert (cleared["name"], cleared["discarded_ms"] > 18_000) == ("", True)
    assert ("clear", True) in [(name, data.get("barge_in")) for name, data in events(rig)]
    assert rig.table.shared.barge_ins[0] == 1


def test_who_speaks_while_the_agent_does_not_interrupts_nobody() -> None:
    rig = TalkRig(barge_in="clear")
    quiet_line(rig)
    rig.hear(voice(0.5))
    assert len(rig.speech) == 1 and not rig.told("cleared") and rig.table.shared.barge_ins[0] == 0


def test_pause_goes_on_where_it_stopped_after_a_short_word() -> None:
    """Nothing is lost, positions and marks stand still, and it is no underrun."""
    rig, _ = interrupted(0.3, barge_in="pause", resume_ms=700, min_silence_ms=300)
    assert not rig.told("cleared")
    stood = int(rig.table.shared.down_position[0])
    quiet_line(rig, 0.2)
    assert int(rig.table.shared.down_position[0]) == stood and rig.loud_until_ns() < rig.now_ns - 300_000_000
    quiet_line(rig, 0.5)
    assert int(rig.table.shared.down_position[0]) > stood and rig.loud_until_ns() > rig.now_ns - 25_000_000
    assert rig.table.shared.underruns[0] == 0
    assert [data["paused"] for name, data in events(rig) if name == "pause"] == [True, False]


def test_pause_becomes_clear_for_who_goes_on() -> None:
    rig, begun_ns = interrupted(0.6, barge_in="pause", resume_ms=700)
    assert not rig.told("cleared")
    rig.hear(voice(0.3))
    assert len(rig.told("cleared")) == 1 and not rig.table.halted
    assert rig.loud_until_ns() - begun_ns <= 80_000_000
    rig.say(LONG[:8000])
    rig.run(0.1)
    assert rig.loud_until_ns() > rig.now_ns - 25_000_000, "what the agent says next is heard"


def test_an_agent_that_pauses_itself_decides_itself() -> None:
    rig, _ = interrupted(0.3, barge_in="pause")
    channel = next(iter(rig.agent.channels))
    rig.agent.say("pause", channel=channel)
    rig.hear(voice(1))
    quiet_line(rig)
    assert not rig.told("cleared") and rig.table.halted == {0}
    rig.agent.say("pause", channel=channel, paused=False)
    rig.run(0.1)
    assert rig.loud_until_ns() > rig.now_ns - 25_000_000


def test_no_barge_in_while_on_hold() -> None:
    """Nobody hears the agent then."""
    rig = TalkRig(barge_in="clear")
    quiet_line(rig)
    rig.say(LONG)
    stream = rig.streams[0]
    rig.engine.update(stream, dataclasses.replace(stream.media, send=False), rig.now_ns)
    rig.hear(voice(1))
    assert len(rig.speech) == 1 and not rig.told("cleared")


# --- echo ------------------------------------------------------------------------------------


def echoed(loss_db: float, policy: str, seconds: float) -> TalkRig:
    """The caller's line gives back what we play, 60 ms later; the agent begins again whenever it is silenced."""
    rig = TalkRig(barge_in=policy)
    quiet_line(rig)
    saying = voice(60, -18)
    said = 0
    for packet in range(round(seconds * 50)):
        if packet % 75 == 0:
            rig.say(saying[said : said + 12000])
            said += 12000
        back = rig.played[-4][1] if len(rig.played) > 3 else np.full(160, 0xFF, np.uint8)
        heard = decode_g711(back.tobytes(), 0) * 10 ** (-loss_db / 20) + noise(0.02, -60, packet)
        rig.hear(heard.astype(np.int16))
    return rig


def test_an_ordinary_line_does_not_interrupt_us() -> None:
    assert not echoed(24, "clear", 12).speech


def test_a_bad_line_interrupts_us_a_few_times_not_for_ever() -> None:
    rig = echoed(10, "clear", 30)
    assert 1 <= len(rig.told("cleared")) <= 3
    assert rig.table.echo_loss_db[0] < ECHO_LOSS_DB - 6
    said = len(rig.speech)
    rig.hear(voice(0.5, -12))
    assert len(rig.speech) > said, "who is louder than the echo is heard"


def test_speech_of_an_ended_call_is_told_to_nobody() -> None:
    rig = TalkRig(barge_in="pause")
    quiet_line(rig)
    rig.say(LONG)
    rig.hear(voice(0.3))
    assert rig.table.halted == {0}
    rig.engine.stop(rig.streams[0], "over", rig.now_ns)
    rig.engine.tick(rig.now_ns)
    rig.table.take(rig.streams[0].start, None, None)  # type: ignore[arg-type]
    assert not rig.table.halted and not rig.table.halted_rows.any()
