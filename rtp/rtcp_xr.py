# SPDX-License-Identifier: GPL-2.0-or-later
"""Extended reports, RTCP type 207 (RFC 3611): an SSRC, then blocks of any types.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |  block type   | type-specific |     length in words, minus one |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

Reading is lenient, since devices differ: a block of a type that we do not know, or of a
length that its type cannot have, is kept as an `OtherBlock`, and one that does not fit
into its packet ends the reading.  What came before it counts.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable

from trunkline.rtp.rtcp_framing import RtcpError, framed
from trunkline.rtp.voip_metrics import VoipMetrics

_MASK32 = 0xFFFFFFFF


def _block(kind: int, specific: int, body: bytes) -> bytes:
    return struct.pack("!BBH", kind, specific, len(body) // 4) + body


@dataclasses.dataclass(frozen=True, slots=True)
class RunLengths:
    """Loss RLE (4.1) and Duplicate RLE (4.2): which packets came, as run lengths and bit vectors."""

    kind: int
    "1: losses, 2: duplicates"
    ssrc: int
    begin_seq: int
    end_seq: int
    "one behind the last packet"
    chunks: tuple[int, ...]
    "16 bits each; 0 is a terminator and fills up the word"
    thinning: int = 0

    @classmethod
    def parse(cls, kind: int, specific: int, body: bytes) -> RunLengths | None:
        """From the body of a block; None if its length is impossible."""
        if len(body) < 8:
            return None
        ssrc, begin, end = struct.unpack_from("!IHH", body)
        chunks = struct.unpack(f"!{len(body) // 2 - 4}H", body[8:])
        return cls(kind, ssrc, begin, end, chunks, specific & 0x0F)

    def __bytes__(self) -> bytes:
        chunks = (*self.chunks, 0) if len(self.chunks) % 2 else self.chunks
        body = struct.pack(f"!IHH{len(chunks)}H", self.ssrc, self.begin_seq, self.end_seq, *chunks)
        return _block(self.kind, self.thinning & 0x0F, body)


@dataclasses.dataclass(frozen=True, slots=True)
class ReceiptTimes:
    """Packet Receipt Times (4.3): when each packet came, in RTP timestamp units."""

    ssrc: int
    begin_seq: int
    end_seq: int
    times: tuple[int, ...]
    thinning: int = 0

    @classmethod
    def parse(cls, kind: int, specific: int, body: bytes) -> ReceiptTimes | None:
        """From the body of a block; None if its length is impossible."""
        if len(body) < 8:
            return None
        ssrc, begin, end = struct.unpack_from("!IHH", body)
        times = struct.unpack(f"!{len(body) // 4 - 2}I", body[8:])
        return cls(ssrc, begin, end, times, specific & 0x0F)

    def __bytes__(self) -> bytes:
        head = (self.ssrc, self.begin_seq, self.end_seq)
        return _block(3, self.thinning & 0x0F, struct.pack(f"!IHH{len(self.times)}I", *head, *self.times))


@dataclasses.dataclass(frozen=True, slots=True)
class ReferenceTime:
    """Receiver Reference Time (4.4): the clock of one who may not send media, for a round trip of its own."""

    ntp: int
    "64 bits, see `rtcp_timing.ntp_from_ns`"

    @classmethod
    def parse(cls, kind: int, specific: int, body: bytes) -> ReferenceTime | None:
        """From the body of a block; None if its length is impossible."""
        return cls(int.from_bytes(body)) if len(body) == 8 else None

    def __bytes__(self) -> bytes:
        return _block(4, 0, self.ntp.to_bytes(8))


@dataclasses.dataclass(frozen=True, slots=True)
class LastReference:
    """One sub-block of a DLRR: what LSR and DLSR are to a sender report."""

    ssrc: int
    "whose reference time is quoted"
    last_rr: int
    "`rtcp_timing.compact_ntp` of it; 0 if none has come"
    delay: int
    "since it came, in 1/65536 s"


@dataclasses.dataclass(frozen=True, slots=True)
class DelaySinceLastRr:
    """DLRR (4.5): the answer to reference times."""

    entries: tuple[LastReference, ...]

    @classmethod
    def parse(cls, kind: int, specific: int, body: bytes) -> DelaySinceLastRr | None:
        """From the body of a block; None if its length is impossible."""
        if len(body) % 12:
            return None
        return cls(tuple(LastReference(*words) for words in struct.iter_unpack("!3I", body)))

    def __bytes__(self) -> bytes:
        words = (struct.pack("!3I", one.ssrc, one.last_rr, one.delay & _MASK32) for one in self.entries)
        return _block(5, 0, b"".join(words))


@dataclasses.dataclass(frozen=True, slots=True)
class StatisticsSummary:
    """Statistics Summary (4.6): counts of one interval; `flags` say which of them mean something."""

    ssrc: int
    begin_seq: int
    end_seq: int
    flags: int
    "0x80 lost, 0x40 duplicates, 0x20 jitter, 0x18 what ttl is: 0x08 of IPv4, 0x10 hop limit of IPv6"
    lost: int
    duplicates: int
    jitter_ts: tuple[int, int, int, int]
    "least, most, mean, standard deviation"
    ttl: tuple[int, int, int, int]
    "the same"

    @classmethod
    def parse(cls, kind: int, specific: int, body: bytes) -> StatisticsSummary | None:
        """From the body of a block; None if its length is impossible."""
        if len(body) != 36:
            return None
        ssrc, begin, end, lost, duplicates, *rest = struct.unpack("!IHH6I4B", body)
        return cls(ssrc, begin, end, specific, lost, duplicates, tuple(rest[:4]), tuple(rest[4:]))

    def __bytes__(self) -> bytes:
        counts = (self.lost, self.duplicates, *self.jitter_ts, *self.ttl)
        return _block(
            6, self.flags, struct.pack("!IHH6I4B", self.ssrc, self.begin_seq, self.end_seq, *counts)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class OtherBlock:
    """A block that we do not know, or whose length its type cannot have."""

    kind: int
    specific: int
    body: bytes
    "whole words"

    def __bytes__(self) -> bytes:
        return _block(self.kind, self.specific, self.body)


XrBlock = (
    RunLengths
    | ReceiptTimes
    | ReferenceTime
    | DelaySinceLastRr
    | StatisticsSummary
    | VoipMetrics
    | OtherBlock
)
_BLOCKS: dict[int, Callable[[int, int, bytes], XrBlock | None]] = {
    1: RunLengths.parse,
    2: RunLengths.parse,
    3: ReceiptTimes.parse,
    4: ReferenceTime.parse,
    5: DelaySinceLastRr.parse,
    6: StatisticsSummary.parse,
    7: VoipMetrics.parse,
}


@dataclasses.dataclass(frozen=True, slots=True)
class ExtendedReport:
    """XR, type 207 (section 2)."""

    ssrc: int
    "who reports"
    blocks: tuple[XrBlock, ...] = ()

    @classmethod
    def parse(cls, count: int, body: bytes) -> ExtendedReport:
        """From what follows the header of the packet, whose five `count` bits are reserved."""
        if len(body) < 4:
            raise RtcpError("XR without its sender's SSRC")
        blocks: list[XrBlock] = []
        offset = 4
        while offset + 4 <= len(body):
            kind, specific, words = struct.unpack_from("!BBH", body, offset)
            end = offset + 4 * (words + 1)
            if end > len(body):
                break
            content = body[offset + 4 : end]
            known = _BLOCKS[kind](kind, specific, content) if kind in _BLOCKS else None
            blocks.append(known if known is not None else OtherBlock(kind, specific, content))
            offset = end
        return cls(int.from_bytes(body[:4]), tuple(blocks))

    def __bytes__(self) -> bytes:
        return framed(207, 0, struct.pack("!I", self.ssrc) + b"".join(map(bytes, self.blocks)))
