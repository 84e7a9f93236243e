# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls whose agents die, hang, break the rules or flood: another has them soon, and nothing said is lost."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from support.media_rig import MS
from support.rescue_rig import RESCUE, Agent, RescueRig
from trunkline.agent_bridge.dialect import FLAG_GAP, FLAG_REPLAY
from trunkline.codecs import g711
from trunkline.gateway.media import control
from trunkline.gateway.media.rescue import SOUND_AFTER_MS
from trunkline.rtp.outcomes import Drop


@pytest.fixture
def rig() -> Iterator[RescueRig]:
    with RescueRig() as rig:
        yield rig


def start_of(agent: Agent, call_id: str) -> dict:
    return next(dict(s) for s in reversed(agent.starts) if s["call"]["call_id"] == call_id)


def loud_since(rig: RescueRig, row: int, since_ns: int) -> float:
    """Milliseconds from then to the first packet that has sound in it; inf if none has."""
    for at, payload in rig.packets.get(row, []):
        if at > since_ns and np.abs(g711.decode_ulaw(np.frombuffer(payload, np.uint8)).astype(int)).max() > 300:
            return (at - since_ns) / MS
    return float("inf")


def test_the_next_agent_gets_the_call_with_all_that_was_said(rig: RescueRig) -> None:
    """Same id, attempt 2, what was played, and the caller's last seconds as replay, then live without a hole."""
    (call_id,), (stream,) = rig.ids(), rig.streams
    traffic = rig.traffic()
    rig.run(3, traffic)
    a, b = rig.agents.values()
    a.speak(call_id, np.full(800, 9000, np.int16))
    rig.run(1, traffic)
    died_ns = rig.now_ns
    a.die()
    rig.run(2, traffic)
    start = start_of(b, call_id)
    assert (start["attempt"], start["resumed"], start["played_ms"]) == (2, False, 100)
    assert start["replay_ms"] >= 3900
    heard = b.heard[call_id]
    assert heard[0][0] == start["position"]
    assert rig.missing(stream, b, start["position"]) == []
    replayed = [p for p, flags, _ in heard if flags & FLAG_REPLAY]
    assert len(replayed) * 20 == start["replay_ms"]
    assert replayed == [p for p, _, _ in heard[: len(replayed)]], "first what was said before, then what was not"
    (changed,) = rig.of(control.AgentChanged)
    assert (changed.name, changed.why, changed.attempt) == ("b", "agent_lost", 2)
    assert changed.took_ms < 100 and changed.replayed_ms == start["replay_ms"]
    assert not rig.of(control.StreamFailed) and len(rig.of(control.StreamReady)) == 1
    assert loud_since(rig, 0, died_ns) == float("inf"), "so soon that the caller hears nothing of it"


def test_a_call_in_early_media_is_answered_by_the_agent_that_takes_it_then() -> None:
    """The one before had let it ring: its caller would wait for an answer that nobody owes him."""
    with RescueRig(settle=False) as rig:
        first = rig.agents["a"]
        first.answers = False
        rig.run(0.1)
        (stream,) = rig.streams
        rig.engine.update(stream, stream.media, rig.now_ns)  # `progress`
        rig.run(0.2, rig.traffic())
        first.die()
        rig.run(0.5, rig.traffic())
        assert [ready.answer for ready in rig.of(control.StreamReady)] == [False, True]
        assert stream.accepted and stream.link is not None


def test_each_agent_is_told_its_own_texts_and_those_of_the_route() -> None:
    """What the first one is told for itself alone, the second is not."""
    with RescueRig(down="a", settle=False) as rig:
        info = msgspec.structs.replace(rig.streams[0].start.info, metadata={"own": "a", "route": "r", "both": "r"})
        stream = rig.streams[0]
        stream.start = msgspec.structs.replace(stream.start, info=info)
        case = rig.engine.agents.rescue._cases[stream.row]
        case.agents = (
            msgspec.structs.replace(case.agents[0], metadata=(("own", "a"), ("both", "a"))),
            msgspec.structs.replace(case.agents[1], metadata=(("own", "b"), ("both", "b"), ("more", "b"))),
        )
        case.first = case.agents[0]
        rig.run(0.2)
        told = start_of(rig.agents["b"], stream.call_id)["call"]["metadata"]
        assert told == {"own": "b", "route": "r", "both": "r", "more": "b"}


