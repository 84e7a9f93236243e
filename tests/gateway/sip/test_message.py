# SPDX-License-Identifier: GPL-2.0-or-later
"""SIP messages as text: what is read out of them, and which headers may be added."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.sip.headers import HeaderError, check_headers
from trunkline.gateway.sip.message import SipText, name_and_uri, reason_text

INVITE = (
    "INVITE sip:600@192.0.2.1 SIP/2.0\r\n"
    "v: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKx\r\n"
    "Via: SIP/2.0/UDP 192.0.2.8\r\n"
    'f: "Ann \\"A\\" Bee" <sip:77@example.org;x=y>;tag=1\r\n'
    "X-Folded: one\r\n two\r\n\tthree\r\n"
    "X-Empty:\r\n"
    "x-folded: second\r\n"
    "c: application/sdp;charset=utf-8\r\n"
    "\r\n"
    "v=0\r\nm=audio 4000 RTP/AVP 0\r\n"
)


def test_headers_keep_their_first_value_and_their_names_and_compact_forms_are_spelled_out() -> None:
    message = SipText.parse(INVITE)
    assert message.headers == {
        "Via": "SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKx",
        "From": '"Ann \\"A\\" Bee" <sip:77@example.org;x=y>;tag=1',
        "X-Folded": "one two three",
        "X-Empty": "",
        "Content-Type": "application/sdp;charset=utf-8",
    }
    assert message.header("x-fOLDED") == "one two three" and message.header("X-None") == ""
    assert message.request_uri == "sip:600@192.0.2.1" and message.status == (0, "")
    assert message.sdp == "v=0\r\nm=audio 4000 RTP/AVP 0\r\n"


def test_a_response_has_code_and_phrase() -> None:
    message = SipText.parse("SIP/2.0 486 Busy Here\r\n\r\n")
    assert message.status == (486, "Busy Here") and message.request_uri == "" and message.sdp == ""


def test_sdp_is_found_in_a_multipart_body() -> None:
    message = SipText.parse(
        'INVITE sip:a@b SIP/2.0\r\nContent-Type: multipart/mixed; boundary="x y"\r\n\r\n'
        "--x y\r\nContent-Type: application/xml\r\n\r\n<a/>\r\n"
        "--x y\r\nContent-Type: application/sdp\r\n\r\nv=0\r\ns=-\r\n\r\n--x y--\r\n"
    )
    assert message.sdp == "v=0\r\ns=-\r\n"


@given(st.text())
def test_any_text_parses(text: str) -> None:
    message = SipText.parse(text)
    assert isinstance(message.sdp + message.request_uri + message.status[1] + message.media_type, str)
    assert name_and_uri(text)[1] is not None and isinstance(reason_text(text), str)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"Ann \\"A\\" Bee" <sip:77@example.org;x=y>;tag=1', ('Ann "A" Bee', "sip:77@example.org;x=y")),
        ("Ann Bee <sip:a@b>", ("Ann Bee", "sip:a@b")),
        ("<sip:a@b>;tag=2", ("", "sip:a@b")),
        ("sip:a@b;tag=2", ("", "sip:a@b")),
        ("tel:+4930", ("", "tel:+4930")),
    ],
)
def test_name_and_uri(value: str, expected: tuple[str, str]) -> None:
    assert name_and_uri(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('SIP;cause=200;text="Call completed elsewhere"', "Call completed elsewhere"),
        ("Q.850 ;cause=16", "Q.850 16"),
        ('Q.850;text="a \\"b\\""', 'a "b"'),
        ("X", "X"),
        ("", ""),
    ],
)
def test_reason_text(value: str, expected: str) -> None:
    assert reason_text(value) == expected


def test_beside_a_response_a_reason_tells_only_its_text() -> None:
    """`Q.850 17` is no phrase for a person; the response has one."""
    assert reason_text("Q.850;cause=17", told_only=True) == ""
    assert reason_text('Q.850;cause=17;text="User busy"', told_only=True) == "User busy"


def test_ordinary_headers_may_be_added() -> None:
    check_headers({"X-Tenant": "acme; 100 %", "Diversion": "<sip:1@b>", "User-to-User": "00ff;encoding=hex"})


@pytest.mark.parametrize(
    "name",
    ["Via", "cOnTaCt", "CSeq", "v", "", "a b", "a:b", "a\r\nb", "ü", "Record-Route"]
    + ["l", "Event", "Proxy-Require", "Server"],
)
def test_headers_of_the_stack_and_names_that_are_none_may_not(name: str) -> None:
    with pytest.raises(HeaderError):
        check_headers({name: "x"})


@given(st.text(), st.sampled_from("\r\n\0\x7f\x85\ud800"), st.text())
def test_no_value_can_end_its_line(before: str, control: str, after: str) -> None:
    with pytest.raises(HeaderError):
        check_headers({"X-Ok": before + control + after})


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_only_a_line_feed_ends_a_header(separator: str) -> None:
    """Python knows more line ends than SIP; through those a caller could forge a header that routes look at."""
    message = SipText.parse(f"INVITE sip:a@b SIP/2.0\r\nSubject: x{separator}X-Tenant: acme\r\n\r\n")
    assert list(message.headers) == ["Subject"]
