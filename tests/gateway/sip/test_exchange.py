# SPDX-License-Identifier: GPL-2.0-or-later
"""What the exchange of a call makes of moments that PJSIP seldom has: it refuses what we answer, and calls fork."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trunkline.gateway.sip.events import Event, MediaChanged, OfferFailed
from trunkline.gateway.sip.exchange import MOST_BUSY_S, MOST_REFUSED_S, Exchange
from trunkline.gateway.sip.guard import LegError
from trunkline.gateway.sip.leg import NO_MESSAGE, Step
from trunkline.gateway.sip.messages import Reinvite
from trunkline.gateway.sip.timers import Timer, Timers
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


class Up(Scene):
    """A call that is up, in virtual time, with a leg that notes what is offered when."""

    def __init__(self) -> None:
        self.now_ns, self.timers = 0, Timers()
        self.offers: list[tuple[float, str]] = []
        self.refusing = False
        super().__init__()
        self.exchange.on_sdp(sdp("0"))
        self.exchange.on_media()
        self.events.clear()
        self.leg = self  # type: ignore[assignment]

    def offer(self, update: bool) -> None:
        if self.refusing:
            raise LegError("not now")
        text = self.exchange.on_sdp("")
        assert text is not None
        self.offers.append((self.now_ns / 1e9, "sendonly" if "a=sendonly" in text else "sendrecv"))

    def later(self, delay_s: float, action: Callable[[], None]) -> Timer:
        return self.timers.at(self.now_ns + int(delay_s * 1e9), action)

    def defer(self, action: Callable[[], None]) -> None:
        self.later(0, action)

    def until(self, seconds: float) -> None:
        while (due := self.timers.next_deadline_ns()) is not None and due <= seconds * 1e9:
            self.now_ns = max(due, self.now_ns)
            for action in self.timers.due(self.now_ns):
                action()
        self.now_ns = int(seconds * 1e9)

    def wish(self, held: bool) -> None:
        self.exchange.reoffer(Reinvite("c", hold=held))

    def answered(self, code: int = 200) -> None:
        if code == 200:
            self.exchange.on_media()
            self.exchange.message_over(sdp("0", "a=recvonly"))
        self.exchange.offer_finished(Step(False, "INVITE", 5, 4, code, "text", NO_MESSAGE, lambda _: False))

    @property
    def given_up(self) -> list[int]:
        return [event.code for event in self.events if isinstance(event, OfferFailed)]


@pytest.mark.parametrize("wishes", [1, 3, 30])
@pytest.mark.parametrize("code", [200, 488, 491])
def test_the_last_of_many_wishes_is_offered_once_the_exchange_before_is_over(wishes: int, code: int) -> None:
    """Hold and resume in quick succession, while the peer takes its time for the first; nothing goes out too soon."""
    call = Up()
    call.wish(True)
    for number in range(wishes):
        call.until(0.02 * (number + 1))
        call.wish(bool(number % 2))
    call.until(20)
    assert len(call.offers) == 1 and not call.given_up
    call.answered(code)
    call.until(60)
    assert [wish for _, wish in call.offers] == ["sendonly", "sendrecv" if wishes % 2 else "sendonly"]
    assert not call.given_up and (code != 491 or 2.1 <= call.offers[1][0] - 20 <= 4)
    call.answered()
    call.until(120)
    assert len(call.offers) == 2 and call.timers.next_deadline_ns() is None


def test_a_wish_that_cannot_be_offered_is_given_up_once_and_the_next_one_has_its_own_time() -> None:
    call = Up()
    call.wish(True)
    call.wish(False)
    call.until(MOST_BUSY_S + 1)
    assert call.given_up == [491]
    call.answered()
    call.refusing = True
    call.wish(True)
    call.until(MOST_BUSY_S + MOST_REFUSED_S + 2)
    assert call.given_up == [491, 491] and len(call.offers) == 1
    call.refusing = False
    call.wish(True)
    assert len(call.offers) == 2


def test_collisions_come_to_an_end() -> None:
    call = Up()
    call.wish(True)
    for second in range(100):
        if len(call.offers) == len(set(call.offers)) and not call.given_up:
            call.answered(491)
        call.until(second + 5)
    assert call.given_up == [491] and 10 <= len(call.offers) <= 20
