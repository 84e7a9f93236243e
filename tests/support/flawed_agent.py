# SPDX-License-Identifier: GPL-2.0-or-later
"""An agent in our dialect that does one thing wrong: what the conformance check must find."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

FLAWS = {
    "one connection": "connects",
    "slow to accept": "takes calls",
    "speaks too early": "takes calls",
    "chooses 99": "version",
    "any version": "version",
    "any token": "token",
    "needs a caller": "bare start",
    "a message per read": "cut up",
    "short messages only": "long messages",
    "knows everything": "unknown",
    "never pongs": "ping",
    "slower than time": "real time",
    "no faster than time": "20x",
    "stops at news": "news",
    "one channel": "many calls",
    "speaks for ever": "stop",
    "writes between reads": "slow gateway",
    "never pauses": "flow",
    "overlooks mistakes": "malformed",
    "waits for hello": "silent gateway",
    "never asks": "keep-alive",
    "stays busy": "leftovers",
    "a call only once": "resumed",
    "first attempts only": "hand-over",
}
"What is wrong, and the case that finds it."


class FlawedAgent:
    """An echo over TCP. It writes from the transport's buffer and so keeps reading."""

    def __init__(self, flaw: str = "", token: str | None = None) -> None:
        assert flaw in FLAWS or not flaw
        self._flaw, self._token = flaw, token
        self._server: asyncio.Server | None = None
        self._busy = 0
        self._seen: set[str] = set()

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"tcp:127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._flaw == "one connection" and self._server is not None:
            self._server.close()
        connection = Connection(self, self._flaw, self._token, writer)
        try:
            async for kind, payload in connection.messages(reader):
                await connection.take(kind, payload)
        except Exception as error:  # noqa: BLE001 - whatever it is, the connection ends with it
            with contextlib.suppress(OSError):
                connection.say("error", code=connection.code, text=repr(error))
        writer.close()


class Refused(Exception):
    """The end of a connection."""


class Connection:
    """One gateway."""

    def __init__(self, agent: FlawedAgent, flaw: str, token: str | None, writer: asyncio.StreamWriter) -> None:
        self._agent, self.flaw, self._token, self._writer = agent, flaw, token, writer
        self._greeted = False
        self._calls: set[int] = set()
        self._paused: set[int] = set()
        self.code = "protocol"

    def say(self, type: str, **content: Any) -> None:  # noqa: A002
        payload = json.dumps({"type": type, **content}).encode()
        self._writer.write(struct.pack("<IBBH", len(payload), 1, 0, 0) + payload)

    async def messages(self, reader: asyncio.StreamReader) -> AsyncIterator[tuple[int, bytes]]:
        while True:
            if self.flaw == "a message per read":
                data = await reader.read(65536)
                if not data:
                    return
                yield data[4], data[8 : 8 + struct.unpack_from("<I", data)[0]]
                continue
            header = await self._exactly(reader, 8)
            size, kind, zero, zero2 = struct.unpack("<IBBH", header)
            if self.flaw != "overlooks mistakes" and (kind not in (1, 2) or zero or zero2 or size > 4 << 20):
                raise Refused("header")
            if self.flaw == "short messages only" and size > 65536:
                raise Refused("too long")
            yield kind, await self._exactly(reader, size)

    async def _exactly(self, reader: asyncio.StreamReader, size: int) -> bytes:
        limit_s = None if self.flaw == "waits for hello" and not self._greeted else 2 if not self._greeted else 5
        try:
            async with asyncio.timeout(limit_s):
                return await reader.readexactly(size)
        except TimeoutError:
            if not self._greeted:
                raise
            if self.flaw != "never asks":
                self.say("ping")
            return await reader.readexactly(size)

    async def take(self, kind: int, payload: bytes) -> None:
        if kind == 2:
            await self._audio(payload)
            return
        try:
            message = json.loads(payload)
            assert isinstance(message, dict)
            handler = getattr(self, f"_on_{message['type'].replace(' ', '_')}", None)
            if handler is not None:
                await handler(message)
            elif self.flaw == "knows everything" and message["type"].startswith("later"):
                raise Refused(message["type"])  # noqa: TRY301 - as an exception of the agent's would be
        except Exception:
            if self.flaw != "overlooks mistakes":
                raise

    async def _audio(self, payload: bytes) -> None:
        samples, _, count = struct.unpack_from("<HHI", payload) if len(payload) >= 8 else (1, 0, 1)
        whole = len(payload) == 8 + count * (16 + 2 * samples)
        if not whole and self.flaw != "overlooks mistakes":
            raise Refused("size")
        for i in range(count if whole else 0):
            record = payload[8 + i * (16 + 2 * samples) : 8 + (i + 1) * (16 + 2 * samples)]
            (channel,) = struct.unpack_from("<I", record)
            if channel in self._calls and channel not in self._paused:
                self._echo(samples, 0 if self.flaw == "one channel" else channel, record[16:])
        if self.flaw == "writes between reads":
            await self._writer.drain()
        if self.flaw in ("slower than time", "no faster than time"):
            await asyncio.sleep(0.1 if self.flaw == "slower than time" else 0.02)

    def _echo(self, samples: int, channel: int, pcm: bytes) -> None:
        payload = struct.pack("<HHIIHHQ", samples, 0, 1, channel, 0, 0, 0) + pcm
        self._writer.write(struct.pack("<IBBH", len(payload), 2, 0, 0) + payload)

    async def _on_hello(self, message: dict[str, Any]) -> None:
        assert not self._greeted
        if 1 not in message["versions"] and self.flaw != "any version":
            self.code = "version"
            raise Refused("version")
        if self._token is not None and message.get("token") != self._token and self.flaw != "any token":
            self.code = "token"
            raise Refused("token")
        self._greeted = True
        self.say("hello", version=99 if self.flaw == "chooses 99" and 99 in message["versions"] else 1)

    async def _on_start(self, message: dict[str, Any]) -> None:
        channel, call, agent = message["channel"], message["call"], self._agent
        call_id = call["call_id"]
        if self.flaw == "needs a caller":
            assert call["caller"]
        if self.flaw == "stays busy":
            agent._busy += 1
            if agent._busy > 10:
                return
        if self.flaw == "a call only once":
            assert call_id not in agent._seen
        if self.flaw == "first attempts only":
            assert message.get("attempt", 1) == 1
        agent._seen.add(call_id)
        if self.flaw == "slow to accept":
            await asyncio.sleep(1)
        if self.flaw == "speaks too early":
            self._echo(1, channel, bytes(2))
        self._calls.add(channel)
        self.say("accept", channel=channel)
        if self.flaw == "speaks for ever":
            self._task = asyncio.ensure_future(self._chatter(channel))

    async def _chatter(self, channel: int) -> None:
        while not self._writer.is_closing():
            self._echo(1, channel, bytes(2))
            await asyncio.sleep(0.02)

    async def _on_stop(self, message: dict[str, Any]) -> None:
        self._calls.discard(message["channel"])
        if self.flaw == "stays busy":
            self._agent._busy -= 1

    async def _on_flow(self, message: dict[str, Any]) -> None:
        if message["state"] == "pause" and self.flaw != "never pauses":
            self._paused.add(message["channel"])
        else:
            self._paused.discard(message["channel"])

    async def _on_ping(self, _: dict[str, Any]) -> None:
        if self.flaw != "never pongs":
            self.say("pong")

    async def _on_underrun(self, message: dict[str, Any]) -> None:
        if self.flaw == "stops at news":
            raise Refused(message["type"])
