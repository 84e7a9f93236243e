# SPDX-License-Identifier: GPL-2.0-or-later
"""What is left of a lost agent, and what its successor must know: mutes, pauses, interruptions, keys, speech."""

from __future__ import annotations

import base64

import msgspec
import numpy as np
import pytest

from support.media_rig import MS
from support.rescue_rig import RESCUE, Agent, RescueRig
from support.talk import TalkRig, noise, voice
from trunkline.gateway.media import control, replay
from trunkline.gateway.media.agent_asks import AgentFailed, AgentMuted, AgentState

PAUSE = control.TurnParams(barge_in="pause", resume_ms=700)
TELL = control.TurnParams(barge_in="tell", min_silence_ms=300)
LOUD = np.full(16000, 3000, np.int16)
NO_REPLAY = control.RescueParams(within_ms=2000)


def start_of(agent: Agent, call_id: str) -> dict:
    return next(dict(s) for s in reversed(agent.starts) if s["call"]["call_id"] == call_id)


def told(agent: Agent, kind: str) -> list[dict]:
    return [dict(message) for message in agent.control if message["type"] == kind]


def queued(rig: RescueRig) -> int:
    return int(rig.table.formats.at(0).queue.count[0])


def successor(rig: RescueRig) -> RescueRig:
    """Another worker has the call, and the same agent."""
    for agent in rig.agents.values():
        for line in agent.lines:
            line.ended = True
    rig.close()
    return RescueRig(before=rig)


# -- mutes and pauses ---------------------------------------------------------------------------


def test_a_replaced_worker_leaves_muted_what_the_second_agent_has_muted() -> None:
    with RescueRig() as rig:
        (call_id,) = rig.ids()
        a, b = rig.agents.values()
        a.die()
        rig.run(0.2)
        b.tell(call_id, "mute", uplink=True, downlink=True)
        rig.run(0.05)
        rig.streams[0].start = msgspec.structs.replace(rig.streams[0].start, muted=(True, True))
        with successor(rig) as after:
            after.run(0.2)
            assert start_of(b, call_id)["resumed"] and start_of(b, call_id)["attempt"] == 2
            assert after.table.muted_up == after.table.muted_down == {0}
            assert not after.of(AgentMuted)


def test_what_is_said_while_nobody_has_the_call_is_heard_though_the_lost_agent_had_muted_it() -> None:
    with RescueRig(agents=("a",)) as rig:
        (call_id,) = rig.ids()
        (a,) = rig.agents.values()
        a.tell(call_id, "mute", uplink=True)
        rig.hear(voice(0.3))
        died = int(rig.table.shared.up_position[0])
        a.die()
        rig.hear(voice(0.5))
        assert rig.of(AgentMuted)[-1] == AgentMuted(call_id, False, False)
        a.listens = True
        rig.hear(voice(0.6))
        since = [np.abs(np.frombuffer(pcm, np.int16)).max() for p, _, pcm in a.heard[call_id] if p >= died + 160]
        assert len(since) > 25 and min(since) > 0


def test_what_a_caller_was_not_to_hear_is_not_heard_when_the_agent_is_lost() -> None:
    with RescueRig() as rig:
        (call_id,) = rig.ids()
        a, b = rig.agents.values()
        a.tell(call_id, "mute", downlink=True)
        a.speak(call_id, LOUD)
        rig.run(0.1)
        a.die()
        rig.run(0.1)
        assert b.starts and not rig.table.muted_down and queued(rig) == 0


def test_a_row_that_ends_paused_leaves_no_pause() -> None:
    with RescueRig() as rig:
        (stream,) = rig.streams
        rig.agents["a"].tell(stream.call_id, "pause", paused=True)
        rig.run(0.1)
        assert rig.table.halted == {0}
        rig.engine.stop(stream, "bye", rig.now_ns)
        assert rig.table.halted == set() and not rig.table.halted_rows.any()