def test_what_was_acknowledged_does_not_come_again(rig: RescueRig) -> None:
    """Exactly from the acknowledged position on; a later or an impossible one changes nothing for the worse."""
    (call_id,), (stream,) = rig.ids(), rig.streams
    traffic = rig.traffic()
    rig.run(2, traffic)
    a, b = rig.agents.values()
    acked = a.heard[call_id][-10][0]
    a.tell(call_id, "ack", position=acked)
    a.tell(call_id, "ack", position=160)
    rig.run(0.1, traffic)
    a.die()
    rig.run(1, traffic)
    start = start_of(b, call_id)
    assert start["position"] == acked
    assert rig.missing(stream, b, acked) == []
    b.tell(call_id, "ack", position=1 << 60)  # of what is yet to come, no more than has been
    rig.run(0.5, traffic)
    acked_now = int(rig.engine.agents.replay.acked[0])
    assert acked_now <= int(rig.table.shared.up_position[0])


def test_the_state_that_was_left_is_given_back_and_told_to_the_gateway(rig: RescueRig) -> None:
    """The last one, whole; and it survives the worker by the gateway's memory."""
    (call_id,) = rig.ids()
    a, b = rig.agents.values()
    for blob in (b"first", bytes(range(256))):
        a.tell(call_id, "state", data=base64.b64encode(blob).decode())
    rig.run(0.1)
    assert rig.of(control.AgentState)[-1].data == bytes(range(256))
    a.die()
    rig.run(0.5)
    assert base64.b64decode(start_of(b, call_id)["state"]) == bytes(range(256))


def test_the_lost_agents_speech_is_played_to_its_end_then_a_sound_until_another_agent_has_the_call() -> None:
    """Within half a second of silence the caller hears something; it stops when the agent is there."""
    with RescueRig(agents=("a",)) as rig:
        (call_id,), (agent,) = rig.ids(), rig.agents.values()
        agent.speak(call_id, np.full(1600, 9000, np.int16))
        agent.tell(call_id, "mark", name="end")
        rig.run(0.03)
        agent.die()
        died_ns = rig.now_ns
        rig.run(0.35)
        assert int(rig.table.shared.down_position[0]) == 1600
        said = [abs(int(g711.decode_ulaw(np.frombuffer(p[-1:], np.uint8))[0])) for _, p in rig.packets[0]]
        assert sum(level > 8000 for level in said) == 10
        agent.listens = True
        rig.run(0.02)
        silent_from = died_ns + 200 * MS
        assert loud_since(rig, 0, silent_from) < 500 - SOUND_AFTER_MS
        rig.run(1.0)
        assert start_of(agent, call_id)["played_ms"] == 200
        assert loud_since(rig, 0, rig.now_ns - 500 * MS) == float("inf"), "the sound has stopped"
        (lost,) = [one for one in rig.of(control.AgentEvent) if one.event == "lost"]
        assert (lost.data["marks"], lost.data["why"]) == (1, "agent_lost")
        assert not [one for one in agent.control if one["type"] == "mark"], "nobody's mark is told to another"
        assert not [one for one in rig.of(control.AgentEvent) if one.event == "mark"]


