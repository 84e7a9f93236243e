# SPDX-License-Identifier: MIT
"""What an agent's author relies on: hearing, speaking, marks, clear, keys, hang-up."""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np
import pytest

from trunkline.agent_bridge import Agent, Call, CallEnded, Cleared, Dtmf, Hold, Network, Quality, Refused
from trunkline.agent_bridge.dialect import FLAG_CONCEALED, FLAG_GAP, FLAG_SPEECH
from trunkline.agent_bridge.link_events import Clear, Hangup, Mark
from trunkline.agent_bridge.link_events import Dtmf as KeysToSend
from trunkline.agent_bridge.testing import CallRejected, GatewayDouble

NOISE = np.random.default_rng(7).integers(-32768, 32767, 32000, np.int16)


async def echo(call: Call) -> None:
    """Repeat what is heard."""
    async for frame in call:
        call.play(frame.pcm)


@pytest.mark.parametrize("address", ["unix", "tcp:0"])
async def test_echo_over_a_real_socket_returns_every_sample(tmp_path, address):
    """Two seconds of noise come back bit by bit."""
    async with Agent(echo, name="parrot") as agent:
        where = await agent.listen(f"unix:{tmp_path}/s" if address == "unix" else address)
        async with GatewayDouble.to(where) as gateway:
            call = await gateway.call()
            call.say(NOISE)
            assert (await call.hear(len(NOISE)) == NOISE).all()
            assert gateway.agent_name == "parrot"
        assert where.startswith("unix:" if address == "unix" else "tcp:127.0.0.1:")
    assert not (tmp_path / "s").exists()


async def test_call_knows_who_calls(tmp_path, until):
    """Metadata, frame position, flags and the end of the iteration, as the gateway says them."""
    seen: list = []

    async def handler(call: Call) -> None:
        seen.extend([call.id, call.caller, call.called, call.headers, call.metadata, call.sample_rate])
        seen.extend(
            [(f.position, f.speech, f.concealed, f.gap, f.comfort_noise, len(f.pcm)) async for f in call]
        )
        seen.append(call.stopped.reason)

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(
            caller="+49", called="600", call_id="id-1", sample_rate_hz=8000, position=800,
            headers={"X-A": "b"}, metadata={"k": "v"},
        )  # fmt: skip
        call.say(NOISE[:160], FLAG_SPEECH)
        call.say(NOISE[:160], FLAG_CONCEALED | FLAG_GAP)
        call.hang_up("caller_hangup")
        await until(lambda: len(seen) >= 9)
    assert seen == [
        "id-1", "+49", "600", {"X-A": "b"}, {"k": "v"}, 8000,
        (800, True, False, False, False, 160),
        (960, False, True, True, False, 160),
        "caller_hangup",
    ]  # fmt: skip


async def test_listen_only_agent_hears_everything(until):
    """Frames keep coming to an agent that never says a word."""
    heard: list[np.ndarray] = []

    async def handler(call: Call) -> None:
        async for frame in call:
            heard.append(frame.pcm)  # noqa: PERF401 - looked at while the call is up

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        for _ in range(10):
            call.say(NOISE)
            await asyncio.sleep(0)
        await until(lambda: len(heard) >= 1000)
    assert (np.concatenate(heard) == np.tile(NOISE, 10)).all()


async def test_agent_hears_while_the_gateway_does_not_read(until):
    """Reading never depends on writing: a stuck way back costs no frame on the way in."""
    heard = 0

    async def handler(call: Call) -> None:
        nonlocal heard
        async for _ in call:
            heard += 1
            call.play(np.zeros(32000, np.int16))  # a hundred times what comes in

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        gateway._tasks[0].cancel()  # the double reads no more
        for _ in range(10):
            call.say(NOISE[:3200])
            await asyncio.sleep(0.01)
        await until(lambda: heard >= 100)
        gateway.lose()
    assert heard == 100


async def test_marks_report_what_was_really_played(until):
    """A mark resolves when its last sample is out, and not before."""
    reports: list = []

    async def handler(call: Call) -> None:
        call.play(np.zeros(16000, np.int16))
        first = call.mark("one second")
        call.play(np.zeros(8000, np.int16).tobytes())
        second = call.mark()
        reports.append(await first)
        reports.append(await second)

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(playback="manual")
        await call.event(Mark, 2)
        call.play_out(999)
        await asyncio.sleep(0.05)
        assert reports == []
        call.play_out(1)
        call.play_out(500)
        await until(lambda: len(reports) >= 2)
    assert [(r.name, r.outcome, r.position) for r in reports] == [
        ("one second", "played", 16000),
        ("mark-1", "played", 24000),
    ]


