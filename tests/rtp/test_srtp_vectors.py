# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference implementation against the RFCs' vectors, and ours against the reference, packet by packet."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.srtp_reference import Reference, aes_cm, derive
from trunkline.rtp import libsrtp, srtp
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.sdes import SUITES, CryptoKey

SSRC = 0xCAFEBABE


def unhex(text: str) -> bytes:
    return bytes.fromhex("".join(text.split()))


# -- the RFCs ------------------------------------------------------------------------------------


def test_keystream_of_rfc_3711_b2() -> None:
    """AES-CM: the first blocks, and those around the carry into the third octet."""
    key, offset = unhex("2B7E151628AED2A6ABF7158809CF4F3C"), int("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000", 16)
    stream = aes_cm(key, offset, 16 * 0xFF02)
    expected = (
        "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0"
    )
    assert stream[:48] == unhex(expected)
    expected = (
        "EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE 6A2CC3787889374FBEB4C81B17BA6C44"
    )
    assert stream[16 * 0xFEFF :][:48] == unhex(expected)


def test_key_derivation_of_rfc_3711_b3() -> None:
    """Cipher key, salt, authentication key."""
    master, salt = unhex("E1F97A0D3E018BE0D64FA32C06DE4139"), unhex("0EC675AD498AFEEBB6960B3AABE6")
    assert derive(master, salt, 0, 16) == unhex("C61E7A93744F39EE10734AFE3FF7A087")
    assert derive(master, salt, 2, 14) == unhex("30CBBC08863D8C85D49DB34A9AE1")
    auth = "CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE"
    assert derive(master, salt, 1, 32) == unhex(auth)


def test_key_derivation_of_rfc_6188_7_2() -> None:
    """The same with AES-256."""
    master = unhex("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6")
    salt = unhex("3b04803de51ee7c96423ab5b78d2")
    key = "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4"
    assert derive(master, salt, 0, 32) == unhex(key)
    assert derive(master, salt, 2, 14) == unhex("fa31791685ca444a9e07c6c64e93")
    assert derive(master, salt, 1, 20) == unhex("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05")


def test_keystream_of_rfc_6188_7_1() -> None:
    """AES-256-CM."""
    key = unhex("57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98")
    stream = aes_cm(key, int("f0f1f2f3f4f5f6f7f8f9fafbfcfd0000", 16), 16 * 3)
    expected = (
        "92bdd28a93c3f52511c677d08b5515a4 9da71b2378a854f67050756ded165bac 63c4868b7096d88421b563b8c94c9a31"
    )
    assert stream == unhex(expected)


GCM_RTP = (
    "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573"
)
GCM_SALT = unhex("517569642070726f2071756f")


@pytest.mark.parametrize(
    ("suite", "key_bytes", "protected"),
    [
        (
            "AEAD_AES_128_GCM",  # RFC 7714 16.1.1
            16,
            """8040f17b8041f8d35501a0b2 f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833
            899d7f27beb16a9152cf765ee4390cce""",
        ),
        (
            "AEAD_AES_256_GCM",  # 16.2.1
            32,
            """8040f17b8041f8d35501a0b2 32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b
            7aa3db36dfffd6b0f9bb7878d7a76c13""",
        ),
    ],
)
def test_packets_of_rfc_7714_16(suite: str, key_bytes: int, protected: str) -> None:
    """AEAD, with the session keys that the RFC gives."""
    reference = Reference(CryptoKey(suite, bytes(SUITES[suite].master_bytes)))
    reference.rtp = [bytes(range(key_bytes)), b"", GCM_SALT]
    assert reference.protect(unhex(GCM_RTP), 0) == unhex(protected)


@pytest.mark.parametrize(
    ("suite", "key_bytes", "protected"),
    [
        (
            "AEAD_AES_128_GCM",  # RFC 7714 17.1
            16,
            """81c8000d4d617273 63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9
            275bc84aa45896cf4d2fc5abf87245d9eade 800005d4""",
        ),
        (
            "AEAD_AES_256_GCM",  # 17.2
            32,
            """81c8000d4d617273 d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de0476f1b
            6fad1d1eb30c4446839f57ff6f6cb26ac3be 800005d4""",
        ),
    ],
)
def test_reports_of_rfc_7714_17(suite: str, key_bytes: int, protected: str) -> None:
    """SRTCP, encrypted and tagged."""
    report = """81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeef
        deadbeef"""
    reference = Reference(CryptoKey(suite, bytes(SUITES[suite].master_bytes)))
    reference.rtcp = [bytes(range(key_bytes)), b"", GCM_SALT]
    assert reference.protect_rtcp(unhex(report), 0x5D4) == unhex(protected)


