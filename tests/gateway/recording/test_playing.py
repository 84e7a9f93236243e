# SPDX-License-Identifier: GPL-2.0-or-later
"""A recorded call is played to agents of other dialects over their own wire."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from support.audio import compare, speechlike
from support.twilio_server import TwilioServer
from trunkline.agent_bridge import wire
from trunkline.agent_bridge.dialect import LinkSettings, StartInfo
from trunkline.agent_bridge.links import create_link
from trunkline.gateway.recording import contents, pcapng, shadow
from trunkline.gateway.recording.playing import AgentFailed, Player, as_recorded

SAID = speechlike(1.0)


def recorded() -> contents.Contents:
    """A caller who speaks for a second and presses 7; the agent repeated him after 200 ms."""
    side = shadow.GatewaySide(
        StartInfo("00000000-0000-4000-8000-000000000001", "inbound", "100", "600", "pbx", "all", {}, {}, 8000, 20)
    )
    packets = [pcapng.Packet(pcapng.BRIDGE, 0, False, message) for message in side.take()]
    packets.append(pcapng.Packet(pcapng.BRIDGE, 1, True, wire.control_message("accept", channel=1)))
    for number, frame in enumerate(SAID.reshape(-1, 160)):
        at_ns = number * 20_000_000
        message = shadow.audio(160 * number, 0, frame)
        packets.append(pcapng.Packet(pcapng.BRIDGE, at_ns, False, message))
        packets.append(pcapng.Packet(pcapng.BRIDGE, at_ns + 200_000_000, True, message))
    side.say("send_dtmf", "7", 100, "rfc4733")
    packets += [pcapng.Packet(pcapng.BRIDGE, 10**9, False, message) for message in side.take()]
    return contents.parse(packets)


def test_an_agent_for_twilio_gets_a_call_that_another_had() -> None:
    call = recorded()
    with TwilioServer() as server:
        settings = LinkSettings(url=server.url, sample_rate_hz=8000, frame_ms=20)
        played = asyncio.run(Player(call, create_link("twilio", settings), 2.0).run(server.url))
        stream = server.stream()
        stream.wait("stop")
        assert [one["dtmf"]["digit"] for one in stream.of("dtmf")] == ["7"]
        assert len(stream.of("media")) == 50
    (turn,) = played.speaker.turns()
    assert compare(SAID[400:-400], turn.pcm).correlation > 0.85, "an echo without a head start, with a hole or two"
    (before,) = as_recorded(call).speaker.turns()
    assert before.start_ms > turn.start_ms > 0
    assert [word.kind for word in played.said] == ["accept"]


def test_an_agent_that_breaks_off_is_told() -> None:
    call = recorded()
    frames = [item for item in call.told if isinstance(item, contents.Sound)]
    assert (np.concatenate([one.pcm for one in frames]) == SAID).all()

    async def play() -> None:
        async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.close()

        server = await asyncio.start_server(close, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            await Player(call, create_link("trunkline", LinkSettings()), 1.0).run(f"tcp:127.0.0.1:{port}")

    with pytest.raises(AgentFailed, match="closed the connection"):
        asyncio.run(play())
