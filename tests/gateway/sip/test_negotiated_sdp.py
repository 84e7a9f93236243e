# SPDX-License-Identifier: GPL-2.0-or-later
"""PJSIP between a peer and our negotiation: what we have agreed on goes through, and as we wrote it.

PJSIP negotiates, too, and makes a stream of the outcome; whatever it does not know it would refuse with 488.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator

import pytest

from support.bare_caller import BareCaller
from support.sip_rig import SipRig
from trunkline.gateway.sip.events import Event, Incoming
from trunkline.gateway.sip.messages import Command, Refusal, Respond
from trunkline.rtp.dtls_certificate import new_identity
from trunkline.rtp.negotiation import Session
from trunkline.rtp.payload import AUDIO_FORMATS
from trunkline.rtp.sdes import SUITES, new_key, write_crypto

HOST = "127.0.0.1"


def make_session(**options: object) -> Callable[[], Session]:
    """Sessions of calls."""
    given: dict[str, object] = {"codecs": list(AUDIO_FORMATS), "local_host": HOST}
    return lambda: Session(**{**given, "rtp_port": 30000, "rtcp_port": 30001, **options})  # type: ignore[arg-type]


def answering(event: Event) -> list[Command]:
    """200 at once."""
    return [Respond(event.call_id, 200)] if isinstance(event, Incoming) else []


@pytest.fixture
def rig(sip: SipRig) -> Iterator[SipRig]:
    """A SIP thread with real sessions, which answers all calls."""
    sip.screen.new_session = make_session()
    sip.react = answering
    return sip


def sdp(numbers: str, *lines: str, profile: str = "RTP/AVP", host: str = HOST, more: str = "") -> str:
    """An offer or answer of the peer."""
    family = "IP6" if ":" in host else "IP4"
    head = ("v=0", f"o=- 1 1 IN {family} {host}", "s=-", f"c=IN {family} {host}", "t=0 0")
    return "".join(f"{line}\r\n" for line in (*head, f"m=audio 4000 {profile} {numbers}", *lines)) + more


def media(text: str) -> list[str]:
    """The m-lines and what is below them."""
    return text[text.index("m=") :].split("\r\n")[:-1]


OPUS = ("a=rtpmap:111 opus/48000/2", "a=fmtp:111 minptime=10;useinbandfec=1")
KEYS = ("a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16")


@pytest.mark.parametrize(
    ("numbers", "lines", "codec"),
    [
        ("0 101", KEYS, "PCMU"),
        ("97", ("a=rtpmap:97 PCMU/8000",), "PCMU"),
        ("9 101", KEYS, "G722"),
        ("111 101", (*OPUS, *KEYS), "OPUS"),
        ("111 110 101", (*OPUS, "a=rtpmap:110 telephone-event/48000", *KEYS), "OPUS"),
        ("111 101", (*OPUS, *KEYS, "a=ptime:60", "a=maxptime:60"), "OPUS"),
        ("118 101", ("a=rtpmap:118 L16/16000", *KEYS), "L16/16000"),
        ("118 119", ("a=rtpmap:118 L16/16000/1", "a=rtpmap:119 telephone-event/16000"), "L16/16000"),
        ("118 13 119", ("a=rtpmap:118 L16/16000", "a=rtpmap:119 CN/16000"), "L16/16000"),
        ("118", ("a=rtpmap:118 L16/8000",), "L16/8000"),
        ("11", (), "L16/44100"),
        ("120", ("a=rtpmap:120 L16/44100",), "L16/44100"),
        ("109", ("a=rtpmap:109 G722/16000",), "G722"),
        ("109", ("a=rtpmap:109 G722/8000",), "G722"),
        ("111", ("a=rtpmap:111 opus/48000",), "OPUS"),
    ],
)
def test_each_codec_of_an_offer_is_answered_as_we_wrote_it(
    rig: SipRig, numbers: str, lines: tuple[str, ...], codec: str
) -> None:
    offer = sdp(numbers, *lines)
    expected = make_session()().answer(offer)
    with BareCaller(rig.port) as caller:
        reply = caller.invite(offer)
        assert (reply.code, media(reply.sdp)) == (200, media(expected))
        _, session = rig.incoming()
        assert session.description().codec == codec
        again = caller.invite(offer)
        assert (again.code, media(again.sdp)) == (200, media(expected))


@pytest.mark.parametrize(
    ("number", "rtpmap"),
    [(0, ""), (9, ""), (11, ""), (125, "opus/48000/2"), (125, "L16/16000"), (125, "L16/8000")],
)
def test_each_codec_of_an_answer_is_taken(rig: SipRig, number: int, rtpmap: str) -> None:
    """A delayed offer, answered in the ACK with a number of the peer's own."""
    lines = [f"a=rtpmap:{number} {rtpmap}"] if rtpmap else []
    with BareCaller(rig.port) as caller:
        reply = caller.invite("", lambda offer: sdp(str(number), *lines))
        assert reply.code == 200
        assert all(one.rtpmap in reply.sdp for one in AUDIO_FORMATS.values())
        # A second exchange waits for the first to be over.
        assert caller.invite(sdp(str(number), *lines)).code == 200
        _, session = rig.incoming()
        assert session.description().send_pt == number


