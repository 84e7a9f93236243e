# SPDX-License-Identifier: GPL-2.0-or-later
"""Agents for Twilio Media Streams work unchanged: audio both ways, keys, marks, clear, and the REST hang-up."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from support.audio import encode_g711, speechlike
from support.certificates import Authority
from support.gateway import GatewayProcess
from support.phone import Phone
from support.twilio_server import TwilioServer
from support.waiting import wait_for

ACCOUNT, TOKEN = "AC" + "12" * 16, "an-auth-token-of-tests"


class ToUs(TwilioHttpClient):
    """Twilio's own client, with our address in place of api.twilio.com."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._base = f"http://127.0.0.1:{port}"

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        return super().request(method, url.replace("https://api.twilio.com", self._base), *args, **kwargs)


@contextlib.contextmanager
def gateway_for(server: TwilioServer, folder: pathlib.Path, **agent: Any) -> Iterator[GatewayProcess]:
    """A gateway whose only agent it is."""
    bot = {
        "name": "bot", "address": server.url, "dialect": "twilio", "account": ACCOUNT, "token_env": "TWILIO_TOKEN",
        "metadata": {"language": "de"}, **agent,
    }  # fmt: skip
    plain = {key: value for key, value in bot.items() if key != "ca"} | {"name": "plain"}
    routes = [{"name": "plain", "called": "700", "agent": "plain"}, {"name": "all", "agent": "bot"}]
    with GatewayProcess(folder, agent=[bot, plain], route=routes, env={"TWILIO_TOKEN": TOKEN}) as gateway:
        yield gateway
        gateway.assert_idle()
        assert TOKEN not in gateway.log_text()


