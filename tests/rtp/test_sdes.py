# SPDX-License-Identifier: GPL-2.0-or-later
"""a=crypto (RFC 4568): what is taken, what is refused and why, and that no key is ever shown."""

from __future__ import annotations

import base64
import dataclasses

import pytest

from trunkline.rtp.sdes import SUITES, Crypto, CryptoError, CryptoKey, new_key, parse_crypto, write_crypto

MASTER = bytes(range(30))
TEXT = base64.b64encode(MASTER).decode()
S80 = "AES_CM_128_HMAC_SHA1_80"


def test_the_line_of_rfc_4568() -> None:
    """The example of section 9.1, and what is in it."""
    line = f"1 {S80} inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4"
    crypto = parse_crypto(line)
    master = base64.b64decode("WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz")
    assert crypto == Crypto(1, CryptoKey(S80, master, mki=1, mki_bytes=4, lifetime=1 << 20))
    assert write_crypto(1, crypto.key) == line


@pytest.mark.parametrize(
    ("name", "key", "salt", "rtp", "rtcp"),
    [
        ("AES_CM_128_HMAC_SHA1_80", 16, 14, 10, 10),  # RFC 4568 6.2.1
        ("AES_CM_128_HMAC_SHA1_32", 16, 14, 4, 10),  # 6.2.2
        ("AES_256_CM_HMAC_SHA1_80", 32, 14, 10, 10),  # RFC 6188 2
        ("AEAD_AES_128_GCM", 16, 12, 16, 16),  # RFC 7714 12
        ("AEAD_AES_256_GCM", 32, 12, 16, 16),
    ],
)
def test_suites(name: str, key: int, salt: int, rtp: int, rtcp: int) -> None:
    """Sizes as the RFCs have them."""
    suite = SUITES[name]
    sizes = (suite.key_bytes, suite.salt_bytes, suite.rtp_tag_bytes, suite.rtcp_tag_bytes)
    assert sizes == (key, salt, rtp, rtcp)


@pytest.mark.parametrize("name", SUITES)
def test_new_keys_go_out_and_come_back(name: str) -> None:
    """Of every suite, with and without the padding of base64; no two are alike."""
    key = new_key(name)
    line = write_crypto(7, key)
    assert parse_crypto(line) == parse_crypto(line.rstrip("=")) == Crypto(7, key)
    assert new_key(name) != key


def test_the_names_of_the_drafts() -> None:
    """AES_CM_256_* is what libraries wrote before RFC 6188; we answer with the registered name."""
    draft = parse_crypto(f"1 AES_CM_256_HMAC_SHA1_80 inline:{base64.b64encode(bytes(46)).decode()}")
    assert draft.key.suite == new_key("AES_CM_256_HMAC_SHA1_80").suite == "AES_256_CM_HMAC_SHA1_80"


@pytest.mark.parametrize(
    ("fields", "lifetime", "mki", "mki_bytes"),
    [
        ("", 0, 0, 0),
        ("|2^31", 1 << 31, 0, 0),
        ("|2^48", 1 << 48, 0, 0),
        ("|1048576", 1 << 20, 0, 0),
        ("|1000", 1000, 0, 0),
        ("|1:1", 0, 1, 1),
        ("|0:4", 0, 0, 4),
        ("|1066:4", 0, 1066, 4),
        ("|2^20|255:1", 1 << 20, 255, 1),
        (f"|{(1 << 1024) - 1}:128", 0, (1 << 1024) - 1, 128),
    ],
)
def test_lifetime_and_mki(fields: str, lifetime: int, mki: int, mki_bytes: int) -> None:
    """Each may be absent; both are written back as they were meant."""
    key = parse_crypto(f"1 {S80} inline:{TEXT}{fields}").key
    assert (key.lifetime, key.mki, key.mki_bytes) == (lifetime, mki, mki_bytes)
    assert parse_crypto(write_crypto(1, key)).key == key


