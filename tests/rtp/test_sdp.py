# SPDX-License-Identifier: GPL-2.0-or-later
"""SDP text to objects and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkline.rtp.sdp import Connection, Media, Origin, SdpSyntaxError, SessionDescription

SAMPLES = sorted((Path(__file__).parent.parent / "vectors" / "sdp").glob("*.sdp"))


def wire(path: Path) -> str:
    """A sample with the line ends of the wire."""
    return path.read_text().replace("\n", "\r\n")


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_what_systems_send_is_written_back_as_it_was(path: Path) -> None:
    """All samples are in the order of RFC 8866, so the text itself comes back, byte for byte."""
    text = wire(path)
    assert str(SessionDescription.parse(text)) == text


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_line_ends_and_trailing_blanks_do_not_matter(path: Path) -> None:
    """LF only, CR only, blanks before the line end and empty lines: the same description."""
    expected = SessionDescription.parse(wire(path))
    text = path.read_text()
    for variant in (
        text,
        text.replace("\n", "\r"),
        text.replace("\n", " \t\r\n"),
        text.replace("\n", "\n\n"),
    ):
        assert SessionDescription.parse(variant) == expected
    assert SessionDescription.parse(text.rstrip("\n")) == expected


def test_structure() -> None:
    """Every field of the lines that calls need, session and media level apart."""
    path = next(path for path in SAMPLES if path.stem == "cisco")
    description = SessionDescription.parse(wire(path))
    assert description.origin == Origin("CiscoSystemsCCM-SIP", "2000", "1", "IP4", "192.0.2.50")
    assert description.name == "SIP Call"
    assert description.connection == Connection("IP4", "192.0.2.51")
    assert description.lines == [("b", "TIAS:64000"), ("b", "AS:64"), ("t", "0 0")]
    assert description.attributes == [("X-sipxCodecs", "none")]
    audio, video, application = description.media
    assert (audio.kind, audio.port, audio.profile) == ("audio", 24580, "RTP/AVP")
    assert audio.formats == ["18", "8", "0", "101"]
    assert audio.lines == [("b", "TIAS:64000")]
    assert audio.connection is None
    assert audio.values("rtpmap")[0] == "18 G729/8000"
    assert not audio.has("sendrecv")
    assert (video.kind, video.port, len(video.attributes)) == ("video", 27500, 2)
    assert (application.profile, application.formats) == ("UDP/BFCP", ["*"])


def test_lines_out_of_order_and_unknown_ones_are_kept() -> None:
    """A media-level b= after a=, an x= line: nothing is lost, and the order of the RFC is restored."""
    text = "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nt=0 0\nr=7d 1h 0 25h\nt=9 9\nx=what\nc=IN IP4 192.0.2.1\n"
    text += "m=audio 4000/2 RTP/AVP 0\na=ptime:20\nb=AS:64\nc=IN IP4 192.0.2.2\nc=IN IP4 192.0.2.3\n"
    assert str(SessionDescription.parse(text)).split("\r\n") == [
        *("v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1"),
        *("t=0 0", "r=7d 1h 0 25h", "t=9 9", "x=what", "m=audio 4000/2 RTP/AVP 0"),
        *("c=IN IP4 192.0.2.2", "c=IN IP4 192.0.2.3", "b=AS:64", "a=ptime:20", ""),
    ]


def test_a_name_with_blanks_in_the_place_of_the_user() -> None:
    """o= is read from the right, because some telephones put the display name in front."""
    description = SessionDescription.parse("v=0\no=John B. Doe 7 8 IN IP4 192.0.2.1\n")
    assert description.origin == Origin("John B. Doe", "7", "8", "IP4", "192.0.2.1")


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("", 1, "empty"),
        ("\r\n\r\n", 1, "empty"),
        ("hello", 1, "not of the form"),
        ("o=- 1 1 IN IP4 192.0.2.1\nv=0", 1, "instead of v=0"),
        ("v=1\n", 1, "instead of v=0"),
        ("v=0\nv=0\n", 2, "second v="),
        ("v=0\no=- 1 IN IP4 192.0.2.1", 2, "six fields"),
        ("v=0\no=- 1 1 IN IP4 1.1.1.1\no=- 1 1 IN IP4 1.1.1.1", 3, "second or misplaced o="),
        ("v=0\nm=audio 1 RTP/AVP 0\ns=late", 3, "second or misplaced s="),
        ("v=0\nc=IN 192.0.2.1", 2, "address type and address"),
        ("v=0\ns=-\n\nm=audio", 4, "m= needs"),
        ("v=0\nm=audio x RTP/AVP 0", 2, "not a number from 0 to 65535"),
        ("v=0\nm=audio 65536 RTP/AVP 0", 2, "not a number from 0 to 65535"),
        ("v=0\nm=audio -1 RTP/AVP 0", 2, "not a number from 0 to 65535"),
        ("v=0\nm=audio \u0661 RTP/AVP 0", 2, "not a number from 0 to 65535"),
        ("v=0\na=", 2, "without a name"),
        ("v=0\na=:20", 2, "without a name"),
        ("v=0\ns=a\0b", 2, "not of the form"),
        ("v=0\n1=one", 2, "not of the form"),
        ("v=0\n" + "a=x\n" * 20000, 1, "more than 65536"),
    ],
)
def test_nonsense_is_refused_with_its_line(text: str, line: int, why: str) -> None:
    """The error says where and why."""
    with pytest.raises(SdpSyntaxError, match=why) as caught:
        SessionDescription.parse(text)
    assert caught.value.line == line
    assert why in caught.value.why


@pytest.mark.parametrize(
    "crypto",
    [
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80\n inline:{}",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:\n{}",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 INLINE:\r\n\t{}",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inli\nne:{}",
        "a=x\na= inline:{}",
        "c=inline:{}",
        "o=inline:{}",
        "m=inline:{}",
        "m=audio inline:{} RTP/AVP",
        "a=crypto:1\nm=audio {} RTP/AVP",
        "a=crypto:1\n{}\0",
    ],
)
def test_what_can_be_a_key_is_not_shown(crypto: str) -> None:
    """An a=crypto line that somebody has folded or mangled: a part of it is no SDP, and must not get into a log."""
    text = "v=0\n" + crypto.format("c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0")
    with pytest.raises(SdpSyntaxError) as caught:
        SessionDescription.parse(text)
    assert "c2V" not in str(caught.value) and "characters" in str(caught.value)
    for alone in (text.partition("v=0\n")[2], "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0|2^31"):
        with pytest.raises(SdpSyntaxError) as caught:
            SessionDescription.parse(alone)
        assert "c2V" not in str(caught.value)


def test_a_value_cannot_smuggle_lines() -> None:
    """A line break in a value is refused when writing, not sent."""
    with pytest.raises(ValueError, match="line break"):
        str(SessionDescription(media=[Media(attributes=[("x", "1\r\nm=audio 1 RTP/AVP 0")])]))


@pytest.mark.parametrize("line", ["a=:crypto:1 {}", "inline:{}|2^31", "{}", "a=:{}", "a = crypto:1 inline:{}"])
def test_a_folded_line_with_a_key_does_not_show_it(line: str) -> None:
    """These texts end in logs and answers."""
    key = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
    for text in ("v=0\r\n" + line.format(key), line.format(key)):
        with pytest.raises(SdpSyntaxError) as caught:
            SessionDescription.parse(text)
        assert not any(key[at : at + 8] in str(caught.value) for at in range(len(key) - 7))