def test_an_agent_is_not_heard_before_it_has_accepted() -> None:
    with RescueRig() as rig:
        (call_id,) = rig.ids()
        a, b = rig.agents.values()
        b.accepts = False
        a.die()
        rig.run(0.05)
        b.speak(call_id, LOUD)
        rig.run(0.3)
        assert rig.table.shared.down_position[0] == 0 and queued(rig) == 0
        line, channel = b.place(call_id)
        b.say(line, "accept", channel=channel)
        b.speak(call_id, LOUD)
        rig.run(0.3)
        assert rig.table.shared.down_position[0] > 0


# -- interruptions ------------------------------------------------------------------------------


def test_an_interruption_of_a_lost_agent_does_not_silence_the_next() -> None:
    with RescueRig(agents=("a",), turns=PAUSE) as rig:
        (call_id,) = rig.ids()
        (a,) = rig.agents.values()
        rig.hear(noise(1, -60))
        a.speak(call_id, LOUD)
        rig.run(0.1)
        rig.hear(voice(0.3))
        assert rig.table.halted == {0}
        a.die()
        rig.hear(noise(0.9, -60))
        a.listens = True
        rig.hear(noise(3, -60))
        a.control.clear()
        a.speak(call_id, np.full(24000, 3000, np.int16))
        rig.hear(noise(0.2, -60))
        rig.hear(voice(0.02))
        rig.hear(noise(0.1, -60))
        assert queued(rig) > 100 and not told(a, "cleared")


def test_an_agent_that_mutes_its_caller_in_an_interruption_is_heard_again() -> None:
    rig = ducked()
    rig.agent.say("mute", channel=next(iter(rig.agent.channels)), uplink=True)
    rig.hear(noise(1, -60))
    assert not rig.table.halted and not rig.told("cleared")
    assert [state for state, _ in rig.speech] == ["started", "stopped"], "it was told of the beginning"


def test_an_agent_that_clears_itself_has_decided() -> None:
    rig = ducked()
    rig.agent.say("clear", channel=next(iter(rig.agent.channels)), name="mine")
    rig.say(np.full(8000 * 5, 3000, np.int16))
    rig.hear(voice(0.9))
    assert [message["name"] for message in rig.told("cleared")] == ["mine"], "what was said after it is an answer"
    assert not rig.table.halted


def ducked() -> TalkRig:
    rig = TalkRig(barge_in="pause", resume_ms=700, min_silence_ms=300)
    rig.hear(noise(1, -60))
    rig.say(np.full(8000 * 20, 3000, np.int16))
    rig.run(0.5)
    rig.hear(voice(0.3))
    assert rig.table.halted == {0}
    return rig


# -- keys and speech ----------------------------------------------------------------------------


def test_keys_pressed_while_nobody_has_the_call_are_told_to_the_next_agent() -> None:
    with RescueRig(agents=("a",)) as rig:
        (stream,), (a,) = rig.streams, rig.agents.values()
        a.die()
        rig.run(0.2)
        for digit in "12":
            rig.engine.keys.press(stream, digit, 100, "rfc4733", rig.now_ns)
            rig.run(0.1)
        a.listens = True
        rig.run(0.5)
        assert len(a.starts) == 2 and [message["digit"] for message in told(a, "dtmf")] == ["1", "2"]


def test_a_caller_with_a_machine_fills_nothing_while_nobody_has_the_call() -> None:
    with RescueRig(agents=("a",)) as rig:
        (stream,), (a,) = rig.streams, rig.agents.values()
        a.die()
        rig.run(0.05)
        for _ in range(500):
            rig.engine.agents.telling.digit(stream, "5", 100, "rfc4733")
        a.listens = True
        rig.run(0.5)
        assert len(told(a, "dtmf")) == 64