def test_packets_of_libsrtp_itself() -> None:
    """The packet and the report that libsrtp tests its own build with (AES-CM and HMAC-SHA1 with 80 bits)."""
    master = unhex("e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6")
    reference = Reference(CryptoKey("AES_CM_128_HMAC_SHA1_80", master))
    plain = unhex("800f1234decafbadcafebabe" + "ab" * 16)
    protected = "800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb"
    assert reference.protect(plain, 0) == unhex(protected)
    report = unhex("81c8000bcafebabe" + "ab" * 16)
    protected = "81c8000bcafebabe 7128035be487b9bdbef89041f977a5a8 80000001 993e08cd54d6c1230798"
    assert reference.protect_rtcp(report, 1) == unhex(protected)


# -- ours ----------------------------------------------------------------------------------------


def key_of(suite: str, seed: int = 1, mki_bytes: int = 0) -> CryptoKey:
    """A key that is drawn once and for all."""
    rng = random.Random(f"{suite} {seed}")
    mki = rng.getrandbits(8 * mki_bytes) if mki_bytes else 0
    return CryptoKey(suite, rng.randbytes(SUITES[suite].master_bytes), mki, mki_bytes)


def rtp(seq: int, payload: bytes = bytes(160), ssrc: int = SSRC, first: int = 0x80) -> bytes:
    head = bytes([first, 0]) + (seq & 0xFFFF).to_bytes(2, "big") + (seq * 160 & 0xFFFFFFFF).to_bytes(4, "big")
    return head + ssrc.to_bytes(4, "big") + payload


PROOFS = """
import sys
from trunkline.rtp import libsrtp
library = libsrtp.Library(sys.argv[1])
print([libsrtp.proof(library, suite) for suite in libsrtp.SUITES])
"""


def test_both_copies_of_the_library_are_right() -> None:
    """The one in pylibsrtp's wheel and the system's: what `load` compares with was computed by the reference.

    Each in a process of its own: the system's is PJSIP's too, and can be initialised once in a process.
    """
    expected = []
    for suite in SUITES:
        key, packet, report = libsrtp.proof_packets(suite)
        reference = Reference(key)
        both = reference.protect(packet, 0) + reference.protect_rtcp(report, 1)
        expected.append(hashlib.sha256(both).hexdigest()[:16])
    assert [libsrtp._PROOF[suite] for suite in SUITES] == expected
    paths = list(libsrtp._candidates())
    assert len(paths) == 2 and libsrtp.load().path == paths[0]
    for path in paths:
        done = subprocess.run([sys.executable, "-c", PROOFS, path], check=True, capture_output=True, text=True)
        assert done.stdout.strip() == str(expected), path


@pytest.mark.parametrize("mki_bytes", [0, 1, 4, 128])
@pytest.mark.parametrize("suite", SUITES)
def test_against_the_reference_over_two_rollovers(suite: str, mki_bytes: int) -> None:
    """Each packet both ways, headers with CSRCs and extensions, reports among them."""
    key = key_of(suite, mki_bytes=mki_bytes)
    sender, receiver, reference = srtp.Sender(key, SSRC), srtp.Receiver(key), Reference(key)
    rng = random.Random(2)
    extended = [*range(65_500, 65_600, 7), *range(98_000, 131_000, 8_000), *range(131_050, 131_200, 13)]
    for reports, ext in enumerate(extended, 1):
        first = rng.choice([0x80, 0x82, 0x90])
        extra = (
            rng.randbytes(8)
            if first == 0x82
            else b"\xbe\xde\0\1" + rng.randbytes(4)
            if first == 0x90
            else b""
        )
        packet = rtp(ext, extra + rng.randbytes(rng.randrange(1, 400)), first=first)
        protected = sender.protect(packet)
        assert protected == reference.protect(packet, ext >> 16)
        assert receiver.unprotect(protected) == packet
        report = unhex("80c80006") + SSRC.to_bytes(4, "big") + rng.randbytes(20)
        assert sender.protect_rtcp(report) == (ours := reference.protect_rtcp(report, reports))
        assert receiver.unprotect_rtcp(ours) == report


