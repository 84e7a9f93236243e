# SPDX-License-Identifier: GPL-2.0-or-later
"""Extended reports: bytes written by hand from RFC 3611 section 4, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp.rtcp import ExtendedReport, ReceiverReport, RtcpError, parse_compound
from trunkline.rtp.rtcp_xr import (
    DelaySinceLastRr,
    LastReference,
    OtherBlock,
    ReceiptTimes,
    ReferenceTime,
    RunLengths,
    StatisticsSummary,
    XrBlock,
)
from trunkline.rtp.voip_metrics import VoipMetrics

REFERENCE = bytes.fromhex("04 00 0002 b44db705 20000000")
DLRR = bytes.fromhex("05 00 0003 a0b0c0d0 b7052000 00054000")
# 5/256 lost, 2/256 discarded, bursts 128/256 of 900 ms, gaps 1/256 of 5000 ms, 80 and 70 ms; level -20 dBm0,
# R 87, MOS 4.2 and 4.1; standard concealment, adaptive buffer of speed 1; 40, 60 and 200 ms.
VOIP = bytes.fromhex(
    "07 00 0008 a0b0c0d0 05 02 80 01 0384 1388 0050 0046 ec 7f 7f 10 57 7f 2a 29 f1 00 0028 003c 00c8"
)
METRICS = VoipMetrics(
    0xA0B0C0D0, 5, 2, 128, 1, 900, 5000, 80, 70, -20, 127, 127, 16, 87, 127, 42, 41, 0xF1, 40, 60, 200
)
LOSSES = bytes.fromhex("01 02 0003 a0b0c0d0 0010 0030 4005 c003")
DUPLICATES = bytes.fromhex("02 00 0003 a0b0c0d0 0010 0030 4005 0000")
TIMES = bytes.fromhex("03 00 0004 a0b0c0d0 0010 0012 00000100 000001a0")
SUMMARY = bytes.fromhex(
    "06 e8 0009 a0b0c0d0 0010 0030 00000003 00000001 00000000 00000020 00000008 00000004 40 40 40 00"
)
UNKNOWN = bytes.fromhex("ff 2a 0001 01020304")

BLOCKS: list[tuple[bytes, XrBlock]] = [
    (REFERENCE, ReferenceTime(0xB44DB705_20000000)),
    (DLRR, DelaySinceLastRr((LastReference(0xA0B0C0D0, 0xB7052000, 0x54000),))),
    (VOIP, METRICS),
    (LOSSES, RunLengths(1, 0xA0B0C0D0, 0x10, 0x30, (0x4005, 0xC003), thinning=2)),
    (DUPLICATES, RunLengths(2, 0xA0B0C0D0, 0x10, 0x30, (0x4005, 0))),
    (TIMES, ReceiptTimes(0xA0B0C0D0, 0x10, 0x12, (0x100, 0x1A0))),
    (SUMMARY, StatisticsSummary(0xA0B0C0D0, 0x10, 0x30, 0xE8, 3, 1, (0, 32, 8, 4), (64, 64, 64, 0))),
    (UNKNOWN, OtherBlock(255, 0x2A, b"\1\2\3\4")),
]


def report(*blocks: bytes) -> bytes:
    """An XR packet of 0x11223344 around blocks."""
    body = bytes.fromhex("11223344") + b"".join(blocks)
    return bytes([0x80, 207]) + (len(body) // 4).to_bytes(2) + body


@pytest.mark.parametrize(
    ("data", "block"), BLOCKS, ids=lambda x: type(x).__name__ if not isinstance(x, bytes) else ""
)
def test_each_block_by_hand(data: bytes, block: XrBlock) -> None:
    """Bytes to block and back."""
    (packet,) = parse_compound(report(data), reduced_size=True)
    assert packet == ExtendedReport(0x11223344, (block,))
    assert bytes(packet) == report(data)


def test_all_blocks_in_one_packet_behind_a_report() -> None:
    """As they come in a compound."""
    compound = bytes(ReceiverReport(7)) + report(*(data for data, _ in BLOCKS))
    assert parse_compound(compound) == [
        ReceiverReport(7),
        ExtendedReport(0x11223344, tuple(block for _, block in BLOCKS)),
    ]


@pytest.mark.parametrize("data", [VOIP, REFERENCE, DLRR, SUMMARY, LOSSES, TIMES])
def test_a_block_of_an_impossible_length_is_kept_as_it_is(data: bytes) -> None:
    """A device that got a length wrong does not cost us its other blocks."""
    wrong = data[:2] + (1).to_bytes(2) + data[4:8]
    (packet,) = parse_compound(report(wrong, UNKNOWN), reduced_size=True)
    assert isinstance(packet, ExtendedReport)
    assert packet.blocks == (OtherBlock(data[0], data[1], data[4:8]), BLOCKS[-1][1])


def test_a_block_beyond_its_packet_ends_the_reading() -> None:
    """What came before it counts."""
    (packet,) = parse_compound(report(DLRR, VOIP[:-4]), reduced_size=True)
    assert packet == ExtendedReport(0x11223344, (BLOCKS[1][1],))


def test_without_an_ssrc_it_is_no_report() -> None:
    """The shortest XR is two words."""
    with pytest.raises(RtcpError, match="XR without"):
        parse_compound(bytes.fromhex("80 cf 0000"), reduced_size=True)


def test_an_odd_number_of_chunks_is_filled_up() -> None:
    """A null chunk ends run lengths, and blocks are whole words."""
    (packet,) = parse_compound(report(bytes(RunLengths(1, 1, 2, 3, (9,)))), reduced_size=True)
    assert isinstance(packet, ExtendedReport)
    assert packet.blocks == (RunLengths(1, 1, 2, 3, (9, 0)),)


@pytest.mark.parametrize(
    ("lq", "cq", "r", "mos", "rating"),
    [(42, 41, 87, 4.1, 87.0), (42, 127, 0, 4.2, 0.0), (127, 127, 127, None, None), (0, 9, 101, None, None)],
)
def test_what_the_peer_thinks_of_the_call(
    lq: int, cq: int, r: int, mos: float | None, rating: float | None
) -> None:
    """127 stands for unknown; what no scale has is unknown too."""
    metrics = VoipMetrics(1, r_factor=r, mos_lq=lq, mos_cq=cq)
    assert (metrics.mos_or_none, metrics.r_or_none) == (mos, rating)


u8, u16, u32 = st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
level = st.integers(-128, 127)
voip = st.builds(
    VoipMetrics,
    u32,
    u8,
    u8,
    u8,
    u8,
    u16,
    u16,
    u16,
    u16,
    level,
    level,
    u8,
    u8,
    u8,
    u8,
    u8,
    u8,
    u8,
    u16,
    u16,
    u16,
)
entries = st.lists(st.builds(LastReference, u32, u32, u32), max_size=5).map(tuple)
four32, four8 = st.tuples(u32, u32, u32, u32), st.tuples(u8, u8, u8, u8)
blocks = st.lists(
    voip
    | st.builds(ReferenceTime, st.integers(0, (1 << 64) - 1))
    | st.builds(DelaySinceLastRr, entries)
    | st.builds(StatisticsSummary, u32, u16, u16, u8, u32, u32, four32, four8)
    | st.builds(ReceiptTimes, u32, u16, u16, st.lists(u32, max_size=6).map(tuple), st.integers(0, 15)),
    max_size=6,
).map(tuple)


@given(u32, blocks)
def test_round_trip(ssrc: int, some: tuple[XrBlock, ...]) -> None:
    """Every report that we can write is read back as it was."""
    packet = ExtendedReport(ssrc, some)
    assert parse_compound(bytes(packet), reduced_size=True) == [packet]
