# SPDX-License-Identifier: GPL-2.0-or-later
"""What of a SIP message may be kept: never credentials and keys, and nobody's number where numbers are hidden."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.calls.sip_masking import masked

SDP = (
    "v=0\r\no=4930123456 1 1 IN IP4 192.0.2.1\r\ns=Ann Miller\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    "m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:S3CRETKEY\r\na=rtpmap:0 PCMU/8000\r\n"
)
INVITE = (
    "INVITE sip:+4930123456@192.0.2.9;user=phone SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK-1\r\n"
    'From: "Ann Miller" <sip:4989765432:pa55@192.0.2.1>;tag=1\r\n'
    "t: Bob <tel:+4930123456>\r\n"
    "Call-ID: 4989765432-77@192.0.2.1\r\nCSeq: 1 INVITE\r\n"
    'Authorization: Digest username="ann", nonce="n",\r\n response="S3CRETRESPONSE"\r\n'
    "proxy-authorization : Digest response=S3CRETPROXY\r\n"
    "X-Api-Key: S3CRETAPI\r\nX-Customer: Ann Miller\r\nP-Asserted-Identity: <sip:4989765432@192.0.2.1>\r\n"
    f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n\r\n"
)


def parts(message: bytes) -> tuple[list[str], str]:
    head, _, body = message.decode().partition("\r\n\r\n")
    return head.split("\r\n"), body


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("numbers", [None, ("4989765432", "+4930123456")])
def test_credentials_and_keys_are_never_kept(end: str, numbers: tuple[str, ...] | None) -> None:
    message = masked((INVITE + SDP).replace("\r\n", end), numbers)
    assert b"S3CRET" not in message and b"pa55" not in message
    lines, body = parts(message)
    assert "Authorization: ***".replace(" ", "") in [line.replace(" ", "") for line in lines]
    assert "a=crypto:***" in body.split("\r\n") and "m=audio 4000 RTP/SAVP 0" in body
    assert f"Content-Length: {len(body)}" in lines, "Wireshark believes it"


def test_without_hiding_numbers_all_else_is_as_it_was() -> None:
    lines, body = parts(masked(INVITE + SDP))
    assert lines[0] == "INVITE sip:+4930123456@192.0.2.9;user=phone SIP/2.0"
    assert "X-Customer: Ann Miller" in lines and "s=Ann Miller" in body
    plain = "BYE sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1\r\nContent-Length: 0\r\n\r\n"
    assert masked(plain) == plain.encode()


def test_numbers_and_names_are_hidden_when_asked() -> None:
    message = masked(INVITE + SDP, ("4989765432", "+4930123456"))
    for said in (b"4989765432", b"4930123456", b"Ann", b"Miller", b"Bob"):
        assert said not in message
    lines, body = parts(message)
    assert lines[0] == "INVITE sip:***@192.0.2.9;user=phone SIP/2.0"
    assert "From: <sip:***@192.0.2.1>;tag=1" in lines and "t: <tel:***>" in lines
    assert "Via: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK-1" in lines and "Call-ID: ***-77@192.0.2.1" in lines
    assert "o=*** 1 1 IN IP4 192.0.2.1" in body


@pytest.mark.parametrize(
    ("kind", "body", "kept"),
    [
        ("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", True),
        ("message/sipfrag", "SIP/2.0 200 OK\r\nTo: Ann <sip:1@x>\r\n", False),
        ("multipart/mixed;boundary=x", f"--x\r\nContent-Type: application/sdp\r\n\r\n{SDP}--x--\r\n", False),
    ],
)
def test_bodies_are_kept_where_they_name_nobody(kind: str, body: str, kept: bool) -> None:
    message = f"INFO sip:a@b SIP/2.0\r\nc: {kind}\r\nl: {len(body)}\r\n\r\n{body}"
    lines, hidden = parts(masked(message, ()))
    assert hidden == (body if kept else "***") and f"l: {len(hidden)}" in lines
    assert b"S3CRET" not in masked(message)


def test_a_body_that_quotes_credentials_loses_them() -> None:
    body = "INVITE sip:a@b SIP/2.0\r\nAuthorization: Digest\r\n response=S3CRET\r\n"
    message = f"NOTIFY sip:a@b SIP/2.0\r\nContent-Type: message/sipfrag\r\n\r\n{body}"
    assert b"S3CRET" not in masked(message)


@given(st.text(st.sampled_from("sip:@<>\"\r\n ,;=ka\udc80"), max_size=300), st.sampled_from([None, (), ("12345",)]))
def test_whatever_it_is_it_can_be_written(text: str, numbers: tuple[str, ...] | None) -> None:
    masked(text, numbers).decode()


@pytest.mark.parametrize("piece", ['"\\', "sip:", "sip:a<", "token", ",", "k=\n", "Authorization: ", "\r\n ", '"'])
def test_no_message_takes_long(piece: str) -> None:
    """A tenth of a second was measured at most; what took quadratic time took eleven."""
    begun = time.process_time()
    for gap in ("", "Content-Type: application/sdp\r\n\r\n"):
        masked(f"INVITE sip:a@b SIP/2.0\r\n{gap}To: " + piece * (60_000 // len(piece)), ("12345",))
    assert time.process_time() - begun < 2.0