@pytest.mark.parametrize("parameters", ["", "WSH=64", "WSH=128 -X-VENDOR=1", "-anything"])
def test_session_parameters_are_kept(parameters: str) -> None:
    """Those that ask for nothing that we do not do."""
    assert parse_crypto(f"1 {S80} inline:{TEXT} {parameters}").parameters == tuple(parameters.split())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "needs a tag, a suite and a key"),
        (f"1 {S80}", "needs a tag"),
        (f"x {S80} inline:{TEXT}", "the tag is not a number"),
        (f"1234567890 {S80} inline:{TEXT}", "nine digits"),
        (f"\u0663 {S80} inline:{TEXT}", "the tag is not a number"),
        (f"1 F8_128_HMAC_SHA1_80 inline:{TEXT}", "suite F8_128_HMAC_SHA1_80 is not one"),
        (f"1 a\r\nb{'c' * 99} inline:{TEXT}", "the suite is none that we have"),
        (f"1 {'A_' * 21} inline:{TEXT}", "the suite is none that we have"),
        (f"1 inline:{TEXT} WSH=64", "the suite is none that we have"),
        (f"1 {TEXT} {S80}", "the suite is none that we have"),
        (f"1 {S80} prompt:{TEXT}", "the key method is not inline"),
        (f"1 {S80} {TEXT}", "the key method is not inline"),
        (f"1 {S80} inline:{TEXT};inline:{TEXT}|1:4", "several keys"),
        (f"1 {S80} inline:{TEXT}A", "not base64"),
        (f"1 {S80} inline:{TEXT[:-1]}*", "not base64"),
        (f"1 {S80} inline:{TEXT}====", "not base64"),
        (f"1 {S80} inline:", "have 30 bytes, here 0"),
        (f"1 {S80} inline:{base64.b64encode(bytes(29)).decode()}", "have 30 bytes, here 29"),
        (f"1 AEAD_AES_128_GCM inline:{TEXT}", "have 28 bytes, here 30"),
        (f"1 {S80} inline:{TEXT}|", "the lifetime is neither"),
        (f"1 {S80} inline:{TEXT}|2^49", "more than 2\\^48"),
        (f"1 {S80} inline:{TEXT}|0", "between 1 and 2\\^48"),
        (f"1 {S80} inline:{TEXT}|{(1 << 48) + 1}", "between 1 and 2\\^48"),
        (f"1 {S80} inline:{TEXT}|3^20", "the lifetime is neither"),
        (f"1 {S80} inline:{TEXT}|256:1", "does not fit"),
        (f"1 {S80} inline:{TEXT}|1:0", "length is not between"),
        (f"1 {S80} inline:{TEXT}|1:129", "length is not between"),
        (f"1 {S80} inline:{TEXT}|1:", "value:length"),
        (f"1 {S80} inline:{TEXT}|2^20|1:4|5", "more fields"),
        (f"1 {S80} inline:{TEXT}|1:4|2^20", "more fields"),
        (f"1 {S80} inline:{TEXT} UNENCRYPTED_SRTP", "UNENCRYPTED_SRTP would leave the audio"),
        (f"1 {S80} inline:{TEXT} unauthenticated_srtp", "would let anybody forge"),
        (f"1 {S80} inline:{TEXT} KDR=1", "KDR asks to derive"),
        (f"1 {S80} inline:{TEXT} FEC_ORDER=FEC_SRTP", "error correction"),
        (f"1 {S80} inline:{TEXT} WSH=many", "WSH is not a number"),
        (f"1 {S80} inline:{TEXT} X-VENDOR=1", "unknown session parameter"),
        (f"1 {S80} inline:{TEXT} " + "-" * 5000, "characters"),
    ],
)
def test_what_is_refused_says_why_and_shows_no_key(line: str, why: str) -> None:
    """One exception, one printable line."""
    with pytest.raises(CryptoError, match=why) as caught:
        parse_crypto(line)
    assert TEXT[:12] not in str(caught.value)
    assert str(caught.value).isprintable()


def test_keys_do_not_show_themselves() -> None:
    """In no repr, of whatever holds them; two keys still compare."""
    crypto = parse_crypto(f"1 {S80} inline:{TEXT}|2^20|1:4")
    for text in (repr(crypto), str(crypto.key), f"{crypto.key}"):
        assert TEXT not in text and repr(MASTER)[2:12] not in text and "master" not in text
    assert crypto.key != dataclasses.replace(crypto.key, master=bytes(30))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"suite": "NONE"}, "no suite"),
        ({"master": b"short"}, "here 5"),
        ({"mki": 1}, "MKI"),
        ({"mki": 256, "mki_bytes": 1}, "MKI"),
        ({"mki_bytes": 129}, "MKI"),
        ({"lifetime": -1}, "lifetime"),
    ],
)
def test_a_key_that_cannot_be_is_not_made(changes: dict[str, object], why: str) -> None:
    """Whoever holds a CryptoKey need not check it."""
    with pytest.raises(CryptoError, match=why):
        dataclasses.replace(CryptoKey(S80, MASTER), **changes)


def test_a_key_of_an_unknown_suite_is_not_drawn() -> None:
    """The message lists what there is."""
    with pytest.raises(CryptoError, match="there are AEAD_AES_256_GCM"):
        new_key("NULL")