@pytest.mark.parametrize("profile", ["RTP/SAVP", "RTP/SAVPF", "RTP/AVP"])
@pytest.mark.parametrize("suite", list(SUITES))
def test_keys_go_through_as_we_wrote_them(rig: SipRig, profile: str, suite: str) -> None:
    """Each suite, also those that PJSIP's own SRTP does not have."""
    rig.screen.new_session = make_session(srtp="optional")
    offer = sdp("0", f"a=crypto:4 {write_crypto(4, new_key(suite))[2:]}", profile=profile)
    with BareCaller(rig.port) as caller:
        reply = caller.invite(offer)
        assert reply.code == 200
        _, session = rig.incoming()
        ours = session.description()
        assert media(reply.sdp)[0] == f"m=audio 30000 {profile} 0"
        assert [line for line in media(reply.sdp) if "crypto" in line] == [
            f"a=crypto:{write_crypto(4, ours.send_key)}"
        ]
        refreshed = caller.invite(offer)
        assert (refreshed.code, media(refreshed.sdp)) == (200, media(reply.sdp))
        assert session.description().send_key is ours.send_key


@pytest.mark.parametrize("srtp", ["optional", "required"])
def test_keys_of_an_answer_are_taken(rig: SipRig, srtp: str) -> None:
    """To an offer of ours with all suites."""
    rig.screen.new_session = make_session(srtp=srtp)
    profile = "RTP/AVP" if srtp == "optional" else "RTP/SAVP"
    key = new_key("AES_CM_128_HMAC_SHA1_80")
    tag = [*SUITES].index(key.suite) + 1
    lines = [f"a=crypto:{write_crypto(tag, key)}"]
    with BareCaller(rig.port) as caller:
        reply = caller.invite("", lambda offer: sdp("0", *lines, profile=profile))
        assert reply.code == 200 and reply.sdp.count("a=crypto") == len(SUITES)
        assert caller.invite(sdp("0", *lines, profile=profile)).code == 200
        _, session = rig.incoming()
        assert session.description().receive_key == key


def test_encryption_ends_and_begins_in_a_call(rig: SipRig) -> None:
    """Re-INVITEs between profiles, as transfers behind a PBX bring them."""
    rig.screen.new_session = make_session(srtp="optional")
    crypto = f"a=crypto:{write_crypto(1, new_key('AES_CM_128_HMAC_SHA1_80'))}"
    with BareCaller(rig.port) as caller:
        for profile, lines in [
            ("RTP/AVP", []),
            ("RTP/SAVP", [crypto]),
            ("RTP/AVP", []),
            ("RTP/AVP", [crypto]),
        ]:
            reply = caller.invite(sdp("0", *lines, profile=profile))
            assert (reply.code, media(reply.sdp)[0]) == (200, f"m=audio 30000 {profile} 0")
            _, session = rig.incoming()
            assert (session.description().send_key is not None) is bool(lines)


