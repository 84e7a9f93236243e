# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls that we place, by the API and by the command line."""

from __future__ import annotations

import os
import subprocess

import pytest

from support.agents import say
from support.audio import compare, decode_g711, encode_g711, speechlike
from support.gateway import TOKEN, TRUNKLINE
from support.phone import Phone
from support.ports import free_port
from support.rtp_endpoint import RtpEndpoint
from support.sipp import Sipp
from support.stage import Stage


def test_the_agent_hears_itself_over_a_line_that_echoes(stage: Stage) -> None:
    speech = speechlike(1.5, 16000, seed=5)
    stage.scripted.script = say(speech)
    gateway = stage.gateway
    with Phone(gateway, "uas_basic", endpoint=RtpEndpoint(echo=True)) as phone:
        call_id = gateway.place(phone.uri, "scripted", trunk="local", metadata={"campaign": "spring"})
        gateway.wait_call("up", id=call_id)
        heard = stage.scripted.wait_call(call_id)
        phone.rtp.wait_received(95)
        gateway.hang_up(call_id)
        phone.sipp.wait()
        line = gateway.wait_end(call_id)
    assert compare(speech[::2], phone.rtp.heard()).correlation > 0.99, "the callee heard the agent"
    match = compare(speech, heard.pcm)
    assert match.correlation > 0.99, match
    heard.assert_timeline()
    info = heard.call.info
    assert (info.direction, info.metadata["campaign"], info.trunk) == ("outbound", "spring", "local")
    assert line["cause"] == "api_hangup" and line["packets_lost"] == 0
    states = [
        one["event"]
        for one in gateway.events
        if one["call_id"] == call_id and one["event"].startswith("call.")
    ]
    assert states[-1] == "call.ended" and "call.ringing" in states and "call.up" in states


@pytest.mark.parametrize(
    ("scenario", "cause", "code"),
    [
        ("uas_busy", "busy", 486),
        ("uas_redirect", "call_failed", 302),
        ("uas_ringing_cancel", "no_answer", 408),
    ],
)
def test_what_became_of_a_call_that_nobody_answered(
    stage: Stage, scenario: str, cause: str, code: int
) -> None:
    with Phone(stage.gateway, scenario) as phone:
        call_id = stage.gateway.place(phone.uri, "echo8", trunk="local", timeout_s=1)
        phone.sipp.wait()
        line = stage.gateway.wait_end(call_id)
    assert (line["cause"], line["sip_code"]) == (cause, code)
    assert line["duration_s"] == 0


def test_early_audio_is_heard_by_the_agent_before_the_answer(stage: Stage) -> None:
    """A network's announcement: 183 with SDP, and audio, while nobody has answered."""
    said = encode_g711(speechlike(0.8), 0)
    with Phone(stage.gateway, "uas_early", hold_ms=1500) as phone:
        call_id = stage.gateway.place(phone.uri, "echo8", trunk="local")
        phone.say(said)
        stage.gateway.wait_call("early", id=call_id)
        stage.gateway.wait_call("up", id=call_id)
        stage.gateway.hang_up(call_id)
        phone.sipp.wait()
    heard = stage.echo8.wait_call(call_id)
    assert compare(decode_g711(said, 0), heard.pcm).correlation > 0.99
    heard.assert_timeline()


@pytest.mark.parametrize("scenario", ["uas_bye", "uas_offerless_reinvite", "uas_reinvite_moved"])
def test_the_callee_hangs_up(stage: Stage, scenario: str) -> None:
    with (
        RtpEndpoint() as moved,
        Phone(stage.gateway, scenario, hold_ms=400, keys={"moved_port": str(moved.port)}) as phone,
    ):
        call_id = stage.gateway.place(phone.uri, "echo8", trunk="local")
        phone.sipp.wait()
        line = stage.gateway.wait_end(call_id)
        if scenario == "uas_reinvite_moved":
            assert moved.received, "our audio went to the new address"
    assert line["cause"] == "callee_hangup" and line["packets_sent"] > 0


