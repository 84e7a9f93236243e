# SPDX-License-Identifier: GPL-2.0-or-later
"""Blocks of pcapng (draft-ietf-opsawg-pcapng, section 4): written one by one, read to the last whole one.

    0               4               8                              n-4
    +---------------+---------------+------------------------------+---------------+
    |  block type   | total length  |  body, padded to 4 bytes     | total length  |
    +---------------+---------------+------------------------------+---------------+

Pure: bytes in, bytes out. All is little-endian, times are Unix nanoseconds.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import struct
from collections.abc import Iterator

SECTION, INTERFACE, PACKET = 0x0A0D0D0A, 1, 6
LINK_RAW, LINK_USER0 = 101, 147
RTP, BRIDGE = 0, 1
"Numbers of our interfaces."
INBOUND, OUTBOUND = 1, 2
_BYTE_ORDER = 0x1A2B3C4D
_FLAGS, _NAME, _RESOLUTION, _SHB_APPLICATION, _END = 2, 2, 9, 4, 0
_BLOCK = struct.Struct("<II")
_PACKET = struct.Struct("<IIIII")
_UDP = struct.Struct(">HHHH")
_UDP_PROTOCOL = 17


class NotARecording(Exception):
    """The file is no pcapng of ours; the text says what it is not."""


@dataclasses.dataclass(frozen=True, slots=True)
class Packet:
    """One packet block."""

    interface: int
    time_ns: int
    inbound: bool
    data: bytes


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _block(kind: int, body: bytes) -> bytes:
    size = 12 + len(body)
    return _BLOCK.pack(kind, size) + body + size.to_bytes(4, "little")


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


_ENDS = {
    direction: _option(_FLAGS, direction.to_bytes(4, "little")) + _option(_END, b"")
    for direction in (INBOUND, OUTBOUND)
}


def section() -> bytes:
    """What a file, or a part of it, begins with: section header and both interfaces."""
    application = _option(_SHB_APPLICATION, b"trunkline") + _option(_END, b"")
    out = _block(SECTION, struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1) + application)
    for link, name in ((LINK_RAW, b"rtp"), (LINK_USER0, b"bridge")):
        options = _option(_NAME, name) + _option(_RESOLUTION, b"\x09") + _option(_END, b"")
        out += _block(INTERFACE, struct.pack("<HHI", link, 0, 0) + options)
    return out


def packet(interface: int, time_ns: int, direction: int, data: bytes) -> bytes:
    """A packet block; `direction` is INBOUND or OUTBOUND."""
    size = len(data)
    head = _PACKET.pack(interface, time_ns >> 32, time_ns & 0xFFFFFFFF, size, size)
    return _block(PACKET, head + data + bytes(-size % 4) + _ENDS[direction])


def udp(source: tuple[str, int], target: tuple[str, int], payload: bytes) -> bytes:
    """A datagram as an IP packet, for LINKTYPE_RAW (RFC 791, RFC 8200, RFC 768); the UDP checksum is left out."""
    size = 8 + len(payload)
    return _ip_head(source[0], target[0], size) + _UDP.pack(source[1], target[1], size, 0) + payload


@functools.lru_cache(maxsize=1024)  # a call has two or four ways, and packets of one length or a few
def _ip_head(source: str, target: str, size: int) -> bytes:
    here, there = ipaddress.ip_address(source or "0.0.0.0"), ipaddress.ip_address(target or "0.0.0.0")
    if here.version == 6 or there.version == 6:
        return struct.pack(">IHBB", 6 << 28, size, _UDP_PROTOCOL, 64) + _v6(here) + _v6(there)
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, 0, 0, 64, _UDP_PROTOCOL, 0) + here.packed + there.packed
    return head[:10] + _checksum(head).to_bytes(2, "big") + head[12:]


def _v6(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def _checksum(head: bytes) -> int:
    total = sum(struct.unpack(f">{len(head) // 2}H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def payload(data: bytes) -> bytes:
    """What `udp` has made a packet of."""
    return data[(48 if data[:1] >= b"\x60" else 28) :]


def packets(data: bytes) -> Iterator[Packet]:
    """All packets of a file; one that was cut off in the middle of a block ends before that block."""
    if data[:4] != SECTION.to_bytes(4, "little"):
        raise NotARecording("it does not begin like a pcapng file")
    at = 0
    while at + 12 <= len(data):
        kind, size = _BLOCK.unpack_from(data, at)
        if size < 12 or size % 4 or at + size > len(data):
            return
        if kind == SECTION and int.from_bytes(data[at + 8 : at + 12], "little") != _BYTE_ORDER:
            raise NotARecording("its byte order is not little-endian")
        if kind == PACKET and size >= 12 + _PACKET.size:
            found = _packet(data[at + 8 : at + size - 4])
            if found is not None:
                yield found
        at += size


def _packet(body: bytes) -> Packet | None:
    interface, high, low, captured, _ = _PACKET.unpack_from(body)
    options = _PACKET.size + captured + -captured % 4
    if options > len(body):
        return None
    inbound = True
    while options + 4 <= len(body):
        code, size = struct.unpack_from("<HH", body, options)
        if code == _END:
            break
        if code == _FLAGS and size == 4:
            inbound = body[options + 4] & 3 == INBOUND
        options += 4 + size + -size % 4
    data = body[_PACKET.size : _PACKET.size + captured]
    return Packet(interface, high << 32 | low, inbound, data)
