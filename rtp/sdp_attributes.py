# SPDX-License-Identifier: GPL-2.0-or-later
"""What the attributes of a media description say; what cannot be read is left out."""

from __future__ import annotations

import dataclasses
import re

from trunkline.rtp.sdp import Connection, Section

DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
"RFC 8866 6.7, from the writer's point of view"


@dataclasses.dataclass(frozen=True, slots=True)
class RtpMap:
    """a=rtpmap: what a payload type number stands for."""

    payload_type: int
    name: str
    "encoding name, upper case (names are compared without regard to case)"
    clock_hz: int
    channels: int = 1


def rtpmaps(media: Section) -> dict[int, RtpMap]:
    """a=rtpmap by payload type (RFC 8866 6.6)."""
    found = {}
    for value in media.values("rtpmap"):
        if match := re.fullmatch(r"(\d{1,3})\s+([^\s/]+)/(\d{1,9})(?:/(\d{1,3}))?", value.strip(), re.ASCII):
            number, name, clock, channels = match.groups()
            found[int(number)] = RtpMap(int(number), name.upper(), int(clock), int(channels or 1))
    return found


def format_parameters(media: Section) -> dict[int, str]:
    """a=fmtp by payload type (RFC 8866 6.15)."""
    found = {}
    for value in media.values("fmtp"):
        if match := re.fullmatch(r"(\d{1,3})\s+(\S.*)", value.strip(), re.ASCII):
            found[int(match[1])] = match[2]
    return found


def ptime_ms(media: Section) -> float | None:
    """Packet time that the writer would like to receive (RFC 8866 6.4)."""
    return _milliseconds(media, "ptime")


def maxptime_ms(media: Section) -> float | None:
    """Longest packet that the writer can take (RFC 8866 6.5)."""
    return _milliseconds(media, "maxptime")


def minptime_ms(media: Section) -> float | None:
    """Shortest packet that the writer wants; in no RFC, but some phones write it as an attribute."""
    return _milliseconds(media, "minptime")


def direction(media: Section, session: Section) -> str:
    """Direction of a media level, from the session level or sendrecv if it names none."""
    for section in (media, session):
        for name, _ in reversed(section.attributes):
            if name in DIRECTIONS:
                return name
    return "sendrecv"


def rtcp(media: Section) -> tuple[int, Connection | None] | None:
    """a=rtcp: port, and address if it is another than that of c= (RFC 3605)."""
    for value in media.values("rtcp"):
        words = value.split()
        if len(words) not in (1, 4) or not re.fullmatch(r"\d{1,5}", words[0], re.ASCII):
            continue
        if 0 < int(words[0]) < 65536:
            address = Connection(words[2], words[3], words[1]) if len(words) == 4 else None
            return int(words[0]), address
    return None


def rtcp_mux(media: Section) -> bool:
    """a=rtcp-mux: RTP and RTCP on one port (RFC 5761)."""
    return media.has("rtcp-mux")


def rtcp_rsize(media: Section) -> bool:
    """a=rtcp-rsize: RTCP that is no compound (RFC 5506)."""
    return media.has("rtcp-rsize")


@dataclasses.dataclass(frozen=True, slots=True)
class XrFormats:
    """a=rtcp-xr: the extended reports that its writer wants to get (RFC 3611 5.1)."""

    voip_metrics: bool
    round_trip: bool
    "rcvr-rtt, of all or of senders: reference times, and answers to them"


def rtcp_xr(media: Section, session: Section) -> XrFormats | None:
    """a=rtcp-xr of a media level, else of the session level; None without one. Other formats are passed over."""
    for section in (media, session):
        if section.has("rtcp-xr"):
            words = " ".join(section.values("rtcp-xr")).lower().split()
            formats = {re.split("[=:]", word)[0] for word in words}
            return XrFormats("voip-metrics" in formats, "rcvr-rtt" in formats)
    return None


def crypto(media: Section) -> list[str]:
    """Values of a=crypto, not taken apart (RFC 4568)."""
    return media.values("crypto")


def events(parameters: str | None) -> set[int]:
    """Telephone events of an a=fmtp such as `0-11,16` (RFC 4733 2.4.1); without one, the DTMF events 0-15."""
    if parameters is None:
        return set(range(16))
    found: set[int] = set()
    text = parameters.removeprefix("events=").replace(" ", "")
    for part in text.split(","):
        if match := re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", part, re.ASCII):
            found.update(range(int(match[1]), min(int(match[2] or match[1]), 255) + 1))
    return found


def _milliseconds(media: Section, name: str) -> float | None:
    for value in media.values(name):
        if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value.strip(), re.ASCII):
            return float(value)
    return None
