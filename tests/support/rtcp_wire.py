# SPDX-License-Identifier: GPL-2.0-or-later
"""RTCP on the wire as the tests' own endpoint knows it (RFC 3550 6.4, RFC 3611 4): read and written by hand."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True, slots=True)
class VoipBlock:
    """What the gateway says that it hears."""

    ssrc: int
    loss: float
    "shares, 0..1"
    discard: float
    burst_density: float
    gap_density: float
    burst_ms: int
    gap_ms: int
    round_trip_ms: int
    r_factor: int
    mos_lq: float
    mos_cq: float


def packets(compound: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, whole packet) of each."""
    at = 0
    while at + 4 <= len(compound):
        size = 4 + 4 * int.from_bytes(compound[at + 2 : at + 4], "big")
        yield compound[at + 1], compound[at : at + size]
        at += size


def blocks(compound: bytes) -> dict[int, bytes]:
    """Blocks of the extended reports in a compound: type to body."""
    found: dict[int, bytes] = {}
    for kind, packet in packets(compound):
        at = 8
        while kind == 207 and at + 4 <= len(packet):
            size = 4 * int.from_bytes(packet[at + 2 : at + 4], "big")
            found[packet[at]] = packet[at + 4 : at + 4 + size]
            at += 4 + size
    return found


def voip_block(compound: bytes) -> VoipBlock | None:
    """The VoIP metrics of a compound."""
    body = blocks(compound).get(7)
    if body is None:
        return None
    ssrc, *shares = struct.unpack_from("!I4B", body)
    burst_ms, gap_ms, round_trip_ms = struct.unpack_from("!3H", body, 8)
    r_factor, _, lq, cq = struct.unpack_from("!4B", body, 20)
    lost, late, burst, gap = (share / 256 for share in shares)
    return VoipBlock(
        ssrc, lost, late, burst, gap, burst_ms, gap_ms, round_trip_ms, r_factor, lq / 10, cq / 10
    )


def sender_clock(compound: bytes) -> tuple[int, int] | None:
    """SSRC and the middle 32 bits of the NTP time of a sender report."""
    if compound[1] != 200:
        return None
    ssrc, _, middle, _ = struct.unpack_from("!IHIH", compound, 4)
    return ssrc, middle


def report(
    ssrc: int, about: int, *, fraction: int, lost: int, highest: int, jitter_ts: int, lsr: int, dlsr: int
) -> bytes:
    """A receiver report of `ssrc` about one source."""
    words = (ssrc, about, fraction << 24 | lost, highest, jitter_ts, lsr, dlsr)
    return struct.pack("!BBH7I", 0x81, 201, 7, *words)


def metrics(ssrc: int, about: int, *, loss: int, r_factor: int, mos_lq: int, mos_cq: int) -> bytes:
    """An extended report of `ssrc` with VoIP metrics about one source."""
    body = struct.pack(
        "!I4B4H4B4B2B3H", about, loss, 0, 0, 0, 0, 0, 0, 0, 127, 127, 127, 16, r_factor, 127, mos_lq, mos_cq,
        0, 0, 0, 0, 0,
    )  # fmt: skip
    return struct.pack("!BBHIBBH", 0x80, 207, 10, ssrc, 7, 0, 8) + body
