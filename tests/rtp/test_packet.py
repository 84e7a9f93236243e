# SPDX-License-Identifier: GPL-2.0-or-later
"""RTP headers: bytes written by hand, and batch against the scalar twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trunkline.rtp.outcomes import Drop
from trunkline.rtp.packet import HEADER_BYTES, Packet, PacketError, is_rtcp, parse_headers, write_headers

WIDTH = 1500

# V=2, marker, PT 8, sequence 0xFFFE, timestamp 0x80000001, SSRC 0xDEADBEEF, payload "abc".
PLAIN = bytes.fromhex("80 88 fffe 80000001 deadbeef 616263")
# The same with two CSRCs, an extension of one word (profile 0xBEDE), and 5 bytes of padding.
FULL = bytes.fromhex(
    "b2 88 fffe 80000001 deadbeef 00000001 00000002 bede 0001 10ff0000 616263 00 00 00 00 05"
)

packets = st.builds(
    Packet,
    payload_type=st.integers(0, 127),
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=40),
    marker=st.booleans(),
    csrc=st.lists(st.integers(0, 0xFFFFFFFF), max_size=15).map(tuple),
    extension_profile=st.none() | st.integers(0, 0xFFFF),
    padding_bytes=st.integers(0, 255),
)


def as_rows(datagrams: list[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Datagrams as the worker has them: rows of a large buffer, with garbage behind each."""
    rows = np.random.default_rng(1).integers(0, 256, (len(datagrams), WIDTH), dtype=np.uint8)
    for row, data in zip(rows, datagrams, strict=True):
        row[: len(data)] = np.frombuffer(data, np.uint8)
    return rows, np.array([len(data) for data in datagrams], np.int32)


def assert_same_as_scalar(datagrams: list[bytes]) -> None:
    """`parse_headers` says of each datagram what `Packet.parse` says."""
    rows, lengths = as_rows(datagrams)
    headers = parse_headers(rows, lengths)
    for i, data in enumerate(datagrams):
        try:
            packet = Packet.parse(data)
        except PacketError as error:
            assert (headers.drop[i], headers.payload_bytes[i]) == (error.drop, 0)
            continue
        assert headers.drop[i] == Drop.NONE
        assert headers.payload_type[i] == packet.payload_type
        assert headers.marker[i] == packet.marker
        assert headers.sequence[i] == packet.sequence
        assert headers.timestamp[i] == packet.timestamp
        assert headers.ssrc[i] == packet.ssrc
        start = headers.payload_start[i]
        assert rows[i, start : start + headers.payload_bytes[i]].tobytes() == packet.payload


def test_plain_header_by_hand() -> None:
    """Each field is read from the bits that RFC 3550 5.1 gives it."""
    headers = parse_headers(*as_rows([PLAIN]))
    assert headers.drop.tolist() == [Drop.NONE]
    assert headers.payload_type.tolist() == [8]
    assert headers.marker.tolist() == [True]
    assert headers.sequence.tolist() == [0xFFFE]
    assert headers.timestamp.tolist() == [0x80000001]
    assert headers.ssrc.tolist() == [0xDEADBEEF]
    assert (headers.payload_start.tolist(), headers.payload_bytes.tolist()) == ([12], [3])


def test_csrc_extension_and_padding_are_skipped() -> None:
    """The payload lies between the extension and the padding."""
    headers = parse_headers(*as_rows([PLAIN, FULL]))
    assert headers.drop.tolist() == [Drop.NONE, Drop.NONE]
    assert (headers.payload_start.tolist(), headers.payload_bytes.tolist()) == ([12, 28], [3, 3])
    packet = Packet.parse(FULL)
    assert (packet.csrc, packet.extension_profile, packet.extension) == ((1, 2), 0xBEDE, b"\x10\xff\0\0")
    assert (packet.payload, packet.padding_bytes) == (b"abc", 5)
    assert bytes(packet) == FULL


@pytest.mark.parametrize(
    ("data", "drop"),
    [
        (b"", Drop.SHORT),
        (PLAIN[:11], Drop.SHORT),
        (b"\x00" + PLAIN[1:11], Drop.SHORT),
        (b"\x40" + PLAIN[1:], Drop.VERSION),
        (b"\xc0" + PLAIN[1:], Drop.VERSION),
        (b"\x81" + PLAIN[1:], Drop.SHORT),  # one CSRC needs four bytes, three are there
        (b"\x90" + PLAIN[1:], Drop.SHORT),  # an extension's header needs four
        (b"\x90" + PLAIN[1:12] + bytes.fromhex("bede0001"), Drop.SHORT),  # its one word is missing
        (b"\xa0" + PLAIN[1:12] + b"\x00\x00\x00\x00", Drop.PADDING),  # the count includes itself
        (b"\xa0" + PLAIN[1:12] + b"\x00\x00\x00\x05", Drop.PADDING),  # more than there is
        (b"\xa0" + PLAIN[1:12], Drop.PADDING),  # the bit is set and nothing follows
    ],
)
def test_malformed_is_dropped_with_its_reason(data: bytes, drop: Drop) -> None:
    """A packet that claims what it does not have is dropped, and gives no payload."""
    headers = parse_headers(*as_rows([PLAIN, data]))
    assert headers.drop.tolist() == [Drop.NONE, drop]
    assert headers.payload_bytes.tolist() == [3, 0]
    with pytest.raises(PacketError) as caught:
        Packet.parse(data)
    assert caught.value.drop == drop


