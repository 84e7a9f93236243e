# SPDX-License-Identifier: GPL-2.0-or-later
"""What may happen while a call is up, started by the peer: new offers, PRACK, UPDATE, timers, requests we refuse."""

from __future__ import annotations

import time

import pytest

from support.sip_rig import SipRig, StaticSession
from support.sipp import Sipp
from trunkline.gateway.sip.events import CallState, Incoming, MediaChanged, Refused
from trunkline.gateway.sip.messages import Reinvite, Respond


def answered(sip: SipRig) -> tuple[str, StaticSession]:
    call_id, session = sip.incoming()
    sip.post(Respond(call_id, 180), Respond(call_id, 200))
    return call_id, session


def media_port(sdp: str) -> str:
    return sdp.partition("m=audio ")[2].split()[0]


def test_hold_and_resume_by_the_peer_ask_the_session_and_are_told(sip: SipRig) -> None:
    with Sipp("uac_hold_resume", sip.port) as caller:
        call_id, session = answered(sip)
        caller.wait()
        sip.state(call_id, CallState.ENDED)
    assert session.steps == ["answer"] * 3
    assert "a=sendonly" in session.log[1][1] and "a=sendrecv" in session.log[2][1]
    assert sip.count(MediaChanged) == 3


def test_moved_media_reach_the_session(sip: SipRig) -> None:
    with Sipp("uac_moved_media", sip.port, keys={"moved_port": "41234"}) as caller:
        call_id, session = answered(sip)
        caller.wait()
        sip.state(call_id, CallState.ENDED)
    assert [media_port(sdp) for _, sdp in session.log] == ["40000", "41234"]
    assert sip.count(MediaChanged) == 2


def test_a_reinvite_that_the_session_refuses_gets_488_and_the_call_goes_on(sip: SipRig) -> None:
    with Sipp("uac_refused_reinvite", sip.port) as caller:
        call_id, session = answered(sip)
        sip.state(call_id, CallState.CONFIRMED)
        session.refuse_next = "cannot do that"
        caller.wait()
        ended = sip.state(call_id, CallState.ENDED)
    assert ended.code == 200 and not ended.by_us
    assert session.steps == ["answer"] * 3
    assert sip.count(MediaChanged) == 2, "the refused one changed nothing"


def test_an_offerless_reinvite_gets_our_offer_and_the_session_learns_the_answer(sip: SipRig) -> None:
    with Sipp("uac_offerless_reinvite", sip.port, keys={"moved_port": "41236"}) as caller:
        call_id, session = answered(sip)
        caller.wait()
        sip.state(call_id, CallState.ENDED)
    assert session.steps == ["answer", "offer", "accepted"]
    learnt = session.last("accepted")
    assert media_port(learnt) == "41236" and "a=rtpmap:0 PCMU/8000" in learnt and "a=sendrecv" in learnt
    assert sip.count(MediaChanged) == 2


@pytest.mark.parametrize("trunk", ["pbx", "noprack", "prack"])
def test_reliable_ringing_when_the_peer_requires_it(sip: SipRig, trunk: str) -> None:
    with Sipp("uac_prack", sip.port, keys={"called": trunk}) as caller:
        call_id, _ = sip.incoming()
        sip.post(Respond(call_id, 180))
        time.sleep(0.1)  # a 200 may overtake the PRACK of a 180 without SDP
        sip.post(Respond(call_id, 200))
        messages = caller.wait()
        sip.state(call_id, CallState.ENDED)
    assert len([one for one in messages if one.start_line.startswith("PRACK")]) == 1


