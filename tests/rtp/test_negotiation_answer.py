# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers to offers as real systems write them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from trunkline.rtp.negotiation import MediaDescription, NegotiationError, Session
from trunkline.rtp.sdp import SessionDescription

SAMPLES = Path(__file__).parent.parent / "vectors" / "sdp"


def sample(name: str) -> str:
    """An offer with the line ends of the wire."""
    return (SAMPLES / f"{name}.sdp").read_text().replace("\n", "\r\n")


def offer(*audio: str, media: str = "audio 4000 RTP/AVP 0 8", host: str = "192.0.2.1") -> str:
    """An offer with one m-line and these lines below it."""
    family = "IP6" if ":" in host else "IP4"
    lines = [
        *("v=0", f"o=- 1 1 IN {family} {host}", "s=-", f"c=IN {family} {host}", "t=0 0"),
        *(f"m={media}", *audio),
    ]
    return "".join(f"{line}\r\n" for line in lines)


def session(**options: object) -> Session:
    """A session at 198.51.100.1:30000."""
    given = {"local_host": "198.51.100.1", "rtp_port": 30000, "rtcp_port": 30001, "session_id": 7}
    return Session(**(given | options))  # type: ignore[arg-type]


def agreed(text: str, **options: object) -> MediaDescription:
    """What a fresh session makes of an offer."""
    ours = session(**options)
    ours.answer(text)
    description = ours.description()
    assert description is not None
    return description


BASE = MediaDescription(
    codec="PCMU",
    send_pt=0,
    receive_pt=0,
    remote_host="192.0.2.10",
    remote_port=12346,
    remote_rtcp_host="192.0.2.10",
    remote_rtcp_port=12347,
    ptime_ms=20,
    send_dtmf_pt=101,
    receive_dtmf_pt=101,
)


def place(host: str, port: int) -> dict[str, object]:
    """Address fields of a peer with RTCP on the next port."""
    return {
        "remote_host": host,
        "remote_port": port,
        "remote_rtcp_host": host,
        "remote_rtcp_port": port + 1,
    }


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("asterisk", {"peer_maxptime_ms": 60}),
        ("freeswitch", place("192.0.2.20", 23456) | {"send_cn_pt": 13, "receive_cn_pt": 13}),
        ("sipp", place("127.0.0.1", 6000) | {"send_dtmf_pt": -1, "receive_dtmf_pt": -1}),
        (
            "linphone",
            place("192.0.2.30", 7078)
            | {"send_dtmf_pt": 100, "receive_dtmf_pt": 100, "xr_voip": True, "xr_round_trip": True},
        ),
        ("zoiper", place("192.0.2.40", 51702) | {"remote_rtcp_port": 51702, "rtcp_mux": True}),
        ("cisco", place("192.0.2.51", 24580)),
        ("both_profiles", place("192.0.2.60", 50002) | {"send_dtmf_pt": -1, "receive_dtmf_pt": -1}),
        ("minimal", place("192.0.2.70", 5004) | {"send_dtmf_pt": -1, "receive_dtmf_pt": -1}),
    ],
)
def test_what_is_agreed_with_each_system(name: str, changes: dict[str, object]) -> None:
    """Codec, numbers, addresses, RTCP and packet time."""
    assert agreed(sample(name)) == dataclasses.replace(BASE, **changes)  # type: ignore[arg-type]


def test_the_text_of_an_answer() -> None:
    """All of it: origin, one codec, telephone-event, packet time, direction, refused lines in place."""
    assert session().answer(sample("cisco")).split("\r\n") == [
        *("v=0", "o=- 7 7 IN IP4 198.51.100.1", "s=-", "c=IN IP4 198.51.100.1", "t=0 0"),
        *("m=audio 30000 RTP/AVP 0 101", "a=rtpmap:0 PCMU/8000", "a=rtpmap:101 telephone-event/8000"),
        *("a=fmtp:101 0-15", "a=ptime:20", "a=sendrecv"),
        *("m=video 0 RTP/AVP 97", "m=application 0 UDP/BFCP *", ""),
    ]


