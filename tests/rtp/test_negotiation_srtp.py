# SPDX-License-Identifier: GPL-2.0-or-later
"""Offers and answers with keys of SRTP in them (RFC 4568)."""

from __future__ import annotations

import base64

import pytest

from trunkline.rtp.negotiation import MediaDescription, NegotiationError, Session
from trunkline.rtp.sdes import SUITES, CryptoKey, parse_crypto, write_crypto
from trunkline.rtp.sdp import SessionDescription

LONG, SHORT, GCM = "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32", "AEAD_AES_256_GCM"


def session(srtp: str = "optional", suites: tuple[str, ...] = (LONG, SHORT), **options: object) -> Session:
    """A session at 198.51.100.1:30000."""
    given = {"local_host": "198.51.100.1", "rtp_port": 30000, "rtcp_port": 30001, "session_id": 7}
    return Session(["PCMU"], srtp=srtp, suites=suites, **(given | options))  # type: ignore[arg-type]


def key(suite: str = LONG, seed: int = 1, **options: int) -> CryptoKey:
    """A key of the peer."""
    return CryptoKey(suite, bytes([seed]) * SUITES[suite].master_bytes, **options)


def line(tag: int, suite: str = LONG, seed: int = 1, parameters: str = "") -> str:
    """An a=crypto line of the peer."""
    return f"a=crypto:{write_crypto(tag, key(suite, seed))}{parameters}"


def peer(*audio: str, profile: str = "RTP/SAVP", more: str = "") -> str:
    """An offer or answer of the peer."""
    head = ("v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0")
    return "".join(f"{one}\r\n" for one in (*head, f"m=audio 4000 {profile} 0", *audio)) + more


def now(ours: Session) -> MediaDescription:
    """What holds."""
    description = ours.description()
    assert description is not None
    return description


def crypto(text: str) -> list[tuple[int, str]]:
    """Tags and suites of a description, and each key as long as its suite says."""
    found = [parse_crypto(value) for value in SessionDescription.parse(text).media[0].values("crypto")]
    return [(one.tag, one.key.suite) for one in found]


def keys(text: str) -> list[CryptoKey]:
    """All keys of a description."""
    return [parse_crypto(v).key for v in SessionDescription.parse(text).media[0].values("crypto")]


def profiles(text: str) -> list[tuple[int, str]]:
    """Port and profile of each m-line."""
    return [(media.port, media.profile) for media in SessionDescription.parse(text).media]


def test_the_best_suite_of_an_offer_is_answered() -> None:
    """By our order, with the peer's tag, and a key of our own."""
    ours = session(suites=(GCM, LONG, SHORT))
    text = ours.answer(peer(line(1, SHORT), line(2, LONG, 2), line(7, GCM, 3)))
    assert profiles(text) == [(30000, "RTP/SAVP")]
    assert crypto(text) == [(7, GCM)]
    assert now(ours).receive_key == key(GCM, 3)
    assert now(ours).send_key == keys(text)[0] != key(GCM, 3)


@pytest.mark.parametrize("profile", ["RTP/SAVP", "RTP/SAVPF", "RTP/AVP", "RTP/AVPF"])
def test_the_profile_is_answered_as_it_was_offered(profile: str) -> None:
    """Keys in a plain profile are an invitation, which we take."""
    ours = session()
    text = ours.answer(peer(line(1), profile=profile))
    assert profiles(text) == [(30000, profile)]
    assert crypto(text) == [(1, LONG)]
    assert now(ours).receive_key == key()
    assert profiles(ours.offer()) == [(30000, profile)]


