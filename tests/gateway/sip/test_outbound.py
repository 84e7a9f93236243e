# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls that we place to SIPp."""

from __future__ import annotations

import pytest

from support.ports import free_port
from support.sip_rig import SipRig
from support.sipp import Sipp
from trunkline.gateway.sip.events import CallState, Placed
from trunkline.gateway.sip.messages import HangUp


def test_ringing_answer_and_our_bye(sip: SipRig) -> None:
    with Sipp("uas_basic", sip.port, keys={"header": "X-Answered-By: robot"}) as callee:
        call_id, session = sip.place(
            callee.uri_host, headers={"X-Tenant": "acme"}, from_uri='"Ann" <sip:77@example.org>'
        )
        up = sip.state(call_id, CallState.CONFIRMED)
        sip.post(HangUp(call_id))
        messages = callee.wait()
    assert up.call_id == call_id
    states = [
        CallState.CALLING,
        CallState.RINGING,
        CallState.CONNECTING,
        CallState.CONFIRMED,
        CallState.ENDED,
    ]
    assert sip.states(call_id) == states
    assert sip.state(call_id, CallState.RINGING).code == 180
    assert sip.state(call_id, CallState.CONNECTING).headers["X-Answered-By"] == "robot"
    assert session.steps == ["offer", "accepted"] and "m=audio 40000" in session.last("accepted")
    assert (sip.state(call_id, CallState.ENDED).code, sip.state(call_id, CallState.ENDED).by_us) == (
        200,
        True,
    )
    invite = messages[0]
    assert invite.header("X-Tenant") == "acme" and invite.header("User-Agent") == "trunkline"
    assert invite.header("From").startswith('"Ann" <sip:77@example.org>')
    assert "a=x-ours:yes" in invite.body


def test_the_trunks_own_identity_without_a_caller(sip: SipRig) -> None:
    with Sipp("uas_busy", sip.port) as callee:
        sip.place(callee.uri_host)
        assert callee.wait()[0].header("From").startswith("<sip:gateway@example.com>")


def test_media_are_known_before_the_call_is_confirmed(sip: SipRig) -> None:
    with Sipp("uas_basic", sip.port) as callee:
        call_id, _ = sip.place(callee.uri_host)
        sip.state(call_id, CallState.CONFIRMED)
        order = [getattr(one, "state", type(one).__name__) for one in sip.events]
        sip.post(HangUp(call_id))
        callee.wait()
    assert order.index("MediaChanged") < order.index(CallState.CONFIRMED)


def test_the_peers_bye_and_its_reason(sip: SipRig) -> None:
    with Sipp("uas_bye", sip.port) as callee:
        call_id, _ = sip.place(callee.uri_host)
        callee.wait()
        ended = sip.state(call_id, CallState.ENDED)
    assert (ended.code, ended.reason, ended.by_us) == (200, "Normal call clearing", False)


@pytest.mark.parametrize(("scenario", "code"), [("uas_busy", 486), ("uas_redirect", 302)])
def test_a_refusal_delivers_code_reason_and_headers(sip: SipRig, scenario: str, code: int) -> None:
    with Sipp(scenario, sip.port, keys={"reason": "Q.850;cause=17"}) as callee:
        call_id, _ = sip.place(callee.uri_host)
        callee.wait()
        ended = sip.state(call_id, CallState.ENDED)
    assert (ended.code, ended.by_us) == (code, False)
    if code == 486:
        assert ended.reason == "Busy Here" and ended.headers["X-Queue"] == "full"
    else:
        assert ended.reason == "Moved Temporarily"


def test_nobody_answers_in_time(sip: SipRig) -> None:
    with Sipp("uas_ringing_cancel", sip.port) as callee:
        call_id, _ = sip.place(callee.uri_host, timeout_s=0.4)
        callee.wait()
        ended = sip.state(call_id, CallState.ENDED)
    assert (ended.code, ended.reason, ended.by_us) == (408, "Request Timeout", True)
    assert ended.cause == "", "it rang"


def test_hanging_up_while_it_rings_cancels(sip: SipRig) -> None:
    with Sipp("uas_ringing_cancel", sip.port) as callee:
        call_id, _ = sip.place(callee.uri_host)
        sip.state(call_id, CallState.RINGING)
        sip.post(HangUp(call_id))
        callee.wait()
        ended = sip.state(call_id, CallState.ENDED)
    assert (ended.code, ended.by_us) == (487, True)


def test_hanging_up_before_any_response_cancels_as_soon_as_it_may(sip: SipRig) -> None:
    with Sipp("uas_silent_cancel", sip.port, pause_ms=300) as callee:
        call_id, _ = sip.place(callee.uri_host)
        sip.state(call_id, CallState.CALLING)
        sip.post(HangUp(call_id))
        assert sip.state(call_id, CallState.ENDED, within_s=0.2).code == 487
        callee.wait()


