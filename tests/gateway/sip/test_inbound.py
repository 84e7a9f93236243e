# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls that SIPp places to us, from INVITE to the end."""

from __future__ import annotations

import socket

import pytest

from support.bare_caller import BareCaller
from support.sip_rig import SipRig, our_sdp
from support.sipp import Sipp
from trunkline.gateway.sip.events import CallState, Incoming, InfoDtmf, MediaChanged, Refused, StateChanged
from trunkline.gateway.sip.messages import HangUp, Refusal, Respond


def answer(sip: SipRig, call_id: str) -> None:
    sip.post(Respond(call_id, 180), Respond(call_id, 200))


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_a_call_is_announced_answered_with_our_sdp_and_ended_by_the_callers_bye(
    sip: SipRig, tcp: bool
) -> None:
    with Sipp("uac_basic", sip.port, tcp=tcp, keys={"header": "X-Tenant: acme", "called": "4711"}) as caller:
        call_id, session = sip.incoming()
        invite = sip.wait(Incoming).invite
        sip.post(Respond(call_id, 180), Respond(call_id, 200, headers={"X-Agent": "echo"}))
        messages = caller.wait()
    assert (invite.transport, invite.source) == ("tcp" if tcp else "udp", invite.source)
    assert invite.source.startswith("127.0.0.1:")
    assert invite.request_uri == f"sip:4711@127.0.0.1:{sip.port}"
    assert invite.from_name == "Caller" and invite.from_uri.startswith("sip:1000@")
    assert invite.headers["X-Tenant"] == "acme" and "m=audio 40000" in invite.sdp
    assert sip.state(call_id, CallState.ENDED).code == 200
    assert sip.states(call_id) == [
        CallState.RINGING,
        CallState.CONNECTING,
        CallState.CONFIRMED,
        CallState.ENDED,
    ]
    assert session.log == [("answer", invite.sdp)]
    ok = next(one for one in messages if not one.sent and "m=audio" in one.body)
    assert ok.header("X-Agent") == "echo" and ok.header("Server") == "trunkline"
    media = our_sdp().replace("\r\n", "\n").partition("c=")[2]
    assert media.strip() in ok.body, "the media part of the answer is ours, letter by letter"


def test_reason_and_headers_of_the_bye_reach_call_control(sip: SipRig) -> None:
    with Sipp(
        "uac_basic", sip.port, keys={"reason": 'SIP;cause=200;text="Call completed elsewhere"'}
    ) as caller:
        call_id, _ = sip.incoming()
        answer(sip, call_id)
        caller.wait()
        ended = sip.state(call_id, CallState.ENDED)
    assert (ended.code, ended.reason, ended.by_us) == (200, "Call completed elsewhere", False)
    assert ended.headers["Reason"].startswith("SIP;cause=200")


def test_a_cancel_ends_the_call_with_487_and_its_reason(sip: SipRig) -> None:
    with Sipp("uac_cancel", sip.port) as caller:
        call_id, _ = sip.incoming()
        sip.post(Respond(call_id, 180))
        caller.wait()
        ended = sip.state(call_id, CallState.ENDED)
    assert (ended.code, ended.reason, ended.by_us) == (487, "Normal call clearing", False)
    sip.post(Respond(call_id, 200), HangUp(call_id))  # late, and harmless
    assert sip.states(call_id).count(CallState.ENDED) == 1


def test_we_hang_up_an_answered_call_once_with_our_headers(sip: SipRig) -> None:
    with Sipp("uac_hangup", sip.port) as caller:
        call_id, _ = sip.incoming()
        answer(sip, call_id)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(HangUp(call_id, 480, "agent lost", {"X-Why": "test"}), HangUp(call_id))
        messages = caller.wait()
    byes = [one for one in messages if one.start_line.startswith("BYE")]
    assert len(byes) == 1
    assert byes[0].header("X-Why") == "test"
    assert byes[0].header("Reason") == 'SIP ;cause=480 ;text="agent lost"'
    ended = sip.state(call_id, CallState.ENDED)
    assert (ended.code, ended.reason, ended.by_us) == (480, "agent lost", True)