def test_no_more_than_two_seconds_of_a_lost_agent_are_played_on(rig: RescueRig) -> None:
    """The first of what it had queued; its successor speaks right behind them."""
    (call_id,), (stream,) = rig.ids(), rig.streams
    a, b = rig.agents.values()
    for _ in range(10):
        a.speak(call_id, np.full(16000, 9000, np.int16))
    rig.run(0.1)
    rate = stream.start.agent.sample_rate_hz
    queue = rig.table.formats.at(stream.row).queue
    assert queue.queued_samples(np.array([stream.row]))[0] > 5 * rate
    died_ns = rig.now_ns
    a.die()
    rig.run(0.1)
    assert 1.7 * rate < queue.queued_samples(np.array([stream.row]))[0] <= 2 * rate
    (lost,) = [one for one in rig.of(control.AgentEvent) if one.event == "lost"]
    assert lost.data["queued_ms"] == 2000
    rig.run(2.5)
    assert loud_since(rig, stream.row, died_ns + 2200 * MS) == float("inf")
    b.speak(call_id, np.full(1600, 9000, np.int16))
    rig.run(0.3)
    assert loud_since(rig, stream.row, died_ns + 2200 * MS) < 600


def test_a_silent_call_hears_the_sound_within_half_a_second() -> None:
    """Nothing was queued: from the loss on."""
    with RescueRig(agents=("a",)) as rig:
        rig.run(0.5)
        rig.agents["a"].die()
        died_ns = rig.now_ns
        rig.run(1)
        assert 150 < loud_since(rig, 0, died_ns) < 500


def test_an_agent_that_is_restarted_gets_its_own_call_back() -> None:
    """One agent, which listens again after 1.2 s: it is asked ten times a second."""
    with RescueRig(agents=("a",)) as rig:
        (stream,), agent, traffic = rig.streams, rig.agents["a"], rig.traffic()
        rig.run(2, traffic)
        agent.die()
        rig.run(1.2, traffic)
        agent.listens = True
        rig.run(1.5, traffic)
        (changed,) = rig.of(control.AgentChanged)
        assert (changed.name, changed.attempt) == ("a", 2)
        assert 1200 <= changed.took_ms < 1400
        start = start_of(agent, stream.call_id)
        assert rig.missing(stream, agent, start["position"]) == []


def test_when_no_agent_comes_the_caller_hears_a_farewell_and_the_call_ends() -> None:
    """Both are down: the tone, after two seconds the three notes, then agent_lost with what happened."""
    with RescueRig() as rig:
        rig.run(0.5)
        for agent in rig.agents.values():
            agent.die()
        died_ns = rig.now_ns
        rig.run(2.2)
        (changed,) = rig.of(control.AgentChanged)
        assert (changed.name, changed.why) == ("", "agent_lost")
        assert not rig.of(control.StreamFailed)
        assert loud_since(rig, 0, died_ns + 2000 * MS) < 100
        rig.run(2)
        (failed,) = rig.of(control.StreamFailed)
        assert failed.reason == "agent_lost" and "no agent took the call over" in failed.detail
        assert (rig.now_ns - died_ns) / MS > 3400


def test_a_call_that_nobody_listens_to_ends_without_a_farewell() -> None:
    """On hold, say: there is nobody to say good-bye to."""
    with RescueRig() as rig:
        rig.table.sending[0] = False
        for agent in rig.agents.values():
            agent.die()
        rig.run(2.1)
        assert [one.reason for one in rig.of(control.StreamFailed)] == ["agent_lost"]


def test_without_rescue_the_call_ends_at_once() -> None:
    """within_ms = 0, as for dialects in which closing the connection is how an agent hangs up."""
    with RescueRig(rescue=control.RescueParams(within_ms=0)) as rig:
        rig.agents["a"].die()
        rig.run(0.05)
        assert [one.reason for one in rig.of(control.StreamFailed)] == ["agent_lost"]
        assert not rig.agents["b"].starts