@pytest.mark.parametrize(
    ("suites", "lines", "tag", "mki", "lifetime"),
    [
        ((LONG,), [f"a=crypto:3 {LONG} inline:{base64.b64encode(bytes(30)).decode()}|2^20|1:4"], 3, (1, 4), 1 << 20),
        ((LONG,), [line(1, parameters=" KDR=1"), line(2)], 2, (0, 0), 0),
        ((LONG,), [line(1, parameters=" UNENCRYPTED_SRTP"), line(2)], 2, (0, 0), 0),
        ((LONG,), [line(1, parameters=" UNAUTHENTICATED_SRTP"), line(2)], 2, (0, 0), 0),
        ((LONG,), [line(1, parameters=" FEC_ORDER=FEC_SRTP"), line(2)], 2, (0, 0), 0),
        ((LONG,), ["a=crypto:1 F8_128_HMAC_SHA1_80 inline:xx", line(2)], 2, (0, 0), 0),
        ((LONG,), ["a=crypto:rubbish", "a=crypto", line(2)], 2, (0, 0), 0),
        ((LONG,), [line(1, SHORT), line(2)], 2, (0, 0), 0),
        ((LONG,), [line(1, parameters=" WSH=128 -NEW=1"), line(2)], 1, (0, 0), 0),
    ],
)  # fmt: skip
def test_lines_that_cannot_be_used_are_passed_over(
    suites: tuple[str, ...], lines: list[str], tag: int, mki: tuple[int, int], lifetime: int
) -> None:
    """Session parameters that would weaken or change SRTP, foreign suites, what cannot be read."""
    ours = session("required", suites)
    assert crypto(ours.answer(peer(*lines))) == [(tag, LONG)]
    received = now(ours).receive_key
    assert received is not None
    assert ((received.mki, received.mki_bytes), received.lifetime) == (mki, lifetime)


def test_a_suite_is_answered_in_the_peers_spelling() -> None:
    """The name of the drafts is the only one that some peers know."""
    ours = session(suites=("AES_256_CM_HMAC_SHA1_80",))
    old = line(1, "AES_256_CM_HMAC_SHA1_80").replace("AES_256_CM", "AES_CM_256")
    text = ours.answer(peer(old))
    assert "a=crypto:1 AES_CM_256_HMAC_SHA1_80 inline:" in text
    sent = now(ours).send_key
    assert sent is not None and sent.suite == "AES_256_CM_HMAC_SHA1_80"
    assert keys(text) == [sent]


BOTH = "m=audio 4002 RTP/AVP 0\r\n"


@pytest.mark.parametrize(
    ("srtp", "text", "expected", "encrypted"),
    [
        ("off", peer(line(1), profile="RTP/AVP"), [(30000, "RTP/AVP")], False),
        ("off", peer(line(1), more=BOTH), [(0, "RTP/SAVP"), (30000, "RTP/AVP")], False),
        ("optional", peer(line(1), more=BOTH), [(30000, "RTP/SAVP"), (0, "RTP/AVP")], True),
        ("optional", peer(profile="RTP/AVP"), [(30000, "RTP/AVP")], False),
        ("optional", peer("a=crypto:1 rubbish", profile="RTP/AVP"), [(30000, "RTP/AVP")], False),
        ("optional", peer(more=BOTH), [(0, "RTP/SAVP"), (30000, "RTP/AVP")], False),
        ("required", peer(line(1), more=BOTH), [(30000, "RTP/SAVP"), (0, "RTP/AVP")], True),
        ("required", peer(line(1), profile="RTP/AVP"), [(30000, "RTP/AVP")], True),
        ("required", peer(more=BOTH + line(2) + "\r\n"), [(0, "RTP/SAVP"), (30000, "RTP/AVP")], True),
        (
            "optional",
            peer(profile="RTP/AVP", more=f"m=audio 4002 RTP/SAVP 0\r\n{line(1)}\r\n"),
            [(0, "RTP/AVP"), (30000, "RTP/SAVP")],
            True,
        ),
    ],
)
def test_which_line_of_an_offer_is_taken(
    srtp: str, text: str, expected: list[tuple[int, str]], encrypted: bool
) -> None:
    """Never encrypted when it is off, never plain when it is required, and encrypted rather than plain."""
    ours = session(srtp)
    answer = ours.answer(text)
    assert profiles(answer) == expected
    assert ("a=crypto" in answer) is encrypted
    assert (now(ours).send_key is not None, now(ours).receive_key is not None) == (encrypted, encrypted)


