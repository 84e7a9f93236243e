# SPDX-License-Identifier: MIT
"""The conformance check over WebSocket: a Twilio agent is looked at as far as its dialect has words."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from websockets.asyncio.server import ServerConnection, serve

from support.certificates import Authority
from support.twilio_server import TwilioServer
from trunkline.agent_bridge import Agent, Call, conformance, conformance_probe
from trunkline.agent_bridge.conformance import ADVICE, LEFT_OUT, PASSED, WRONG, Verdict, check


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


async def first(address: str, case: str = "connects", **options) -> Verdict:
    """What one case finds."""
    return (await check(address, only=[case], **options)).verdicts[0]


async def test_what_the_handshake_lacks_is_named_with_its_own_cure(tmp_path):
    """TLS, a certificate, credentials, a hang-up: none of them is a mistake in what the agent writes."""
    with TwilioServer(certificate=Authority(tmp_path).issue("agent")) as server:
        port = server.port
        plain = await first(f"ws://127.0.0.1:{port}", dialect="twilio")
        secure = await first(f"wss://127.0.0.1:{port}", dialect="twilio")
    assert "try wss://" in plain.cure, plain
    assert "certificate is not accepted" in secure.problem and "--ca" in secure.cure

    async def no(connection, request):
        return connection.respond(403, "no")

    async with serve(echo, "127.0.0.1", 0, process_request=no) as refusing:
        found = await first(f"ws://127.0.0.1:{refusing.sockets[0].getsockname()[1]}", dialect="twilio")
    assert found.problem.endswith("with HTTP 403 Forbidden") and found.cure.startswith("It does not want us")

    async def bye(connection):
        await connection.recv()
        await connection.close()

    async with serve(bye, "127.0.0.1", 0) as short:
        found = await first(f"ws://127.0.0.1:{short.sockets[0].getsockname()[1]}", "real time", dialect="twilio")
    assert (found.outcome, found.problem[:11]) == (WRONG, "it hangs up"), found


async def test_a_token_that_is_wanted_is_asked_for(tmp_path):
    """By the name of the variable."""

    async def listen(call: Call) -> None:
        await call.ended()

    async with Agent(listen, token="s3cret") as agent:
        found = await first(await agent.listen(f"unix:{tmp_path}/s"))
    assert found.outcome == WRONG and "$TRUNKLINE_AGENT_TOKEN" in found.cure


async def test_an_agent_that_dies_of_another_ones_state_fails():
    """It takes the call and hangs up at once: an exception, mostly; with every call it is its way."""

    async def fragile(call: Call) -> None:
        int(call.saved or b"0")
        await call.ended()

    async def short(call: Call) -> None:
        call.hangup()

    async with Agent(fragile) as agent:
        found = await first(await agent.listen("tcp:0"), "hand-over")
        assert (found.outcome, "hangs up at once" in found.problem) == (WRONG, True), found
    async with Agent(short) as agent:
        assert (await first(await agent.listen("tcp:0"), "hand-over")).outcome == LEFT_OUT


async def test_speech_in_the_wrong_encoding_is_told_by_its_length():
    """L16 has twice the bytes of mu-law."""

    async def linear(connection):
        async for message in connection:
            event = json.loads(message)
            if event["event"] == "media":
                twice = event["media"]["payload"]
                said = {"event": "media", "streamSid": event["streamSid"], "media": {"payload": twice}}
                await connection.send(json.dumps(said))
                await connection.send(json.dumps(said))

    async with serve(linear, "127.0.0.1", 0) as server:
        found = await first(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", "real time", dialect="twilio")
    assert (found.outcome, "L16 in place of mu-law?" in found.problem) == (ADVICE, True), found