@pytest.mark.parametrize(
    ("lines", "media", "number"),
    [
        ([], "audio 4000 RTP/AVP 0 13", 13),
        (["a=rtpmap:13 CN/8000"], "audio 4000 RTP/AVP 8 13", 13),
        (["a=rtpmap:118 CN/8000"], "audio 4000 RTP/AVP 0 118", 118),
        (["a=rtpmap:118 CN/16000", "a=rtpmap:9 G722/8000"], "audio 4000 RTP/AVP 9 0 118", -1),
        ([], "audio 4000 RTP/AVP 13 0", -1),
        ([], "audio 4000 RTP/AVP 0", -1),
    ],
)
def test_comfort_noise_is_taken_when_offered(lines: list[str], media: str, number: int) -> None:
    """RFC 3389, of the same clock as the speech; with the number of the offer, and never of our own accord."""
    ours = session()
    text = ours.answer(offer(*lines, media=media))
    description = ours.description()
    assert description is not None
    assert (description.send_cn_pt, description.receive_cn_pt) == (number, number)
    assert (f"a=rtpmap:{number} CN/8000" in text) == (number >= 0)
    assert ("CN/8000" in ours.offer()) == (number >= 0)


def test_srtp_line_before_a_plain_one_is_refused_in_place() -> None:
    """The first line that we can use is taken; the answer keeps the order."""
    ours = session(codecs=["PCMA"])
    answer = SessionDescription.parse(ours.answer(sample("both_profiles")))
    assert [(media.port, media.profile) for media in answer.media] == [(0, "RTP/SAVP"), (30000, "RTP/AVP")]
    assert answer.media[1].formats == ["8"]


def test_only_one_of_two_usable_lines_is_taken() -> None:
    """A call has one audio stream."""
    text = offer() + "m=audio 4002 RTP/AVP 0\r\n"
    answer = SessionDescription.parse(session().answer(text))
    assert [media.port for media in answer.media] == [30000, 0]


def test_feedback_profile_is_answered_as_it_was_offered() -> None:
    """RTP/AVPF stays RTP/AVPF (RFC 4585 section 4)."""
    answer = SessionDescription.parse(session().answer(sample("linphone")))
    assert answer.media[0].profile == "RTP/AVPF"


def test_ipv6() -> None:
    """Addresses of both sides are IP6, and the peer's packet time is used."""
    ours = session(local_host="2001:db8::1", codecs=["PCMU", "PCMA"])
    answer = ours.answer(sample("ipv6"))
    assert "o=- 7 7 IN IP6 2001:db8::1\r\n" in answer
    assert "c=IN IP6 2001:db8::1\r\n" in answer
    expected = place("2001:db8::103", 49170) | {"codec": "PCMA", "send_pt": 8, "receive_pt": 8}
    expected |= {"ptime_ms": 30, "send_dtmf_pt": -1, "receive_dtmf_pt": -1, "peer_maxptime_ms": 40}
    assert ours.description() == dataclasses.replace(BASE, **expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prefer", "codecs", "expected"),
    [
        ("ours", ["PCMU", "PCMA"], "PCMU"),
        ("ours", ["PCMA", "PCMU"], "PCMA"),
        ("theirs", ["PCMU", "PCMA"], "PCMA"),
        ("theirs", ["PCMU"], "PCMU"),
    ],
)
def test_whose_preference_counts(prefer: str, codecs: list[str], expected: str) -> None:
    """Our order, or the order of the offer."""
    assert agreed(offer(media="audio 4000 RTP/AVP 18 8 0"), prefer=prefer, codecs=codecs).codec == expected


def test_dynamic_numbers_of_known_codecs() -> None:
    """A codec with a number of its own keeps the peer's number, and a reused static one is believed."""
    text = offer("a=rtpmap:97 pcma/8000/1", "a=rtpmap:8 iLBC/8000", media="audio 4000 RTP/AVP 8 97")
    description = agreed(text)
    assert (description.codec, description.send_pt, description.receive_pt) == ("PCMA", 97, 97)