@pytest.mark.parametrize(
    ("srtp", "text", "reason"),
    [
        ("off", peer(line(1)), "wants RTP/SAVP; taken are RTP/AVP and RTP/AVPF, as SRTP is switched off here"),
        ("required", peer(profile="RTP/AVP"), "wants RTP/AVP; taken are RTP/SAVP and RTP/SAVPF, as SRTP is required"),
        ("required", peer(line(1, GCM), profile="RTP/AVP"), f"can be used ({GCM} with tag 1 is switched off here)"),
        ("required", peer("a=crypto:1 rubbish", profile="RTP/AVP"), "wants RTP/AVP and has no a=crypto line that can"),
        ("required", peer("a=crypto", profile="RTP/AVP"), "wants RTP/AVP and has no a=crypto line"),
        ("required", peer(), "m-line 1 wants RTP/SAVP and has no a=crypto line"),
        ("optional", peer(line(1, GCM)), f"can be used ({GCM} with tag 1 is switched off here)"),
        ("optional", peer(line(1, parameters=" KDR=1")), "can be used (session parameter KDR asks to derive keys"),
        ("optional", peer(f"a=crypto:1 {LONG} inline:c2hvcnQ="), "have 30 bytes, here 5"),
        ("required", peer(profile="UDP/TLS/RTP/SAVP"), "taken are RTP/SAVP and RTP/SAVPF"),
        ("optional", peer(profile="UDP/TLS/RTP/SAVPF"), "and RTP/AVPF"),
    ],
)  # fmt: skip
def test_refusals(srtp: str, text: str, reason: str) -> None:
    """Each with a reason, and none with a key in it."""
    ours = session(srtp)
    with pytest.raises(NegotiationError) as caught:
        ours.answer(text)
    assert caught.value.code == 488
    assert reason in str(caught.value)
    assert "inline" not in str(caught.value)
    assert base64.b64encode(key().master).decode() not in str(caught.value)
    assert ours.description() is None


@pytest.mark.parametrize(
    ("srtp", "profile", "lines"),
    [
        ("off", "RTP/AVP", []),
        ("optional", "RTP/AVP", [(1, LONG), (2, SHORT)]),
        ("required", "RTP/SAVP", [(1, LONG), (2, SHORT)]),
    ],
)
def test_offers(srtp: str, profile: str, lines: list[tuple[int, str]]) -> None:
    """One audio line; where SRTP is optional, with keys in the plain profile. Each suite has a key of its own."""
    text = session(srtp).offer()
    assert profiles(text) == [(30000, profile)]
    assert crypto(text) == lines
    assert len({one.master for one in keys(text)}) == len(lines)


@pytest.mark.parametrize("profile", ["RTP/AVP", "RTP/SAVP"])
@pytest.mark.parametrize(("tag", "suite"), [(1, LONG), (2, SHORT)])
def test_an_answer_takes_one_of_our_keys(profile: str, tag: int, suite: str) -> None:
    """We send with the key that we offered under its tag."""
    ours = session()
    offered = keys(ours.offer())
    ours.accepted(peer(line(tag, suite, 9), profile=profile))
    assert now(ours).send_key == offered[tag - 1]
    assert now(ours).receive_key == key(suite, 9)


def test_optimistic_encryption_is_enough_where_it_is_required() -> None:
    """RTP/AVP with keys, as Asterisk offers; refreshes stay in that profile, and an answer needs a key there, too."""
    ours = session("required")
    assert profiles(ours.answer(peer(line(1), profile="RTP/AVP"))) == [(30000, "RTP/AVP")]
    before = now(ours)
    refresh = ours.offer()
    assert profiles(refresh) == [(30000, "RTP/AVP")] and crypto(refresh)[0] == (1, LONG)
    with pytest.raises(NegotiationError, match="as SRTP is required"):
        ours.accepted(peer(profile="RTP/AVP"))
    ours.accepted(peer(line(1), profile="RTP/AVP"))
    assert now(ours) == before
    with pytest.raises(NegotiationError, match="as SRTP is required"):
        ours.answer(peer(profile="RTP/AVP"))
    assert now(ours) == before


