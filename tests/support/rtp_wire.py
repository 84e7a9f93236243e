# SPDX-License-Identifier: GPL-2.0-or-later
"""RTP on the wire as the tests' own endpoint knows it (RFC 3550 5.1, RFC 4733 2.3): headers, records, sockets."""

from __future__ import annotations

import dataclasses
import random
import socket
import struct
from collections.abc import Sequence

HEADER = struct.Struct("!BBHII")
EVENT = struct.Struct("!BBH")
EVENT_CODES = "0123456789*#ABCD"
SO_TIMESTAMPNS = getattr(socket, "SO_TIMESTAMPNS", 35)
"kernel time of arrival with each packet; Python 3.11 lacks the name"


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """One RTP packet that came."""

    time_ns: int
    "arrival at the kernel, CLOCK_REALTIME"
    source: tuple[str, int]
    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Sent:
    """One audio packet of ours."""

    time_ns: int
    timestamp: int
    payload: bytes


def udp_pair(host: str) -> tuple[socket.socket, socket.socket]:
    """RTP on an even port and RTCP on the next (RFC 3550 11)."""
    rng = random.SystemRandom()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(500):
        port = rng.randrange(40_000, 60_000, 2)
        rtp, rtcp = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        try:
            rtp.bind((host, port))
            rtcp.bind((host, port + 1))
        except OSError:
            rtp.close()
            rtcp.close()
            continue
        rtp.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        return rtp, rtcp
    raise OSError(f"no free pair of UDP ports on {host}")


def kernel_time_ns(ancillary: Sequence[tuple[int, int, bytes]], otherwise: int) -> int:
    """When the kernel got a packet, by the control message that came with it."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, rest = struct.unpack("qq", data[:16])
            return int(seconds * 1_000_000_000 + rest)
    return otherwise


def rtcp_types(compound: bytes) -> list[int]:
    """Packet types of a compound (RFC 3550 6.1): 200 sender report, 201 receiver report, 202 names, 203 goodbye."""
    types, at = [], 0
    while at + 4 <= len(compound):
        types.append(compound[at + 1])
        at += 4 + 4 * int.from_bytes(compound[at + 2 : at + 4], "big")
    assert at == len(compound), "the lengths add up"
    return types


def parse(packet: bytes, source: tuple[str, int], time_ns: int) -> Received | None:
    """A packet of the gateway's; None for what is shorter than a header."""
    if len(packet) < HEADER.size:
        return None
    first, second, sequence, timestamp, ssrc = HEADER.unpack_from(packet)
    assert first == 0x80, "version 2, no padding, extension or CSRC: what this gateway sends"
    return Received(
        time_ns, source, second & 0x7F, second > 0x7F, sequence, timestamp, ssrc, packet[HEADER.size :]
    )
