# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline replay` to agents of every dialect: what it plays, and what it does not."""

from __future__ import annotations

import asyncio
import json
import pathlib
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from support.audio import speechlike
from support.platform_agents import PlatformAgents
from support.twilio_server import TwilioServer
from trunkline.agent_bridge.dialect import StartInfo
from trunkline.agent_bridge.link_events import Accepted
from trunkline.gateway.cli.app import build_app
from trunkline.gateway.recording import pcapng, shadow

WEBSOCKETS = ("teler", "telnyx", "vonage", "plivo", "jambonz", "asterisk-websocket")


@pytest.fixture
def recording(tmp_path: pathlib.Path) -> pathlib.Path:
    """A caller who speaks for a second; the agent said nothing."""
    info = StartInfo("00000000-0000-4000-8000-000000000001", "inbound", "100", "600", "pbx", "all", {}, {}, 8000, 20)
    accepted = shadow.spoken(Accepted(shadow.CHANNEL))
    assert accepted is not None
    out = pcapng.section()
    for message in shadow.GatewaySide(info).take():
        out += pcapng.packet(pcapng.BRIDGE, 1, pcapng.OUTBOUND, message)
    out += pcapng.packet(pcapng.BRIDGE, 2, pcapng.INBOUND, accepted)
    for number, frame in enumerate(speechlike(1.0).reshape(-1, 160)):
        at_ns = 2 + number * 20_000_000
        out += pcapng.packet(pcapng.BRIDGE, at_ns, pcapng.OUTBOUND, shadow.audio(160 * number, 0, frame))
    file = tmp_path / "call.pcapng"
    file.write_bytes(out)
    return file


@pytest.fixture(scope="module")
def platforms() -> Iterator[PlatformAgents]:
    with PlatformAgents() as agents:
        yield agents


def replay(*arguments: object, **env: str) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(build_app(["replay"]), ["replay", *words, "--speed", "4", "--json"], env=env)


@pytest.mark.parametrize("dialect", WEBSOCKETS)
def test_agents_of_other_platforms_hear_the_call(
    platforms: PlatformAgents, recording: pathlib.Path, dialect: str
) -> None:
    """On their WebSocket, in their words."""
    before = len(platforms.calls)
    done = replay(recording, "--agent", platforms.url(dialect), "--dialect", dialect)
    assert done.exit_code in (0, 3), done.output
    assert json.loads(done.stdout)["now"][0]["type"] == "accept"
    call = platforms.wait_call(before + 1)
    assert np.abs(np.frombuffer(bytes(call.heard), "<i2").astype(int)).max() > 1000


def test_an_agent_for_twilio_gets_its_credentials(recording: pathlib.Path) -> None:
    """The token signs; user and password go as they are."""
    with TwilioServer(echo=False) as server:
        done = replay(
            recording, "--agent", server.url, "--dialect", "twilio", "--username", "u",
            TRUNKLINE_AGENT_TOKEN="t0", TRUNKLINE_AGENT_PASSWORD="p",
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        headers = server.stream().headers
        assert headers["X-Twilio-Signature"] and headers["Authorization"].startswith("Basic ")


def test_an_audiosocket_server_hears_the_call(recording: pathlib.Path) -> None:
    """On a plain socket."""
    heard, loop = bytearray(), asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            heard.extend(data)
        writer.close()

    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(serve, "127.0.0.1", 0), loop).result(5)
    port = server.sockets[0].getsockname()[1]
    done = replay(recording, "--agent", f"tcp:127.0.0.1:{port}", "--dialect", "audiosocket")
    loop.call_soon_threadsafe(loop.stop)
    assert done.exit_code == 0, done.output
    assert len(heard) > 16_000


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--agent", "unix:/a", "--dialect", "twilio"), 2, "write ws://host:port/path"),
        (("--agent", "ws://", "--dialect", "twilio"), 2, "write ws://host:port/path"),
        (("--agent", "ws://a/b", "--dialect", "audiosocket"), 2, "unix:/path or tcp:"),
        (("--agent", "ws://a/b", "--dialect", "smoke"), 2, "smoke is none of"),
        (("--agent", "ws://a/b", "--dialect", "telnyx", "--option", "encoding"), 2, "NAME=VALUE"),
        (("--agent", "ws://a/b", "--dialect", "telnyx", "--option", "encoding=MP3"), 1, "it is one of PCMU"),
        (("--agent", "nowhere"), 1, "not an agent's address"),
    ],
)
def test_what_does_not_fit_is_a_sentence(
    recording: pathlib.Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    """And no traceback."""
    done = replay(recording, *arguments)
    text = " ".join(f"{done.output} {done.exception or ''}".replace("│", " ").split())
    assert says in text, text
    assert done.exit_code == code
