# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls with a real Asterisk: it registers us, rings us, and answers us with echo, tone and digits."""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import pytest

from support.agents import AgentHost, Heard, listen, say
from support.asterisk import BYIP_HOST, CALLER_HOST, SECRET, USERNAME, Asterisk
from support.audio import compare, decode_g711, encode_g711, frequency_hz, speechlike, tone_share
from support.gateway import GatewayProcess
from support.phone import Phone
from support.rtp_endpoint import RtpEndpoint
from support.waiting import wait_for
from trunkline.agent_bridge import Dtmf

pytestmark = pytest.mark.timeout(400)  # the first test may have to fetch 19 MB over a slow line
SPEECH_8K = encode_g711(speechlike(1.5), 0)


@dataclasses.dataclass
class Pbx:
    """An Asterisk, a gateway that has registered to it, and an agent."""

    asterisk: Asterisk
    gateway: GatewayProcess
    agent: AgentHost
    "16 kHz; echoes inbound calls, does what `.script` says on outbound ones"
    echo8: AgentHost
    "8 kHz"

    def call(self, extension: str, agent: str = "agent") -> str:
        """Place a call to an extension; returns its id when it is up."""
        call_id = self.gateway.place(f"sip:{extension}@127.0.0.1:{self.asterisk.sip_port}", agent)
        self.gateway.wait_call("up", id=call_id)
        return call_id

    def telephone(self, extension: str, said: bytes = b"", hold_ms: int = 2300) -> Phone:
        """A telephone of Asterisk's that calls an extension there."""
        return Phone(
            self.gateway, "uac_offer", said=said, hold_ms=hold_ms, port=self.asterisk.sip_port,
            source=CALLER_HOST, endpoint=RtpEndpoint(CALLER_HOST), keys={"called": extension},
        )  # fmt: skip


@pytest.fixture(scope="module")
def shared_pbx() -> Iterator[Pbx]:
    with tempfile.TemporaryDirectory(prefix="tl-") as name, Asterisk() as asterisk:
        folder = pathlib.Path(name)
        with (
            AgentHost(f"unix:{folder}/agent.sock") as agent,
            AgentHost(f"unix:{folder}/echo8.sock") as echo8,
            GatewayProcess(
                folder,
                env={"PBX_PASSWORD": SECRET},
                trunk=[
                    {
                        "name": "pbx",
                        "match": [f"127.0.0.1:{asterisk.sip_port}"],
                        "host": f"127.0.0.1:{asterisk.sip_port}",
                        "register": {
                            "server": f"sip:127.0.0.1:{asterisk.sip_port}",
                            "username": USERNAME,
                            "password_env": "PBX_PASSWORD",
                        },
                    }
                ],
                agent=[
                    {"name": "agent", "address": agent.address},
                    {"name": "echo8", "address": echo8.address, "sample_rate_hz": 8000},
                ],
                route=[
                    {"name": "wide", "trunk": "pbx", "called": "re:7[12]..|7001", "agent": "agent"},
                    {"name": "all", "trunk": "pbx", "agent": "echo8"},
                ],
            ) as gateway,
        ):
            yield Pbx(asterisk, gateway, agent, echo8)


@pytest.fixture
def pbx(shared_pbx: Pbx) -> Iterator[Pbx]:
    """Registered and idle, before and after."""
    wait_for(shared_pbx.asterisk.registered, "registration at Asterisk")
    yield shared_pbx
    shared_pbx.agent.calls.clear()
    shared_pbx.echo8.calls.clear()
    shared_pbx.gateway.assert_idle()
    wait_for(lambda: shared_pbx.asterisk.channels() == 0, "Asterisk has no call either")


def test_we_register_with_digest(pbx: Pbx) -> None:
    state = wait_for(lambda: pbx.gateway.status()["registrations"].get("pbx"), "a registration")
    assert state["registered"] and state["code"] == 200
    assert f"sip:{USERNAME}@127.0.0.1:{pbx.gateway.sip_port}" in pbx.asterisk.rx(f"pjsip show aor {USERNAME}")
    assert pbx.gateway.metric("trunkline_registered", trunk="pbx") == 1