def test_an_answer_without_keys_is_plain_where_that_may_be() -> None:
    """And ends the exchange where it may not."""
    ours = session()
    ours.offer()
    ours.accepted(peer(profile="RTP/AVP"))
    assert now(ours).send_key is now(ours).receive_key is None


@pytest.mark.parametrize(
    ("srtp", "text", "reason"),
    [
        ("required", peer(profile="RTP/AVP"), "the answer's audio wants RTP/AVP; taken are RTP/SAVP"),
        ("required", peer(), "the answer's audio wants RTP/SAVP and has no a=crypto line"),
        ("required", peer(line(2, LONG)), f"{LONG} with tag 2 is in no offer of ours"),
        ("required", peer(line(3, LONG)), f"{LONG} with tag 3 is in no offer of ours"),
        ("optional", peer(line(1, SHORT), profile="RTP/AVP"), f"{SHORT} with tag 1 is in no offer of ours"),
        ("off", peer(line(1)), "as SRTP is switched off here"),
    ],
)
def test_answers_that_cannot_be_used(srtp: str, text: str, reason: str) -> None:
    """An answer with keys that we cannot use expects encryption, so plain audio would be noise to it."""
    ours = session(srtp)
    ours.offer()
    with pytest.raises(NegotiationError) as caught:
        ours.accepted(text)
    assert reason in str(caught.value)
    assert ours.description() is None


def test_keys_stay_over_refreshes_of_the_peer() -> None:
    """The same tag and key: the same objects, so nothing starts anew; our answer is the same text."""
    ours = session()
    first = ours.answer(peer(line(1)))
    before = now(ours)
    assert ours.answer(peer(line(1))) == first
    assert now(ours).send_key is before.send_key
    assert now(ours).receive_key is before.receive_key


def test_a_new_key_of_the_peer_leaves_ours() -> None:
    """Only what we receive is keyed anew (RFC 4568 7.1.4)."""
    ours = session()
    ours.answer(peer(line(1)))
    before = now(ours)
    ours.answer(peer(line(1, seed=2)))
    assert now(ours).receive_key == key(seed=2)
    assert now(ours).send_key is before.send_key


@pytest.mark.parametrize("changed", [line(2), line(1, SHORT)])
def test_another_tag_or_suite_is_another_key_of_ours(changed: str) -> None:
    """And the old one does not come back with the old tag."""
    ours = session()
    ours.answer(peer(line(1)))
    before = now(ours)
    ours.answer(peer(changed))
    assert now(ours).send_key != before.send_key
    ours.answer(peer(line(1)))
    assert now(ours).send_key not in (before.send_key, None)


def test_our_refresh_has_the_key_in_force_first_and_unchanged() -> None:
    """Tag and key as agreed; the other suites stand below with keys that stay the same, too."""
    ours = session()
    ours.answer(peer(line(5, SHORT)))
    text = ours.offer()
    assert crypto(text) == [(5, SHORT), (1, LONG)]
    assert keys(text)[0] == now(ours).send_key
    assert ours.offer() == text
    before = now(ours)
    ours.accepted(peer(line(5, SHORT)))
    assert now(ours).send_key is before.send_key
    assert now(ours).receive_key is before.receive_key


def test_our_refresh_may_change_the_suite() -> None:
    """The peer answers another line; the key that was in force is not offered again."""
    ours = session()
    ours.answer(peer(line(2, SHORT)))
    old = now(ours).send_key
    text = ours.offer()
    ours.accepted(peer(line(1, LONG, 4)))
    assert now(ours).send_key == keys(text)[1]
    later = ours.offer()
    assert crypto(later) == [(1, LONG), (2, SHORT)]
    assert old not in keys(later)