@pytest.mark.parametrize("suite", SUITES)
def test_against_pylibsrtp(suite: str) -> None:
    """A peer that others use: the suites that it has."""
    import pylibsrtp

    profiles = {"AES_CM_128_HMAC_SHA1_80": 1, "AES_CM_128_HMAC_SHA1_32": 2}
    profiles |= {"AEAD_AES_128_GCM": 7, "AEAD_AES_256_GCM": 8}
    if suite not in profiles:  # checked against the reference like the others
        assert suite == "AES_256_CM_HMAC_SHA1_80"
        return
    key = key_of(suite)

    def session(kind: int) -> pylibsrtp.Session:
        policy = pylibsrtp.Policy(key=key.master, ssrc_type=kind, srtp_profile=profiles[suite])
        return pylibsrtp.Session(policy)

    theirs_out, theirs_in = (
        session(pylibsrtp.Policy.SSRC_ANY_OUTBOUND),
        session(pylibsrtp.Policy.SSRC_ANY_INBOUND),
    )
    sender, receiver = srtp.Sender(key, SSRC), srtp.Receiver(key)
    for seq in range(65_400, 65_700):
        protected = sender.protect(rtp(seq))
        assert protected is not None
        assert theirs_in.unprotect(protected) == rtp(seq)
        assert receiver.unprotect(theirs_out.protect(rtp(seq))) == rtp(seq)


@pytest.mark.parametrize("suite", SUITES)
def test_forged_and_replayed_packets_change_nothing(suite: str) -> None:
    """Flipped bits anywhere, cut ends, other keys, packets again: the stream goes on, over a rollover."""
    key = key_of(suite)
    sender, receiver, stranger = (
        srtp.Sender(key, SSRC),
        srtp.Receiver(key),
        srtp.Sender(key_of(suite, 2), SSRC),
    )
    rng = random.Random(3)
    for seq in range(65_500, 65_560):
        good = sender.protect(rtp(seq))
        assert good is not None
        for _ in range(10):
            at = rng.randrange(
                2, len(good)
            )  # version and payload type apart: bit flips there are tried below
            forged = good[:at] + bytes([good[at] ^ 1 << rng.randrange(8)]) + good[at + 1 :]
            assert receiver.unprotect(forged) in (Drop.SRTP_AUTH, Drop.SRTP_REPLAY)
        assert receiver.unprotect(good[: rng.randrange(len(good))]) is Drop.SRTP_AUTH
        assert receiver.unprotect(good[:1] + bytes([good[1] ^ 0x80]) + good[2:]) is Drop.SRTP_AUTH
        assert (
            receiver.unprotect(stranger.protect(rtp(seq + 30_000))) is Drop.SRTP_AUTH
        )  # would be a rollover
        stranger.close()
        stranger = srtp.Sender(key_of(suite, 2), SSRC)
        assert receiver.unprotect(good) == rtp(seq)
        assert receiver.unprotect(good) is Drop.SRTP_REPLAY
        report = sender.protect_rtcp(unhex("80c90001") + SSRC.to_bytes(4, "big"))
        assert report is not None
        assert receiver.unprotect_rtcp(report[:10] + bytes([report[10] ^ 1]) + report[11:]) is Drop.SRTP_AUTH
        assert isinstance(receiver.unprotect_rtcp(report), bytes)
        assert receiver.unprotect_rtcp(report) is Drop.SRTP_REPLAY
    assert receiver.roc(SSRC) == 1


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("index", [3, 40_000, 65_535, 65_536, 5 << 16 | 3, 7 << 16 | 65_530])
def test_going_on_where_another_left_off(suite: str, index: int) -> None:
    """Sender and receiver of another process: a packet from before, those after, over the next rollover."""
    key = key_of(suite)
    reference, receiver = Reference(key), srtp.Receiver(key)
    receiver.resume(SSRC, index)
    assert receiver.roc(SSRC) == index >> 16
    assert receiver.unprotect(reference.protect(rtp(index), index >> 16)) is Drop.SRTP_REPLAY
    for ext in (
        index + 2,
        index + 1,
        index - 1,
        *range(index + 3, index + 20),
        index + 30_000,
        index + 60_000,
    ):
        assert receiver.unprotect(reference.protect(rtp(ext), ext >> 16)) == rtp(ext)
    sender = srtp.Sender(key, SSRC, index + 1 >> 16)
    sender.skip_rtcp(100)
    for ext in range(index + 1, index + 10):
        assert sender.protect(rtp(ext)) == reference.protect(rtp(ext), ext >> 16)
    report = unhex("80c90001") + SSRC.to_bytes(4, "big")
    assert sender.protect_rtcp(report) == reference.protect_rtcp(report, 101)


