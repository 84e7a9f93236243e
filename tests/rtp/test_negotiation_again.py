# SPDX-License-Identifier: GPL-2.0-or-later
"""Second and later exchanges of a call: hold, moved media, other codecs, failures."""

from __future__ import annotations

import base64

import pytest

from trunkline.rtp.negotiation import MediaDescription, NegotiationError, Session
from trunkline.rtp.sdp import SessionDescription

LONG = "AES_CM_128_HMAC_SHA1_80"


def session(**options: object) -> Session:
    """A session at 198.51.100.1:30000."""
    given = {"local_host": "198.51.100.1", "rtp_port": 30000, "rtcp_port": 30001, "session_id": 7}
    return Session(**(given | options))  # type: ignore[arg-type]


def peer(
    *audio: str, media: str = "audio 4000 RTP/AVP 0 8 101", host: str = "192.0.2.1", more: str = ""
) -> str:
    """An offer or answer of the peer."""
    head = ("v=0", f"o=- 1 1 IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0", f"m={media}")
    lines = (*head, "a=rtpmap:101 telephone-event/8000", *audio)
    return "".join(f"{line}\r\n" for line in lines) + more


def now(ours: Session) -> MediaDescription:
    """What holds."""
    description = ours.description()
    assert description is not None
    return description


def version(text: str) -> int:
    """Of o=."""
    origin = SessionDescription.parse(text).origin
    assert origin is not None
    return int(origin.version)


def test_version_grows_by_one_with_each_change_and_only_then() -> None:
    """RFC 3264 8: a refresh keeps it, hold and resume do not."""
    ours = session()
    first = ours.answer(peer())
    assert ours.answer(peer()) == first
    held = ours.answer(peer("a=sendonly"))
    assert (version(first), version(held)) == (7, 8)
    assert ours.answer(peer("a=sendonly")) == held
    assert version(ours.answer(peer("a=sendrecv"))) == 9
    # Our own refresh lists more codecs than the answer did, so it is another description.
    refresh = ours.offer()
    assert version(refresh) == 10
    assert ours.offer() == refresh


def test_hold_by_the_peer_and_back() -> None:
    """Direction changes, numbers and addresses do not."""
    ours = session()
    ours.answer(peer())
    before = now(ours)
    assert "a=recvonly\r\n" in ours.answer(peer("a=sendonly"))
    assert ours.held
    assert (now(ours).send, now(ours).receive) == (False, True)
    assert "a=inactive\r\n" in ours.answer(peer("a=inactive"))
    assert (now(ours).send, now(ours).receive) == (False, False)
    assert "a=sendrecv\r\n" in ours.answer(peer())
    assert not ours.held
    assert now(ours) == before


def test_old_style_hold_keeps_the_address() -> None:
    """c=0.0.0.0 says to send nothing; music on hold still comes from where the peer was."""
    ours = session()
    ours.answer(peer())
    ours.answer(peer(host="0.0.0.0"))
    assert ours.held
    assert (now(ours).remote_host, now(ours).remote_rtcp_host) == ("192.0.2.1", "192.0.2.1")
    assert now(ours).remote_rtcp_port == 0  # no RTCP to a peer on hold (RFC 3264 8.4)
    assert (now(ours).send, now(ours).receive) == (False, True)
    ours.answer(peer(host="192.0.2.9"))
    assert not ours.held
    assert now(ours).remote_host == "192.0.2.9"


def test_hold_by_us_and_back() -> None:
    """Nothing changes before the answer; held and on_hold are different things."""
    ours = session()
    ours.answer(peer())
    ours.hold(True)
    assert "a=sendonly\r\n" in ours.offer()
    assert now(ours).receive
    ours.accepted(peer("a=recvonly"))
    assert ours.on_hold and not ours.held
    assert (now(ours).send, now(ours).receive) == (True, False)
    ours.hold(False)
    assert "a=sendrecv\r\n" in ours.offer()
    ours.accepted(peer())
    assert not ours.on_hold
    assert (now(ours).send, now(ours).receive) == (True, True)


def test_peer_moves_and_changes_codec_and_packet_time() -> None:
    """A re-offer may change all of them at once."""
    ours = session()
    ours.answer(peer())
    ours.answer(peer("a=ptime:40", media="audio 9000 RTP/AVP 8 101", host="192.0.2.2"))
    assert (now(ours).codec, now(ours).send_pt, now(ours).ptime_ms) == ("PCMA", 8, 40)
    assert (now(ours).remote_host, now(ours).remote_port, now(ours).remote_rtcp_port) == (
        "192.0.2.2",
        9000,
        9001,
    )


@pytest.mark.parametrize(("prefer", "expected"), [("ours", "PCMA"), ("theirs", "PCMU")])
def test_a_codec_in_use_stays_unless_the_peer_decides(prefer: str, expected: str) -> None:
    """The peer answered PCMA, and later re-offers both with PCMU first (a mere hold, often)."""
    ours = session(prefer=prefer)
    ours.offer()
    ours.accepted(peer(media="audio 4000 RTP/AVP 8"))
    ours.answer(peer(media="audio 4000 RTP/AVP 0 8"))
    assert now(ours).codec == expected


def test_our_re_offer_has_the_codec_in_use_first_and_keeps_numbers() -> None:
    """The peer's own numbers, given once, are used in our offers too."""
    ours = session()
    lines = ("a=rtpmap:97 PCMA/8000", "a=rtpmap:98 telephone-event/8000")
    ours.answer(peer(*lines, media="audio 4000 RTP/AVP 97 98"))
    media = SessionDescription.parse(ours.offer()).media[0]
    assert media.formats == ["97", "0", "98"]
    assert media.values("rtpmap") == ["97 PCMA/8000", "0 PCMU/8000", "98 telephone-event/8000"]
    ours.accepted(peer(*lines, media="audio 4000 RTP/AVP 97 98"))
    assert (now(ours).send_pt, now(ours).receive_pt, now(ours).send_dtmf_pt) == (97, 97, 98)