@pytest.mark.parametrize("ringing", [False, True])
def test_a_call_may_be_refused_by_call_control_before_and_after_ringing(sip: SipRig, ringing: bool) -> None:
    with Sipp("uac_refused", sip.port) as caller:
        call_id, _ = sip.incoming()
        if ringing:
            sip.post(Respond(call_id, 180))
        sip.post(Respond(call_id, 503, "No Agent", {"Retry-After": "7"}))
        caller.wait()
        refused = caller.received("SIP/2.0 503")[0]
    assert refused.start_line == "SIP/2.0 503 No Agent" and refused.header("Retry-After") == "7"
    ended = sip.state(call_id, CallState.ENDED)
    assert (ended.code, ended.reason, ended.by_us) == (503, "No Agent", True)


def test_hanging_up_an_unanswered_call_refuses_it(sip: SipRig) -> None:
    with Sipp("uac_refused", sip.port) as caller:
        call_id, _ = sip.incoming()
        sip.post(HangUp(call_id))
        caller.wait()
        assert caller.received("SIP/2.0 603")
    assert sip.state(call_id, CallState.ENDED).code == 603


def test_the_screens_refusal_is_what_the_peer_gets(sip: SipRig) -> None:
    sip.screen.refusal = Refusal(503, "Busy for now", "limit", "limit of 3 calls", retry_after_s=11)
    with Sipp("uac_refused", sip.port) as caller:
        caller.wait()
        refused = caller.received("SIP/2.0 503")[0]
    assert refused.start_line == "SIP/2.0 503 Busy for now"
    assert refused.header("Retry-After") == "11" and refused.header("Server") == "trunkline"
    event = sip.wait(Refused)
    assert event.refusal is sip.screen.refusal and event.invite == sip.screen.seen[0]
    assert sip.count(Refused) == 1 and sip.count(Incoming) == 0 and sip.count(StateChanged) == 0


def test_a_screen_that_raises_costs_one_call_and_not_the_thread(sip: SipRig) -> None:
    sip.screen.error = RuntimeError("bug")
    with Sipp("uac_refused", sip.port) as caller:
        caller.wait()
        assert caller.received("SIP/2.0 500")
    assert sip.wait(Refused).refusal.cause == "internal_error"
    sip.screen.error = None
    with Sipp("uac_basic", sip.port) as caller:
        answer(sip, sip.incoming()[0])
        caller.wait()


def test_an_offer_without_a_codec_that_pjsip_knows_is_refused_and_the_admission_is_taken_back(
    sip: SipRig,
) -> None:
    with Sipp("uac_no_codec", sip.port) as caller:
        caller.wait()
    event = sip.wait(Refused)
    assert (event.refusal.code, event.refusal.cause) == (488, "no_common_codec")
    assert event.invite is sip.screen.seen[0], "by which the screen finds what it holds"
    assert sip.count(Refused) == 1 and sip.count(Incoming) == 0 and sip.count(StateChanged) == 0


def test_an_offerless_invite_is_refused_without_a_fault_of_pjsips(
    sip: SipRig, capfd: pytest.CaptureFixture[str]
) -> None:
    sip.screen.refusal = Refusal(603, "Decline", "route_refused", "test")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(3)
        port = peer.getsockname()[1]
        lines = [
            "INVITE sip:600@127.0.0.1 SIP/2.0", f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK-offerless",
            "From: <sip:77@127.0.0.1>;tag=1", "To: <sip:600@127.0.0.1>", "Call-ID: offerless",
            "CSeq: 1 INVITE", f"Contact: <sip:77@127.0.0.1:{port}>", "Max-Forwards: 70", "Content-Length: 0",
        ]  # fmt: skip
        peer.sendto(("\r\n".join(lines) + "\r\n\r\n").encode(), ("127.0.0.1", sip.port))
        first, second = (peer.recv(4096).split(b"\r\n")[0] for _ in range(2))
    assert (first, second) == (b"SIP/2.0 100 Trying", b"SIP/2.0 603 Decline")
    assert sip.wait(Refused).refusal.code == 603
    captured = capfd.readouterr()
    assert "Assert" not in captured.out + captured.err