def test_a_refused_exchange_leaves_the_keys() -> None:
    """Of our offer and of the peer's."""
    ours = session("required")
    ours.answer(peer(line(1)))
    before = now(ours)
    with pytest.raises(NegotiationError):
        ours.answer(peer(line(1, GCM)))
    ours.offer()
    with pytest.raises(NegotiationError):
        ours.accepted(peer(line(8)))
    assert now(ours) == before
    assert keys(ours.offer())[0] is not None and keys(ours.offer())[0] == before.send_key


def test_encryption_may_begin_and_end_in_a_call_where_it_is_optional() -> None:
    """A transfer behind a PBX can lead to a peer without it, and back to one with it."""
    ours = session()
    ours.answer(peer(line(1)))
    first = now(ours).send_key
    ours.answer(peer(profile="RTP/AVP"))
    assert now(ours).send_key is now(ours).receive_key is None
    ours.answer(peer(line(1)))
    assert now(ours).send_key not in (first, None)


def test_an_answer_that_nobody_has_seen_leaves_the_keys() -> None:
    """What was put together from PJSIP's knowledge of it has none."""
    ours = session("required")
    ours.answer(peer(line(1)))
    before = now(ours)
    ours.offer()
    ours.accepted(peer("a=sendonly", profile="RTP/AVP"), keys_unseen=True)
    assert (now(ours).send_key, now(ours).receive_key) == (before.send_key, before.receive_key)
    assert ours.held
    assert profiles(ours.offer()) == [(30000, "RTP/SAVP")]


@pytest.mark.parametrize("suite", list(SUITES))
@pytest.mark.parametrize(
    ("caller", "called"), [("optional", "optional"), ("required", "optional"), ("required", "required")]
)
def test_two_sessions_agree_on_keys(suite: str, caller: str, called: str) -> None:
    """What one sends with is what the other receives with, for each suite; also after a refresh from either side."""
    a = session(caller, (suite,))
    b = session(called, tuple(SUITES), local_host="192.0.2.2")
    a.accepted(b.answer(a.offer()))
    b.accepted(a.answer(b.offer()))
    assert now(a).send_key == now(b).receive_key is not None
    assert now(b).send_key == now(a).receive_key is not None
    assert now(a).send_key != now(b).send_key


def test_no_key_in_any_text() -> None:
    """A description may be logged by mistake; then without its keys."""
    ours = session()
    ours.answer(peer(line(1)))
    shown = repr(now(ours))
    assert "key" not in shown and "master" not in shown


@pytest.mark.parametrize(
    ("suites", "message"), [((), "at least one suite"), (("AES",), "no SRTP suite AES; there are AEAD")]
)
def test_a_session_that_cannot_work_is_not_made(suites: tuple[str, ...], message: str) -> None:
    """Mistakes of the caller show at once."""
    with pytest.raises(ValueError, match=message):
        session("optional", suites)


def test_required_without_a_safe_way_for_keys_is_never_plain() -> None:
    """Keys in RTP/AVP are not taken where SIP can be read on its way, and so neither is the offer."""
    with pytest.raises(NegotiationError, match="SRTP is required here"):
        session("required", sdes=False).answer(peer(line(1), profile="RTP/AVP"))


def test_keys_that_could_be_read_are_neither_offered_nor_taken_any_more() -> None:
    """The session learns after its first offer that SIP leaves TLS."""
    ours = session()
    assert keys(ours.offer())
    ours.accepted(peer("a=rtpmap:0 PCMU/8000", profile="RTP/AVP"))
    assert not ours.encrypted
    ours.forgo_keys()
    assert not keys(ours.offer())
    ours.accepted(peer("a=rtpmap:0 PCMU/8000", profile="RTP/AVP"))
    assert not keys(ours.answer(peer(line(1), profile="RTP/AVP"))) and not ours.encrypted
    other = session()
    other.answer(peer(line(1)))
    assert other.encrypted
