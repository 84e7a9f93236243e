# SPDX-License-Identifier: GPL-2.0-or-later
"""RTCP packets (RFC 3550 6): reports, source descriptions and BYE.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |V=2|P|  count  |      type     |  length in words, minus one   |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

A datagram is a compound of such packets.  `parse_compound` checks it as A.2 asks,
either wholly or not at all: RTCP is rare, and half of a damaged compound is worth
nothing.  Types other than SR, RR, SDES, BYE and XR (`rtcp_xr.py`) are skipped: APP, and
the feedback of RFC 4585 that asks for what telephony does not have.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Sequence

from trunkline.rtp.rtcp_framing import RtcpError, framed, strip_padding
from trunkline.rtp.rtcp_xr import ExtendedReport

__all__ = [
    "ExtendedReport",
    "Goodbye",
    "ReceiverReport",
    "ReportBlock",
    "RtcpError",
    "RtcpPacket",
    "SenderReport",
    "SourceDescription",
    "build_compound",
    "parse_compound",
]

_MASK32 = 0xFFFFFFFF
_CNAME = 1


@dataclasses.dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver says of one source (6.4.1): 24 bytes."""

    ssrc: int
    "the source that is reported on"
    fraction_lost: int
    "of the packets since the last report, in 1/256"
    cumulative_lost: int
    "signed, 24 bits on the wire"
    highest_sequence: int
    "extended; 32 bits on the wire"
    jitter_ts: int
    last_sr: int = 0
    "`rtcp_timing.compact_ntp` of the last SR from that source, 0 if none has come"
    delay_since_last_sr: int = 0
    "in 1/65536 s, see `rtcp_timing.delay_units`"

    @classmethod
    def parse(cls, data: bytes) -> ReportBlock:
        ssrc, loss, highest, jitter, last_sr, delay = struct.unpack("!6I", data)
        lost = loss & 0xFFFFFF
        lost -= (lost & 0x800000) << 1  # sign of 24 bits
        return cls(ssrc, loss >> 24, lost, highest, jitter, last_sr, delay)

    def __bytes__(self) -> bytes:
        loss = (self.fraction_lost & 0xFF) << 24 | (self.cumulative_lost & 0xFFFFFF)
        timing = (self.last_sr, self.delay_since_last_sr)
        words = (self.ssrc, loss, self.highest_sequence, self.jitter_ts, *timing)
        return struct.pack("!6I", *(word & _MASK32 for word in words))


@dataclasses.dataclass(frozen=True, slots=True)
class SenderReport:
    """SR, type 200 (6.4.1): what we sent until now, and what we received."""

    ssrc: int
    ntp: int
    "64 bits, see `rtcp_timing.ntp_from_ns`"
    rtp_timestamp: int
    "the same moment on the media clock"
    packet_count: int
    octet_count: int
    "payload only, without headers and padding"
    reports: tuple[ReportBlock, ...] = ()

    @classmethod
    def parse(cls, count: int, body: bytes) -> SenderReport:
        if len(body) < 24:
            raise RtcpError("SR shorter than its sender information")
        ssrc, ntp, rtp_timestamp, packets, octets = struct.unpack_from("!IQIII", body)
        return cls(ssrc, ntp, rtp_timestamp, packets, octets, _parse_blocks(count, body[24:]))

    def __bytes__(self) -> bytes:
        counters = (self.rtp_timestamp, self.packet_count, self.octet_count)
        body = struct.pack("!IQ3I", self.ssrc, self.ntp, *(value & _MASK32 for value in counters))
        return framed(200, len(self.reports), body + b"".join(map(bytes, self.reports)))


@dataclasses.dataclass(frozen=True, slots=True)
class ReceiverReport:
    """RR, type 201 (6.4.2): for who has sent nothing since the last report."""

    ssrc: int
    reports: tuple[ReportBlock, ...] = ()

    @classmethod
    def parse(cls, count: int, body: bytes) -> ReceiverReport:
        if len(body) < 4:
            raise RtcpError("RR without its sender's SSRC")
        return cls(int.from_bytes(body[:4]), _parse_blocks(count, body[4:]))

    def __bytes__(self) -> bytes:
        body = struct.pack("!I", self.ssrc) + b"".join(map(bytes, self.reports))
        return framed(201, len(self.reports), body)