def test_padding_alone_and_empty_payload_are_legal() -> None:
    """A packet may bring no payload at all, padded or not."""
    padded = b"\xa0" + PLAIN[1:12] + b"\x00\x00\x00\x04"
    headers = parse_headers(*as_rows([PLAIN[:12], padded]))
    assert (headers.drop.tolist(), headers.payload_bytes.tolist()) == ([0, 0], [0, 0])


def test_extension_length_beyond_the_row_is_not_read() -> None:
    """65,535 words of extension in a packet that fills its row: dropped, without an index error."""
    data = b"\x9f" + PLAIN[1:12] + bytes(60) + b"\xbe\xde\xff\xff" + bytes(WIDTH - 76)
    assert parse_headers(*as_rows([data])).drop.tolist() == [Drop.SHORT]


@pytest.mark.parametrize("width", [12, 13, 16])
def test_narrow_rows(width: int) -> None:
    """Rows hardly wider than a header are read without looking beside them."""
    rows = np.full((2, width), 0xBF, np.uint8)
    assert parse_headers(rows, np.full(2, width, np.int32)).drop.tolist() == [Drop.SHORT] * 2


def test_no_packets() -> None:
    """An empty batch gives empty columns."""
    headers = parse_headers(np.empty((0, WIDTH), np.uint8), np.empty(0, np.int32))
    assert len(headers.drop) == len(headers.payload_bytes) == 0


@given(st.lists(packets.map(bytes), min_size=1, max_size=12))
@settings(deadline=None)
def test_batch_equals_scalar(datagrams: list[bytes]) -> None:
    """Well-formed packets of every shape, mixed in one batch."""
    assert_same_as_scalar(datagrams)


@given(packets)
def test_packet_round_trip(packet: Packet) -> None:
    """What is written is read back."""
    assert Packet.parse(bytes(packet)) == packet


def test_write_takes_the_low_bits_and_leaves_the_payload() -> None:
    """Extended counters are cut to wire width; only the first 12 bytes of a row are touched."""
    out = np.full((2, 20), 0x55, np.uint8)
    write_headers(
        out,
        np.array([8, 127], np.uint8),
        np.array([True, False]),
        np.array([0x1FFFE, -1]),
        np.array([0x7_80000001, -1]),
        np.array([0xDEADBEEF, 1], np.uint32),
    )
    assert out[0, :HEADER_BYTES].tobytes() == PLAIN[:HEADER_BYTES]
    assert out[1, :HEADER_BYTES].tobytes() == bytes.fromhex("80 7f ffff ffffffff 00000001")
    assert (out[:, HEADER_BYTES:] == 0x55).all()


@given(st.lists(packets, min_size=1, max_size=8))
@settings(deadline=None)
def test_write_then_parse(batch: list[Packet]) -> None:
    """Headers written as columns are those of the scalar twin, and are parsed back."""
    columns = [np.array([getattr(p, name) for p in batch]) for name in ("sequence", "timestamp")]
    payload_type = np.array([p.payload_type for p in batch], np.uint8)
    marker = np.array([p.marker for p in batch])
    out = np.zeros((len(batch), 12), np.uint8)
    write_headers(out, payload_type, marker, *columns, np.array([p.ssrc for p in batch], np.uint32))
    for row, p in zip(out, batch, strict=True):
        assert row.tobytes() == bytes(
            Packet(p.payload_type, p.sequence, p.timestamp, p.ssrc, marker=p.marker)
        )
    headers = parse_headers(out, np.full(len(batch), 12, np.int32))
    assert (headers.sequence == columns[0]).all() and (headers.timestamp == columns[1]).all()


def test_rtcp_on_the_same_port_is_told_apart() -> None:
    """RFC 5761 4: a second octet of 192 to 223 is RTCP; PCMA with a marker (0x88) is not."""
    rtcp = [bytes([0x80, kind]) + bytes(10) for kind in (200, 201, 202, 203, 207)]
    rows, _ = as_rows([PLAIN, *rtcp])
    assert is_rtcp(rows).tolist() == [False] + [True] * 5