def test_echo_digits_parameters_and_the_end_of_the_call(tmp_path: pathlib.Path) -> None:
    """What the caller says comes back sample by sample; what Twilio tells an agent, we tell it."""
    said = encode_g711(speechlike(1.2), 0)
    with TwilioServer() as server:
        server.url += "?to={called}&call={call_id}"
        with gateway_for(server, tmp_path) as gateway:
            with Phone(gateway, "uac_offer", said=said, digits="42", hold_ms=2500) as phone:
                stream = server.stream()
                stream.speak(b"\xff" * 2560)  # 320 ms in hand
                line = phone.wait_end()
                assert b"".join(one.payload for one in phone.rtp.audio).find(said) >= 0
            stream.wait("stop")
            wait_for(lambda: stream.closed, "the connection is closed with the call")
    assert stream.closed == (1000, "caller_hangup")
    url = f"{server.url.partition('?')[0]}?to=6001&call={phone.call_id}"
    assert stream.path == url.removeprefix(f"ws://127.0.0.1:{server.port}")
    assert RequestValidator(TOKEN).validate(url, {}, stream.headers["X-Twilio-Signature"])
    connected, started = stream.messages[:2]
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    start = started["start"]
    assert (started["sequenceNumber"], start["streamSid"], start["accountSid"]) == ("1", stream.sid, ACCOUNT)
    assert start["callSid"] == "CA" + phone.call_id.replace("-", "")
    assert start["mediaFormat"] == {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    assert start["customParameters"]["language"] == "de" and start["customParameters"]["to"] == "6001"
    assert [one["dtmf"]["digit"] for one in stream.of("dtmf")] == ["4", "2"]
    assert [int(one["sequenceNumber"]) for one in stream.messages[1:]] == list(range(1, len(stream.messages)))
    media = [one["media"] for one in stream.of("media")]
    assert [int(one["chunk"]) for one in media] == list(range(1, len(media) + 1))
    assert [int(one["timestamp"]) for one in media] == list(range(0, 20 * len(media), 20))
    assert line["cause"] == "caller_hangup" and line["agent"] == "bot"


def test_marks_come_back_when_they_are_played_and_clear_brings_back_the_rest(tmp_path: pathlib.Path) -> None:
    """A mark behind 200 ms takes 200 ms; after a clear the caller hears no more of what was cut off."""
    first, second = encode_g711(speechlike(0.2, seed=2), 0), encode_g711(speechlike(20, seed=3), 0)
    with TwilioServer(echo=False) as server, gateway_for(server, tmp_path) as gateway:
        with Phone(gateway, "uac_offer", said=encode_g711(speechlike(0.1), 0), hold_ms=2500) as phone:
            stream = server.stream()
            stream.wait("media", 10)
            begun = time.monotonic()
            stream.send("mark", mark={"name": "nothing before it"})
            stream.speak(first)
            stream.send("mark", mark={"name": 'said "one"'})
            stream.speak(second)
            stream.send("mark", mark={"name": "cut 1"})
            stream.send("mark", mark={"name": "cut 2"})
            stream.wait("mark", 2)
            assert time.monotonic() - begun > 0.15
            time.sleep(0.1)
            stream.send("clear")
            marks = [one["mark"]["name"] for one in stream.wait("mark", 4)]
            phone.wait_end()
        heard = b"".join(one.payload for one in phone.rtp.audio)
    assert marks == ["nothing before it", 'said "one"', "cut 1", "cut 2"]
    assert heard.find(first) >= 0
    assert heard.find(second[:400]) >= 0 and heard.find(second[16_000:16_400]) < 0
    assert len(stream.of("mark")) == 4, "each exactly once"


def test_twilios_own_client_ends_the_call(tmp_path: pathlib.Path) -> None:
    """The SDK that agents use: look at the call, end it, be told that it has ended; a wrong token gets nothing."""
    with TwilioServer() as server, gateway_for(server, tmp_path) as gateway:
        with Phone(gateway, "uac_hangup") as phone:
            stream = server.stream()
            phone.wait_up()
            sid = stream.of("start")[0]["start"]["callSid"]
            client = Client(ACCOUNT, TOKEN, http_client=ToUs(gateway.api_port))
            with pytest.raises(TwilioRestException) as refused:
                Client(ACCOUNT, "another token", http_client=ToUs(gateway.api_port)).calls(sid).fetch()
            assert (refused.value.status, refused.value.code) == (401, 20003)
            call = client.calls(sid).fetch()
            assert (call.status, call.direction, call.to, call.sid) == ("in-progress", "inbound", "6001", sid)
            assert client.calls(sid).update(status="completed").status == "completed"
            wait_for(lambda: phone.sipp.received("BYE"), "the BYE")
            line = phone.wait_end()
            with pytest.raises(TwilioRestException) as gone:
                client.calls(sid).update(status="completed")
            assert (gone.value.status, gone.value.code) == (404, 20404)
            assert client.calls(sid).fetch().status == "completed"
        wait_for(lambda: stream.closed, "the connection is closed with the call")
    assert line["cause"] == "agent_hangup" and "Twilio" in str(line["detail"])


def test_an_agent_that_closes_hangs_up(tmp_path: pathlib.Path) -> None:
    """With 1000, as all libraries close."""
    with TwilioServer() as server, gateway_for(server, tmp_path) as gateway, Phone(gateway, "uac_hangup") as phone:
        stream = server.stream()
        phone.wait_up()
        stream.socket.close(1000, "done\nhere")
        line = phone.wait_end()
    assert line["cause"] == "agent_hangup" and line["detail"] == "done here"


def test_a_call_outlives_our_media_process(tmp_path: pathlib.Path) -> None:
    """The agent gets another stream of the same call, and is told that it goes on."""
    with TwilioServer() as server, gateway_for(server, tmp_path) as gateway:
        with Phone(gateway, "uac_hangup") as phone:
            first = server.stream()
            phone.wait_up()
            first.wait("media", 5)
            wait_for(lambda: gateway.status()["workers"]["spare"], "a worker in reserve")
            os.kill(gateway.workers[0], signal.SIGKILL)
            wait_for(lambda: len(server.streams) == 2 and server.streams[1].sid, "a second stream")
            second = server.streams[1]
            second.wait("media", 5)
            gateway.hang_up(phone.call_id)
            line = phone.wait_end()
        starts = [stream.of("start")[0]["start"] for stream in (first, second)]
    assert starts[0]["callSid"] == starts[1]["callSid"] and first.sid != second.sid
    assert "resumed" not in starts[0]["customParameters"] and starts[1]["customParameters"]["resumed"] == "true"
    assert int(second.of("media")[0]["media"]["timestamp"]) == 0
    assert line["cause"] == "api_hangup"


def test_by_tls_the_same_and_a_stranger_gets_no_call(tmp_path: pathlib.Path) -> None:
    """wss with an authority of one's own; without it the caller gets 503 and the log says what is wrong."""
    authority = Authority(tmp_path)
    said = encode_g711(speechlike(0.6), 0)
    with (
        TwilioServer(certificate=authority.issue("agent")) as server,
        gateway_for(server, tmp_path, ca=str(authority.certificate)) as gateway,
    ):
        with Phone(gateway, "uac_offer", said=said, hold_ms=1500) as phone:
            server.stream().speak(b"\xff" * 2560)
            phone.wait_end()
            assert b"".join(one.payload for one in phone.rtp.audio).find(said) >= 0
        with Phone(gateway, "uac_refused", keys={"called": "700"}) as phone:
            line = phone.wait_end()
            assert phone.sipp.received("SIP/2.0 503")
    assert line["cause"] == "agent_unreachable"
    assert "its authority is not one that is believed here: name the authority's certificate as `ca`" in line["detail"]
    assert len(server.streams) == 1
