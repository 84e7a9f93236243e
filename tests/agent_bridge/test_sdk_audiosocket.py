# SPDX-License-Identifier: MIT
"""The same handlers behind AudioSocket: a plain Asterisk, or our gateway in that dialect."""

from __future__ import annotations

import asyncio
import time
import uuid

import numpy as np

from trunkline.agent_bridge import Agent, Call, Cleared, Dtmf
from trunkline.agent_bridge.agent_audiosocket import (
    CHANNEL,
    FRAME_MS,
    LEAD_NS,
    AudioSocketConnection,
    PacedQueue,
)
from trunkline.agent_bridge.agent_events import AudioArrived, CallOffered, CallStopped, ConnectionFailed
from trunkline.agent_bridge.audiosocket import frame
from trunkline.agent_bridge.link_events import Hangup
from trunkline.agent_bridge.testing import GatewayDouble

MS = 1_000_000
CALL_ID = uuid.UUID("4f8f6c0e-54c5-4a0c-9f4f-6f1f0f3c5b7e")
NOISE = np.random.default_rng(7).integers(-32768, 32767, 4000, np.int16)


async def echo(call: Call) -> None:
    """Repeat what is heard."""
    async for heard in call:
        call.play(heard.pcm)


async def test_echo_behind_audiosocket_returns_every_sample(tmp_path):
    """Our gateway's link, in this dialect, against the SDK."""
    async with Agent(echo, dialect="audiosocket") as agent:
        where = await agent.listen("tcp:0")
        async with GatewayDouble.to(where, dialect="audiosocket", sample_rate_hz=8000) as gateway:
            call = await gateway.call(sample_rate_hz=8000)
            call.say(NOISE)
            assert (await call.hear(len(NOISE)) == NOISE).all()


async def test_raw_asterisk_client_is_paced_and_hung_up():
    """Bytes as Asterisk's: UUID, frames, a key; a burst comes back at the speed of speech, then 0x00."""
    seen: list = []

    async def handler(call: Call) -> None:
        seen.extend([call.id, call.sample_rate])
        call.on_event(seen.append)
        call.play(np.ones(8000 // 5, np.int16))  # 200 ms
        seen.append((await call.mark("end")).outcome)

    async with Agent(handler, dialect="audiosocket") as agent:
        where = await agent.listen("tcp:0")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(where.rsplit(":", 1)[1]))
        began = time.monotonic()
        writer.write(frame(0x01, CALL_ID.bytes) + frame(0x10, bytes(320)) + frame(0x03, b"5"))
        data = await reader.read()
        took = time.monotonic() - began
        writer.close()
    assert data == frame(0x10, np.ones(160, np.int16).tobytes()) * 10 + frame(0x00)
    assert took > 0.19
    assert sorted(map(str, seen)) == sorted(map(str, [str(CALL_ID), 8000, Dtmf("5", 0, ""), "played"]))


async def test_closed_socket_is_the_callers_hangup(until):
    """Asterisk hangs up by closing: the iteration ends."""
    reasons: list[str] = []

    async def handler(call: Call) -> None:
        await echo(call)
        reasons.append(call.stopped.reason)

    async with (
        Agent(handler, dialect="audiosocket") as agent,
        GatewayDouble.of(agent, dialect="audiosocket", sample_rate_hz=16000) as gateway,
    ):
        call = await gateway.call()
        call.say(NOISE)
        await call.hear(320)
        gateway.lose()
        await until(lambda: reasons)
    assert reasons == ["hangup"]


async def test_clear_and_hangup_work_on_the_local_queue():
    """What has not left is thrown away, and counted."""
    answers: list[Cleared] = []

    async def handler(call: Call) -> None:
        call.play(np.zeros(80_000, np.int16))
        mark = call.mark("far away")
        await asyncio.sleep(0.1)
        answers.append(await call.clear())
        assert (await mark).outcome == "cleared"
        call.hangup()

    async with (
        Agent(handler, dialect="audiosocket") as agent,
        GatewayDouble.of(agent, dialect="audiosocket", sample_rate_hz=8000) as gateway,
    ):
        call = await gateway.call(sample_rate_hz=8000)
        call.say(NOISE[:160])
        await call.event(Hangup)
    (cleared,) = answers
    assert cleared.marks == ("far away",)
    assert 80 <= cleared.played_ms <= 400
    assert cleared.played_ms + cleared.discarded_ms == 10_000


def connection_with_uuid() -> AudioSocketConnection:
    """A server's end whose client has said its UUID."""
    made = AudioSocketConnection()
    made.connected(0)
    assert made.receive(frame(0x01, CALL_ID.bytes), 0) == []
    return made


def test_rate_is_learnt_from_the_first_audio_frame():
    """The call is offered with it; positions count its samples."""
    events = connection_with_uuid().receive(frame(0x13, bytes(960)) * 2, 0)
    offered, first, second = events
    assert isinstance(offered, CallOffered)
    assert (offered.info.call_id, offered.info.sample_rate_hz, offered.info.frame_ms) == (
        str(CALL_ID),
        24000,
        20,
    )
    assert isinstance(first, AudioArrived)
    assert (first.positions.tolist(), second.positions.tolist()) == ([0], [480])


def test_silent_client_is_offered_at_8_khz_after_half_a_second():
    """Rather late than never: it may wait for the agent to speak first."""
    connection = connection_with_uuid()
    assert connection.next_deadline_ns == 500 * MS
    (offered,) = connection.handle_timeout(500 * MS)
    assert offered.info.sample_rate_hz == 8000


def test_client_that_changes_its_rate_is_hung_up():
    """Its audio would be too slow or too fast."""
    connection = connection_with_uuid()
    connection.receive(frame(0x10, bytes(320)), 0)
    stopped, failed = connection.receive(frame(0x12, bytes(640)), 0)
    assert stopped == CallStopped(CHANNEL, "protocol_error", {})
    assert failed == ConnectionFailed("protocol", "the audio changed from 8000 to 16000 Hz")
    assert b"".join(connection.data_to_send()) == frame(0x00)


def test_client_without_uuid_is_not_audiosocket():
    """Anything else first, or nothing for two seconds."""
    connection = AudioSocketConnection()
    connection.connected(0)
    (failed,) = connection.receive(b"GET / HTTP/1.1\r\n" * 2000, 0)
    assert failed.reason == "protocol"
    silent = AudioSocketConnection()
    silent.connected(0)
    assert silent.handle_timeout(2000 * MS - 1) == []
    assert silent.handle_timeout(2000 * MS)[0].reason == "timeout"


def test_paced_queue_sends_two_frames_ahead_and_no_more():
    """Ten seconds of speech leave in ten seconds, without drift, marks at their time."""
    queue = PacedQueue(8000)
    queue.push(np.zeros(8000, np.int16))
    queue.push("half way")
    queue.push(np.zeros(8000, np.int16))
    queue.push("end")
    sent, marks, now_ns = 0, {}, 0
    while queue.deadline_ns is not None:
        now_ns = max(now_ns, queue.deadline_ns) + 3 * MS  # a timer that is always late
        frames, reached = queue.take_due(now_ns)
        sent += sum(map(len, frames))
        marks |= dict.fromkeys(reached, now_ns // MS)
        assert sent / 8 - now_ns / MS < LEAD_NS / MS + FRAME_MS
    assert sent == 16000
    assert abs(marks["half way"] - 1000) < 10
    assert abs(marks["end"] - 2000) < 10