async def test_clear_answers_what_was_heard_and_settles_the_marks_it_cut(until):
    """Played and discarded milliseconds; the mark behind the cut says cleared."""
    done: list = []

    async def handler(call: Call) -> None:
        call.play(np.zeros(16000, np.int16))
        middle = call.mark("middle")
        call.play(np.zeros(64000, np.int16))
        end = call.mark("end")
        await middle
        done.append(await call.clear())
        done.append((await end).outcome)
        await call.ended()

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(playback="manual")
        await call.event(Mark, 2)
        call.play_out(1840)
        await call.event(Clear)
        await until(lambda: len(done) >= 2)
    assert done == [Cleared(1840, 3160, ("end",)), "cleared"]


async def test_keys_hold_and_network_come_as_events_in_order(until):
    """None is lost before the handler looks for the first time."""
    seen: list = []

    async def handler(call: Call) -> None:
        await asyncio.sleep(0.05)
        async for event in call.events():
            seen.append(event)  # noqa: PERF401 - looked at while the call is up

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        call.press("1*")
        call.hold(True)
        call.network(True, 1840)
        call.network(False, 2500)
        call.hang_up()
        await until(lambda: len(seen) >= 5)
    keys = [Dtmf("1", 100, "rfc4733"), Dtmf("*", 100, "rfc4733")]
    assert seen == [*keys, Hold(True), Network(True, 1840), Network(False, 2500)]


async def test_quality_is_told_and_never_pushes_keys_out(until):
    """A handler that looks for the first time after hours has every key, and the newest quality alone."""
    seen: list = []
    listened: list = []
    look = asyncio.Event()

    async def handler(call: Call) -> None:
        call.on_event(listened.append)
        await look.wait()
        async for event in call.events():
            seen.append(event)  # noqa: PERF401 - looked at while the call is up

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        call.press("1")
        for score in range(1000):
            call.quality(mos=4 - score / 1000, recent_mos=3.25, rtt_ms=float("nan"))
        call.press("2")
        await until(lambda: len(listened) >= 1002)
        look.set()
        call.hang_up()
        await until(lambda: len(seen) >= 3)
    assert seen == [
        Dtmf("1", 100, "rfc4733"),
        Quality({"mos": 3.001, "recent_mos": 3.25}),
        Dtmf("2", 100, "rfc4733"),
    ]
    assert (seen[1].mos, seen[1].recent_mos, seen[1].peer_mos) == (3.001, 3.25, None)


async def test_the_newest_quality_is_at_hand(until):
    """For an agent that would rather look than be told."""
    calls: list[Call] = []

    async def handler(call: Call) -> None:
        calls.append(call)
        await call.ended()

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        await until(lambda: calls)
        assert calls[0].quality is None
        call.quality(peer_mos=2.5)
        await until(lambda: calls[0].quality is not None)
        assert calls[0].quality == Quality({"peer_mos": 2.5})
        call.hang_up()


async def test_listener_is_called_at_once_and_may_fail(until):
    """A broken listener costs neither the connection nor the other listeners."""
    seen: list = []

    async def handler(call: Call) -> None:
        call.on_event(lambda event: 1 / 0)
        call.on_event(seen.append)
        await call.ended()

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        await asyncio.sleep(0.02)
        call.press("7")
        await until(lambda: seen)
        assert gateway.failure is None


async def test_digits_and_hangup_reach_the_gateway():
    """With their values; wrong ones are refused where the mistake is."""
    mistakes: list = []

    async def handler(call: Call) -> None:
        for wrong in ("", "1-2", "x"):
            with contextlib.suppress(ValueError):
                call.send_dtmf(wrong)
                mistakes.append(wrong)
        call.send_dtmf("19a#", duration_ms=100)
        call.hangup("finished", 486)

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        hangup = await call.event(Hangup)
        assert (hangup.reason, hangup.code) == ("finished", 486)
        assert (call.said[0].digits, call.said[0].duration_ms) == ("19A#", 100)
    assert mistakes == []


async def test_play_takes_arrays_and_bytes_and_refuses_to_guess():
    """float, stereo and half samples are mistakes of the caller, told at once."""
    errors: list = []

    async def handler(call: Call) -> None:
        for wrong in (np.zeros(10), np.zeros((2, 10), np.int16), b"\0\0\0", [1, 2]):
            try:
                call.play(wrong)
            except (TypeError, ValueError) as error:
                errors.append(type(error))
        call.play(b"")
        call.play(memoryview(b"\x01\x00\xfe\xff"))

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        assert (await call.hear(2)).tolist() == [1, -2]
    assert errors == [TypeError, ValueError, ValueError, TypeError]


