# SPDX-License-Identifier: GPL-2.0-or-later
"""Agents in Asterisk's AudioSocket dialect: a server that knows nothing of us works unchanged."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import threading
import uuid
from collections.abc import Iterator

import pytest

from support.audio import encode_g711, speechlike
from support.gateway import GatewayProcess
from support.phone import Phone
from support.waiting import wait_for

UUID, DTMF, AUDIO_8K, AUDIO_16K = 0x01, 0x03, 0x10, 0x12


class PlainServer:
    """An AudioSocket echo, as people write them for Asterisk: frames of type, 16-bit length, payload."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.closed = 0
        self.hang_up_after = 0
        "frames of audio after which it closes the connection; 0 never"
        self.address: tuple[str, int] = ("", 0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._call, "127.0.0.1", 0)
        self.address = server.sockets[0].getsockname()

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = 0
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            writer.write(bytes([AUDIO_8K]) + (1920).to_bytes(2, "big") + bytes(1920))  # 120 ms in hand
            while True:
                kind, high, low = await reader.readexactly(3)
                payload = await reader.readexactly(high << 8 | low)
                self.frames.append((kind, payload))
                if kind in (AUDIO_8K, AUDIO_16K):
                    writer.write(bytes([kind, high, low]) + payload)
                    heard += 1
                    if heard == self.hang_up_after:
                        break
        self.closed += 1
        writer.close()

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(5)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)


@pytest.fixture
def server() -> Iterator[PlainServer]:
    """A running server."""
    one = PlainServer()
    one.start()
    yield one
    one.stop()


@contextlib.contextmanager
def gateway_for(server: PlainServer, folder: pathlib.Path) -> Iterator[GatewayProcess]:
    """A gateway whose only agent it is."""
    agent = {
        "name": "bot",
        "address": f"tcp:{server.address[0]}:{server.address[1]}",
        "dialect": "audiosocket",
    }
    with GatewayProcess(folder, agent=[agent], route=[{"name": "all", "agent": "bot"}]) as gateway:
        yield gateway
        gateway.assert_idle()


def test_echo_digits_and_the_end_of_the_call(server: PlainServer, tmp_path: pathlib.Path) -> None:
    said = encode_g711(speechlike(1.2), 0)
    with gateway_for(server, tmp_path) as gateway:
        with Phone(gateway, "uac_offer", said=said, digits="42", hold_ms=2500) as phone:
            line = phone.wait_end()
            assert b"".join(one.payload for one in phone.rtp.audio).find(said) >= 0, (
                "8 kHz: not a sample is changed"
            )
        wait_for(lambda: server.closed == 1, "the connection is closed with the call")
    assert server.frames[0] == (UUID, uuid.UUID(phone.call_id).bytes), "the UUID first, and it is our call id"
    assert [payload for kind, payload in server.frames if kind == DTMF] == [b"4", b"2"]
    assert {len(payload) for kind, payload in server.frames if kind == AUDIO_8K} == {320}
    assert line["cause"] == "caller_hangup" and line["agent"] == "bot"


def test_a_server_that_closes_hangs_up(server: PlainServer, tmp_path: pathlib.Path) -> None:
    server.hang_up_after = 25
    with gateway_for(server, tmp_path) as gateway, Phone(gateway, "uac_hangup") as phone:
        line = phone.wait_end()
        assert phone.sipp.received("BYE")
    assert line["cause"] in ("agent_hangup", "agent_lost")
