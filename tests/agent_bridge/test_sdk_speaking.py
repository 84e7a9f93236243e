# SPDX-License-Identifier: MIT
"""say(): what was heard of it, and what ends it; turns(): what the caller says, in one piece."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from trunkline.agent_bridge import Agent, Call, CallerTurn, Cleared, Speech, Spoken
from trunkline.agent_bridge import link_events as said
from trunkline.agent_bridge.testing import GatewayDouble

VOICE = np.random.default_rng(7).integers(-9000, 9000, 16000, np.int16)


def talking(*speeches, **options):
    """An agent that says these one after the other, and notes what became of each."""
    spoken: list[Spoken] = []

    async def handler(call: Call) -> None:
        utterances = [call.say(speech, **options) for speech in speeches]
        spoken.extend([await utterance for utterance in utterances])
        await call.ended()

    return Agent(handler), spoken


async def in_pieces(total: int, piece: int = 1600, handed: list | None = None):
    """Speech as a synthesiser makes it."""
    try:
        for start in range(0, total, piece):
            yield np.ones(min(piece, total - start), np.int16)
            if handed is not None:
                handed.append(start)
            await asyncio.sleep(0)
    finally:
        if handed is not None:
            handed.append("closed")


async def test_speech_is_played_in_the_order_in_which_it_was_said(until):
    """Arrays and iterators alike, and each is over when its last sample has been sent."""
    agent, spoken = talking(np.zeros(1600, np.int16), in_pieces(16000), bytes(3200))
    async with agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(playback="manual")
        await call.event(said.Mark, 6)
        call.play_out(100)
        await asyncio.sleep(0.02)
        call.play_out(1100)
        await until(lambda: len(spoken) == 3)
    assert spoken == [Spoken("played", 100, 100), Spoken("played", 1000, 1000), Spoken("played", 100, 100)]
    assert call.heard[1600:17600].all() and not call.heard[:1600].any()


@pytest.mark.parametrize("policy", ["tell", "clear", "pause"])
async def test_the_callers_voice_ends_it_and_the_agent_knows_how_much_was_heard(until, policy):
    """1,840 ms of 5 s, and nothing of what waited behind it, whatever the route's policy is."""
    agent, spoken = talking(np.zeros(16000, np.int16), np.zeros(80_000, np.int16), np.zeros(16000, np.int16))
    async with agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(playback="manual", barge_in=policy)
        await call.event(said.Mark, 6)
        call.play_out(2840)
        call.speak(VOICE)
        await until(lambda: len(spoken) == 3)
        assert call.playout.queued_samples == 0
    assert spoken == [
        Spoken("played", 1000, 1000),
        Spoken("interrupted", 1840, 5000),
        Spoken("interrupted", 0, 1000),
    ]


@pytest.mark.parametrize("policy", ["tell", "clear"])
async def test_an_interrupted_synthesiser_is_stopped(until, policy):
    """Nothing more is made or sent, and what was on its way is not heard either."""
    handed: list = []
    agent, spoken = talking(in_pieces(1 << 30, handed=handed))
    async with agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(playback="manual", barge_in=policy)
        await call.event(said.Mark)
        call.play_out(0)
        await call.hear(32000)
        call.play_out(1500)
        call.speak(VOICE)
        await until(lambda: spoken)
        assert call.playout.queued_samples == 0
        assert call.playout.position == 24000
    assert handed[-1] == "closed"
    assert spoken[0].outcome == "interrupted"
    assert spoken[0].heard_ms == 1500
    assert spoken[0].said_ms >= 2000


async def test_speech_that_must_be_heard_is_not_interrupted(until):
    """The caller speaks, is heard, and the speech goes on."""
    heard: list = []

    async def handler(call: Call) -> None:
        call.on_event(heard.append)
        heard.append(await call.say(np.zeros(16000, np.int16), interruptible=False))

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(playback="manual")
        await call.event(said.Mark, 2)
        call.play_out(500)
        call.speak(VOICE)
        await until(lambda: heard)
        assert heard == [Speech(True, 0, -20.0)]
        call.play_out(500)
        await until(lambda: len(heard) == 2)
    assert heard[1] == Spoken("played", 1000, 1000)


async def test_clear_interrupt_and_the_end_of_the_call_settle_it(until):
    """Whoever silences the agent, it learns what was heard."""
    spoken: list = []

    async def handler(call: Call) -> None:
        first = call.say(np.zeros(16000, np.int16))
        await asyncio.sleep(0.05)
        spoken.append(await first.interrupt())
        second = call.say(np.zeros(16000, np.int16))
        await asyncio.sleep(0.05)
        assert (await call.clear()).discarded_ms == 1000
        spoken.append(await second)
        third = call.say(np.zeros(16000, np.int16))
        spoken.append(await third)
        spoken.append(await call.say(VOICE))

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(playback="manual")
        await call.event(said.Mark, 6)
        call.hang_up()
        await until(lambda: len(spoken) == 4)
    assert [s.outcome for s in spoken] == ["interrupted", "interrupted", "ended", "ended"]
    assert [s.heard_ms for s in spoken] == [0, 0, 0, 0]