@pytest.mark.parametrize("rescue", [RESCUE, NO_REPLAY], ids=["replay", "none"])
def test_the_next_agent_is_told_of_a_speech_that_goes_on(rescue: control.RescueParams) -> None:
    with RescueRig(turns=TELL, rescue=rescue) as rig:
        (call_id,) = rig.ids()
        a, b = rig.agents.values()
        rig.hear(noise(1, -60))
        rig.hear(voice(0.4))
        a.die()
        rig.hear(voice(0.4))
        rig.hear(noise(0.6, -60))
        (began,) = told(a, "speech")
        assert [message["state"] for message in told(b, "speech")] == ["started", "stopped"]
        assert told(b, "speech")[0]["position"] == max(began["position"], start_of(b, call_id)["position"])


def test_speech_of_the_gap_is_told_to_who_hears_it() -> None:
    """With replay the agent hears it, and is told; without it is neither."""
    for rescue, states in ((RESCUE, ["started", "stopped"]), (NO_REPLAY, [])):
        with RescueRig(agents=("a",), turns=TELL, rescue=rescue) as rig:
            (a,) = rig.agents.values()
            rig.hear(noise(1, -60))
            a.die()
            rig.hear(noise(0.1, -60))
            rig.hear(voice(0.4))
            rig.hear(noise(0.6, -60))
            a.listens = True
            rig.hear(noise(0.4, -60))
            assert len(a.starts) == 2
            assert [message["state"] for message in told(a, "speech")] == states


def test_a_speech_that_ends_before_the_agent_is_back_has_an_end() -> None:
    """The worker was replaced: the same agent has been told of the beginning."""
    with RescueRig(agents=("a",), turns=TELL) as rig:
        (a,) = rig.agents.values()
        rig.hear(noise(1, -60))
        rig.hear(voice(0.5))
        assert [message["state"] for message in told(a, "speech")] == ["started"]
        a.accepts = False
        with successor(rig) as after:
            after._seq = rig._seq
            after.hear(noise(0.6, -60))
            line, channel = a.place(rig.ids()[0])
            a.say(line, "accept", channel=channel)
            after.hear(noise(0.2, -60))
            assert start_of(a, rig.ids()[0])["resumed"]
            assert [message["state"] for message in told(a, "speech")] == ["started", "stopped"]


def test_speaking_is_right_again_after_a_mute() -> None:
    rig = TalkRig(barge_in="tell", min_silence_ms=300)
    channel = next(iter(rig.agent.channels))
    rig.hear(noise(1, -60))
    rig.agent.say("mute", channel=channel, uplink=True)
    rig.hear(voice(0.5))
    assert rig.speech == []
    rig.agent.say("mute", channel=channel, uplink=False)
    unmuted = int(rig.table.shared.up_position[0])
    rig.hear(voice(0.3))
    ((state, position),) = rig.speech
    assert state == "started" and unmuted <= position <= unmuted + 320
    rig.hear(noise(0.6, -60))
    assert [state for state, _ in rig.speech] == ["started", "stopped"]


# -- silence that is kept back ------------------------------------------------------------------

WITHHELD = control.TurnParams(withhold_silence=True)


def test_silence_from_before_the_loss_does_not_go_to_the_next_agent() -> None:
    with RescueRig(agents=("a",), turns=WITHHELD, rescue=NO_REPLAY) as rig:
        (call_id,), (a,) = rig.ids(), rig.agents.values()
        rig.hear(noise(1.5, -60))
        a.die()
        rig.hear(noise(0.6, -60))
        a.listens = True
        rig.hear(noise(0.2, -60))
        rig.hear(voice(0.4))
        assert len(a.starts) == 2
        positions = [position for position, _, _ in a.heard[call_id]]
        assert positions and positions == sorted(set(positions)) and positions[0] >= start_of(a, call_id)["position"]


@pytest.mark.parametrize("later", range(12))
def test_a_word_that_begins_while_the_next_agent_catches_up_is_heard_whole(later: int) -> None:
    with RescueRig(agents=("a",), turns=WITHHELD) as rig:
        (stream,), (a,) = rig.streams, rig.agents.values()
        rig.hear(noise(1.5, -60))
        a.die()
        rig.hear(noise(0.2, -60))
        a.listens = True
        rig.hear(noise(0.02 * later + 0.02, -60)[160:])
        rig.hear(voice(0.5))
        rig.hear(noise(0.6, -60))
        start, first = start_of(a, stream.call_id)["position"], a.heard[stream.call_id][0][0]
        assert len(a.starts) == 2 and rig.missing(stream, a, start) == []
        assert start <= first <= 1.7 * 8000 + 160 * later - 240 * 8 + 160, "the breath before it too"