ICE = (
    "a=ice-ufrag:F7gI",
    "a=ice-pwd:x9cml/YzichV2+XlhiMu8g",
    "a=candidate:1 1 UDP 2130706431 203.0.113.9 5000 typ host",
    "a=candidate:2 2 UDP 2130706430 203.0.113.9 5001 typ host",
    "a=rtcp:4001 IN IP4 127.0.0.1",
)


@pytest.mark.parametrize("session_lines", ["", "a=ice-lite\r\n", "a=ice-options:trickle\r\n"])
def test_ice_of_the_peer_neither_breaks_nor_steers(rig: SipRig, session_lines: str) -> None:
    """Media goes where c= and m= say, and our answer is one without ICE."""
    offer = sdp("0", *ICE, "a=remote-candidates:1 203.0.113.9 5000", "a=end-of-candidates")
    offer = offer.replace("t=0 0\r\n", f"t=0 0\r\n{session_lines}")
    with BareCaller(rig.port) as caller:
        reply = caller.invite(offer)
        assert reply.code == 200
        assert "ice" not in reply.sdp and "candidate" not in reply.sdp
        _, session = rig.incoming()
        assert (session.description().remote_host, session.description().remote_port) == (HOST, 4000)


def test_other_lines_are_refused_in_place(rig: SipRig) -> None:
    """Video, fax and a second audio get port 0; the order stays."""
    lines = ("m=video 4002 RTP/AVP 31\r\n", "m=image 4004 udptl t38\r\n", "m=audio 4006 RTP/AVP 8\r\n")
    with BareCaller(rig.port) as caller:
        reply = caller.invite(sdp("0", more="".join(lines)))
        assert reply.code == 200
        assert [line for line in media(reply.sdp) if line.startswith("m=")] == [
            "m=audio 30000 RTP/AVP 0",
            "m=video 0 RTP/AVP 31",
            "m=image 0 udptl t38",
            "m=audio 0 RTP/AVP 8",
        ]


IDENTITY = new_identity(dt.datetime.now(dt.UTC))
DTLS = f"a=fingerprint:{IDENTITY.fingerprint}"


@pytest.mark.parametrize("profile", ["UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"])
def test_dtls_is_answered_as_we_wrote_it(rig: SipRig, profile: str) -> None:
    """PJMEDIA, which has no DTLS here, lets it pass; also when it comes and goes in a call."""
    rig.screen.new_session = make_session(srtp="optional", new_identity=lambda: IDENTITY)
    offer = sdp("0", DTLS, "a=setup:actpass", "a=rtcp-mux", profile=profile)
    crypto = f"a=crypto:{write_crypto(1, new_key('AES_CM_128_HMAC_SHA1_80'))}"
    with BareCaller(rig.port) as caller:
        reply = caller.invite(offer)
        assert (reply.code, media(reply.sdp)[0]) == (200, f"m=audio 30000 {profile} 0")
        assert {DTLS, "a=setup:active", "a=rtcp-mux"} <= set(media(reply.sdp))
        _, session = rig.incoming()
        first = session.description()
        assert first.dtls is not None
        refreshed = caller.invite(offer)
        assert (refreshed.code, media(refreshed.sdp)) == (200, media(reply.sdp))
        assert session.description() == first
        for others, lines in [("RTP/AVP", []), (profile, [DTLS, "a=setup:active"]), ("RTP/SAVP", [crypto])]:
            reply = caller.invite(sdp("0", *lines, profile=others))
            assert (reply.code, media(reply.sdp)[0]) == (200, f"m=audio 30000 {others} 0")
            assert (session.description().dtls is not None) is (others == profile)