async def test_a_synthesiser_that_fails_is_the_handlers_error(caplog):
    """Its exception comes out of the await; the call is hung up, and its neighbours are not."""

    async def broken():
        yield VOICE
        raise RuntimeError("no voice left")

    async def handler(call: Call) -> None:
        await call.say(broken())

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        assert (await call.event(said.Hangup)).reason == "agent error"
    assert "no voice left" in caplog.text


async def test_handler_may_return_while_it_speaks():
    """The last word is heard before the call is hung up."""

    async def handler(call: Call) -> None:
        call.say(in_pieces(16000))

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        await call.event(said.Hangup)
        assert len(call.heard) == 16000


async def test_a_clear_of_the_gateway_is_still_an_event(until):
    """For agents that use play() and keep their own books."""
    seen: list = []

    async def handler(call: Call) -> None:
        call.on_event(seen.append)
        call.play(np.zeros(16000, np.int16))
        await call.ended()

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(playback="manual", barge_in="clear")
        await call.hear(16000)
        call.play_out(250)
        call.speak(VOICE)
        await until(lambda: len(seen) >= 2)
    assert seen == [Speech(True, 0, -20.0), Cleared(250, 750, ())]


async def test_the_route_may_decide_instead_of_the_agent(until):
    """barge_in="route" with a route that pauses: a cough costs nothing, a sentence ends it, and the agent knows."""
    spoken: list = []

    async def handler(call: Call) -> None:
        spoken.extend([await call.say(np.zeros(16000, np.int16)) for _ in range(2)])
        await call.ended()

    async with Agent(handler, barge_in="route") as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(playback="manual", barge_in="pause")
        await call.event(said.Mark, 2)
        call.play_out(400)
        call.speak(VOICE[:3200])
        call.play_out(1000)
        call.stop_speaking()
        assert call.playout.queued_ms == 600
        call.play_out(600)
        await call.event(said.Mark, 4)
        call.play_out(300)
        call.speak(VOICE)
        await until(lambda: len(spoken) == 2)
        assert not [e for e in call.said if isinstance(e, said.Clear)]
    assert spoken == [Spoken("played", 1000, 1000), Spoken("interrupted", 300, 1000)]


async def turns_of(until, script, **options) -> list[CallerTurn]:
    """What an agent's turns() yields of a call in which `script` plays the caller."""
    turns: list[CallerTurn] = []

    async def handler(call: Call) -> None:
        turns.extend([turn async for turn in call.turns(lead_ms=40)])
        turns.append(None)

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(**options)
        script(call)
        call.hang_up()
        await until(lambda: turns and turns[-1] is None)
    assert turns.pop() is None
    return turns


async def test_turns_are_the_callers_speech_in_one_piece(until):
    """With a little before it, silence left out, the flag of the last one saying that it was cut off."""

    def script(call):
        call.say(np.zeros(16000, np.int16))
        call.speak(VOICE[:8000])
        call.stop_speaking()
        call.say(np.zeros(4000, np.int16))
        call.speak(VOICE)

    first, second = await turns_of(until, script)
    assert (first.position, first.complete, second.complete) == (16000 - 640, True, False)
    assert (first.pcm[640:8640] == VOICE[:8000]).all() and not first.pcm[:640].any()
    assert len(first.pcm) == 640 + 8000
    assert (second.pcm[-16000:] == VOICE).all()


async def test_turns_that_began_before_anybody_looked_are_not_lost(until):
    """A handler that first says something, and is interrupted, gets the interruption."""
    turns: list[CallerTurn] = []

    async def handler(call: Call) -> None:
        await call.say(np.zeros(1 << 20, np.int16))
        turns.extend([turn async for turn in call.turns()])

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(playback="manual")
        await call.event(said.Mark, 2)
        call.speak(VOICE)
        call.stop_speaking()
        await call.event(said.Clear)
        call.hang_up()
        await until(lambda: turns)
    assert (turns[0].pcm == VOICE).all()


async def test_somebody_who_does_not_stop_is_handed_on_in_pieces(monkeypatch, until):
    """A minute (here a second) at most is kept."""
    from trunkline.agent_bridge import caller_turns

    monkeypatch.setattr(caller_turns, "_LONGEST_MS", 1000)

    def script(call):
        call.speak(np.tile(VOICE, 2))
        call.speak(VOICE[:8000])
        call.stop_speaking()

    turns = await turns_of(until, script)
    assert [(len(t.pcm), t.complete) for t in turns] == [(16000, False), (16000, False), (8000, True)]
    assert (np.concatenate([t.pcm for t in turns]) == np.concatenate([VOICE, VOICE, VOICE[:8000]])).all()
