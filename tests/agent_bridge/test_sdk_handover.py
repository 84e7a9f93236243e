# SPDX-License-Identifier: MIT
"""Calls that outlive their agent: state, acknowledgements, replay, leaving without hanging up."""

from __future__ import annotations

import asyncio
import os

import numpy as np
import pytest

from trunkline.agent_bridge import Agent, Call
from trunkline.agent_bridge import link_events as said
from trunkline.agent_bridge.testing import CallRejected, GatewayDouble

VOICE = np.random.default_rng(7).integers(-9000, 9000, 16000, np.int16)
FRAME = 320


async def test_nothing_the_caller_said_is_lost_when_an_agent_is(until):
    """The next one gets state, variables, what was played, and what the first had not acknowledged."""
    taken: list = []

    async def first(call: Call) -> None:
        call.save(b"step 1")
        call.save(b"step 2")
        call.set(customer="4711")
        call.play(np.zeros(3200, np.int16))
        taken.extend([frame async for frame in call])

    second_saw: list = []

    async def second(call: Call) -> None:
        second_saw.extend(
            [call.attempt, call.saved, call.variables, call.info.played_ms, call.info.replay_ms]
        )
        second_saw.extend([(f.position, f.replay, f.pcm.tolist()) async for f in call])
        second_saw.append("end")

    async with Agent(first, ack_every_s=0.02) as one, Agent(second) as two:  # noqa: SIM117
        async with GatewayDouble.of(one) as gateway, GatewayDouble.of(two) as successor:
            call = await gateway.call()
            call.say(VOICE[: 5 * FRAME])
            await call.event(said.Acknowledge)
            await until(lambda: call.acknowledged == 5 * FRAME)
            gateway._tasks[0].cancel()  # from here on nothing that the first says arrives
            call.say(VOICE[5 * FRAME : 8 * FRAME])
            gateway.lose()
            new = await call.hand_over(successor)
            new.say(VOICE[8 * FRAME : 10 * FRAME])
            new.hang_up()
            await until(lambda: "end" in second_saw)
    assert second_saw[:5] == [2, b"step 2", {"customer": "4711"}, 200, 60]
    frames = second_saw[5:-1]
    assert [(p, replay) for p, replay, _ in frames] == [
        (5 * FRAME, True), (6 * FRAME, True), (7 * FRAME, True), (8 * FRAME, False), (9 * FRAME, False),
    ]  # fmt: skip
    assert [x for *_, pcm in frames for x in pcm] == VOICE[5 * FRAME : 10 * FRAME].tolist()


async def test_what_a_handler_has_not_asked_beyond_is_not_acknowledged(until):
    """The frame that it works on is still its own; one that never listens acknowledges nothing."""
    go = asyncio.Event()

    async def handler(call: Call) -> None:
        if call.caller == "deaf":
            await call.ended()
        async for _ in call:
            await go.wait()

    async with Agent(handler, ack_every_s=0.01) as agent, GatewayDouble.of(agent) as gateway:
        busy, deaf = await gateway.call(), await gateway.call(caller="deaf")
        for call in (busy, deaf):
            call.say(VOICE[: 5 * FRAME])
        await asyncio.sleep(0.1)
        assert busy.acknowledged <= 0
        go.set()
        await until(lambda: busy.acknowledged == 5 * FRAME)
        assert not [e for e in deaf.said if isinstance(e, said.Acknowledge)]


async def test_acknowledgements_may_be_the_handlers_own():
    """With ack_every_s=None; positions only grow."""

    async def handler(call: Call) -> None:
        async for frame in call:
            call.ack(frame.position)
            call.ack(0)

    async with Agent(handler, ack_every_s=None) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        call.say(VOICE[: 4 * FRAME])
        await call.event(said.Acknowledge, 3)
        acks = [e.position for e in call.said if isinstance(e, said.Acknowledge)]
    assert acks == [FRAME, 2 * FRAME, 3 * FRAME]


async def test_batch_agents_acknowledge_what_their_function_has_seen(until):
    """on_audio has dealt with a batch when it returns."""

    async def handler(call: Call) -> None:
        await call.ended()

    async with (
        Agent(handler, on_audio=lambda batch: None, ack_every_s=0.01) as agent,
        GatewayDouble.of(agent) as gateway,
    ):
        call = await gateway.call()
        call.say(VOICE[: 5 * FRAME])
        await until(lambda: call.acknowledged == 5 * FRAME)


