# SPDX-License-Identifier: GPL-2.0-or-later
"""Offers and answers whose keys come by DTLS (RFC 5763, RFC 8842)."""

from __future__ import annotations

import datetime as dt

import pytest

from trunkline.rtp.dtls_certificate import Identity, new_identity
from trunkline.rtp.media_description import DtlsTerms
from trunkline.rtp.negotiation import NegotiationError, Session
from trunkline.rtp.sdes import new_key, write_crypto
from trunkline.rtp.sdp import Media, SessionDescription

THEIRS = new_identity(dt.datetime.now(dt.UTC)).fingerprint
OTHERS = new_identity(dt.datetime.now(dt.UTC)).fingerprint
FINGERPRINT = f"a=fingerprint:{THEIRS}"
SHA_1 = "a=fingerprint:sha-1 " + ":".join(["AB"] * 20)
CRYPTO = f"a=crypto:{write_crypto(1, new_key('AES_CM_128_HMAC_SHA1_80'))}"
PROFILE = "UDP/TLS/RTP/SAVP"


class Maker:
    """Makes certificates, and counts them."""

    def __init__(self) -> None:
        self.made: list[Identity] = []

    def __call__(self) -> Identity:
        self.made.append(new_identity(dt.datetime.now(dt.UTC)))
        return self.made[-1]


def session(srtp: str = "optional", maker: Maker | None = None, **options: object) -> Session:
    """A session at 198.51.100.1:30000."""
    given = {"local_host": "198.51.100.1", "rtp_port": 30000, "rtcp_port": 30001, "session_id": 7}
    return Session(["PCMU"], srtp=srtp, new_identity=maker or Maker(), **(given | options))  # type: ignore[arg-type]


def peer(*audio: str, profile: str = PROFILE, top: tuple[str, ...] = ()) -> str:
    """An offer or answer of the peer."""
    head = ("v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0")
    return "".join(f"{one}\r\n" for one in (*head, *top, f"m=audio 4000 {profile} 0", *audio))


def line(text: str) -> Media:
    """Our audio."""
    return SessionDescription.parse(text).media[0]


def terms(ours: Session) -> DtlsTerms:
    """What holds."""
    description = ours.description()
    assert description is not None and description.dtls is not None
    return description.dtls


@pytest.mark.parametrize("profile", [PROFILE, "UDP/TLS/RTP/SAVPF"])
@pytest.mark.parametrize(
    ("offered", "answered"), [("actpass", "active"), ("passive", "active"), ("active", "passive")]
)
def test_an_offer_is_answered_with_our_fingerprint_and_the_other_role(
    profile: str, offered: str, answered: str
) -> None:
    maker = Maker()
    ours = session(maker=maker)
    assert not maker.made
    text = line(ours.answer(peer(FINGERPRINT, f"a=setup:{offered}", profile=profile)))
    (own,) = maker.made
    assert (text.profile, text.values("setup")) == (profile, [answered])
    assert text.values("fingerprint") == [str(own.fingerprint)]
    assert not text.has("crypto") and not text.has("rtcp-mux")
    assert terms(ours) == DtlsTerms(answered == "active", (THEIRS,), own)
    assert "PRIVATE" not in repr(ours.description())
    assert ours.description().send_key is None  # type: ignore[union-attr]


def test_fingerprint_and_setup_of_the_session_level_count_where_the_line_has_none() -> None:
    ours = session()
    ours.answer(peer(top=(FINGERPRINT, "a=setup:active")))
    assert terms(ours).fingerprints == (THEIRS,) and not terms(ours).active
    ours = session()
    ours.answer(peer(f"a=fingerprint:{OTHERS}", "a=setup:passive", top=(FINGERPRINT, "a=setup:active")))
    assert terms(ours).fingerprints == (OTHERS,) and terms(ours).active


def test_of_several_fingerprints_those_are_taken_that_can_be_used() -> None:
    ours = session()
    ours.answer(peer(SHA_1, FINGERPRINT, f"a=fingerprint:{OTHERS}", "a=setup:actpass"))
    assert terms(ours).fingerprints == (THEIRS, OTHERS)


def test_rtcp_mux_is_answered_where_it_is_offered() -> None:
    ours = session()
    text = line(ours.answer(peer(FINGERPRINT, "a=setup:actpass", "a=rtcp-mux")))
    assert text.has("rtcp-mux")
    assert ours.description().rtcp_mux  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ((FINGERPRINT,), "no a=setup"),
        ((FINGERPRINT, "a=setup:holdconn"), "a=setup:'holdconn'; taken are active, passive, actpass"),
        (("a=setup:actpass",), "no a=fingerprint"),
        ((SHA_1, "a=setup:actpass"), "a fingerprint by 'sha-1'"),
        ((FINGERPRINT[:-3], "a=setup:actpass"), "fingerprint of 31 bytes"),
        ((CRYPTO,), "no a=fingerprint"),
    ],
)
def test_what_is_missing_is_named(lines: tuple[str, ...], reason: str) -> None:
    ours = session()
    with pytest.raises(NegotiationError, match=reason) as caught:
        ours.answer(peer(*lines))
    assert caught.value.code == 488
    assert ours.description() is None