@pytest.mark.parametrize("role", ["active", "passive"])
def test_dtls_of_an_answer_is_taken(rig: SipRig, role: str) -> None:
    """To an offer of ours in the 200, and to one of the peer after it."""
    rig.screen.new_session = make_session(
        srtp="required", sdes=False, new_identity=lambda: IDENTITY, offer_keys="dtls"
    )
    profile = "UDP/TLS/RTP/SAVP"
    lines = [DTLS, f"a=setup:{role}", "a=rtcp-mux"]
    with BareCaller(rig.port) as caller:
        reply = caller.invite("", lambda offer: sdp("0", *lines, profile=profile))
        assert reply.code == 200
        ours = media(reply.sdp)
        assert ours[0].startswith(f"m=audio 30000 {profile} ") and {DTLS, "a=setup:actpass"} <= set(ours)
        assert caller.invite(sdp("0", *lines, profile=profile)).code == 200
        _, session = rig.incoming()
        assert session.description().dtls.active is (role == "passive")


KEY = "inline:" + "A" * 40
"of a test, and the right length"


@pytest.mark.parametrize(
    "lines",
    [
        ("a=crypto:x nonsense",),
        ("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2hvcnQ=",),
        (f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY}", f"a=crypto:1 AES_CM_128_HMAC_SHA1_32 {KEY}"),
        (f"a=crypto:1  AES_CM_128_HMAC_SHA1_80\t{KEY}",),
    ],
)
@pytest.mark.parametrize("srtp", ["off", "optional"])
def test_crypto_lines_that_pjsip_cannot_read_cost_nobody_a_call(
    rig: SipRig, srtp: str, lines: tuple[str, ...]
) -> None:
    """The verdict is our negotiation's: an offer of RTP/AVP is taken, encrypted or not."""
    rig.screen.new_session = make_session(srtp=srtp)
    offer = sdp("0", *lines)
    with BareCaller(rig.port) as caller:
        reply = caller.invite(offer)
        assert reply.code == 200
        encrypted = rig.incoming()[1].description().send_key is not None
        assert encrypted == ("a=crypto" in reply.sdp)
        assert not encrypted or srtp == "optional"


def test_a_good_line_behind_a_broken_one_is_used(rig: SipRig) -> None:
    """And the older spelling of a suite."""
    rig.screen.new_session = make_session(srtp="required")
    good = write_crypto(2, new_key("AES_256_CM_HMAC_SHA1_80")).replace("AES_256_CM", "AES_CM_256")
    offer = sdp("0", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2hvcnQ=", f"a=crypto:{good}", profile="RTP/SAVP")
    with BareCaller(rig.port) as caller:
        reply = caller.invite(offer)
        assert reply.code == 200 and "a=crypto:2 AES_CM_256_HMAC_SHA1_80" in reply.sdp


@pytest.mark.parametrize("profile", ["UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF", "RTP/SAVP", "TCP/RTP/AVP", "RTP/XYZ"])
@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("srtp", ["off", "optional", "required"])
def test_no_profile_of_an_offer_can_end_the_gateway(rig: SipRig, profile: str, second: bool, srtp: str) -> None:
    """PJSIP 2.17 dereferences a null pointer where it cannot initialise the media of an INVITE."""
    rig.screen.new_session = make_session(srtp=srtp)
    plain = f"m=audio 4000 {profile} 0\r\n"
    offer = sdp("0", more=plain) if second else sdp("0", profile=profile)
    with BareCaller(rig.port) as caller:
        reply = caller.invite(offer)
        assert reply.code == (200 if second and srtp != "required" else 488)
        if reply.code == 200:
            assert f"m=audio 0 {profile} 0" in reply.sdp
    rig.screen.new_session = make_session()
    with BareCaller(rig.port) as caller:
        assert caller.invite(sdp("0")).code == 200


def test_a_stranger_with_dtls_is_refused_like_any_other(sip: SipRig) -> None:
    """403, and the gateway lives."""
    sip.screen.refusal = Refusal(403, "Forbidden", "unknown_peer", "test")
    for profile in ("UDP/TLS/RTP/SAVPF", "RTP/SAVP", "RTP/AVP"):
        with BareCaller(sip.port) as caller:
            assert caller.invite(sdp("0", profile=profile)).code == 403