def test_numbers_do_not_collide() -> None:
    """The peer uses 101 for speech, so our telephone-event takes another number."""
    ours = session()
    text = peer(media="audio 4000 RTP/AVP 101").replace("telephone-event", "PCMA")
    ours.answer(text)
    media = SessionDescription.parse(ours.offer()).media[0]
    assert media.values("rtpmap") == ["101 PCMA/8000", "0 PCMU/8000", "96 telephone-event/8000"]


def test_refused_lines_stay_in_our_re_offer() -> None:
    """m-lines keep their places for the whole call (RFC 3264 8)."""
    ours = session()
    ours.answer(peer(more="m=video 5000 RTP/AVP 31 34\r\na=rtpmap:31 H261/90000\r\n"))
    media = SessionDescription.parse(ours.offer()).media
    assert [(line.kind, line.port) for line in media] == [("audio", 30000), ("video", 0)]
    assert media[1].formats == ["31", "34"]
    video_first = session()
    video_first.answer(peer(media="video 5000 RTP/AVP 31", more="m=audio 4000 RTP/AVP 0\r\n"))
    video_first.offer()
    video_first.accepted(peer(media="video 0 RTP/AVP 31", more="m=audio 4444 RTP/AVP 0\r\n"))
    assert now(video_first).remote_port == 4444


def test_multiplexing_and_profile_are_kept_in_our_re_offer() -> None:
    """What the peer asked for at first is offered back to it."""
    ours = session()
    ours.answer(peer("a=rtcp-mux", media="audio 4000 RTP/AVPF 0"))
    text = ours.offer()
    assert "a=rtcp-mux\r\n" in text
    assert "m=audio 30000 RTP/AVPF 0 8 101\r\n" in text
    ours.accepted(peer("a=rtcp-mux", media="audio 4000 RTP/AVPF 0"))
    assert now(ours).rtcp_mux
    ours.offer()
    ours.accepted(peer(media="audio 4000 RTP/AVPF 0"))
    assert not now(ours).rtcp_mux
    assert now(ours).remote_rtcp_port == 4001


def test_a_failed_re_offer_changes_nothing() -> None:
    """Neither one of the peer that we refuse nor one of ours that it refuses."""
    ours = session()
    ours.answer(peer())
    before = now(ours)
    for bad in (peer(media="audio 4000 RTP/AVP 18"), "junk", peer(media="audio 0 RTP/AVP 0")):
        with pytest.raises(NegotiationError):
            ours.answer(bad)
        assert ours.description() == before
    ours.hold(True)
    ours.offer()  # refused with 488: nobody tells the session
    assert ours.description() == before
    assert not ours.held
    ours.hold(False)
    ours.answer(peer())
    assert ours.description() == before


def test_a_peer_offer_makes_our_open_one_void() -> None:
    """After glare the peer's offer was answered; a late answer to ours is none."""
    ours = session()
    ours.answer(peer())
    ours.offer()
    ours.answer(peer("a=sendonly"))
    with pytest.raises(NegotiationError, match="nothing is offered"):
        ours.accepted(peer())
    assert ours.held


def test_our_media_moves() -> None:
    """Another address and ports of ours appear in the next description."""
    ours = session()
    first = ours.answer(peer())
    ours.move("198.51.100.2", 31000, 31001)
    text = ours.offer()
    assert "c=IN IP4 198.51.100.2\r\n" in text
    assert "m=audio 31000 " in text
    assert version(text) == version(first) + 1


def test_an_answer_that_does_not_go_out_is_withdrawn() -> None:
    """Codec, numbers, address, hold, keys and refused lines are as before, and so is the next refresh."""
    ours, twin = (session(codecs=["PCMU", "PCMA", "OPUS"], srtp="optional") for _ in range(2))
    first = peer(f"a=crypto:1 {LONG} inline:{base64.b64encode(bytes(30)).decode()}")
    other = peer(
        "a=rtpmap:97 opus/48000/2", "a=sendonly", media="audio 5000 RTP/AVP 97 8", more="m=video 4002 RTP/AVP 31\r\n"
    )
    ours.answer(first)
    twin.answer(first)
    before = now(ours)
    assert now_after(ours, other) != before and ours.held
    ours.withdraw()
    assert now(ours) == before and now(ours).send_key is before.send_key and not ours.held
    ours.withdraw()
    assert now(ours) == before, "twice is once"
    assert formats(ours.offer()) == formats(twin.offer())
    ours.accepted(peer())
    assert now(ours).remote_port == 4000


def test_the_first_answer_can_be_withdrawn_and_hold_of_ours_cannot() -> None:
    """Nothing is agreed then. What we have been asked to do since then stays wanted."""
    ours = session()
    ours.answer(peer())
    ours.hold(True)
    ours.withdraw()
    assert ours.description() is None and ours.on_hold
    ours.answer(peer())
    offer = ours.offer()
    ours.withdraw()
    assert "a=sendonly" in offer and now(ours).codec == "PCMU", "the answer was long out"


def now_after(ours: Session, offer: str) -> MediaDescription:
    """What holds after an answer to it."""
    ours.answer(offer)
    return now(ours)


def formats(text: str) -> list[list[str]]:
    """Payload types by m-line."""
    return [media.formats for media in SessionDescription.parse(text).media]