async def test_buffer_may_be_used_again_after_play():
    """play() has taken its copy."""

    async def handler(call: Call) -> None:
        buffer = np.ones(320, np.int16)
        call.play(buffer)
        buffer[:] = 2
        call.play(buffer)

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        assert (await call.hear(640)).tolist() == [1] * 320 + [2] * 320


async def test_long_speech_in_one_piece_keeps_its_order():
    """200,000 samples do not fit into one record."""
    speech = np.random.default_rng(3).integers(-32768, 32767, 200_000, np.int16)

    async def handler(call: Call) -> None:
        call.play(speech)
        await call.ended()

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        assert (await call.hear(len(speech)) == speech).all()


async def test_speech_of_one_iteration_leaves_as_one_message(monkeypatch):
    """A tick of 50 calls is heard and answered with one audio message each way."""
    from trunkline.agent_bridge.agent_protocol import AgentConnection

    sizes: list[int] = []
    original = AgentConnection.send_audio

    def counting(self, channels, pcm):
        sizes.append(len(channels))
        original(self, channels, pcm)

    monkeypatch.setattr(AgentConnection, "send_audio", counting)
    async with Agent(echo) as agent, GatewayDouble.of(agent) as gateway:
        calls = [await gateway.call() for _ in range(50)]
        gateway.link.send_audio(
            np.array([c.channel for c in calls], np.uint32),
            np.zeros(50, np.int64),
            np.zeros(50, np.uint16),
            np.tile(NOISE[:320], (50, 1)),
        )
        gateway.write()
        for call in calls:
            assert (await call.hear(320) == NOISE[:320]).all()
    assert sizes == [50]


async def test_drain_waits_while_the_gateway_has_enough():
    """pause stops the speaker after at most one more chunk, resume lets it go on."""
    chunks = 0

    async def handler(call: Call) -> None:
        nonlocal chunks
        await call.drain()
        while not call.stopped:
            call.play(np.zeros(320, np.int16))
            chunks += 1
            await call.drain()
            await asyncio.sleep(0.001)

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        await call.hear(3200)
        call.flow(False)
        await asyncio.sleep(0.05)
        paused_at = chunks
        await asyncio.sleep(0.05)
        assert chunks == paused_at
        call.flow(True)
        await call.hear((paused_at + 5) * 320)
        call.flow(False)
        await asyncio.sleep(0.05)
        call.hang_up()
        await asyncio.sleep(0.05)
        assert not agent.calls


async def test_offer_hook_rejects_with_a_sip_code():
    """Before the call is taken; a hook that fails is 500, a slow one is awaited."""

    async def choose(call: Call) -> None:
        await asyncio.sleep(0.01)
        if call.caller == "spam":
            call.reject(603, "Decline")
        assert call.caller != "bug"

    async with Agent(echo, on_offer=choose) as agent, GatewayDouble.of(agent) as gateway:
        with pytest.raises(CallRejected, match="603 Decline"):
            await gateway.call(caller="spam")
        with pytest.raises(CallRejected, match="500 agent error"):
            await gateway.call(caller="bug")
        call = await gateway.call(caller="friend")
        call.say(NOISE[:320])
        await call.hear(320)
        assert len(agent.calls) == 1


async def test_answers_come_when_the_call_ends_first(until):
    """A waiting mark says ended, a waiting clear raises CallEnded, later commands go nowhere."""
    seen: list = []

    async def handler(call: Call) -> None:
        call.play(np.zeros(16000, np.int16))
        mark = call.mark("never")
        seen.append((await mark).outcome)
        try:
            await call.clear()
        except CallEnded as ended:
            seen.append(str(ended))
        call.play(np.zeros(10, np.int16))
        call.hangup()
        seen.append((await call.mark()).outcome)
        await call.drain()

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(playback="manual")
        await call.event(Mark)
        call.hang_up("bye")
        await until(lambda: len(seen) >= 3)
    assert seen == ["ended", "bye", "ended"]


async def test_refused_command_is_told(until):
    """An error about the call becomes an event."""
    seen: list = []

    async def handler(call: Call) -> None:
        call._port.say(KeysToSend(1, "1-2", 100, 50))  # past the SDK's own check
        async for event in call.events():
            seen.append(event)  # noqa: PERF401 - looked at while the call is up

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        await gateway.call()
        await until(lambda: seen)
    assert isinstance(seen[0], Refused)
    assert seen[0].code == "bad_digits"