def test_an_agent_that_hangs_loses_its_calls_after_its_own_time() -> None:
    """It neither reads nor writes: pinged after half of hang_timeout_ms, left after all of it."""
    with RescueRig(hang_timeout_ms=600) as rig:
        (stream,), traffic = rig.streams, rig.traffic()
        rig.run(2, traffic)
        rig.agents["a"].hangs = True
        hung_ns = rig.now_ns
        while not rig.of(control.AgentChanged) and rig.now_ns < hung_ns + 3_000 * MS:
            rig.run(0.01, traffic)
        (changed,) = rig.of(control.AgentChanged)
        assert changed.why == "agent_hung"
        assert (rig.now_ns - hung_ns) / MS < 700
        rig.run(1, traffic)
        b = rig.agents["b"]
        assert rig.missing(stream, b, start_of(b, stream.call_id)["position"]) == []
        (failed,) = rig.of(control.AgentFailed)
        assert (failed.agent, failed.reason, failed.calls) == ("a", "agent_hung", 1)


@pytest.mark.parametrize("how", ["protocol", "speech", "commands"])
def test_an_agent_that_goes_mad_is_left_and_what_it_said_is_not_played(how: str) -> None:
    """Nonsense on the wire, ten times the queue, thousands of commands: the next agent, and silence until then."""
    with RescueRig(flood_ms=1000, flood_commands=200, max_queue_ms=1000) as rig:
        (call_id,), a = rig.ids(), rig.agents["a"]
        line, _ = a.place(call_id)
        a.speak(call_id, np.full(8000, 9000, np.int16))
        rig.run(0.03)
        if how == "protocol":
            line.inbox += b"\xff" * 16
        elif how == "speech":
            for _ in range(4):
                a.speak(call_id, np.full(8000, 9000, np.int16))
        else:
            for number in range(300):
                a.tell(call_id, "ack", position=number)
        rig.run(0.3)
        why = "agent_protocol" if how == "protocol" else "agent_flooded"
        (changed,) = rig.of(control.AgentChanged)
        assert (changed.name, changed.why) == ("b", why)
        assert int(rig.table.formats.at(0).queue.count[0]) == 0
        played = int(rig.table.shared.down_position[0])
        rig.run(0.3)
        assert int(rig.table.shared.down_position[0]) == played < 3200


def test_a_flood_costs_the_agent_one_call_and_not_its_others() -> None:
    """They share a connection, which stays."""
    with RescueRig(calls=2, flood_commands=200) as rig:
        first, second = rig.ids()
        a = rig.agents["a"]
        for number in range(300):
            a.tell(first, "ack", position=number)
        rig.run(0.2)
        assert [one.call_id for one in rig.of(control.AgentChanged)] == [first]
        assert [s["call"]["call_id"] for s in rig.agents["b"].starts] == [first]
        assert [one for one in a.control if one["type"] == "stop"]
        rig.run(0.5)
        assert not rig.of(control.StreamFailed)
        assert a.place(second)


def test_two_hundred_calls_on_one_connection_are_all_rescued() -> None:
    """At once, each with all that it had said."""
    with RescueRig(calls=200, rescue=control.RescueParams(within_ms=2000, replay_ms=2000)) as rig:
        traffic = rig.traffic()
        rig.run(2.5, traffic)
        a, b = rig.agents.values()
        a.die()
        rig.run(2, traffic)
        assert len(rig.of(control.AgentChanged)) == 200
        assert max(one.took_ms for one in rig.of(control.AgentChanged)) < 500
        assert (len(b.lines), len(rig.of(control.AgentFailed))) == (1, 1)
        for stream in rig.streams:
            start = start_of(b, stream.call_id)
            assert start["replay_ms"] >= 1900
            assert rig.missing(stream, b, start["position"]) == []


