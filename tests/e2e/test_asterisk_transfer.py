# SPDX-License-Identifier: GPL-2.0-or-later
"""Transfers by a real Asterisk, blind and attended: who is put together hears each other, and we are out of it.

701 rings our agent, 602 is Asterisk's milliwatt tone, 702 rings a colleague.
"""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from collections.abc import Iterator

import pytest

from support.asterisk import BYIP_HOST, CALLER_HOST, Asterisk
from support.audio import compare, decode_g711, encode_g711, speechlike, tone_share
from support.gateway import GatewayProcess
from support.phone import Phone
from support.ports import free_port
from support.rtp_endpoint import RtpEndpoint
from support.waiting import wait_for
from support.wire_agent import WireAgent

pytestmark = pytest.mark.timeout(400)  # the first test may have to fetch 19 MB over a slow line
COLLEAGUE_HOST = "127.0.0.4"
SPEECH = decode_g711(encode_g711(speechlike(1.0), 0), 0)


@dataclasses.dataclass
class Office:
    """An Asterisk, a gateway that it knows by its address, an agent and a colleague's telephone."""

    asterisk: Asterisk
    gateway: GatewayProcess
    agent: WireAgent
    colleague_port: int

    def telephone(self, hold_ms: int) -> Phone:
        """Calls 701, which is our agent."""
        return Phone(
            self.gateway, "uac_offer", hold_ms=hold_ms, port=self.asterisk.sip_port, source=CALLER_HOST,
            endpoint=RtpEndpoint(CALLER_HOST), keys={"called": "701"},
        )  # fmt: skip


@pytest.fixture(scope="module")
def shared_office() -> Iterator[Office]:
    port = free_port(COLLEAGUE_HOST)
    extra = {
        "pjsip.conf": "\n[colleague](line)\naors = colleague\n[colleague]\ntype = aor\n"
        f"contact = sip:702@{COLLEAGUE_HOST}:{port}\n",
        "extensions.conf": "\n[test](+)\nexten => 702,1,Dial(PJSIP/colleague,20)\n same => n,Hangup()\n",
    }
    with tempfile.TemporaryDirectory(prefix="tl-") as name, Asterisk(extra) as asterisk:
        folder = pathlib.Path(name)
        with (
            WireAgent(f"unix:{folder}/a.sock") as agent,
            GatewayProcess(
                folder,
                host=BYIP_HOST,
                sip_port=asterisk.byip_port,
                trunk=[{"name": "pbx", "match": ["127.0.0.1"], "host": f"127.0.0.1:{asterisk.sip_port}"}],
                agent=[{"name": "a", "address": agent.address, "sample_rate_hz": 8000}],
                route=[{"name": "all", "agent": "a"}],
            ) as gateway,
        ):
            yield Office(asterisk, gateway, agent, port)


@pytest.fixture
def office(shared_office: Office) -> Iterator[Office]:
    """Idle before and after."""
    shared_office.agent.calls.clear()
    yield shared_office
    shared_office.gateway.assert_idle()
    wait_for(lambda: shared_office.asterisk.channels() == 0, "Asterisk has no call either")


def test_blind_to_a_tone(office: Office) -> None:
    """The caller who was with our agent hears the tone at 602; the agent is told, and the call has ended."""
    with office.telephone(hold_ms=2500) as phone:
        agent = office.agent.wait_call()
        agent.wait("call_state", state="answered")
        agent.say("transfer", target="602")
        line = office.gateway.wait_end(agent.id)
        before = len(phone.rtp.audio)
        phone.rtp.wait_received(before + 60)
        phone.sipp.wait()
        heard = decode_g711(b"".join(one.payload for one in phone.rtp.audio[before + 20 : before + 60]), 0)
    assert line["cause"] == "transferred"
    assert agent.told("transfer")[-1]["state"] == "done" or "before it had said" in line["detail"]
    assert tone_share(heard, 1004) > 0.9


def test_blind_to_nobody_fails_and_the_call_goes_on(office: Office) -> None:
    with office.telephone(hold_ms=1500) as phone:
        agent = office.agent.wait_call()
        agent.wait("call_state", state="answered")
        agent.say("transfer", target="999")
        failed = agent.wait("transfer", state="failed")
        before = len(phone.rtp.audio)
        agent.play(SPEECH)
        phone.rtp.wait_received(before + 55)
        phone.sipp.wait()
        line = office.gateway.wait_end(agent.id)
        heard = decode_g711(b"".join(one.payload for one in phone.rtp.audio[before:]), 0)
    assert failed["code"] >= 400 and line["cause"] == "caller_hangup"
    assert compare(SPEECH, heard).correlation > 0.95


def test_attended_the_caller_and_the_colleague_hear_each_other(office: Office) -> None:
    """The agent asks the colleague first, with the caller on hold, and puts them together: both calls are over."""
    gateway = office.gateway
    colleague = Phone(
        gateway, "uas_basic", source=COLLEAGUE_HOST, sipp_port=office.colleague_port,
        endpoint=RtpEndpoint(COLLEAGUE_HOST),
    )  # fmt: skip
    with colleague, office.telephone(hold_ms=3500) as phone:
        caller = office.agent.wait_call()
        caller.wait("call_state", state="answered")
        caller.say("hold", held=True)
        gateway.wait_event("call.held", call_id=caller.id)
        asked = office.agent.wait_call(gateway.place("702", "a", trunk="pbx"))
        asked.wait("call_state", state="answered")
        caller.say("transfer", attended=asked.id)
        lines = [gateway.wait_end(one.id) for one in (caller, asked)]
        before = len(colleague.rtp.audio)
        phone.say(encode_g711(SPEECH, 0))
        colleague.rtp.wait_received(before + 48)
        phone.sipp.wait()
        colleague.sipp.wait()
        heard = decode_g711(b"".join(one.payload for one in colleague.rtp.audio[before:]), 0)
    assert [line["cause"] for line in lines] == ["transferred"] * 2
    assert compare(SPEECH, heard).correlation > 0.95
