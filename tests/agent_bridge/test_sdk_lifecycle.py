# SPDX-License-Identifier: MIT
"""What happens to calls when handlers, connections and gateways come and go."""

from __future__ import annotations

import asyncio
import logging

import numpy as np
import pytest

from trunkline.agent_bridge import Agent, AudioBatch, Call, Resumed, call, handlers, serve
from trunkline.agent_bridge import agent as agent_module
from trunkline.agent_bridge.dialect import FLAG_GAP
from trunkline.agent_bridge.link_events import Hangup
from trunkline.agent_bridge.testing import DoubleCall, GatewayDouble

NOISE = np.random.default_rng(7).integers(-32768, 32767, 32000, np.int16)


async def echo(call: Call) -> None:
    """Repeat what is heard."""
    async for frame in call:
        call.play(frame.pcm)


async def test_failing_handler_ends_its_own_call_only(caplog):
    """Logged with the call's id and the traceback, hung up, and the neighbour still hears its echo."""

    async def handler(call: Call) -> None:
        if call.caller == "bug":
            raise RuntimeError("broken handler")
        await echo(call)

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        good = await gateway.call()
        bad = await gateway.call(caller="bug", call_id="id-of-the-bad-one")
        assert (await bad.event(Hangup)).reason == "agent error"
        good.say(NOISE)
        assert (await good.hear(len(NOISE)) == NOISE).all()
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert "id-of-the-bad-one" in record.getMessage()
    assert "broken handler" in caplog.text


async def test_handler_that_returns_hangs_up_after_its_last_word():
    """A goodbye is heard to its end."""

    async def handler(call: Call) -> None:
        call.play(NOISE)

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(playback="manual")
        await call.hear(len(NOISE))
        call.play_out(1999)
        await asyncio.sleep(0.05)
        assert not [e for e in call.said if isinstance(e, Hangup)]
        call.play_out(1)
        assert (await call.event(Hangup)).reason == "agent is done"


async def test_handler_that_does_not_end_is_cancelled(monkeypatch, caplog, until):
    """A handler that never notices the end of its call does not stay forever."""
    monkeypatch.setattr(handlers, "LINGER_S", 0.05)
    cancelled = asyncio.Event()

    async def handler(call: Call) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            cancelled.set()

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        call.hang_up()
        await cancelled.wait()
        await until(lambda: not agent._handlers.tasks)
    assert "is cancelled" in caplog.text


async def resumed(gateway: GatewayDouble, old: DoubleCall, position: int) -> DoubleCall:
    """The call, offered again by another media process."""
    return await gateway.call(call_id=old.info.call_id, resumed=True, position=position)


async def test_call_goes_on_over_a_new_connection(tmp_path, until):
    """The iteration continues with a flagged gap; held words are said, marks of before are lost."""
    frames, seen = [], []

    async def handler(call: Call) -> None:
        call.on_event(seen.append)
        mark = call.mark("before")
        async for frame in call:
            frames.append((frame.position, frame.gap))
            if len(frames) == 2:
                seen.append((await mark).outcome)
                call.play(NOISE[:320])  # while nobody is there
                seen.append((await call.mark("during")).outcome)

    async with Agent(handler) as agent:
        where = await agent.listen(f"unix:{tmp_path}/s")
        async with GatewayDouble.to(where) as first:
            old = await first.call(playback="manual")
            old.playout.push(1000)  # so that the mark is not reached
            old.say(NOISE[:640])
            await until(lambda: len(frames) == 2)
            first.lose()
        await until(lambda: seen == ["lost"])
        async with GatewayDouble.to(where) as second:
            new = await resumed(second, old, 3200)
            assert (await new.hear(320) == NOISE[:320]).all()
            new.say(NOISE[:640])
            await until(lambda: len(frames) == 4)
            assert len(agent.calls) == 1
    assert frames == [(0, False), (320, False), (3200, True), (3520, False)]
    assert seen == ["lost", Resumed(), "played"]


async def test_clear_is_said_again_on_the_new_connection(tmp_path, until):
    """Nobody answered it on the old one."""
    answers = []

    async def handler(call: Call) -> None:
        await asyncio.sleep(0.05)  # until the connection is lost
        answers.append(await call.clear())
        await call.ended()

    async with Agent(handler) as agent:
        where = await agent.listen(f"unix:{tmp_path}/s")
        async with GatewayDouble.to(where) as first:
            old = await first.call()
            first.lose()
        await asyncio.sleep(0.1)
        async with GatewayDouble.to(where) as second:
            await resumed(second, old, 0)
            await until(lambda: answers)


async def test_call_moves_even_if_the_old_connection_looks_alive(tmp_path):
    """A new start with its id takes the call over; the old connection's end then means nothing."""
    async with Agent(echo) as agent:
        where = await agent.listen(f"unix:{tmp_path}/s")
        async with GatewayDouble.to(where) as first, GatewayDouble.to(where) as second:
            old = await first.call()
            new = await resumed(second, old, 0)
            first.lose()
            await asyncio.sleep(0.05)
            new.say(NOISE[:320])
            await new.hear(320)
            assert len(agent.calls) == 1
            assert not agent._away