def test_a_hundred_kills_in_one_call_lose_no_frame() -> None:
    """Back and forth between two agents, with acknowledgements: none misses anything of what it was there for."""
    with RescueRig() as rig:
        (stream,), traffic = rig.streams, rig.traffic(loss=0.02, jitter_ms=5)
        call_id = stream.call_id
        rng = np.random.default_rng(5)
        acked = cut_off = 0
        for kill in range(100):
            current = rig.agents["ab"[kill % 2]]
            rig.run(float(rng.uniform(0.3, 1.2)), traffic)
            if rng.random() < 0.7:
                position = current.heard[call_id][-1 - int(rng.integers(0, 5))][0]
                current.tell(call_id, "ack", position=position)
                rig.run(0.02, traffic)
                acked = max(acked, position)
            heard_until = current.heard[call_id][-1][0]  # it may die in the middle of its replay
            missing = rig.missing(stream, current, start_of(current, call_id)["position"])
            assert [position for position in missing if position < heard_until] == []
            cut_off += bool(missing)
            rig.agents["ab"[(kill + 1) % 2]].listens = True
            current.die()
            rig.run(0.25, traffic)
            follower = rig.agents["ab"[(kill + 1) % 2]]
            start = start_of(follower, call_id)
            assert start["attempt"] == kill + 2
            assert start["position"] <= max(acked, int(rig.table.shared.up_position[0]) - 5000 * 8 - 160 * 30)
        rig.run(0.5, traffic)
        follower = rig.agents["ab"[0]]
        assert rig.missing(stream, follower, start_of(follower, call_id)["position"]) == []
        assert cut_off < 50, "most have heard their whole replay"
        assert len(rig.of(control.AgentChanged)) == 100 and not rig.of(control.StreamFailed)


def test_an_agent_that_flaps_keeps_no_call_from_the_other(rig: RescueRig) -> None:
    """It takes the call and dies, three times; the caller is with whoever lives."""
    (call_id,) = rig.ids()
    a, b = rig.agents.values()

    def crash(line: object, start: object) -> None:
        b.die()
        b.listens = True

    b.on_start = crash
    traffic = rig.traffic()
    rig.run(1, traffic)
    a.die()
    rig.run(0.3, traffic)
    a.listens = True
    rig.run(1, traffic)
    changed = rig.of(control.AgentChanged)
    assert changed[-1].name == "a"
    assert rig.missing(rig.streams[0], a, start_of(a, call_id)["position"]) == []
    assert not rig.of(control.StreamFailed)


def test_worker_and_agent_die_together() -> None:
    """The successor finds the agent gone: the caller hears the sound, and the next agent gets the state."""
    with RescueRig() as rig:
        (call_id,), a = rig.ids(), rig.agents["a"]
        traffic = rig.traffic()
        rig.run(1, traffic)
        a.tell(call_id, "state", data=base64.b64encode(b"memory").decode())
        rig.run(0.1, traffic)
        a.die()
        rig.agents["b"].listens = False
        rig.close()
        with RescueRig(before=rig) as successor:
            died_ns = successor.now_ns
            successor.run(0.6)
            assert loud_since(successor, 0, died_ns) < 500
            b = successor.agents["b"]
            b.listens = True
            successor.run(0.5)
            start = start_of(b, call_id)
            assert base64.b64decode(start["state"]) == b"memory"
            assert (start["attempt"], start["resumed"]) == (2, True)
            ready = successor.of(control.StreamReady)
            assert [(one.agent, one.slot) for one in ready] == [("b", 0)]
            assert not successor.of(control.StreamFailed)


def test_a_call_that_waits_for_its_answer_is_taken_over_too_and_the_gateway_is_told_again() -> None:
    """The agent that took it may have meant to answer later; the next one answers for itself. Nobody hears a sound."""
    with fresh() as rig:
        (stream,) = rig.streams
        stream.held_media = True
        rig.run(0.1)
        rig.agents["a"].die()
        rig.run(0.5)
        assert [one.agent for one in rig.of(control.StreamReady)] == ["a", "b"]
        assert [one.name for one in rig.of(control.AgentChanged)] == ["b"]
        assert not rig.packets
        rig.engine.update(stream, stream.media, rig.now_ns)
        rig.run(0.5, rig.traffic())
        assert rig.packets and rig.agents["b"].heard[stream.call_id]


