# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys as tones and by INFO through the whole gateway, both ways; RFC 4733 is in test_within_call.py."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest

from support import spandsp
from support.agents import AgentHost, Heard, echo, listen
from support.audio import decode_g711, encode_g711
from support.gateway import GatewayProcess
from support.phone import Phone
from support.rtp_endpoint import RtpEndpoint
from support.waiting import wait_for
from trunkline.agent_bridge import Call, Dtmf

KEYS = "1950#"
QUIET = 100
"Peak of the noise that fills what was cut or never came; that of a tone is 8,000."


class Tones(NamedTuple):
    """A gateway whose trunks send digits in different ways."""

    gateway: GatewayProcess
    agent: AgentHost


@pytest.fixture(scope="module")
def _running() -> Iterator[Tones]:
    with tempfile.TemporaryDirectory(prefix="tl-") as name:
        folder = pathlib.Path(name)
        address = f"unix:{folder}/agent.sock"
        trunks = [
            {"name": "auto", "match": ["127.0.0.1"], "caller_domain": "example.com"},
            {"name": "tones", "match": ["127.0.0.8"], "caller_domain": "example.com", "dtmf": "inband"},
            {
                "name": "bare", "match": ["127.0.0.9"], "caller_domain": "example.com",
                "dtmf": "info", "dtmf_info_body": "dtmf",
            },
        ]  # fmt: skip
        routes = [
            {"name": "cut", "called": "607", "agent": "agent", "dtmf_audio": "cut"},
            {"name": "keep", "called": "608", "agent": "agent"},
        ]
        agents = [{"name": "agent", "address": address, "sample_rate_hz": 8000}]
        with (
            AgentHost(address) as agent,
            GatewayProcess(folder, trunk=trunks, agent=agents, route=routes) as gateway,
        ):
            yield Tones(gateway, agent)


@pytest.fixture
def tones(_running: Tones) -> Iterator[Tones]:
    """Without calls of the test before."""
    _running.agent.script = echo
    _running.agent.calls.clear()
    yield _running
    _running.gateway.assert_idle()


def press(gateway: GatewayProcess, call_id: str, digits: str) -> None:
    body = {"digits": digits, "duration_ms": 80, "gap_ms": 60}
    gateway.api.post(f"/v1/calls/{call_id}/dtmf", json=body).raise_for_status()


def heard_as_tones(phone: Phone) -> str:
    return spandsp.heard(phone.rtp.heard())


@pytest.mark.parametrize("called", ["608", "607"])
def test_tones_of_a_caller_without_telephone_event_reach_the_agent(tones: Tones, called: str) -> None:
    """Another implementation's tones, once each; the agent hears them, unless its route has them cut."""
    said = encode_g711(np.concatenate([spandsp.sent(KEYS), np.zeros(1600, np.int16)]), 0)
    keys = {"called": called, "formats": "0"}
    with Phone(tones.gateway, "uac_offer", said=said, hold_ms=1500, keys=keys) as phone:
        phone.wait_end()
    agent = tones.agent.wait_call(phone.call_id)
    assert agent.digits == KEYS
    events = [event for event in agent.events if isinstance(event, Dtmf)]
    assert {event.method for event in events} == {"inband"}
    assert all(40 <= event.duration_ms <= 60 for event in events)
    pcm = np.concatenate([frame.pcm for frame in agent.frames])
    if called == "607":
        assert np.abs(pcm.astype(int)).max() < QUIET
    else:
        assert spandsp.heard(pcm) == KEYS
    metrics = tones.gateway.api.get("/metrics").text
    assert 'trunkline_dtmf_digits_total{direction="received",method="inband"}' in metrics


def test_digits_go_as_tones_when_the_callee_takes_neither_events_nor_info(tones: Tones) -> None:
    """What INFO was refused for is not lost, and the next digits go as tones at once."""
    with Phone(tones.gateway, "uas_info_refused") as phone:
        call_id = tones.gateway.place(phone.uri, "agent", trunk="auto")
        tones.gateway.wait_call("up", id=call_id)
        press(tones.gateway, call_id, "19")
        wait_for(lambda: heard_as_tones(phone) == "19", "what INFO was refused for")
        press(tones.gateway, call_id, "50#")
        wait_for(lambda: heard_as_tones(phone) == KEYS, "the next digits")
        tones.gateway.hang_up(call_id)
        phone.sipp.wait()
        assert len(phone.sipp.received("INFO")) == 1
    tones.gateway.wait_end(call_id)


def test_an_agents_digits_go_as_tones_where_the_trunk_says_so(tones: Tones) -> None:
    """Although the peer takes telephone-event."""

    async def script(call: Call, heard: Heard) -> None:
        call.send_dtmf(KEYS, 60, 60)
        await listen(call, heard)

    tones.agent.script = script
    at, keys = "127.0.0.8", {"called": "608"}
    phone = Phone(tones.gateway, "uac_offer", endpoint=RtpEndpoint(at), source=at, hold_ms=1500, keys=keys)
    with phone:
        phone.wait_end()
        assert heard_as_tones(phone) == KEYS
        assert phone.rtp.heard_digits() == ""


def test_info_carries_the_bare_digit_where_the_trunk_says_so(tones: Tones) -> None:
    with Phone(tones.gateway, "uas_info") as phone:
        call_id = tones.gateway.place(phone.uri, "agent", trunk="bare")
        tones.gateway.wait_call("up", id=call_id)
        press(tones.gateway, call_id, "19d")
        wait_for(lambda: len(phone.sipp.received("INFO")) == 3, "three INFO requests")
        tones.gateway.hang_up(call_id)
        phone.sipp.wait()
        infos = phone.sipp.received("INFO")
    assert [one.body.strip() for one in infos] == ["1", "9", "D"]
    assert {one.header("Content-Type") for one in infos} == {"application/dtmf"}
    tones.gateway.wait_end(call_id)


def test_a_caller_who_tells_a_key_by_event_and_tone_has_pressed_it_once(tones: Tones) -> None:
    """Events are told, tones beside them are cut where the route says so."""
    said = encode_g711(np.concatenate([np.zeros(800, np.int16), spandsp.sent("5"), np.zeros(320, np.int16)]), 0)
    keys = {"called": "607"}
    with Phone(tones.gateway, "uac_offer", said=said, digits="7", hold_ms=1200, keys=keys) as phone:
        phone.wait_end()
    agent = tones.agent.wait_call(phone.call_id)
    assert agent.digits == "7", "with telephone-event agreed on, tones are no digits"
    assert np.abs(np.concatenate([frame.pcm for frame in agent.frames]).astype(int)).max() < QUIET
    assert np.abs(decode_g711(said, 0).astype(int)).max() > 3000
