# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens while a call that we placed is up: our offers and the peer's, reliable responses, digits, timers."""

from __future__ import annotations

import contextlib
import time

import pytest

from support.sip_rig import SipRig
from support.sipp import Sipp
from trunkline.gateway.sip.events import CallState, InfoDtmfAnswered, MediaChanged, OfferFailed, StateChanged
from trunkline.gateway.sip.messages import HangUp, Reinvite, SendInfoDtmf


@pytest.mark.parametrize("update", [False, True], ids=["reinvite", "update"])
def test_we_hold_and_resume(sip: SipRig, update: bool) -> None:
    with Sipp("uas_update" if update else "uas_hold", sip.port) as callee:
        call_id, session = sip.place(callee.uri_host)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(Reinvite(call_id, hold=True, update=update))
        sip.wait(MediaChanged, 2)
        assert "a=recvonly" in session.last("accepted")
        if not update:
            sip.post(Reinvite(call_id, hold=False))
            sip.wait(MediaChanged, 3)
        sip.post(HangUp(call_id))
        callee.wait()
    assert session.steps[2:5] == ["hold", "offer", "accepted"]


def test_an_offer_that_the_peer_refuses_is_told_and_the_call_goes_on(sip: SipRig) -> None:
    with Sipp("uas_refuse_reinvite", sip.port) as callee:
        call_id, _ = sip.place(callee.uri_host)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(Reinvite(call_id, hold=True))
        failed = sip.wait(OfferFailed)
        assert (failed.code, sip.states(call_id)[-1]) == (488, CallState.CONFIRMED)
        sip.post(HangUp(call_id))
        callee.wait()


def test_after_glare_we_offer_again_when_it_is_our_turn(sip: SipRig) -> None:
    with Sipp("uas_glare", sip.port) as callee:
        call_id, session = sip.place(callee.uri_host)
        sip.state(call_id, CallState.CONFIRMED)
        began = time.monotonic()
        sip.post(Reinvite(call_id, hold=True))
        sip.wait(MediaChanged, 2)
        assert 2.0 < time.monotonic() - began < 4.5
        sip.post(HangUp(call_id))
        callee.wait()
    assert sip.count(OfferFailed) == 0 and "a=recvonly" in session.last("accepted")


def test_offers_that_come_at_once_wait_for_each_other(sip: SipRig) -> None:
    with Sipp("uas_hold", sip.port) as callee:
        call_id, session = sip.place(callee.uri_host)
        sip.react = lambda event: (
            [Reinvite(call_id, hold=True)]
            if isinstance(event, StateChanged) and event.state is CallState.CONNECTING
            else []
        )
        sip.wait(MediaChanged, 2)
        sip.post(Reinvite(call_id, hold=False))
        sip.wait(MediaChanged, 3)
        sip.post(HangUp(call_id))
        callee.wait()
    assert session.steps.count("accepted") == 3


@pytest.mark.parametrize("trunk", ["pbx", "prack"])
def test_reliable_ringing_gets_a_prack(sip: SipRig, trunk: str) -> None:
    with Sipp("uas_prack", sip.port) as callee:
        call_id, _ = sip.place(callee.uri_host, trunk=trunk)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(HangUp(call_id))
        invite = callee.wait()[0]
    assert ("100rel" in invite.header("Require")) == (trunk == "prack")


def test_the_peer_moves_its_media(sip: SipRig) -> None:
    with Sipp("uas_reinvite_moved", sip.port, keys={"moved_port": "43210"}) as callee:
        call_id, session = sip.place(callee.uri_host)
        callee.wait()
        sip.state(call_id, CallState.ENDED)
    assert session.steps == ["offer", "accepted", "answer"] and "m=audio 43210" in session.last("answer")
    assert sip.count(MediaChanged) == 2