async def test_turns_acknowledge_a_turn_only_when_the_next_is_asked_for(until):
    """An agent that dies while it thinks has not lost the question."""
    think = asyncio.Event()

    async def handler(call: Call) -> None:
        async for _ in call.turns(lead_ms=0):
            await think.wait()

    async with Agent(handler, ack_every_s=0.01) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        call.say(np.zeros(10 * FRAME, np.int16))
        call.speak(VOICE[: 10 * FRAME])
        call.stop_speaking()
        await asyncio.sleep(0.1)
        assert call.acknowledged == 10 * FRAME
        think.set()
        await until(lambda: call.acknowledged > 20 * FRAME)


async def test_turn_that_was_said_to_a_lost_agent_is_collected_from_the_replay(until):
    """Its frames have the flags of speech; the news of its beginning was for the other one."""
    turns: list = []

    async def dies(call: Call) -> None:
        await call.ended()

    async def lives(call: Call) -> None:
        turns.extend([turn async for turn in call.turns(lead_ms=0)])

    async with Agent(dies) as one, Agent(lives) as two:  # noqa: SIM117
        async with GatewayDouble.of(one) as gateway, GatewayDouble.of(two) as successor:
            call = await gateway.call()
            call.speak(VOICE[: 20 * FRAME])
            call.stop_speaking(600)
            gateway.lose()
            (await call.hand_over(successor)).hang_up()
            await until(lambda: turns)
    (turn,) = turns
    assert (turn.replay, turn.complete) == (True, True)
    assert (turn.pcm == VOICE[: 20 * FRAME]).all()


async def test_agent_that_was_never_lost_joins_its_call_again(tmp_path, until):
    """The gateway only thought so: the handler goes on, and hears nothing twice."""
    positions: list[int] = []

    async def handler(call: Call) -> None:
        async for frame in call:
            positions.append(frame.position // FRAME)  # noqa: PERF401 - looked at while the call is up

    async with Agent(handler, ack_every_s=None) as agent:
        where = await agent.listen(f"unix:{tmp_path}/s")
        async with GatewayDouble.to(where) as first, GatewayDouble.to(where) as second:
            call = await first.call()
            call.say(VOICE[: 4 * FRAME])
            await until(lambda: len(positions) == 4)
            first.lose()
            new = await call.hand_over(second)
            new.say(VOICE[: 2 * FRAME])
            await until(lambda: len(positions) >= 6)
            assert len(agent.calls) == 1
    assert positions == [0, 1, 2, 3, 4, 5]


async def test_leaving_agent_takes_no_more_and_hands_over_what_is_left(until):
    """Calls get their time to end; then the connection closes, without a hang-up."""
    reasons: list[str] = []

    async def handler(call: Call) -> None:
        async for _ in call:
            pass
        reasons.append(call.stopped.reason)

    async with Agent(handler, ack_every_s=30) as agent, GatewayDouble.of(agent) as gateway:
        ends, stays = await gateway.call(), await gateway.call()
        stays.say(VOICE[: 3 * FRAME])
        await asyncio.sleep(0.02)
        leaving = asyncio.ensure_future(agent.finish(0.3))
        await asyncio.sleep(0)
        with pytest.raises(CallRejected, match="503 agent shuts down"):
            await gateway.call()
        ends.hang_up("bye")
        await leaving
        await until(lambda: len(reasons) == 2 and gateway.failure)
        assert not [e for e in stays.said if isinstance(e, said.Hangup)]
        assert stays.acknowledged == 3 * FRAME
    assert reasons == ["bye", "handed over"]


async def test_socket_file_that_somebody_removed_is_made_again(tmp_path, caplog, until):
    """A cleaner of temporary files must not make an agent deaf for ever; another's file is left alone."""

    async def handler(call: Call) -> None:
        await call.ended()

    path = tmp_path / "s"
    async with Agent(handler, ack_every_s=0.01) as agent:
        where = await agent.listen(f"unix:{path}")
        os.unlink(path)
        await until(path.exists)
        async with GatewayDouble.to(where) as gateway:
            await gateway.call()
        os.unlink(path)
        path.write_text("mine")
        await until(lambda: "a file is there that is no socket" in caplog.text)
        await asyncio.sleep(0.05)
        assert caplog.text.count("a file is there") == 1
    assert path.read_text() == "mine"
