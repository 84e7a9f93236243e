# SPDX-License-Identifier: GPL-2.0-or-later
"""What attributes mean; unreadable ones are as if they were absent."""

from __future__ import annotations

import pytest

from trunkline.rtp import sdp_attributes as attributes
from trunkline.rtp.sdp import Connection, Media, Section
from trunkline.rtp.sdp_attributes import RtpMap


def media(*lines: str) -> Media:
    """A media level with these attributes."""
    pairs = [line.partition(":") for line in lines]
    return Media(attributes=[(name, value if colon else None) for name, colon, value in pairs])


def test_rtpmap_and_fmtp() -> None:
    """Names become upper case, channels default to one, broken lines disappear."""
    found = media(
        *("rtpmap:0 pcmu/8000", "rtpmap:111 opus/48000/2", "rtpmap:97", "rtpmap:98 x", "rtpmap:99 x/fast"),
        *("fmtp:111 useinbandfec=1; cbr=0", "fmtp:101", "fmtp:x 1"),
    )
    assert attributes.rtpmaps(found) == {
        0: RtpMap(0, "PCMU", 8000),
        111: RtpMap(111, "OPUS", 48000, 2),
    }
    assert attributes.format_parameters(found) == {111: "useinbandfec=1; cbr=0"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [("20", 20), (" 20 ", 20), ("22.5", 22.5), ("", None), ("-20", None), ("1e3", None)],
)
def test_packet_times(value: str, expected: float | None) -> None:
    """Whole and fractional milliseconds."""
    assert attributes.ptime_ms(media(f"ptime:{value}")) == expected
    assert attributes.maxptime_ms(media(f"maxptime:{value}")) == expected
    assert attributes.ptime_ms(media("maxptime:20")) is None


def test_direction_is_inherited_from_the_session() -> None:
    """Media level, else session level, else sendrecv."""
    session = Section(attributes=[("sendonly", None)])
    assert attributes.direction(media("inactive"), session) == "inactive"
    assert attributes.direction(media("ptime:20"), session) == "sendonly"
    assert attributes.direction(media(), Section()) == "sendrecv"


def test_rtcp_port_and_address() -> None:
    """RFC 3605, with and without an address."""
    assert attributes.rtcp(media("rtcp:53020")) == (53020, None)
    assert attributes.rtcp(media("rtcp:5 IN IP6 2001:db8::1")) == (5, Connection("IP6", "2001:db8::1"))
    for broken in ("rtcp", "rtcp:", "rtcp:0", "rtcp:65536", "rtcp:x", "rtcp:5 IN IP4"):
        assert attributes.rtcp(media(broken)) is None
    assert attributes.rtcp_mux(media("rtcp-mux"))
    assert not attributes.rtcp_mux(media("rtcp:5"))


def test_crypto_lines_are_kept_as_they_are() -> None:
    """All of them, in order."""
    lines = ["1 AES_CM_128_HMAC_SHA1_80 inline:abc|2^20|1:4", "2 AEAD_AES_128_GCM inline:def"]
    assert attributes.crypto(media(*(f"crypto:{line}" for line in lines))) == lines


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (None, set(range(16))),
        ("0-15", set(range(16))),
        ("0-16", set(range(17))),
        ("0-11,16, 32-33", {*range(12), 16, 32, 33}),
        ("events=0-11", set(range(12))),
        ("5-1", set()),
        ("all", set()),
        ("200-999", set(range(200, 256))),
    ],
)
def test_event_lists(parameters: str | None, expected: set[int]) -> None:
    """Lists and ranges of RFC 4733; without a list the sixteen keys are meant."""
    assert attributes.events(parameters) == expected