@pytest.mark.parametrize(
    ("lines", "number"),
    [
        (["a=rtpmap:96 telephone-event/8000"], 96),
        (["a=rtpmap:96 Telephone-Event/8000", "a=fmtp:96 0-16"], 96),
        (["a=rtpmap:96 telephone-event/8000", "a=fmtp:96 32-36"], -1),
        (["a=rtpmap:96 telephone-event/48000"], -1),
        (["a=fmtp:96 0-15"], -1),
    ],
)
def test_telephone_event(lines: list[str], number: int) -> None:
    """Taken when it has the clock of the speech and the keys of a telephone."""
    description = agreed(offer(*lines, media="audio 4000 RTP/AVP 0 96"))
    assert (description.send_dtmf_pt, description.receive_dtmf_pt) == (number, number)


def test_telephone_event_can_be_switched_off() -> None:
    """With dtmf=False it is neither answered nor offered."""
    ours = session(dtmf=False)
    assert "telephone-event" not in ours.answer(sample("asterisk"))
    assert "telephone-event" not in session(dtmf=False).offer()


@pytest.mark.parametrize(
    ("lines", "ours_ms", "expected"),
    [
        ([], 20, 20),
        ([], 40, 40),
        (["a=ptime:10"], 20, 10),
        (["a=ptime:60"], 20, 60),
        (["a=ptime:25"], 20, 20),
        (["a=ptime:50"], 20, 40),
        (["a=ptime:200"], 20, 60),
        (["a=ptime:5"], 20, 10),
        (["a=ptime:0"], 20, 20),
        (["a=ptime:x"], 30, 30),
        (["a=maxptime:30"], 60, 30),
        (["a=ptime:40", "a=maxptime:35"], 20, 30),
        (["a=maxptime:5"], 20, 10),
        (["a=ptime:22.5"], 60, 20),
    ],
)
def test_packet_time_that_we_send(lines: list[str], ours_ms: int, expected: int) -> None:
    """The peer's wish if we can, else the nearest; ours without a wish; never above its maxptime."""
    ours = session(ptime_ms=ours_ms)
    answer = ours.answer(offer(*lines))
    description = ours.description()
    assert description is not None and description.ptime_ms == expected
    assert f"a=ptime:{ours_ms}\r\n" in answer  # what we would like to receive is our own affair


@pytest.mark.parametrize(
    ("line", "answered", "send", "receive"),
    [
        ("a=sendrecv", "sendrecv", True, True),
        ("a=sendonly", "recvonly", False, True),
        ("a=recvonly", "sendonly", True, False),
        ("a=inactive", "inactive", False, False),
        ("c=IN IP4 0.0.0.0", "recvonly", False, True),
    ],
)
@pytest.mark.parametrize("on_hold", [False, True])
def test_directions(line: str, answered: str, send: bool, receive: bool, on_hold: bool) -> None:
    """The mirror image of the offer (RFC 3264 6.1), less what we want no more while we hold."""
    ours = session()
    ours.hold(on_hold)
    answer = ours.answer(offer(line))
    if on_hold:
        receive = False
        answered = "sendonly" if send else "inactive"
    assert f"a={answered}\r\n" in answer
    description = ours.description()
    assert description is not None
    assert (description.send, description.receive) == (send, receive)
    assert ours.held is not send
    assert ours.on_hold is on_hold


@pytest.mark.parametrize(
    ("lines", "host", "port", "mux"),
    [
        ([], "192.0.2.1", 4001, False),
        (["a=rtcp:5555"], "192.0.2.1", 5555, False),
        (["a=rtcp:5555 IN IP4 192.0.2.9"], "192.0.2.9", 5555, False),
        (["a=rtcp:9 IN IP4 0.0.0.0"], "0.0.0.0", 0, False),
        (["c=IN IP4 0.0.0.0"], "0.0.0.0", 0, False),
        (["c=IN IP4 0.0.0.0", "a=rtcp-mux"], "0.0.0.0", 0, True),
        (["a=rtcp:broken"], "192.0.2.1", 4001, False),
        (["a=rtcp:5555 IN IP4 rtcp.example.com"], "192.0.2.1", 0, False),
        (["a=rtcp:5555 IN IP6 2001:db8::1"], "192.0.2.1", 0, False),
        (["a=rtcp:5555 IN IP4 224.2.1.1"], "192.0.2.1", 0, False),
        (["a=rtcp:5555 IN IP4 rtcp.example.com", "a=rtcp-mux"], "192.0.2.1", 4000, True),
        (["a=rtcp:5555", "a=rtcp-mux"], "192.0.2.1", 4000, True),
    ],
)
def test_rtcp_address(lines: list[str], host: str, port: int, mux: bool) -> None:
    """The next port, what a=rtcp says, or the same port when multiplexed; we confirm that."""
    ours = session()
    answer = ours.answer(offer(*lines))
    description = ours.description()
    assert description is not None
    assert description.remote_rtcp_host == host
    assert description.remote_rtcp_port == port
    assert description.rtcp_mux is mux
    assert ("a=rtcp-mux\r\n" in answer) is mux


