# SPDX-License-Identifier: GPL-2.0-or-later
"""Offers of ours and the answers to them."""

from __future__ import annotations

import pytest

from trunkline.rtp.negotiation import NegotiationError, Session
from trunkline.rtp.sdp import SessionDescription


def session(**options: object) -> Session:
    """A session at 198.51.100.1:30000."""
    given = {"local_host": "198.51.100.1", "rtp_port": 30000, "rtcp_port": 30001, "session_id": 7}
    return Session(**(given | options))  # type: ignore[arg-type]


def answer(*audio: str, media: str = "audio 4000 RTP/AVP 0 101") -> str:
    """An answer with one m-line and these lines below it."""
    head = ("v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0")
    return "".join(f"{line}\r\n" for line in (*head, f"m={media}", *audio))


EVENTS = ("a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16")


def test_the_text_of_an_offer() -> None:
    """All codecs in our order, telephone-event, packet time; nothing is agreed by it."""
    ours = session(codecs=["PCMA", "PCMU"], ptime_ms=30)
    assert ours.offer().split("\r\n") == [
        *("v=0", "o=- 7 7 IN IP4 198.51.100.1", "s=-", "c=IN IP4 198.51.100.1", "t=0 0"),
        *("m=audio 30000 RTP/AVP 8 0 101", "a=rtpmap:8 PCMA/8000", "a=rtpmap:0 PCMU/8000"),
        *("a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15", "a=ptime:30", "a=sendrecv"),
        *("a=rtcp-xr:rcvr-rtt=all voip-metrics", ""),
    ]
    assert ours.description() is None


@pytest.mark.parametrize(("numbers", "agreed"), [("0 13 101", 13), ("0 101", -1)])
def test_comfort_noise_is_offered_where_pauses_are_suppressed(numbers: str, agreed: int) -> None:
    """With its static number; it is in force when the answer has it too."""
    ours = session(offer_noise=True)
    text = ours.offer()
    assert "m=audio 30000 RTP/AVP 0 8 13 101" in text and "a=rtpmap:13 CN/8000" in text
    ours.accepted(answer(*EVENTS, media=f"audio 4000 RTP/AVP {numbers}"))
    description = ours.description()
    assert description is not None
    assert (description.send_cn_pt, description.receive_cn_pt) == (agreed, agreed)


def test_comfort_noise_that_was_not_offered_is_not_believed() -> None:
    """An answer may not add to the offer (RFC 3264 6.1)."""
    ours = session()
    ours.offer()
    ours.accepted(answer(media="audio 4000 RTP/AVP 0 13"))
    description = ours.description()
    assert description is not None and description.send_cn_pt == description.receive_cn_pt == -1


def test_the_peer_chooses() -> None:
    """The first codec of the answer that we offered is what both sides use."""
    ours = session()
    ours.offer()
    ours.accepted(answer(*EVENTS, "a=ptime:40", media="audio 4000 RTP/AVP 8 0 101"))
    description = ours.description()
    assert description is not None
    assert (description.codec, description.send_pt, description.receive_pt) == ("PCMA", 8, 8)
    assert (description.remote_host, description.remote_port) == ("192.0.2.1", 4000)
    assert (description.remote_rtcp_host, description.remote_rtcp_port) == ("192.0.2.1", 4001)
    assert (description.send_dtmf_pt, description.receive_dtmf_pt) == (101, 101)
    assert description.ptime_ms == 40
    assert description.send and description.receive


def test_asymmetric_payload_types() -> None:
    """We send with the numbers of the answer and receive with those of our offer (RFC 3264 5.1)."""
    ours = session()
    ours.offer()
    lines = ("a=rtpmap:111 PCMU/8000", "a=rtpmap:100 telephone-event/8000")
    ours.accepted(answer(*lines, media="audio 4000 RTP/AVP 111 100"))
    description = ours.description()
    assert description is not None
    assert (description.send_pt, description.receive_pt) == (111, 0)
    assert (description.send_dtmf_pt, description.receive_dtmf_pt) == (100, 101)


def test_numbers_without_rtpmap_mean_what_the_offer_said() -> None:
    """Some peers answer `0 101` and leave the a=rtpmap lines out."""
    ours = session()
    ours.offer()
    ours.accepted(answer())
    description = ours.description()
    assert description is not None
    assert (description.codec, description.send_dtmf_pt) == ("PCMU", 101)


def test_telephone_event_missing_from_the_answer() -> None:
    """Then there are no RTP digits in either direction."""
    ours = session()
    ours.offer()
    ours.accepted(answer(media="audio 4000 RTP/AVP 0"))
    description = ours.description()
    assert description is not None
    assert (description.send_dtmf_pt, description.receive_dtmf_pt) == (-1, -1)


