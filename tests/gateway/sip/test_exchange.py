# SPDX-License-Identifier: GPL-2.0-or-later
"""What the exchange of a call makes of moments that PJSIP seldom has: it refuses what we answer, and calls fork."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.gateway.sip.events import Event, MediaChanged
from trunkline.gateway.sip.exchange import Exchange
from trunkline.rtp.negotiation import MediaDescription, Session
from trunkline.rtp.sdes import new_key, parse_crypto, write_crypto
from trunkline.rtp.sdp import SessionDescription


class Scene:
    """The surroundings of an exchange, which note what it does."""

    call_id, outbound, leg, refused_certificate = "c", True, None, ""

    def __init__(self, **options: object) -> None:
        given = {"local_host": "127.0.0.1", "rtp_port": 30000, "rtcp_port": 30001, **options}
        self.session = Session(**given)  # type: ignore[arg-type]
        self.events: list[Event] = []
        self.failed: list[tuple[int, str]] = []
        self.exchange = Exchange(self, self.session, self)

    def fail(self, code: int, reason: str) -> None:
        self.failed.append((code, reason))

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def later(self, delay_s: float, action: Any) -> Any:
        raise AssertionError("nothing is to be done later here")

    def defer(self, action: Any) -> None:
        raise AssertionError("every answer is seen here")

    @property
    def media(self) -> MediaDescription:
        description = self.session.description()
        assert description is not None
        return description

    def response(self, sdp: str) -> MediaDescription:
        """A response whose SDP PJSIP takes for an answer."""
        self.exchange.response_arrived(sdp)
        self.exchange.on_media()
        assert self.failed == []
        return self.media


def sdp(numbers: str, *lines: str, port: int = 4000, profile: str = "RTP/AVP") -> str:
    """An offer or answer of the peer."""
    head = ("v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0")
    return "".join(f"{line}\r\n" for line in (*head, f"m=audio {port} {profile} {numbers}", *lines))


def test_an_offer_that_pjsip_refuses_after_our_answer_changes_nothing() -> None:
    """Nor does our answer to it go out as one to the next offer."""
    scene = Scene()
    assert scene.exchange.on_sdp(sdp("0"))
    scene.exchange.on_media()
    before = scene.media
    scene.exchange.request_arrived(sdp("8", port=5000))
    assert scene.exchange.on_offer("") == 200
    assert scene.media.codec == "PCMA"
    scene.exchange.answer_refused()
    assert scene.media == before
    scene.exchange.request_arrived("")
    offer = scene.exchange.on_sdp("")
    assert offer is not None and "m=audio 30000 RTP/AVP 0 8 101" in offer
    scene.exchange.answer_refused()
    assert scene.response(sdp("0")).remote_port == 4000
    assert scene.events == [MediaChanged("c"), MediaChanged("c")]


@pytest.mark.parametrize("other", ["plain", "suite"])
def test_answers_of_forks_are_to_the_offer_that_went_out(other: str) -> None:
    """183 of one, 183 of another without our key or with another one, 200 of the first: its key is the one it has."""
    scene = Scene(srtp="optional")
    offer = scene.exchange.on_sdp("")
    assert offer is not None
    ours = [parse_crypto(v) for v in SessionDescription.parse(offer).media[0].values("crypto")]
    first, second = ours[3], ours[1]
    theirs = {one.tag: f"a=crypto:{write_crypto(one.tag, new_key(one.key.suite))}" for one in ours}
    early = scene.response(sdp("0", theirs[first.tag], port=4000))
    assert early.send_key == first.key
    between = scene.response(sdp("0", *([theirs[second.tag]] if other == "suite" else []), port=5000))
    assert between.send_key == (second.key if other == "suite" else None)
    assert scene.response(sdp("0", theirs[first.tag], port=4000)) == early
    again = scene.exchange.on_sdp("")
    assert again is not None
    lines = [parse_crypto(v) for v in SessionDescription.parse(again).media[0].values("crypto")]
    assert lines[0] == first, "in force, thus first"
    if other == "suite":
        assert second.key not in [one.key for one in lines], "was in force, and is no more"


def test_a_refresh_that_pjsip_makes_of_our_last_answer_is_one_of_ours() -> None:
    """Its answer finds what we said, and the keys stay."""
    scene = Scene(srtp="required")
    crypto = f"a=crypto:{write_crypto(7, new_key('AEAD_AES_128_GCM'))}"
    scene.exchange.on_sdp(sdp("0", crypto, profile="RTP/SAVP"))
    scene.exchange.on_media()
    before = scene.media
    assert scene.response(sdp("0", crypto, profile="RTP/SAVP")) == before
    assert scene.response(sdp("0", crypto, port=4006, profile="RTP/SAVP")).send_key == before.send_key
