# SPDX-License-Identifier: GPL-2.0-or-later
"""RTP packets (RFC 3550 5.1): a batch as columns, and one packet as an object.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |V=2|P|X|  CC   |M|     PT      |       sequence number         |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                           timestamp                           |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |           synchronization source (SSRC) identifier            |
    +=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+
    |      contributing sources (CC of them), then, with X, an      |
    |      extension: u16 profile, u16 length in 32-bit words       |

`parse_headers` and `write_headers` are what the media worker runs; `Packet` is
their scalar twin, for tests, tools and whoever wants to check them against the
RFC.  Nothing here knows streams: payload types and SSRCs are the caller's to judge.
"""

from __future__ import annotations

import dataclasses
import struct

import numpy as np
from numpy.typing import NDArray

from trunkline.rtp.outcomes import Drop

HEADER_BYTES = 12
"The fixed header, without contributing sources and extension."

_PLAIN = 0x80
"First octet of nearly every packet: version 2, no padding, extension or CSRC."


@dataclasses.dataclass(slots=True)
class Headers:
    """The headers of n packets, one array per field; row i is packet i.

    Where `drop` is not 0 the wire fields mean nothing and `payload_bytes` is 0.
    """

    drop: NDArray[np.uint8]
    "`Drop`; 0 where the packet is well-formed"
    payload_type: NDArray[np.uint8]
    "0..127"
    marker: NDArray[np.bool_]
    sequence: NDArray[np.int64]
    "as on the wire, 0..65535; `sequence.extend` makes it long"
    timestamp: NDArray[np.int64]
    "as on the wire, 0..2**32-1, in ticks of the payload's clock"
    ssrc: NDArray[np.uint32]
    payload_start: NDArray[np.int32]
    "offset of the payload in its row, in bytes"
    payload_bytes: NDArray[np.int32]
    "length of the payload without padding; 0 is legal"


def parse_headers(packets: NDArray[np.uint8], lengths: NDArray[np.int32]) -> Headers:
    """Read the headers of `packets` u8[n, width], of which row i holds `lengths[i]` bytes.

    `width` is at least 12 and no length exceeds it; what lies in a row beyond its
    length is never looked at.  The cost is a fixed dozen of array operations, plus
    some more only when a packet has contributing sources, an extension or padding.
    """
    words = packets[:, :HEADER_BYTES].view(">u4").astype(np.int64)
    first = words[:, 0]
    payload_start = np.full(len(packets), HEADER_BYTES, np.int32)
    headers = Headers(
        drop=np.zeros(len(packets), np.uint8),
        payload_type=((first >> 16) & 0x7F).astype(np.uint8),
        marker=(first & 0x800000) != 0,
        sequence=first & 0xFFFF,
        timestamp=words[:, 1],
        ssrc=words[:, 2].astype(np.uint32),
        payload_start=payload_start,
        payload_bytes=lengths - payload_start,
    )
    unusual = (packets[:, 0] != _PLAIN) | (lengths < HEADER_BYTES)
    if unusual.any():
        _parse_unusual(packets, lengths, headers, np.flatnonzero(unusual))
    return headers


def _parse_unusual(
    packets: NDArray[np.uint8], lengths: NDArray[np.int32], headers: Headers, rows: NDArray[np.intp]
) -> None:
    """Fill in drop reason and payload bounds of the rows that are not plain.

    Reads are clipped to the row, and what was read from outside a packet's length
    is overruled by the length check that follows it.
    """
    last_column = packets.shape[1] - 1
    length = lengths[rows].astype(np.int64)
    octet = packets[rows, 0].astype(np.int64)
    # Contributing sources are skipped: a mixer's list does not change who sent the packet.
    start = HEADER_BYTES + 4 * (octet & 0x0F)
    extended = (octet & 0x10) != 0
    words_high = packets[rows, np.minimum(start + 2, last_column)].astype(np.int64)
    words_low = packets[rows, np.minimum(start + 3, last_column)].astype(np.int64)
    start += np.where(extended, 4 + 4 * (words_high << 8 | words_low), 0)
    # 5.1: the last octet counts the padding, itself included, so 0 is impossible too.
    padded = (octet & 0x20) != 0
    padding = np.where(padded, packets[rows, np.clip(length - 1, 0, last_column)], 0).astype(np.int64)
    payload = length - start - padding

    drop = np.zeros(len(rows), np.uint8)
    drop[padded & ((padding == 0) | (payload < 0))] = Drop.PADDING
    drop[start > length] = Drop.SHORT
    drop[octet >> 6 != 2] = Drop.VERSION
    drop[length < HEADER_BYTES] = Drop.SHORT
    kept = drop == Drop.NONE
    headers.drop[rows] = drop
    headers.payload_start[rows] = np.where(kept, start, HEADER_BYTES)
    headers.payload_bytes[rows] = np.where(kept, payload, 0)