@pytest.mark.parametrize("scenario", ["uas_forked", "uas_prack"])
def test_we_hang_up_what_was_answered(stage: Stage, scenario: str) -> None:
    with (
        RtpEndpoint() as second,
        Phone(stage.gateway, scenario, keys={"moved_port": str(second.port)}) as phone,
    ):
        call_id = stage.gateway.place(phone.uri, "echo8", trunk="local")
        stage.gateway.wait_call("up", id=call_id)
        (second if scenario == "uas_forked" else phone.rtp).wait_received(5)
        stage.gateway.hang_up(call_id)
        phone.sipp.wait()
        assert stage.gateway.wait_end(call_id)["cause"] == "api_hangup"


@pytest.mark.parametrize("scenario", ["uas_silent_cancel", "uas_cancel_crossed", "uas_ringing_cancel"])
def test_a_call_that_is_given_up_before_the_answer_rings_no_longer(stage: Stage, scenario: str) -> None:
    with Phone(stage.gateway, scenario, hold_ms=300) as phone:
        call_id = stage.gateway.place(phone.uri, "echo8", trunk="local")
        stage.gateway.wait_call("calling" if scenario == "uas_silent_cancel" else "ringing", id=call_id)
        stage.gateway.hang_up(call_id)
        phone.sipp.wait()
        assert stage.gateway.wait_end(call_id)["cause"] == "api_hangup"


def test_an_answer_without_sdp_is_hung_up(stage: Stage) -> None:
    with Phone(stage.gateway, "uas_crash") as phone:
        call_id = stage.gateway.place(phone.uri, "echo8", trunk="local")
        phone.sipp.wait()
        line = stage.gateway.wait_end(call_id)
    assert line["cause"] != "callee_hangup"


def test_digits_go_by_info_when_the_callee_takes_no_events(stage: Stage) -> None:
    with Phone(stage.gateway, "uas_info") as phone:
        call_id = stage.gateway.place(phone.uri, "echo8", trunk="local")
        stage.gateway.wait_call("up", id=call_id)
        stage.gateway.api.post(f"/v1/calls/{call_id}/dtmf", json={"digits": "19#"}).raise_for_status()
        infos = phone.sipp.received
        from support.waiting import wait_for

        wait_for(lambda: len(infos("INFO")) == 3, "three INFO requests")
        stage.gateway.hang_up(call_id)
        phone.sipp.wait()
        bodies = [one.body for one in phone.sipp.received("INFO")]
    assert [body.split("Signal=")[1].split()[0] for body in bodies] == ["1", "9", "#"]


def test_an_agent_that_is_down_makes_no_telephone_ring(stage: Stage) -> None:
    with Sipp("uas_basic", stage.gateway.sip_port, timeout_s=3) as callee:
        call_id = stage.gateway.place(f"sip:600@{callee.uri_host}", "dead", trunk="local")
        assert stage.gateway.wait_end(call_id)["cause"] == "agent_unreachable"
        assert not callee.messages()


def test_a_peer_that_is_not_there(stage: Stage) -> None:
    call_id = stage.gateway.place(f"sip:600@127.0.0.1:{free_port()}", "echo8", trunk="local", timeout_s=2)
    line = stage.gateway.wait_end(call_id)
    assert line["cause"] in ("peer_unreachable", "no_answer", "peer_unavailable") and line["duration_s"] == 0


@pytest.mark.parametrize(
    ("scenario", "expected", "said"),
    [("uas_bye", 0, "answered"), ("uas_busy", 3, "486"), ("uas_ringing_cancel", 4, "not answered")],
)
def test_trunkline_call_says_what_happens_and_exits_accordingly(
    stage: Stage, scenario: str, expected: int, said: str
) -> None:
    with Phone(stage.gateway, scenario, hold_ms=400) as phone:
        done = subprocess.run(
            [TRUNKLINE, "call", phone.uri, "--agent", "echo8", "--trunk", "local", "--from", "4711", "--timeout", "1",
             "--header", "X-Campaign: spring", "--api-url", f"http://127.0.0.1:{stage.gateway.api_port}"],
            env={**os.environ, "TRUNKLINE_API_TOKEN": TOKEN}, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == expected, done.stdout + done.stderr
        invite = phone.sipp.messages()[0]
    assert said in done.stdout
    assert invite.header("X-Campaign") == "spring" and "sip:4711@" in invite.header("From")