@pytest.mark.parametrize("told", [False, True])
def test_a_call_that_is_answered_while_nobody_has_it_is_up_whatever_the_next_agent_says(told: bool) -> None:
    """The answer of the lost agent is on its way: the caller hears the sound, and then an agent that wanted to wait."""
    with fresh() as rig:
        (stream,), (a, b) = rig.streams, rig.agents.values()
        a.answers = b.answers = b.listens = False
        rig.run(0.05)
        assert stream.held_media
        a.die()
        rig.run(0.02)
        rig.engine.update(stream, stream.media, rig.now_ns)
        if told:
            stream.start = msgspec.structs.replace(stream.start, answered=True)
        answered_ns = rig.now_ns
        rig.run(0.6)
        assert loud_since(rig, 0, answered_ns) < 500
        b.listens = True
        rig.run(0.5, rig.traffic())
        assert stream.accepted and not stream.held_media and b.heard[stream.call_id]
        since_ns = rig.now_ns
        rig.run(0.2, rig.traffic())
        assert sum(at_ns > since_ns for at_ns, _ in rig.packets[0]) >= 9


def test_news_of_media_before_any_agent_has_the_call_does_not_let_it_flow() -> None:
    with fresh() as rig:
        (stream,) = rig.streams
        rig.agents["a"].answers = False
        rig.engine.update(stream, stream.media, rig.now_ns)
        rig.run(0.2, rig.traffic())
        assert stream.accepted and stream.held_media and not rig.packets


def test_a_call_that_is_being_handed_on_is_offered_to_no_agent_by_another_worker() -> None:
    with RescueRig() as rig:
        rig.run(0.1)
        (stream,) = rig.streams
        stream.start = msgspec.structs.replace(stream.start, agentless=True)
        rig.close()
        starts = len(rig.agents["a"].starts)
        with RescueRig(before=rig) as successor:
            successor.run(3, successor.traffic())
            assert [type(one) for one in successor.posted] == [control.MediaStarted] and successor.packets[0]
            assert len(rig.agents["a"].starts) == starts and not rig.agents["b"].starts
            successor.engine.stop(successor.streams[0], "transferred", successor.now_ns)


def test_a_new_agent_answers_what_the_worker_before_this_one_knew_as_ringing() -> None:
    """The agent of then is asked again, and its yes is no answer; that of another one is."""
    with fresh() as rig:
        (stream,) = rig.streams
        rig.agents["a"].answers = False
        rig.run(0.05)
        rig.engine.update(stream, stream.media, rig.now_ns)  # `progress`
        rig.run(0.1)
        stream.start = msgspec.structs.replace(stream.start, taken=True)
        rig.agents["a"].answers = True
        rig.close()
        with RescueRig(before=rig) as successor:
            successor.run(0.2)
            assert [(one.agent, one.answer) for one in successor.of(control.StreamReady)] == [("a", False)]
            successor.agents["a"].die()
            successor.run(0.5)
            assert [(one.agent, one.answer) for one in successor.of(control.StreamReady)][1:] == [("b", True)]


# --- before the answer ----------------------------------------------------------------------


def fresh(**fields: object) -> RescueRig:
    return RescueRig(settle=False, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["down", "rejects", "silent"])
def test_before_the_answer_the_next_agent_is_asked(how: str) -> None:
    """Not there, not willing, not answering: one StreamReady with the name of the one that is."""
    with fresh(connect_timeout_ms=500, down="a" if how == "down" else "") as rig:
        a = rig.agents["a"]
        a.rejects, a.accepts = 486 if how == "rejects" else None, how != "silent"
        rig.run(1)
        (ready,) = rig.of(control.StreamReady)
        assert (ready.agent, ready.tries) == ("b", 2)
        assert start_of(rig.agents["b"], rig.ids()[0]).get("attempt", 1) == 1
        assert not rig.of(control.AgentChanged) and not rig.of(control.StreamFailed)
        (failed,) = rig.of(control.AgentFailed)
        reason = {"down": "agent_unreachable", "rejects": "agent_rejected", "silent": "agent_timeout"}[how]
        assert (failed.agent, failed.reason) == ("a", reason)