def test_a_number_is_never_used_twice() -> None:
    """A keystream that is used again would give away both packets: the library refuses."""
    sender = srtp.Sender(key_of("AEAD_AES_128_GCM"), SSRC)
    assert sender.protect(rtp(5)) is not None
    assert sender.protect(rtp(5, b"other")) is None


def handles(contexts: list[srtp.Sender] | list[srtp.Receiver]) -> tuple[np.ndarray, np.ndarray]:
    """As the batch functions want them."""
    return np.array([c.handle for c in contexts], np.int64), np.array([c.mki for c in contexts], np.int64)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(SUITES)), st.sampled_from([0, 4]), st.integers(0, 300), st.booleans()
        ),
        min_size=1,
        max_size=12,
    )
)
def test_batch_equals_loop(rows: list[tuple[str, int, int, bool]]) -> None:
    """Rows of all suites, with and without MKI, of any length, some of them damaged."""
    keys = [key_of(suite, i, mki) for i, (suite, mki, _, _) in enumerate(rows)]
    packets = [rtp(i + 1, bytes(size)) for i, (_, _, size, _) in enumerate(rows)]
    block, lengths = np.zeros((len(rows), 2048), np.uint8), np.array([len(p) for p in packets], np.int32)
    for i, packet in enumerate(packets):
        block[i, : len(packet)] = np.frombuffer(packet, np.uint8)
    senders, receivers = [srtp.Sender(k, SSRC) for k in keys], [srtp.Receiver(k) for k in keys]
    assert srtp.protect(*handles(senders), block, lengths).all()
    protected = [bytes(row[:n]) for row, n in zip(block, lengths, strict=True)]
    assert protected == [srtp.Sender(k, SSRC).protect(p) for k, p in zip(keys, packets, strict=True)]
    for i, (_, _, _, damaged) in enumerate(rows):
        block[i, lengths[i] - 1] ^= damaged
    alone = [
        srtp.Receiver(k).unprotect(bytes(row[:n])) for k, row, n in zip(keys, block, lengths, strict=True)
    ]
    half = len(rows) // 2
    which, others = np.arange(half), np.arange(half, len(rows))
    statuses = srtp.unprotect(*handles(receivers[:half]), block, lengths, which)
    statuses += srtp.unprotect(*handles(receivers[half:]), block, lengths, others)
    batch = [
        srtp.drop_reason(status) if status else bytes(row[:n])
        for status, row, n in zip(statuses, block, lengths, strict=True)
    ]
    assert batch == alone
    assert [isinstance(one, Drop) for one in batch] == [damaged for _, _, _, damaged in rows]


def test_contexts_are_given_back() -> None:
    """A call an instant for a long time costs no memory."""
    import resource

    key = key_of("AES_CM_128_HMAC_SHA1_80")

    def many() -> None:
        for _ in range(3000):
            sender, receiver = srtp.Sender(key, SSRC), srtp.Receiver(key)
            assert receiver.unprotect(sender.protect(rtp(1)) or b"") == rtp(1)
            sender.close()
            sender.close()
            del receiver

    many()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    many()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2000  # kB


def test_a_library_that_is_missing_or_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what was tried and what to install; nothing wrong is used."""
    monkeypatch.setattr(libsrtp, "_candidates", lambda: iter(["/nowhere/libsrtp.so", "libm.so.6"]))
    with pytest.raises(
        libsrtp.SrtpUnavailable, match=r"nowhere.*libm.*srtp_protect.*pip install pylibsrtp"
    ):
        libsrtp.load.__wrapped__()
    monkeypatch.undo()
    bundled = next(iter(libsrtp._candidates()))
    monkeypatch.setattr(libsrtp, "_candidates", lambda: iter([bundled]))
    monkeypatch.setitem(libsrtp._PROOF, "AEAD_AES_256_GCM", "0" * 16)
    with pytest.raises(libsrtp.SrtpUnavailable, match=r"2\.7\.0 computes AEAD_AES_256_GCM wrongly"):
        libsrtp.load.__wrapped__()