def test_an_offer_that_the_session_refuses_at_the_last_moment_gets_488(sip: SipRig) -> None:
    sip.react = lambda event: ()
    original = sip.screen.incoming

    def admit_but_refuse(invite: object) -> object:
        admission = original(invite)  # type: ignore[arg-type]
        admission.session.refuse_next = "no codec in common"  # type: ignore[union-attr]
        return admission

    sip.screen.incoming = admit_but_refuse  # type: ignore[method-assign,assignment]
    with Sipp("uac_refused", sip.port) as caller:
        caller.wait()
        assert caller.received("SIP/2.0 488")[0].start_line == "SIP/2.0 488 no codec in common"
    ended = sip.state(sip.wait(Incoming).call_id, CallState.ENDED)
    assert (ended.code, ended.reason) == (488, "no codec in common")


def test_a_body_that_is_no_sdp_gets_400(sip: SipRig) -> None:
    with Sipp("uac_bad_sdp", sip.port) as caller:
        caller.wait()
    refusal = sip.wait(Refused).refusal
    assert (refusal.code, refusal.cause) == (400, "bad_sdp") and sip.count(Incoming) == 0


def test_a_long_offer_reaches_the_session_whole(sip: SipRig) -> None:
    with Sipp("uac_long_sdp", sip.port) as caller:
        call_id, session = sip.incoming()
        answer(sip, call_id)
        caller.wait()
        sip.state(call_id, CallState.ENDED)
    offers = [sdp for step, sdp in session.log if step == "answer"]
    assert session.steps == ["answer", "answer"]
    assert all(len(offer) > 1024 and "198.51.100.18" in offer for offer in offers)
    assert "a=sendonly" in offers[1]


def test_an_offerless_invite_gets_our_offer_and_the_answer_comes_with_the_ack(sip: SipRig) -> None:
    with Sipp("uac_offerless", sip.port) as caller:
        call_id, session = sip.incoming()
        answer(sip, call_id)
        caller.wait()
        sip.state(call_id, CallState.ENDED)
    assert session.steps == ["offer", "accepted"]
    assert "m=audio 40000" in session.last("accepted")
    kinds = [type(one).__name__ for one in sip.events]
    assert kinds.index("MediaChanged") < kinds.index("StateChanged", kinds.index("MediaChanged"))
    assert sip.count(MediaChanged) == 1


def test_retransmissions_are_one_call(sip: SipRig) -> None:
    with Sipp("uac_retransmit", sip.port) as caller:
        call_id, session = sip.incoming()
        answer(sip, call_id)
        caller.wait()
        oks = [one for one in caller.received("SIP/2.0 200") if "INVITE" in one.header("CSeq")]
    assert len(oks) >= 2, "the 200 is repeated until the ACK comes"
    sip.state(call_id, CallState.ENDED)
    assert sip.count(Incoming) == 1 and session.steps == ["answer"]


def test_digits_by_info_are_reported_once_each_and_unknown_info_is_refused(sip: SipRig) -> None:
    with Sipp("uac_info_dtmf", sip.port) as caller:
        call_id, _ = sip.incoming()
        answer(sip, call_id)
        caller.wait()
        sip.state(call_id, CallState.ENDED)
    digits = [(one.digit, one.duration_ms) for one in sip.events if isinstance(one, InfoDtmf)]
    assert digits == [("1", 250), ("#", 120), ("9", 160)]


@pytest.mark.parametrize("answered", [True, False])
def test_headers_of_many_rings_leave_room_for_the_final_response(sip: SipRig, answered: bool) -> None:
    """PJSIP makes each response out of the one before; what is longer than a datagram would never be sent."""
    with BareCaller(sip.port) as caller:
        caller._send("INVITE", our_sdp())
        call_id, _ = sip.incoming()
        for ring in range(8):
            headers = {f"X-{ring}-{number}": "v" * 1800 for number in range(8)}
            sip.post(Respond(call_id, 180, headers=headers))
        more = {f"X-last-{number}": "v" * 1800 for number in range(8)}
        last = Respond(call_id, 200, headers=more) if answered else HangUp(call_id, 486, "Busy", more)
        sip.post(last)
        assert caller._final().code == (200 if answered else 486)
        caller._send("ACK")
        if answered:
            sip.state(call_id, CallState.CONFIRMED)
            sip.post(HangUp(call_id))
        sip.state(call_id, CallState.ENDED)