@dataclasses.dataclass(frozen=True, slots=True)
class SourceDescription:
    """SDES, type 202 (6.5): the CNAME of each source; other items are passed over."""

    cnames: tuple[tuple[int, str], ...]
    "(ssrc, cname); an empty name for a chunk without one"

    @classmethod
    def parse(cls, count: int, body: bytes) -> SourceDescription:
        chunks, offset = [], 0
        for _ in range(count):
            if offset + 4 > len(body):
                raise RtcpError("SDES with fewer chunks than it counts")
            (ssrc,) = struct.unpack_from("!I", body, offset)
            cname, offset = _parse_items(body, offset + 4)
            chunks.append((ssrc, cname))
        return cls(tuple(chunks))

    def __bytes__(self) -> bytes:
        body = b""
        for ssrc, cname in self.cnames:
            text = _short_text(cname)
            chunk = struct.pack("!IBB", ssrc, _CNAME, len(text)) + text
            body += chunk + bytes(4 - len(chunk) % 4)  # at least one null ends the items
        return framed(202, len(self.cnames), body)


@dataclasses.dataclass(frozen=True, slots=True)
class Goodbye:
    """BYE, type 203 (6.6): these sources send no more."""

    ssrcs: tuple[int, ...]
    reason: str = ""

    @classmethod
    def parse(cls, count: int, body: bytes) -> Goodbye:
        if 4 * count > len(body):
            raise RtcpError("BYE with fewer sources than it counts")
        reason = body[4 * count :]
        if reason and 1 + reason[0] > len(reason):
            raise RtcpError("BYE reason longer than its packet")
        text = reason[1 : 1 + reason[0]] if reason else b""
        return cls(struct.unpack_from(f"!{count}I", body), text.decode("utf-8", "replace"))

    def __bytes__(self) -> bytes:
        body = struct.pack(f"!{len(self.ssrcs)}I", *self.ssrcs)
        text = _short_text(self.reason)
        if text:
            body += bytes([len(text)]) + text
        return framed(203, len(self.ssrcs), body + bytes(-len(body) % 4))


RtcpPacket = SenderReport | ReceiverReport | SourceDescription | Goodbye | ExtendedReport
_PARSERS: dict[int, Callable[[int, bytes], RtcpPacket]] = {
    200: SenderReport.parse,
    201: ReceiverReport.parse,
    202: SourceDescription.parse,
    203: Goodbye.parse,
    207: ExtendedReport.parse,
}


def parse_compound(data: bytes, *, reduced_size: bool = False) -> list[RtcpPacket]:
    """The packets of one datagram that we know, in order; RtcpError if a rule of A.2 is broken.

    `reduced_size` accepts what RFC 5506 allows once negotiated: a compound that does
    not begin with a report.
    """
    packets: list[RtcpPacket] = []
    offset = 0
    while offset < len(data) or offset == 0:
        if offset + 4 > len(data):
            raise RtcpError("shorter than a header")
        first, kind, words = struct.unpack_from("!BBH", data, offset)
        end = offset + 4 * (words + 1)
        if first >> 6 != 2:
            raise RtcpError("not version 2")
        if offset == 0 and kind not in (200, 201) and not reduced_size:
            raise RtcpError("does not begin with a report")
        if end > len(data):
            raise RtcpError("a packet longer than the datagram")
        body = data[offset + 4 : end]
        if first & 0x20:
            body = strip_padding(body, last=end == len(data))
        parser = _PARSERS.get(kind)
        if parser is not None:
            packets.append(parser(first & 0x1F, body))
        offset = end
    return packets


def build_compound(packets: Sequence[RtcpPacket]) -> bytes:
    """One datagram; a report comes first and a CNAME belongs into each (6.1)."""
    if not packets or not isinstance(packets[0], SenderReport | ReceiverReport):
        raise ValueError("a compound RTCP packet begins with a report")
    return b"".join(map(bytes, packets))


def _parse_blocks(count: int, data: bytes) -> tuple[ReportBlock, ...]:
    """Report blocks; what follows them is a profile's extension, which we have none of."""
    if 24 * count > len(data):
        raise RtcpError("fewer report blocks than counted")
    return tuple(ReportBlock.parse(data[at : at + 24]) for at in range(0, 24 * count, 24))


def _parse_items(body: bytes, offset: int) -> tuple[str, int]:
    """The CNAME of the chunk whose items begin at `offset`, and where the next chunk begins."""
    cname = ""
    while offset < len(body) and body[offset] != 0:
        if offset + 2 > len(body) or offset + 2 + body[offset + 1] > len(body):
            raise RtcpError("SDES item longer than its packet")
        if body[offset] == _CNAME:
            cname = body[offset + 2 : offset + 2 + body[offset + 1]].decode("utf-8", "replace")
        offset += 2 + body[offset + 1]
    if offset >= len(body):
        raise RtcpError("SDES chunk without its terminating null")
    return cname, offset + 4 - offset % 4


def _short_text(text: str) -> bytes:
    """UTF-8 that fits a length octet, cut between characters."""
    return text.encode()[:255].decode("utf-8", "ignore").encode()