# -- floods -------------------------------------------------------------------------------------


def test_what_one_agent_said_too_often_is_not_counted_against_the_next() -> None:
    with RescueRig(flood_commands=200) as rig:
        (call_id,) = rig.ids()
        a, b = rig.agents.values()
        b.on_start = lambda line, start: b.say(line, "mark", channel=start["channel"], name="hello")
        for position in range(300):
            a.tell(call_id, "ack", position=position)
        rig.run(0.3)
        assert [(m.name, m.why) for m in rig.of(control.AgentChanged)] == [("b", "agent_flooded")]


def test_what_one_agent_said_too_much_is_not_counted_against_the_next() -> None:
    with RescueRig(flood_ms=1000, max_queue_ms=1000) as rig:
        (call_id,) = rig.ids()
        a, b = rig.agents.values()
        for _ in range(6):
            a.speak(call_id, np.full(8000, 9000, np.int16))
        rig.run(0.3)
        for _ in range(2):
            b.speak(call_id, np.full(6000, 9000, np.int16))
        rig.run(0.3)
        assert [m.name for m in rig.of(control.AgentChanged)] == ["b"]


# -- the farewell -------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["stopped", "replaced"])
def test_a_farewell_that_is_not_heard_ends_the_call_all_the_same(how: str) -> None:
    with RescueRig(agents=("a",), rescue=control.RescueParams(within_ms=500)) as rig:
        (stream,), (a,), sounds = rig.streams, rig.agents.values(), rig.engine.downlink.sounds
        a.die()
        rig.run(0.7)
        assert sounds.playing and not rig.of(control.StreamFailed)
        if how == "stopped":
            sounds.stop(stream)
        else:
            sounds.play(stream, "", True, rig.now_ns)
        died_ns = rig.now_ns
        rig.run(3)
        (failed,) = rig.of(control.StreamFailed)
        assert failed.reason == "agent_lost" and rig.now_ns - died_ns <= 3000 * MS


# -- replay -------------------------------------------------------------------------------------


def test_a_frame_of_which_a_part_is_acknowledged_comes_again_whole() -> None:
    with RescueRig() as rig:
        (call_id,), traffic = rig.ids(), rig.traffic()
        a, b = rig.agents.values()
        rig.run(2, traffic)
        frame = a.heard[call_id][-5][0]
        a.tell(call_id, "ack", position=frame + 10)
        rig.run(0.1, traffic)
        a.die()
        rig.run(0.5, traffic)
        assert start_of(b, call_id)["position"] == frame


def test_a_call_that_finds_no_room_for_replay_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "POOL_BYTES", 400_000)  # of one call: 120 kB
    with RescueRig(calls=4) as rig:
        told_of = [(m.call_id, m.event, m.data) for m in rig.of(control.AgentEvent)]
        assert told_of == [(rig.ids()[3], "no_replay", {"replay_ms": 5000})]
        assert rig.table.shared.worker.replays_refused[0] == 1


def test_a_state_that_is_too_long_costs_nobody_the_connection() -> None:
    with RescueRig(calls=3, agents=("a",)) as rig:
        (a,), call_ids = rig.agents.values(), rig.ids()
        a.tell(call_ids[0], "state", data=base64.b64encode(bytes(8192)).decode())
        a.tell(call_ids[0], "state", data=base64.b64encode(bytes(8193)).decode())
        rig.run(0.3)
        (refused,) = told(a, "error")
        assert refused["code"] == "too_long" and a.place(call_ids[0])[1] == refused["channel"]
        assert not rig.of(AgentFailed) and all(stream.accepted for stream in rig.streams)
        assert [m.data for m in rig.of(AgentState)] == [bytes(8192)]