def test_without_srtp_or_a_certificate_it_is_refused() -> None:
    offer = peer(FINGERPRINT, "a=setup:actpass")
    with pytest.raises(NegotiationError, match="SRTP is switched off"):
        session("off").answer(offer)
    bare = Session(
        ["PCMU"], local_host="198.51.100.1", rtp_port=30000, rtcp_port=30001, srtp="required"
    )
    with pytest.raises(NegotiationError, match="taken are RTP/SAVP and RTP/SAVPF"):
        bare.answer(offer)


def test_keys_in_sdp_are_not_taken_where_they_could_be_read() -> None:
    """Without TLS: DTLS is taken, SDES in its own profile refused, and in a plain one passed over."""
    ours = session(sdes=False)
    with pytest.raises(NegotiationError, match="keys in SIP without TLS can be read"):
        ours.answer(peer(CRYPTO, profile="RTP/SAVP"))
    text = line(ours.answer(peer(CRYPTO, profile="RTP/AVP")))
    assert not text.has("crypto")
    assert "a=crypto" not in ours.offer()
    ours.answer(peer(FINGERPRINT, "a=setup:actpass"))
    assert terms(ours).fingerprints == (THEIRS,)


@pytest.mark.parametrize("role", ["active", "passive"])
def test_the_same_fingerprint_keeps_association_and_role(role: str) -> None:
    maker = Maker()
    ours = session(maker=maker)
    ours.answer(peer(FINGERPRINT, f"a=setup:{role}"))
    first = terms(ours)
    text = line(ours.answer(peer(FINGERPRINT, "a=setup:actpass", "a=sendonly")))
    assert text.values("setup") == ["active" if first.active else "passive"]
    assert terms(ours) == first and len(maker.made) == 1
    ours.answer(peer(f"a=fingerprint:{OTHERS}", "a=setup:actpass"))
    assert terms(ours) != first and terms(ours).active
    assert len(maker.made) == 1  # our certificate is the call's
    ours.answer(peer(profile="RTP/AVP"))
    assert ours.description().dtls is None  # type: ignore[union-attr]


@pytest.mark.parametrize("srtp", ["optional", "required"])
@pytest.mark.parametrize("role", ["active", "passive"])
def test_our_offer_lets_the_peer_choose(srtp: str, role: str) -> None:
    ours = session(srtp, offer_keys="dtls", sdes=False)
    text = line(ours.offer())
    assert (text.profile, text.values("setup")) == (PROFILE, ["actpass"])
    assert len(text.values("fingerprint")) == 1 and text.has("rtcp-mux") and not text.has("crypto")
    ours.accepted(peer(FINGERPRINT, f"a=setup:{role}", "a=rtcp-mux"))
    before = ours.description()
    assert terms(ours).active is (role == "passive") and before.rtcp_mux  # type: ignore[union-attr]
    again = line(ours.offer())
    assert (again.profile, again.values("setup")) == (PROFILE, ["actpass"])
    ours.accepted(peer(FINGERPRINT, f"a=setup:{role}", "a=rtcp-mux"))
    assert ours.description() == before
    ours.offer()
    ours.accepted(peer("a=rtpmap:0 PCMU/8000", profile="RTP/AVP"), keys_unseen=True)
    assert ours.description().dtls == before.dtls  # type: ignore[union-attr]
    assert ours.description().rtcp_mux  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("lines", "profile", "reason"),
    [
        ((FINGERPRINT, "a=setup:actpass"), PROFILE, "actpass'; taken are active, passive"),
        ((FINGERPRINT,), PROFILE, "no a=setup"),
        (("a=setup:active",), PROFILE, "no a=fingerprint"),
        ((), "RTP/AVP", "taken are UDP/TLS/RTP/SAVP and UDP/TLS/RTP/SAVPF, as we have offered"),
        ((CRYPTO,), "RTP/SAVP", "as we have offered"),
    ],
)
def test_an_answer_must_take_what_was_offered(lines: tuple[str, ...], profile: str, reason: str) -> None:
    ours = session("optional", offer_keys="dtls")
    ours.offer()
    with pytest.raises(NegotiationError, match=reason):
        ours.accepted(peer(*lines, profile=profile))
    assert ours.description() is None


def test_an_offer_without_dtls_is_not_answered_with_it() -> None:
    ours = session("optional")
    ours.offer()
    with pytest.raises(NegotiationError, match="as we have offered"):
        ours.accepted(peer(FINGERPRINT, "a=setup:active"))