def test_port_65535_has_no_rtcp() -> None:
    """There is no next port."""
    assert agreed(offer(media="audio 65535 RTP/AVP 0")).remote_rtcp_port == 0


def test_our_own_rtcp_port_is_named_when_it_is_not_the_next() -> None:
    """RFC 3605."""
    assert "a=rtcp:31000\r\n" in session(rtcp_port=31000).answer(offer())
    assert "a=rtcp" not in session().answer(offer())


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        ("", 400, "the offer is no SDP: SDP line 1: empty"),
        ("rubbish", 400, "line 1: 'rubbish' is not of the form"),
        ("v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nt=0 0\n", 488, "the offer has no m-line"),
        ("v=0\ns=-\nm=audio 4000 RTP/AVP 0\n", 400, "m-line 1 has no c= line"),
        (offer(media="audio 4000 RTP/AVP 18 3"), 488, "offers G729/8000, GSM/8000; taken are PCMU, PCMA"),
        (offer(media="audio 4000 RTP/AVP 96"), 488, "offers payload type 96 (no rtpmap); taken are"),
        (offer("a=rtpmap:96 opus/48000/2", media="audio 4000 RTP/AVP 96"), 488, "offers OPUS/48000/2; taken"),
        (offer("a=rtpmap:0 PCMU/16000", media="audio 4000 RTP/AVP 0"), 488, "offers PCMU/16000; taken"),
        (offer(media="audio 4000 RTP/AVP"), 488, "offers nothing; taken"),
        (offer(media="audio 4000 RTP/AVP x 999"), 488, "offers nothing; taken"),
        (offer(media="audio 0 RTP/AVP 0"), 488, "m-line 1 is switched off (port 0)"),
        (offer(media="video 4000 RTP/AVP 31"), 488, "m-line 1 is video, not audio"),
        (offer(media="audio 4000 RTP/SAVP 0"), 488, "taken are RTP/AVP and RTP/AVPF, as SRTP is switched"),
        (sample("webrtc"), 488, "RTP/SAVPF; taken are RTP/AVP and RTP/AVPF, as SRTP is switched off here"),
        (offer("c=IN IP4 pbx.example.com"), 488, "is at IP4 pbx.example.com; only literal IP addresses"),
        (offer("c=IN IP4 224.2.1.1"), 488, "only unicast addresses"),
        (offer("c=IN IP4 224.2.1.1/127"), 488, "only literal IP addresses"),
        (offer("c=IN IP4 2001:db8::1"), 400, "address of the wrong type: IN IP4 2001:db8::1"),
        (offer("c=ATM NSAP 192.0.2.1"), 400, "address of the wrong type"),
        (offer(host="2001:db8::1"), 488, "is at IP6 2001:db8::1; our media is at 198.51.100.1"),
        (offer(media="video 1 RTP/AVP 31") + "m=audio 0 RTP/AVP 0\r\n", 488, "audio; m-line 2 is switched"),
    ],
)  # fmt: skip
def test_refusals_say_what_was_offered_and_what_is_taken(text: str, code: int, reason: str) -> None:
    """400 for what is no SDP, 488 for what we cannot take; nothing is agreed then."""
    ours = session()
    with pytest.raises(NegotiationError) as caught:
        ours.answer(text)
    assert caught.value.code == code
    assert reason in str(caught.value)
    assert ours.description() is None


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("::%1", "only unicast addresses without a zone"),
        ("fe80::1%eth0", "only unicast addresses without a zone"),
        ("ff02::1", "only unicast addresses"),
        ("::ffff:192.0.2.1", "our media is at 2001:db8::9"),
        ("::ffff:0.0.0.0", "our media is at 2001:db8::9"),
        ("::ffff:224.0.0.1", "our media is at 2001:db8::9"),
        ("::ffff:192.0.2.1%1", "our media is at 2001:db8::9"),
    ],
)
def test_addresses_that_only_look_like_ipv6_or_belong_to_one_machine(host: str, reason: str) -> None:
    """Neither hold nor a place to send to; as an address of RTCP, they cost the reports."""
    ours = session(local_host="2001:db8::9")
    with pytest.raises(NegotiationError, match=reason) as caught:
        ours.answer(offer(host=host))
    assert caught.value.code == 488
    description = agreed(offer(f"a=rtcp:5555 IN IP6 {host}", host="2001:db8::1"), local_host="2001:db8::9")
    assert (description.remote_rtcp_host, description.remote_rtcp_port) == ("2001:db8::1", 0)