async def test_call_that_is_not_offered_again_ends(tmp_path, monkeypatch, until):
    """After two seconds (here less) the handler learns connection_lost."""
    monkeypatch.setattr(agent_module, "RESUME_S", 0.05)
    reasons = []

    async def handler(call: Call) -> None:
        reasons.append((await call.ended()).reason)

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        await gateway.call()
        gateway.lose()
        await until(lambda: reasons)
        assert not agent.calls
    assert reasons == ["connection_lost"]


async def test_resumed_call_that_nobody_knows_starts_like_a_new_one():
    """The agent was restarted: it takes the call, and can see that it had begun before."""
    infos = []

    async def handler(call: Call) -> None:
        infos.append((call.info.resumed, call.info.position))
        await echo(call)

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(resumed=True, position=16000)
        call.say(NOISE[:320])
        await call.hear(320)
    assert infos == [(True, 16000)]


async def test_handler_that_does_not_listen_loses_its_oldest_audio(monkeypatch, until):
    """30 s (here 100 ms) are kept; then the next frame is flagged, and the loss is counted."""
    monkeypatch.setattr(call, "MAX_UNHEARD_MS", 100)
    go, frames, lost = asyncio.Event(), [], []

    async def handler(call: Call) -> None:
        await go.wait()
        frames.extend([(frame.position // 320, frame.flags) async for frame in call])
        lost.append(call.unheard_ms)

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        double = await gateway.call()
        double.say(NOISE[: 320 * 8])
        double.hang_up()
        await until(lambda: not agent.calls)
        go.set()
        await until(lambda: lost)
    assert frames == [(3, FLAG_GAP), (4, 0), (5, 0), (6, 0), (7, 0)]
    assert lost == [60]


async def test_two_readers_of_one_call_are_a_mistake(until):
    """Each would get half of the frames."""
    errors = []

    async def handler(call: Call) -> None:
        other = asyncio.ensure_future(echo(call))
        await asyncio.sleep(0)
        try:
            await echo(call)
        except RuntimeError as error:
            errors.append(str(error))
        await other

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        call.hang_up()
        await until(lambda: not agent.calls and errors)
    assert "two tasks" in errors[0]


async def test_closing_the_agent_hangs_up_and_removes_its_socket(tmp_path):
    """Gateways are told; handlers are cancelled; nothing is left."""
    async with Agent(echo) as agent:
        gateway = GatewayDouble.to(await agent.listen(f"unix:{tmp_path}/s"))
        await gateway.__aenter__()
        call = await gateway.call()
    assert (await call.event(Hangup)).reason == "agent shuts down"
    await gateway.until(lambda: gateway.failure is not None, "the end")
    await gateway.__aexit__(None, None, None)
    assert not list(tmp_path.iterdir())
    assert not agent.calls
    assert not agent._handlers.tasks


async def test_serve_runs_until_cancelled(tmp_path, until):
    """The one-line form, as in the README."""
    task = asyncio.ensure_future(serve(echo, f"unix:{tmp_path}/s"))
    await until((tmp_path / "s").exists)
    async with GatewayDouble.to(f"unix:{tmp_path}/s") as gateway:
        call = await gateway.call()
        call.say(NOISE[:320])
        await call.hear(320)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("said", [None, "wrong"])
async def test_gateway_without_the_token_is_sent_away(said):
    """And told why; with the token it is served."""
    async with Agent(echo, token="s3cret") as agent:
        with pytest.raises(ConnectionError, match="token is wrong or missing"):
            await GatewayDouble.of(agent, token=said).__aenter__()
        async with GatewayDouble.of(agent, token="s3cret") as gateway:
            await gateway.call()


async def test_batch_agent_answers_all_calls_at_once():
    """on_audio gets rows of all calls, and may fail without ending them."""
    batches: list[AudioBatch] = []

    def invert(batch: AudioBatch) -> None:
        batches.append(batch)
        if len(batches) == 1:
            raise RuntimeError("first one fails")
        batch.play(-batch.pcm)

    async def handler(call: Call) -> None:
        await call.ended()

    async with Agent(handler, on_audio=invert) as agent, GatewayDouble.of(agent) as gateway:
        calls = [await gateway.call() for _ in range(3)]
        for _ in range(2):
            gateway.link.send_audio(
                np.array([c.channel for c in calls], np.uint32),
                np.zeros(3, np.int64),
                np.zeros(3, np.uint16),
                np.arange(960, dtype=np.int16).reshape(3, 320),
            )
            gateway.write()
            await asyncio.sleep(0.02)
        for i, double in enumerate(calls):
            assert (await double.hear(320) == -np.arange(i * 320, (i + 1) * 320)).all()
        assert [c.id for c in batches[1].calls] == [c.info.call_id for c in calls]