@pytest.mark.parametrize(("trunk", "pracks"), [("pbx", 1), ("noprack", 0), ("prack", 1)])
def test_reliable_ringing_when_the_peer_merely_supports_it_is_the_trunks_choice(
    sip: SipRig, trunk: str, pracks: int
) -> None:
    with Sipp("uac_prack_supported", sip.port, keys={"called": trunk}) as caller:
        call_id, _ = sip.incoming()
        sip.post(Respond(call_id, 180))
        time.sleep(0.1)  # a 200 may overtake the PRACK of a 180 without SDP
        sip.post(Respond(call_id, 200))
        messages = caller.wait()
        sip.state(call_id, CallState.ENDED)
    assert len([one for one in messages if one.start_line.startswith("PRACK")]) == pracks


def test_a_trunk_that_requires_reliable_responses_refuses_a_peer_without_them(sip: SipRig) -> None:
    with Sipp("uac_refused", sip.port, keys={"called": "prack"}) as caller:
        caller.wait()
        assert caller.received("SIP/2.0 421")
    assert sip.wait(Refused).refusal.cause == "bad_extension" and sip.count(Incoming) == 0


def test_update_with_sdp_is_an_offer_and_without_is_a_refresh(sip: SipRig) -> None:
    with Sipp("uac_update", sip.port) as caller:
        call_id, session = answered(sip)
        caller.wait()
        sip.state(call_id, CallState.ENDED)
    assert session.steps == ["answer", "answer"] and "a=sendonly" in session.last("answer")
    assert sip.count(MediaChanged) == 2


def test_a_session_timer_of_the_peer_is_confirmed_and_refreshed(sip: SipRig) -> None:
    with Sipp("uac_session_timer", sip.port) as caller:
        call_id, _ = answered(sip)
        caller.wait()
        sip.state(call_id, CallState.ENDED)


def test_too_short_a_session_interval_gets_422(sip: SipRig) -> None:
    with Sipp("uac_session_timer_short", sip.port) as caller:
        caller.wait()
    assert sip.state(sip.wait(Incoming).call_id, CallState.ENDED).code == 422


def test_we_hold_and_resume_a_caller_and_follow_its_moved_media(sip: SipRig) -> None:
    with Sipp("uac_reinvited", sip.port, keys={"moved_port": "41238"}) as caller:
        call_id, session = answered(sip)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(Reinvite(call_id, hold=True))
        sip.wait(MediaChanged, 2)
        sip.post(Reinvite(call_id, hold=False))
        caller.wait()
        sip.state(call_id, CallState.ENDED)
    assert session.steps == ["answer", "hold", "offer", "accepted", "hold", "offer", "accepted"]
    assert [media_port(sdp) for step, sdp in session.log if step == "accepted"] == ["41238", "40000"]


@pytest.mark.parametrize("scenario", ["uac_options", "uac_message", "uac_subscribe"])
def test_requests_outside_of_calls_are_answered_without_asking_the_screen(sip: SipRig, scenario: str) -> None:
    with Sipp(scenario, sip.port) as caller:
        caller.wait()
    assert sip.screen.seen == [] and sip.events == []


def test_a_transfer_is_refused_and_the_call_goes_on(sip: SipRig) -> None:
    with Sipp("uac_refer", sip.port) as caller:
        call_id, _ = answered(sip)
        caller.wait()
        assert sip.state(call_id, CallState.ENDED).code == 200


def test_replaces_does_not_hand_a_call_to_a_stranger(sip: SipRig) -> None:
    with Sipp("uac_hangup", sip.port) as caller:
        call_id, _ = answered(sip)
        sip.state(call_id, CallState.CONFIRMED)
        ok = caller.received("SIP/2.0 200")[0]
        ours, theirs = ok.header("To").partition("tag=")[2], ok.header("From").partition("tag=")[2]
        line = f"Replaces: {ok.header('Call-ID')};to-tag={ours};from-tag={theirs}"
        with Sipp("uac_replaces", sip.port, keys={"header": line}) as thief:
            thief.wait()
            assert thief.received("SIP/2.0 603")
        assert sip.wait(Refused).refusal.cause == "sip_stack"
        assert CallState.ENDED not in sip.states(call_id)