def test_extension_700_rings_our_registration_and_the_echo_comes_back(pbx: Pbx) -> None:
    with pbx.telephone("700", SPEECH_8K) as phone:
        phone.sipp.wait()
        heard = b"".join(one.payload for one in phone.rtp.audio)
    line = wait_for(lambda: pbx.gateway.log("call.ended", direction="inbound"), "end of the call")[-1]
    assert (line["trunk"], line["cause"], line["packets_lost"]) == ("pbx", "caller_hangup", 0)
    match = compare(decode_g711(SPEECH_8K, 0), decode_g711(heard, 0))
    assert match.correlation > 0.999, match
    assert heard.find(SPEECH_8K) >= 0, "the very codes: nobody on the way has coded anew"
    pbx.echo8.wait_call().assert_timeline()


def test_a_number_that_asterisk_passes_on_reaches_its_route_and_its_header_the_agent(pbx: Pbx) -> None:
    with pbx.telephone("7001", SPEECH_8K) as phone:
        phone.sipp.wait()
        back = compare(decode_g711(SPEECH_8K, 0), phone.rtp.heard())
    info = pbx.agent.wait_call().call.info
    assert (info.route, info.called, info.headers.get("X-Queue")) == ("wide", "7001", "support")
    assert back.correlation > 0.99, back


def test_a_caller_is_transferred_where_we_have_registered(pbx: Pbx) -> None:
    """Blind, by the API: 602 is Asterisk's tone."""
    with pbx.telephone("700", hold_ms=2500) as phone:
        call_id = pbx.gateway.wait_call("up", direction="inbound")["id"]
        pbx.gateway.api.post(f"/v1/calls/{call_id}/transfer", json={"target": "602"}).raise_for_status()
        assert pbx.gateway.wait_end(call_id)["cause"] == "transferred"
        before = len(phone.rtp.audio)
        phone.rtp.wait_received(before + 60)
        phone.sipp.wait()
        heard = decode_g711(b"".join(one.payload for one in phone.rtp.audio[before + 20 : before + 60]), 0)
    assert tone_share(heard, 1004) > 0.9


def test_extension_600_echoes_what_our_agent_says(pbx: Pbx) -> None:
    speech = speechlike(2.0, 16000, seed=9)
    pbx.agent.script = say(speech)
    call_id = pbx.call("600")
    heard = pbx.agent.wait_call(call_id)
    wait_for(lambda: len(heard.frames) >= 125, "2.5 s of frames")
    pbx.gateway.hang_up(call_id)
    line = pbx.gateway.wait_end(call_id)
    match = compare(speech, heard.pcm)
    assert match.correlation > 0.99, match
    assert line["codec"] == "PCMU" and line["packets_lost"] == 0
    heard.assert_timeline()


def test_extension_600_with_an_agent_at_8_khz_is_exact(pbx: Pbx) -> None:
    speech = decode_g711(encode_g711(speechlike(1.5, seed=4), 0), 0)
    pbx.echo8.script, before = say(speech), pbx.echo8.script
    try:
        call_id = pbx.call("600", "echo8")
        heard = pbx.echo8.wait_call(call_id)
        wait_for(lambda: len(heard.frames) >= 100, "2 s of frames")
        pbx.gateway.hang_up(call_id)
    finally:
        pbx.echo8.script = before
    match = compare(speech, heard.pcm)
    assert match.correlation > 0.9999 and match.snr_db > 60, match


def test_extension_601_plays_440_hz_and_hangs_up(pbx: Pbx) -> None:
    pbx.agent.script = listen
    call_id = pbx.gateway.place(f"sip:601@127.0.0.1:{pbx.asterisk.sip_port}", "agent")
    line = pbx.gateway.wait_end(call_id)
    assert line["cause"] == "callee_hangup" and line["direction"] == "outbound"
    pcm = pbx.agent.wait_call(call_id).pcm
    loud = np.flatnonzero(np.abs(pcm) > 2000)
    tone = pcm[loud[0] + 800 : loud[-1] - 800]
    assert 0.7 < len(tone) / 16000 < 1.1, "a second of tone"
    assert frequency_hz(tone, 16000) == pytest.approx(440, abs=1)
    assert tone_share(tone, 440, 16000) > 0.999


