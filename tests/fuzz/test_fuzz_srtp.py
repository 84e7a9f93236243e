# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile a=crypto lines, and hostile packets where SRTP is expected."""

from __future__ import annotations

import base64
import random

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trunkline.rtp import srtp
from trunkline.rtp.line_keys import Wanted, pick
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.sdes import SUITES, CryptoError, CryptoKey, parse_crypto, write_crypto

PIECES = [
    "1",
    "2",
    " ",
    "\t",
    "|",
    ":",
    ";",
    "=",
    "inline:",
    "2^20",
    "1:4",
    "KDR=1",
    "WSH=64",
    "-x",
    "\u0663",
    "\0",
]
PIECES += [
    *SUITES,
    "UNENCRYPTED_SRTP",
    "AES_CM_256_HMAC_SHA1_80",
    "A" * 40,
    "99999999999999999999",
    "\r\n",
    "\xa0",
]


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, str]:
    """Good lines with characters changed and words left out or moved, and pieces in any order; and the key in them."""
    if draw(st.booleans()):
        return "".join(draw(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=14))), ""
    rng = random.Random(draw(st.integers(0, 2**32 - 1)))
    suite = rng.choice(list(SUITES))
    key = CryptoKey(suite, rng.randbytes(SUITES[suite].master_bytes))
    line = write_crypto(rng.randrange(10**9), key)
    line += rng.choice(["", "|2^31", "|1:1", "|2^20|1:4", " WSH=64", "|4096"])
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(line))
        line = line[:at] + rng.choice(PIECES) + line[at + rng.randrange(3) :]
    words = line.split(" ")
    match rng.randrange(4):
        case 0:
            del words[rng.randrange(len(words))]
        case 1:
            rng.shuffle(words)
    return " ".join(words) + rng.choice(["", " WSH=64", " x"]), base64.b64encode(key.master).decode()


def shows(text: str, key: str) -> bool:
    """Whether eight characters of a key, or more, stand in a text."""
    return any(key[at : at + 8] in text for at in range(len(key) - 7))


@settings(max_examples=600, deadline=None)
@given(lines() | st.tuples(st.text(max_size=100), st.just("")))
@example(
    ("1 inline:CcRrYyPpTtOo1122334455667788990011223344 WSH=64", "CcRrYyPpTtOo1122334455667788990011223344")
)
def test_a_line_gives_a_key_or_one_exception(line_and_key: tuple[str, str]) -> None:
    """A key has the length of its suite and comes back when it is written; no text shows a piece of one."""
    line, key = line_and_key
    picked, why = pick([line, line], Wanted("required", tuple(SUITES)))
    assert (picked is None) == bool(why) and why.isprintable() and not shows(why, key)
    try:
        crypto = parse_crypto(line)
    except CryptoError as error:
        assert str(error).isprintable() and not shows(str(error), key)
        assert len(str(error)) < 200
        return
    assert len(crypto.key.master) == SUITES[crypto.key.suite].master_bytes
    again = parse_crypto(write_crypto(crypto.tag, crypto.key))
    assert (again.tag, again.key) == (crypto.tag, crypto.key)


def test_packets_of_any_kind() -> None:
    """Ten thousand for each suite, RTP and RTCP, with and without MKI: dropped, and the good one after them is not."""
    for number, suite in enumerate(SUITES):
        rng = random.Random(number)
        mki_bytes = number % 3
        key = CryptoKey(suite, rng.randbytes(SUITES[suite].master_bytes), mki_bytes and 77, mki_bytes)
        sender, receiver = srtp.Sender(key, 7), srtp.Receiver(key)
        packets = np.zeros((1000, 2048), np.uint8)
        handles, mkis = np.full(1000, receiver.handle), np.full(1000, receiver.mki)
        for round_ in range(10):
            good = bytes([0x80, 0]) + round_.to_bytes(2, "big") + bytes(7) + b"\7" + bytes(50)
            protected = sender.protect(good)
            assert protected is not None
            lengths = np.zeros(1000, np.int32)
            for i in range(1000):
                data = mangled(rng, protected)
                packets[i, : len(data)] = np.frombuffer(data, np.uint8)
                lengths[i] = len(data)
            before = lengths.copy()
            statuses = srtp.unprotect(handles, mkis, packets, lengths)
            assert all(statuses)
            assert (lengths == before).all()
            assert all(srtp.drop_reason(status) in (Drop.SRTP_AUTH, Drop.SRTP_REPLAY) for status in statuses)
            assert receiver.unprotect(protected) == good
            report = sender.protect_rtcp(bytes.fromhex("80c9000100000007"))
            assert report is not None
            for _ in range(200):
                assert isinstance(receiver.unprotect_rtcp(mangled(rng, report)), Drop)
            assert isinstance(receiver.unprotect_rtcp(report), bytes)


def mangled(rng: random.Random, good: bytes) -> bytes:
    """Another packet than the good one, often nearly the same."""
    match rng.randrange(4):
        case 0:
            return rng.randbytes(rng.choice([0, 1, 4, 11, 12, 13, 40, 172, 1500, 2048]))
        case 1:
            return good[: rng.randrange(len(good))]
        case 2:  # headers that claim more than there is
            return bytes([0x80 | rng.randrange(64)]) + good[1 : rng.randrange(1, len(good))]
        case _:
            # Not the first byte of RTP: its padding bit is covered by the tag as well, but flips there are case 2.
            at = rng.randrange(1, len(good))
            return good[:at] + bytes([good[at] ^ rng.randrange(1, 256)]) + good[at + 1 :]