def test_what_an_agent_said_decides_the_code_and_6xx_is_for_all() -> None:
    """486 of the first, the second is down: 486. 603: nobody else is asked."""
    with fresh() as rig:
        rig.agents["a"].rejects, rig.agents["b"].listens = 486, False
        rig.run(0.3)
        (failed,) = rig.of(control.StreamFailed)
        assert (failed.reason, failed.sip_code) == ("agent_rejected", 486)
    with fresh() as rig:
        rig.agents["a"].rejects = 603
        rig.run(0.3)
        (failed,) = rig.of(control.StreamFailed)
        assert failed.sip_code == 603 and not rig.agents["b"].starts


def test_an_agent_that_is_starting_is_tried_again_after_a_pause() -> None:
    """connect_retries and retry_pause_ms, within the caller's patience."""
    with fresh(agents=("a",), connect_retries=3, retry_pause_ms=200, down="a") as rig:
        rig.run(0.5)
        rig.agents["a"].listens = True
        rig.run(0.3)
        (ready,) = rig.of(control.StreamReady)
        assert ready.tries == 4
    patience = control.RescueParams(patience_ms=500)
    with fresh(agents=("a",), connect_retries=10, retry_pause_ms=200, rescue=patience, down="a") as rig:
        rig.run(0.7)
        (failed,) = rig.of(control.StreamFailed)
        assert failed.reason == "agent_unreachable"


# --- slow agents ----------------------------------------------------------------------------


def test_a_slow_agent_loses_nothing_that_its_ring_holds_and_then_its_oldest_audio_only() -> None:
    """Behind by less than the ring: all is there. By more: the newest are there, and a flagged gap before them."""
    with RescueRig(hang_timeout_ms=60_000, rescue=msgspec.structs.replace(RESCUE, replay_ms=3000)) as rig:
        (stream,), a, traffic = rig.streams, rig.agents["a"], rig.traffic()
        rig.run(1, traffic)
        link = stream.link
        assert link is not None
        link.limit_bytes = 4000  # a quarter of a second
        a.hangs = True
        rig.run(3, traffic)
        a.hangs = False
        rig.run(2, traffic)
        assert rig.missing(stream, a, 0) == []
        a.hangs = True
        rig.run(12, traffic)
        a.hangs = False
        rig.run(3, traffic)
        lost = rig.missing(stream, a, 0)
        assert lost == list(range(lost[0], lost[-1] + 160, 160)), "one hole"
        behind = next(f for p, f, _ in a.heard[stream.call_id] if p == lost[-1] + 160)
        assert behind & FLAG_GAP
        assert 12 - 5 - 0.6 <= len(lost) * 0.02 <= 12 - 5 + 0.6
        assert int(rig.table.shared.drops[0, Drop.AGENT_SLOW]) == len(lost)
        assert not rig.of(control.StreamFailed)


def test_a_stopped_agent_beside_a_healthy_one_costs_its_calls_nothing() -> None:
    """The healthy agent's frames come in the tick in which they were made, all of them."""
    with RescueRig(calls=2, hang_timeout_ms=60_000) as rig:
        _, second = rig.streams
        rig.engine.agents._withdraw(second, "moved")
        case = rig.engine.agents.rescue._cases[second.row]
        case.at = 1
        rig.engine.agents.rescue._ask(case, rig.now_ns)
        rig.run(0.1)
        traffic = rig.traffic()
        rig.agents["a"].hangs = True
        b = rig.agents["b"]
        for _ in range(300):
            rig.run(0.01, traffic)
            made = rig.truth.get(second.row, [])
            heard = b.heard[second.call_id]
            assert not made or not heard or heard[-1][0] == made[-1][0]
        assert len(b.heard[second.call_id]) > 140