@pytest.mark.parametrize(
    ("on_hold", "line", "send", "receive", "held"),
    [
        (False, "a=sendrecv", True, True, False),
        (False, "a=sendonly", False, True, True),
        (False, "a=recvonly", True, False, False),
        (False, "a=inactive", False, False, True),
        (False, "c=IN IP4 0.0.0.0", False, True, True),
        (True, "a=recvonly", True, False, False),
        (True, "a=inactive", False, False, True),
        (True, "a=sendrecv", True, False, False),
    ],
)
def test_directions_of_answers(on_hold: bool, line: str, send: bool, receive: bool, held: bool) -> None:
    """Both sides must want it; a wrong sendrecv to our sendonly does not end our hold."""
    ours = session()
    ours.hold(on_hold)
    assert ("a=sendonly" if on_hold else "a=sendrecv") in ours.offer()
    ours.accepted(answer(line))
    description = ours.description()
    assert description is not None
    assert (description.send, description.receive, ours.held) == (send, receive, held)


@pytest.mark.parametrize(
    ("line", "voip", "round_trip"),
    [
        ("a=rtcp-xr:voip-metrics", True, False),
        ("a=rtcp-xr:rcvr-rtt=sender:40 stat-summary=loss,jitt", False, True),
        ("a=rtcp-xr", False, False),
        ("a=ptime:20", False, False),
    ],
)
def test_extended_reports_are_what_the_answer_wants(line: str, voip: bool, round_trip: bool) -> None:
    """Each side says what it would like to get (RFC 3611 5)."""
    ours = session()
    ours.offer()
    ours.accepted(answer(line))
    description = ours.description()
    assert description is not None
    assert (description.xr_voip, description.xr_round_trip) == (voip, round_trip)


def test_rtcp_mux_that_we_did_not_offer_is_not_believed() -> None:
    """RTCP goes to the next port then."""
    ours = session()
    text = ours.offer()
    assert "rtcp-mux" not in text and "rsize" not in text
    ours.accepted(answer("a=rtcp-mux", "a=rtcp-rsize"))
    description = ours.description()
    assert description is not None
    assert not description.rtcp_mux and not description.rtcp_rsize
    assert description.remote_rtcp_port == 4001


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        ("nonsense", 400, "the answer is no SDP: SDP line 1"),
        ("v=0\r\n", 488, "the answer has no m-line 1, where our audio is"),
        (answer(media="audio 0 RTP/AVP 0"), 488, "the answer's audio is switched off (port 0)"),
        (answer(media="audio 4000 RTP/AVP 18"), 488, "the answer takes G729/8000; offered were PCMU, PCMA"),
        (answer(media="audio 4000 RTP/SAVP 0"), 488, "the answer's audio wants RTP/SAVP"),
        (answer("c=IN IP4 example.com"), 488, "the answer's audio is at IP4 example.com"),
    ],
)
def test_answers_that_cannot_be_used(text: str, code: int, reason: str) -> None:
    """The reason says what is wrong; a better answer to the same offer is still taken."""
    ours = session()
    ours.offer()
    with pytest.raises(NegotiationError) as caught:
        ours.accepted(text)
    assert caught.value.code == code
    assert reason in str(caught.value)
    assert ours.description() is None
    ours.accepted(answer())
    assert ours.description() is not None


def test_an_answer_without_an_offer() -> None:
    """It is the peer's mistake, and changes nothing."""
    ours = session()
    with pytest.raises(NegotiationError, match="nothing is offered") as caught:
        ours.accepted(answer())
    assert caught.value.code == 400


def test_early_media_and_then_another_answer() -> None:
    """A 200 may bring another address than the 183 before it (a forked call): the last one holds."""
    ours = session()
    ours.offer()
    ours.accepted(answer())
    ours.accepted(answer("c=IN IP4 192.0.2.77", media="audio 9000 RTP/AVP 8"))
    description = ours.description()
    assert description is not None
    assert (description.codec, description.remote_host, description.remote_port) == (
        "PCMA",
        "192.0.2.77",
        9000,
    )


@pytest.mark.parametrize("codecs", [["PCMU"], ["PCMA"], ["PCMA", "PCMU"]])
@pytest.mark.parametrize("ptime_ms", [10, 20, 60])
def test_two_sessions_agree_with_each_other(codecs: list[str], ptime_ms: int) -> None:
    """What one side sends is what the other expects, in both directions."""
    caller = session(codecs=codecs, ptime_ms=ptime_ms)
    called = session(local_host="192.0.2.2", rtp_port=5000, rtcp_port=5005)
    caller.accepted(called.answer(caller.offer()))
    a, b = caller.description(), called.description()
    assert a is not None and b is not None
    assert a.codec == b.codec
    assert (a.send_pt, a.receive_pt) == (b.receive_pt, b.send_pt)
    assert (a.send_dtmf_pt, a.receive_dtmf_pt) == (b.receive_dtmf_pt, b.send_dtmf_pt)
    assert (a.remote_host, a.remote_port, a.remote_rtcp_port) == ("192.0.2.2", 5000, 5005)
    assert (b.remote_host, b.remote_port, b.remote_rtcp_port) == ("198.51.100.1", 30000, 30001)
    assert (a.ptime_ms, b.ptime_ms) == (20, ptime_ms)


def test_session_ids_differ_and_fit_31_bits() -> None:
    """Each call has one of its own (RFC 8866 5.2)."""
    ids = set()
    for _ in range(20):
        origin = SessionDescription.parse(session(session_id=None).offer()).origin
        assert origin is not None
        ids.add(int(origin.session_id))
    assert len(ids) == 20
    assert all(0 <= one < 2**31 for one in ids)
