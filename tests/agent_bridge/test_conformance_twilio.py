# SPDX-License-Identifier: MIT
"""The conformance check over WebSocket: a Twilio agent is looked at as far as its dialect has words."""

from __future__ import annotations

import asyncio
import json

from websockets.asyncio.server import ServerConnection, serve

from trunkline.agent_bridge.conformance import LEFT_OUT, PASSED, check


async def echo(connection: ServerConnection) -> None:
    """Repeats what it hears; it writes in another task than the one that reads."""
    stream, said = "", asyncio.Queue()

    async def write() -> None:
        while True:
            payload = await said.get()
            await connection.send(json.dumps({"event": "media", "streamSid": stream, "media": {"payload": payload}}))

    writing = asyncio.ensure_future(write())
    async for message in connection:
        event = json.loads(message)
        if event["event"] == "start":
            stream = event["start"]["streamSid"]
        elif event["event"] == "media":
            said.put_nowait(event["media"]["payload"])
        elif event["event"] == "stop":
            break
    writing.cancel()


async def test_a_twilio_agent_is_checked_over_a_websocket():
    """Calls, speed, news, many at once, the end, a gateway that does not read, a broken connection."""
    async with serve(echo, "127.0.0.1", 0) as server:
        where = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/calls"
        names = ["connects", "takes calls", "20x", "100x", "news", "many calls", "stop", "slow gateway", "leftovers"]
        reports = await asyncio.gather(*(check(where, dialect="twilio", only=[name]) for name in [*names, "ping"]))
    found = {report.verdicts[0].case: report.verdicts[0] for report in reports}
    assert found.pop("ping").outcome == LEFT_OUT
    assert [verdict for verdict in found.values() if verdict.outcome != PASSED] == []
