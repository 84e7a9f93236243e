# SPDX-License-Identifier: GPL-2.0-or-later
"""What may happen while a call is up: hold, moved media, digits, refreshes, other transports."""

from __future__ import annotations

import itertools

import pytest

from support.agents import Heard, say
from support.audio import decode_g711, encode_g711, find, speechlike
from support.phone import Phone
from support.relay import Impairment, Relay
from support.rtp_endpoint import RtpEndpoint
from support.sipp import Sipp
from support.stage import Stage
from support.waiting import wait_for
from trunkline.agent_bridge import Dtmf, Hold

SPEECH = encode_g711(speechlike(1.0), 0)


def test_hold_silences_us_and_the_agent_is_told(stage: Stage) -> None:
    with Phone(stage.gateway, "uac_hold_resume", hold_ms=700, keys={"called": "608"}) as phone:
        summary = phone.wait_end()
        packets = phone.rtp.audio
    agent = stage.echo8.wait_call(phone.call_id)
    assert [event.held for event in agent.events if isinstance(event, Hold)] == [True, False]
    events = [one["event"] for one in stage.gateway.events if one["call_id"] == phone.call_id]
    assert [one for one in events if one in ("call.held", "call.resumed")] == ["call.held", "call.resumed"]
    agent.assert_timeline()
    pause = max(b.time_ns - a.time_ns for a, b in itertools.pairwise(packets)) / 1e9
    assert pause > 0.4, "nothing is sent to one who plays music to us (sendonly, RFC 3264 8.4)"
    assert summary["cause"] == "caller_hangup" and len(packets) > 30


def test_media_that_moves_is_followed_both_ways(stage: Stage) -> None:
    gateway = stage.gateway
    with RtpEndpoint() as second:
        keys = {"called": "608", "moved_port": str(second.port)}
        with Phone(gateway, "uac_moved_media", hold_ms=1200, keys=keys) as phone:
            second.wait_received(5)
            moved_at = second.received[0].time_ns
            second.send(phone.wait_media(), SPEECH[:4800])
            phone.wait_end()
        late = [one for one in phone.rtp.received if one.time_ns > moved_at + 200_000_000]
        assert not late, "the old address hears nothing any more"
        assert b"".join(one.payload for one in second.audio).find(SPEECH[:4800]) >= 0
        first, moved = phone.rtp.received[-1], second.received[0]
        assert moved.ssrc == first.ssrc and (moved.sequence - first.sequence) & 0xFFFF <= 2, (
            "one stream, at another place"
        )


@pytest.mark.parametrize(
    "scenario",
    ["uac_offerless", "uac_offerless_reinvite", "uac_long_sdp", "uac_refer"]
    + ["uac_refused_reinvite", "uac_retransmit", "uac_session_timer", "uac_update"],
)  # fmt: skip
def test_the_dialog_goes_as_the_scenario_says_and_is_one_call(stage: Stage, scenario: str) -> None:
    with Phone(stage.gateway, scenario, hold_ms=300, keys={"called": "608"}) as phone:
        summary = phone.wait_end()
    assert summary["cause"] == "caller_hangup" and summary["agent"] == "echo8" and summary["packets_sent"] > 0
    assert [one.call.id for one in stage.echo8.calls] == [phone.call_id], "the agent had one call"
    stage.echo8.wait_call(phone.call_id).assert_timeline()


@pytest.mark.parametrize("scenario", ["uac_prack", "uac_prack_supported"])
def test_ringing_is_reliable_for_those_who_ask(stage: Stage, scenario: str) -> None:
    """The agent thinks for a moment: SIPp is lost when the answer comes on the heels of the 180."""
    stage.picky.offer_delay_s = 0.3
    with Phone(stage.gateway, scenario, hold_ms=200, keys={"called": "602"}) as phone:
        assert phone.wait_end()["cause"] == "caller_hangup"
        ringing = phone.sipp.received("SIP/2.0 180")
    if scenario == "uac_prack":
        assert ringing[0].header("RSeq") and "100rel" in ringing[0].header("Require")


def test_an_offerless_caller_is_heard_and_hears(stage: Stage) -> None:
    with Phone(stage.gateway, "uac_offerless", said=SPEECH, hold_ms=1700, keys={"called": "608"}) as phone:
        phone.wait_end()
        assert b"".join(one.payload for one in phone.rtp.audio).find(SPEECH) >= 0


def test_keys_by_rfc_4733_reach_the_agent_once_each_in_order(stage: Stage) -> None:
    with Phone(
        stage.gateway, "uac_offer", said=SPEECH[:1600], digits="1950#", hold_ms=2600, keys={"called": "608"}
    ) as phone:
        phone.wait_end()
    agent = stage.echo8.wait_call(phone.call_id)
    assert agent.digits == "1950#"
    assert {event.method for event in agent.events if isinstance(event, Dtmf)} == {"rfc4733"}
    for event in agent.events:
        assert not isinstance(event, Dtmf) or 80 <= event.duration_ms <= 160, event
    told = [
        one["data"]["digit"]
        for one in stage.gateway.events
        if one["event"] == "call.dtmf" and one["call_id"] == phone.call_id
    ]
    assert told == list("1950#")