def test_digits_1950_go_to_asterisk_and_come_back_once_each(pbx: Pbx) -> None:
    async def script(call: object, heard: Heard) -> None:
        heard.call.send_dtmf("1950")
        await listen(heard.call, heard)

    pbx.agent.script = script
    call_id = pbx.call("603")
    line = pbx.gateway.wait_end(call_id, 20)
    heard = pbx.agent.wait_call(call_id)
    assert "DTMF-READ status=OK digits=1950" in pbx.asterisk.log()
    assert heard.digits == "1950"
    assert {event.method for event in heard.events if isinstance(event, Dtmf)} == {"rfc4733"}
    assert line["cause"] == "callee_hangup"


def test_an_extension_that_does_not_exist(pbx: Pbx) -> None:
    call_id = pbx.gateway.place(f"sip:123@127.0.0.1:{pbx.asterisk.sip_port}", "agent")
    line = pbx.gateway.wait_end(call_id)
    assert (line["cause"], line["sip_code"]) == ("not_found", 404)


def test_the_registration_recovers_after_a_restart_of_the_pbx(pbx: Pbx) -> None:
    """Asterisk grants 10 s, so a refresh falls into the outage; its retransmissions find the PBX back."""
    pbx.asterisk.stop()
    time.sleep(5)
    pbx.asterisk.restart()
    assert not pbx.asterisk.registered(), "it has forgotten us"
    wait_for(pbx.asterisk.registered, "registered again", 30, 0.2)
    assert pbx.gateway.status()["registrations"]["pbx"]["registered"]
    with pbx.telephone("700", SPEECH_8K[:4000], hold_ms=900) as phone:
        phone.sipp.wait()
        assert phone.rtp.audio, "and calls come in"


def test_asterisks_audiosocket_application_speaks_with_our_sdk(pbx: Pbx) -> None:
    """A server written with the SDK, in the dialect of Asterisk, and Asterisk itself as its client."""
    speech = speechlike(1.5, 16000, seed=11)
    pbx.agent.script = say(speech)
    address = f"tcp:127.0.0.1:{pbx.asterisk.audiosocket_port}"
    with AgentHost(address, dialect="audiosocket", on_offer=None) as server:
        call_id = pbx.call("800")
        heard = pbx.agent.wait_call(call_id)
        wait_for(lambda: len(heard.frames) >= 110, "2.2 s of frames")
        pbx.gateway.hang_up(call_id)
        pbx.gateway.wait_end(call_id)
        assert len(server.calls) == 1 and server.calls[0].call.sample_rate == 8000
    match = compare(speech, heard.pcm)
    assert match.correlation > 0.99, match


def test_a_trunk_that_is_known_by_its_address(shared_pbx: Pbx, short_path: pathlib.Path) -> None:
    """No registration: Asterisk knows us by 127.0.0.2, and we know it by its address."""
    asterisk = shared_pbx.asterisk
    with (
        AgentHost(f"unix:{short_path}/a.sock") as agent,
        GatewayProcess(
            short_path,
            host=BYIP_HOST,
            sip_port=asterisk.byip_port,
            trunk=[{"name": "peer", "match": ["127.0.0.1"], "host": f"127.0.0.1:{asterisk.sip_port}"}],
            agent=[{"name": "a", "address": agent.address, "sample_rate_hz": 8000}],
            route=[{"name": "all", "trunk": "peer", "agent": "a"}],
        ) as gateway,
    ):
        with Phone(
            gateway, "uac_offer", said=SPEECH_8K[:8000], hold_ms=1700, port=asterisk.sip_port,
            source=CALLER_HOST, endpoint=RtpEndpoint(CALLER_HOST), keys={"called": "701"},
        ) as phone:  # fmt: skip
            phone.sipp.wait()
            assert b"".join(one.payload for one in phone.rtp.audio).find(SPEECH_8K[:8000]) >= 0
        call_id = gateway.place("601", "a", trunk="peer")
        assert gateway.wait_end(call_id)["cause"] == "callee_hangup"
        gateway.assert_idle()
