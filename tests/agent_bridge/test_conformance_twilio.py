# SPDX-License-Identifier: MIT
"""The conformance check over WebSocket: a Twilio agent is looked at as far as its dialect has words."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from websockets.asyncio.server import ServerConnection, serve

from trunkline.agent_bridge import conformance, conformance_probe
from trunkline.agent_bridge.conformance import ADVICE, LEFT_OUT, PASSED, WRONG, check


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


def saying(make):
    """An agent that answers each `media` with what `make` makes of its stream and payload."""

    async def run(connection: ServerConnection) -> None:
        stream = ""
        async for message in connection:
            event = json.loads(message)
            if event["event"] == "start":
                stream = event["start"]["streamSid"]
            elif event["event"] == "media" and (said := make(stream, event["media"]["payload"])) is not None:
                await connection.send(json.dumps(said))

    return run


def media(stream: str, payload: str) -> dict:
    return {"event": "media", "streamSid": stream, "media": {"payload": payload}}


WAV = base64.b64encode(b"RIFF\x00\x00\x00\x00WAVEfmt " + bytes(160)).decode()


@pytest.mark.parametrize(
    ("agent", "case", "outcome", "says"),
    [
        (saying(lambda stream, payload: media("MZwrong", payload)), "takes calls", WRONG, "name another stream"),
        (saying(lambda stream, payload: media(stream, WAV)), "takes calls", WRONG, "begin with RIFF"),
        (saying(lambda stream, payload: {"event": "say", "streamSid": stream}), "takes calls", ADVICE, "of a kind"),
        (saying(media), "takes calls", PASSED, ""),
    ],
    ids=["stream", "wav", "unknown", "good"],
)
async def test_an_agent_that_no_caller_would_hear_is_told_so(agent, case, outcome, says):
    """It takes its calls; what it says is thrown away, or a click."""
    async with serve(agent, "127.0.0.1", 0) as server:
        where = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        (verdict,) = (await check(where, dialect="twilio", only=[case])).verdicts
    assert verdict.outcome == outcome and says in verdict.problem


async def test_an_agent_that_never_reads_is_told_so(monkeypatch):
    """Its server does, until its queue is full; then no ping is answered."""
    monkeypatch.setattr(conformance_probe, "_PONG_S", 0.5)

    async def deaf(connection: ServerConnection) -> None:
        await connection.recv()
        await asyncio.sleep(60)

    server = await serve(deaf, "127.0.0.1", 0)
    where = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    (verdict,) = (await check(where, dialect="twilio", only=["100x"])).verdicts
    server.close(False)
    assert verdict.outcome == WRONG and "answers no ping of the WebSocket" in verdict.problem


async def test_an_agent_that_says_nothing_at_all_gets_advice(monkeypatch):
    """Not wrong: it may only listen."""
    monkeypatch.setattr(conformance, "CASES", conformance.CASES[:2])
    async with serve(saying(lambda stream, payload: None), "127.0.0.1", 0) as server:
        report = await check(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", dialect="twilio")
    assert report.passed and report.verdicts[-1].outcome == ADVICE
    assert "nothing was heard of this agent" in report.text()