def test_a_refusal_is_short_and_printable_whatever_was_offered() -> None:
    """What a peer wrote goes into a log line: no control characters, no kilobytes."""
    many = [f"a=rtpmap:{n} \x1b[31m{'x' * 500}/8000" for n in range(96, 128)]
    text = offer(*many, media="audio 4000 RTP/AVP " + " ".join(str(n) for n in range(96, 128)))
    with pytest.raises(NegotiationError) as caught:
        session().answer(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codecs": []}, "at least one codec"),
        ({"ptime_ms": 25}, "packet time 25"),
        ({"local_host": "example.com"}, "example.com"),
    ],
)
def test_a_session_that_cannot_work_is_not_made(options: dict[str, object], message: str) -> None:
    """Mistakes of the caller show at once, not in a peer's parser."""
    with pytest.raises(ValueError, match=message):
        session(**options)


@pytest.mark.parametrize(
    ("lines", "answered", "voip", "round_trip"),
    [
        ([], None, False, False),
        (["a=rtcp-xr:voip-metrics"], "voip-metrics", True, False),
        (["a=rtcp-xr:pkt-loss-rle=100"], "voip-metrics", False, False),
        (["a=rtcp-xr:RCVR-RTT=all:100 VOIP-METRICS"], "rcvr-rtt=all voip-metrics", True, True),
    ],
)
def test_extended_reports_are_answered_where_they_are_spoken_of(
    lines: list[str], answered: str | None, voip: bool, round_trip: bool
) -> None:
    """We always want VoIP metrics; the round trip is for both sides or for none."""
    ours = session()
    text = ours.answer(offer(*lines))
    assert [line for line in text.split("\r\n") if "rtcp-xr" in line] == (
        [f"a=rtcp-xr:{answered}"] if answered else []
    )
    description = ours.description()
    assert description is not None
    assert (description.xr_voip, description.xr_round_trip) == (voip, round_trip)


def test_extended_reports_of_the_session_level() -> None:
    """The attribute may stand above the m-line (RFC 3611 5.1)."""
    text = offer("a=sendrecv").replace("t=0 0\r\n", "t=0 0\r\na=rtcp-xr:voip-metrics\r\n")
    assert agreed(text).xr_voip


def test_reduced_size_is_answered_where_it_is_offered_and_kept() -> None:
    """RFC 5506: with the peer's consent, and offered again in our own re-INVITE."""
    ours = session()
    assert "rsize" not in ours.answer(offer("a=sendrecv"))
    assert "a=rtcp-rsize\r\n" in ours.answer(offer("a=rtcp-rsize"))
    description = ours.description()
    assert description is not None and description.rtcp_rsize
    assert "a=rtcp-rsize\r\n" in ours.offer()
    ours.accepted(offer("a=sendrecv"))
    description = ours.description()
    assert description is not None and not description.rtcp_rsize