def is_rtcp(packets: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which rows of u8[n, width] are RTCP when both share a port (RFC 5761 4): bool[n].

    RTCP types 192..223 read as RTP would be payload types 64..95 with a marker, which
    is why those are never assigned to audio.
    """
    rtcp: NDArray[np.bool_] = (packets[:, 1] & 0xE0) == 0xC0
    return rtcp


def write_headers(
    out: NDArray[np.uint8],
    payload_type: NDArray[np.uint8],
    marker: NDArray[np.bool_],
    sequence: NDArray[np.int64],
    timestamp: NDArray[np.int64],
    ssrc: NDArray[np.uint32],
) -> None:
    """Write a plain 12-byte header to the front of each row of `out` u8[n, width].

    Sequence numbers and timestamps are extended; their low 16 and 32 bits are sent.
    """
    words = out[:, :HEADER_BYTES].view(">u4")
    flags = (_PLAIN << 8) | np.asarray(marker, np.int64) << 7 | payload_type
    words[:, 0] = flags << 16 | (sequence & 0xFFFF)
    words[:, 1] = timestamp & 0xFFFFFFFF
    words[:, 2] = ssrc


class PacketError(ValueError):
    """Bytes that are not an RTP packet; `drop` says why."""

    def __init__(self, drop: Drop) -> None:
        super().__init__(f"not an RTP packet: {drop.name.lower()}")
        self.drop = drop


@dataclasses.dataclass(frozen=True, slots=True)
class Packet:
    """One RTP packet; `bytes(packet)` and `Packet.parse` are each other's inverse."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes = b""
    marker: bool = False
    csrc: tuple[int, ...] = ()
    "contributing sources, 15 at most"
    extension_profile: int | None = None
    "None: no extension (X bit clear)"
    extension: bytes = b""
    "a multiple of 4 bytes"
    padding_bytes: int = 0
    "1..255 with the P bit; the count in the last octet included"

    @classmethod
    def parse(cls, data: bytes) -> Packet:
        """Read one packet, or raise PacketError."""
        if len(data) < HEADER_BYTES:
            raise PacketError(Drop.SHORT)
        octet, second, sequence, timestamp, ssrc = struct.unpack_from("!BBHII", data)
        if octet >> 6 != 2:
            raise PacketError(Drop.VERSION)
        start = HEADER_BYTES + 4 * (octet & 0x0F)
        if start > len(data):
            raise PacketError(Drop.SHORT)
        csrc = struct.unpack_from(f"!{octet & 0x0F}I", data, HEADER_BYTES)
        profile, extension = None, b""
        if octet & 0x10:
            if start + 4 > len(data):
                raise PacketError(Drop.SHORT)
            profile, words = struct.unpack_from("!HH", data, start)
            extension = data[start + 4 : start + 4 + 4 * words]
            start += 4 + 4 * words
            if start > len(data):
                raise PacketError(Drop.SHORT)
        padding = data[-1] if octet & 0x20 else 0
        if octet & 0x20 and not 1 <= padding <= len(data) - start:
            raise PacketError(Drop.PADDING)
        payload = data[start : len(data) - padding]
        fixed = (second & 0x7F, sequence, timestamp, ssrc)
        return cls(*fixed, payload, bool(second & 0x80), csrc, profile, extension, padding)

    def __bytes__(self) -> bytes:
        octet = _PLAIN | len(self.csrc)
        octet |= 0x20 if self.padding_bytes else 0
        octet |= 0 if self.extension_profile is None else 0x10
        second = self.marker << 7 | self.payload_type
        parts = [struct.pack("!BBHII", octet, second, self.sequence, self.timestamp, self.ssrc)]
        parts.append(struct.pack(f"!{len(self.csrc)}I", *self.csrc))
        if self.extension_profile is not None:
            parts.append(struct.pack("!HH", self.extension_profile, len(self.extension) // 4))
            parts.append(self.extension)
        parts.append(self.payload)
        if self.padding_bytes:
            parts.append(bytes(self.padding_bytes - 1) + bytes([self.padding_bytes]))
        return b"".join(parts)