def test_the_peer_asks_for_our_offer_and_holds_in_its_ack(sip: SipRig) -> None:
    with Sipp("uas_offerless_reinvite", sip.port) as callee:
        call_id, session = sip.place(callee.uri_host)
        callee.wait()
        sip.state(call_id, CallState.ENDED)
    assert session.steps == ["offer", "accepted", "offer", "accepted"]
    assert "a=sendonly" in session.last("accepted")


def test_digits_by_info_keep_their_order(sip: SipRig) -> None:
    with Sipp("uas_info", sip.port) as callee:
        call_id, _ = sip.place(callee.uri_host)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(SendInfoDtmf(call_id, "1*d", 200))
        while len(callee.received("INFO")) < 3:
            time.sleep(0.02)
        sip.post(HangUp(call_id))
        callee.wait()
        infos = callee.received("INFO")
    assert [one.body.split()[0] for one in infos] == ["Signal=1", "Signal=*", "Signal=D"]
    assert all(one.header("Content-Type") == "application/dtmf-relay" for one in infos)
    assert infos[0].body.split()[1] == "Duration=200"


def test_digits_by_info_keep_their_time_and_are_told_of(sip: SipRig) -> None:
    """The next comes when the one before and its gap are over: the peer plays each as long as it says."""
    with Sipp("uas_info", sip.port) as callee:
        call_id, _ = sip.place(callee.uri_host)
        sip.state(call_id, CallState.CONFIRMED)
        begun = time.monotonic()
        sip.post(SendInfoDtmf(call_id, "12", 200, 100, "application/dtmf"))
        sip.post(SendInfoDtmf(call_id, "3", 100, 50))
        while len(callee.received("INFO")) < 3:
            time.sleep(0.02)
        assert time.monotonic() - begun >= 0.6
        sip.wait(InfoDtmfAnswered, count=3)
        answered = [one for one in sip.events if isinstance(one, InfoDtmfAnswered)]
        sip.post(HangUp(call_id))
        callee.wait()
        infos = callee.received("INFO")
    assert [one.body.split()[0] for one in infos] == ["1", "2", "Signal=3"]
    assert [(one.code, one.digits, one.not_understood) for one in answered] == [(200, "", False)] * 3


def test_digits_that_info_is_refused_for_are_handed_back_whole(sip: SipRig) -> None:
    with Sipp("uas_info_refused", sip.port) as callee:
        call_id, _ = sip.place(callee.uri_host)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(SendInfoDtmf(call_id, "1*d", 200, 60))
        refused = sip.wait(InfoDtmfAnswered)
        sip.post(HangUp(call_id))
        callee.wait()
        assert len(callee.received("INFO")) == 1
    assert (refused.code, refused.not_understood, refused.digits) == (415, True, "1*D")
    assert (refused.duration_ms, refused.gap_ms) == (200, 60)


def test_we_refresh_a_session_timer_at_half_time(sip: SipRig) -> None:
    """By UPDATE where the peer allows it, else by re-INVITE: both at once, for it takes 45 s (RFC 4028)."""
    both = [("UPDATE", "INVITE, ACK, BYE, UPDATE"), ("INVITE", "INVITE, ACK, BYE")]
    with contextlib.ExitStack() as stack:
        up = []
        for method, allow in both:
            keys = {"session_s": "90", "allow": allow}
            callee = stack.enter_context(Sipp("uas_session_timer", sip.port, keys=keys, timeout_s=80))
            call_id, session = sip.place(callee.uri_host)
            sip.state(call_id, CallState.CONFIRMED)
            up.append((method, callee, call_id, session))
        time.sleep(48)
        for method, callee, call_id, session in up:
            refreshes = [one for one in callee.received(method) if "90" in one.header("Session-Expires")]
            sip.post(HangUp(call_id))
            callee.wait()
            assert len(refreshes) == 1, "the INVITE of the call asked for another interval"
            assert session.steps.count("accepted") == (1 if method == "UPDATE" else 2)