def test_keys_survive_a_network_that_loses_and_repeats(stage: Stage) -> None:
    """One in five packets lost, some twice: still once each (RFC 4733 2.5.1.4 sends the end three times for this)."""
    relay = Relay(Impairment(loss=0.2, duplicate=0.1), seed=4)
    digits = "0123456789"
    with Phone(
        stage.gateway, "uac_offer", digits=digits, hold_ms=3800, relay=relay, keys={"called": "608"}
    ) as phone:
        phone.wait_end()
        assert relay.counts["to_gateway"].lost >= 5, "the network was bad"
    assert stage.echo8.wait_call(phone.call_id).digits == digits


def test_keys_by_info_reach_the_agent(stage: Stage) -> None:
    with Phone(stage.gateway, "uac_info_dtmf", hold_ms=200, keys={"called": "608"}) as phone:
        phone.wait_end()
    agent = stage.echo8.wait_call(phone.call_id)
    assert agent.digits == "1#9"
    assert {event.method for event in agent.events if isinstance(event, Dtmf)} == {"info"}


def test_keys_of_the_agent_and_of_the_api_reach_the_caller_as_events(stage: Stage) -> None:
    async def script(call: object, heard: Heard) -> None:
        heard.call.send_dtmf("42")
        async for frame in heard.call:
            heard.frames.append(frame)

    stage.scripted.script = script
    with Phone(stage.gateway, "uac_hangup", keys={"called": "609"}) as phone:
        call_id = phone.wait_up()
        wait_for(lambda: phone.rtp.heard_digits() == "42", "the agent's digits")
        answer = stage.gateway.api.post(f"/v1/calls/{call_id}/dtmf", json={"digits": "*7"})
        assert answer.status_code == 202, answer.text
        wait_for(lambda: phone.rtp.heard_digits() == "42*7", "the API's digits")
        # The end of each is sent three times, for networks that lose (RFC 4733 2.5.1.4).
        wait_for(lambda: phone.rtp.event_ends() == [3, 3, 3, 3], "three ends of each")
        stage.gateway.hang_up(call_id)
        phone.wait_end()


def test_headers_of_the_invite_reach_the_agent_and_choose_the_route(stage: Stage) -> None:
    with Phone(stage.gateway, "uac_basic", keys={"called": "777", "header": "X-Tenant: acme"}) as phone:
        summary = phone.wait_end()
    info = stage.echo.wait_call(phone.call_id).call.info
    assert (summary["route"], info.route, info.metadata["tenant"]) == ("tenant", "tenant", "acme")
    assert info.headers["X-Tenant"] == "acme" and (info.caller, info.called) == ("1000", "777")
    assert (info.trunk, info.direction, info.sample_rate_hz) == ("local", "inbound", 16000)


def test_options_are_answered_without_a_call(stage: Stage) -> None:
    with Sipp("uac_options", stage.gateway.sip_port) as asker:
        asker.wait()
        assert "INVITE" in asker.received("SIP/2.0 200")[0].header("Allow")


def test_a_call_over_tcp(stage: Stage) -> None:
    with Phone(
        stage.gateway, "uac_basic", said=SPEECH, hold_ms=1700, tcp=True, keys={"called": "608"}
    ) as phone:
        summary = phone.wait_end()
        assert b"".join(one.payload for one in phone.rtp.audio).find(SPEECH) >= 0
    assert summary["cause"] == "caller_hangup"


def test_clear_silences_the_caller_at_once_and_says_what_was_lost(stage: Stage) -> None:
    """An interruption: of 10 s of speech, only what had been played by then is heard."""
    speech = speechlike(10, 16000, seed=3)
    results: list[object] = []

    async def script(call: object, heard: Heard) -> None:
        heard.call.play(speech)
        mark = heard.call.mark("end of speech")
        async for frame in heard.call:
            heard.frames.append(frame)
            if len(heard.frames) == 40:
                results.append(await heard.call.clear())
                results.append(await mark)

    stage.scripted.script = script
    with Phone(stage.gateway, "uac_offer", hold_ms=1700, keys={"called": "609"}) as phone:
        phone.wait_end()
        heard = phone.rtp.heard()
    cleared, mark = results
    assert mark.outcome == "cleared" and cleared.marks == ("end of speech",)  # type: ignore[attr-defined]
    assert cleared.played_ms + cleared.discarded_ms == 10_000  # type: ignore[attr-defined]
    start = find(decode_g711(encode_g711(speech[:4800:2], 0), 0), heard)
    loud = [abs(int(one)) > 200 for one in heard[start:]]
    spoken_ms = (len(loud) - loud[::-1].index(True)) / 8
    assert spoken_ms == pytest.approx(cleared.played_ms, abs=45), "silence begins within a frame or two"  # type: ignore[attr-defined]


def test_a_mark_is_reported_when_the_last_sample_has_left(stage: Stage) -> None:
    stage.scripted.script = say(speechlike(0.5, 16000), then_hang_up=True)
    with Phone(stage.gateway, "uac_hangup", keys={"called": "609"}) as phone:
        summary = phone.wait_end()
        heard = phone.rtp.audio
    assert summary["cause"] == "agent_hangup" and summary["frames_played"] == 25
    assert len(heard) >= 25, "nothing of the speech was cut off by the hang-up that followed its mark"