def test_an_answer_that_crosses_our_cancel_is_hung_up(sip: SipRig) -> None:
    with Sipp("uas_cancel_crossed", sip.port) as callee:
        call_id, _ = sip.place(callee.uri_host)
        sip.state(call_id, CallState.RINGING)
        sip.post(HangUp(call_id))
        callee.wait()
    assert sip.states(call_id)[-1] is CallState.ENDED


def test_early_media_are_told_before_the_answer(sip: SipRig) -> None:
    with Sipp("uas_early", sip.port) as callee:
        call_id, session = sip.place(callee.uri_host)
        early = sip.state(call_id, CallState.EARLY)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(HangUp(call_id))
        callee.wait()
    assert early.code == 183 and CallState.RINGING not in sip.states(call_id)
    assert session.steps[:2] == ["offer", "accepted"]


def test_of_two_phones_the_one_that_answers_is_followed(sip: SipRig) -> None:
    with Sipp("uas_forked", sip.port, keys={"moved_port": "42424"}) as callee:
        call_id, session = sip.place(callee.uri_host)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(HangUp(call_id))
        callee.wait()
    assert "m=audio 42424" in session.last("accepted")


def test_tcp_is_used_when_the_trunk_says_so(sip: SipRig) -> None:
    with Sipp("uas_basic", sip.port, tcp=True) as callee:
        call_id, _ = sip.place(callee.uri_host, trunk="tcp")
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(HangUp(call_id))
        invite = callee.wait()[0]
    assert "SIP/2.0/TCP" in invite.header("Via") and "transport=TCP" in invite.header("Contact")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "b\r\nVia: evil"},
        {"Via": "SIP/2.0/UDP evil"},
        {"call-id": "x"},
        {"i": "x"},
        {"X A": "b"},
        {"": "b"},
    ],
)
def test_headers_that_would_break_the_dialog_never_leave(sip: SipRig, headers: dict[str, str]) -> None:
    call_id, session = sip.place("127.0.0.1:9", headers=headers)
    ended = sip.state(call_id, CallState.ENDED)
    assert ended.cause == "bad_request" and ended.by_us and session.steps == []
    assert "header" in ended.reason or "value" in ended.reason


@pytest.mark.parametrize(("trunk", "cause"), [("nobody", "internal_error"), ("pbx", "bad_request")])
def test_a_call_that_cannot_be_placed_ends_at_once(sip: SipRig, trunk: str, cause: str) -> None:
    """The fault is nobody's but ours, and is told in words that are not C++."""
    call_id, _ = sip.place("127.0.0.1:5060>;bad", trunk=trunk)
    ended = sip.state(call_id, CallState.ENDED)
    assert (ended.cause, ended.by_us) == (cause, True)
    assert "pjsua_" not in ended.reason and "(" not in ended.reason.partition(" (PJSIP error ")[0]


def test_a_peer_that_says_nothing_at_all_is_unreachable(sip: SipRig) -> None:
    """Nothing listens there; a phone that rings and is not answered is another matter."""
    call_id, _ = sip.place(f"127.0.0.1:{free_port()}", timeout_s=0.4)
    ended = sip.state(call_id, CallState.ENDED)
    assert (ended.cause, ended.by_us) == ("peer_unreachable", True)
    assert "no response of any kind from sip:600@127.0.0.1" in ended.reason


def test_the_invite_says_who_we_are(sip: SipRig) -> None:
    """Call-ID and From as PJSIP wrote them, for the log line that finds the call in the peer's log."""
    with Sipp("uas_busy", sip.port) as callee:
        call_id, _ = sip.place(callee.uri_host)
        placed = sip.wait(Placed, call_id=call_id)
        invite = callee.wait()[0]
    assert placed.sip_call_id == invite.header("Call-ID")
    assert placed.from_uri == "sip:gateway@example.com"


def test_an_answer_that_the_session_refuses_ends_the_call_with_bye(sip: SipRig) -> None:
    with Sipp("uas_basic", sip.port) as callee:
        call_id, session = sip.place(callee.uri_host)
        session.refuse_next = "no such codec"
        callee.wait()
        ended = sip.state(call_id, CallState.ENDED)
    assert (ended.code, ended.reason, ended.by_us) == (488, "no such codec", True)


def test_an_answer_without_sdp_ends_the_call_with_bye(sip: SipRig) -> None:
    with Sipp("uas_crash", sip.port) as callee:
        call_id, _ = sip.place(callee.uri_host)
        callee.wait()
        assert sip.state(call_id, CallState.ENDED).code >= 400


def test_a_peer_that_refuses_the_connection_ends_the_call_at_once(sip: SipRig) -> None:
    call_id, _ = sip.place(f"127.0.0.1:{free_port()}", trunk="tcp")
    ended = sip.state(call_id, CallState.ENDED, within_s=3.0)
    assert ended.code in (502, 503) and not ended.by_us
