# SPDX-License-Identifier: GPL-2.0-or-later
"""RTCP packets: bytes written by hand from RFC 3550 6, and the compound rules of A.2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp.outcomes import Drop
from trunkline.rtp.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpError,
    SenderReport,
    SourceDescription,
    build_compound,
    parse_compound,
)

# Block: of 0xA0B0C0D0, 64/256 lost, -2 in all, highest 0x00010005, jitter 33, LSR, DLSR.
BLOCK = bytes.fromhex("a0b0c0d0 40 fffffe 00010005 00000021 b7052000 00054000")
SR = bytes.fromhex("81 c8 000c 11223344 b44db705 20000000 00003e80 00000064 00003e80") + BLOCK
RR = bytes.fromhex("81 c9 0007 11223344") + BLOCK
EMPTY_RR = bytes.fromhex("80 c9 0001 11223344")
SDES = bytes.fromhex("81 ca 0003 11223344 01 04 61406262 00 00".replace(" ", ""))  # CNAME "a@bb"
BYE = bytes.fromhex("81 cb 0002 11223344 03 627965")  # "bye"

REPORT = ReportBlock(0xA0B0C0D0, 64, -2, 0x10005, 33, 0xB7052000, 0x54000)
SENDER = SenderReport(0x11223344, 0xB44DB705_20000000, 16000, 100, 16000, (REPORT,))

u32 = st.integers(0, 0xFFFFFFFF)
blocks = st.builds(ReportBlock, u32, st.integers(0, 255), st.integers(-(1 << 23), (1 << 23) - 1), *[u32] * 4)
block_tuples = st.lists(blocks, max_size=31).map(tuple)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
ssrcs = st.lists(u32, max_size=31).map(tuple)
reports = st.builds(
    SenderReport, u32, st.integers(0, (1 << 64) - 1), u32, u32, u32, block_tuples
) | st.builds(ReceiverReport, u32, block_tuples)
others = st.builds(SourceDescription, st.lists(st.tuples(u32, texts), max_size=31).map(tuple)) | st.builds(
    Goodbye, ssrcs, texts
)


def test_sender_report_by_hand() -> None:
    """SR with one block, both ways."""
    assert parse_compound(SR) == [SENDER]
    assert bytes(SENDER) == SR


def test_compound_by_hand() -> None:
    """RR, SDES and BYE in one datagram, both ways."""
    packets = [
        ReceiverReport(0x11223344, (REPORT,)),
        SourceDescription(((0x11223344, "a@bb"),)),
        Goodbye((0x11223344,), "bye"),
    ]
    assert parse_compound(RR + SDES + BYE) == packets
    assert build_compound(packets) == RR + SDES + BYE


def test_extended_numbers_are_cut_on_the_wire() -> None:
    """Counters longer than 32 bits, as they are inside, are sent as their low bits."""
    report = ReportBlock(1, 0, -1, 0x5_00000007, 0)
    sent = SenderReport(1, 2, 0x1_0000_0003, 0x1_0000_0004, 0x1_0000_0005, (report,))
    (read,) = parse_compound(bytes(sent))
    assert read == SenderReport(1, 2, 3, 4, 5, (ReportBlock(1, 0, -1, 7, 0),))


@pytest.mark.parametrize("length", range(9))
def test_sdes_is_padded_with_at_least_one_null(length: int) -> None:
    """A chunk ends in a null and at a word, whatever its length; a second chunk follows it."""
    packet = SourceDescription(((7, "x" * length), (8, "yz")))
    data = bytes(packet)
    assert len(data) % 4 == 0
    assert parse_compound(EMPTY_RR + data)[1] == packet


def test_other_sdes_items_are_passed_over() -> None:
    """NAME and TOOL items around a CNAME do not hide it; a chunk may be without one."""
    body = bytes.fromhex("00000001 02 01 41 01 01 42 06 01 43 000000 00000002 00000000")
    data = bytes.fromhex("82 ca 0006") + body
    assert len(data) == 4 * 7
    assert parse_compound(EMPTY_RR + data)[1] == SourceDescription(((1, "B"), (2, "")))


def test_long_texts_are_cut_between_characters() -> None:
    """A length octet holds 255 bytes: the cut never leaves half a character."""
    (_, bye) = parse_compound(EMPTY_RR + bytes(Goodbye((1,), "a" * 254 + "é")))
    assert bye == Goodbye((1,), "a" * 254)


def test_unknown_types_are_skipped() -> None:
    """APP and feedback (RFC 4585) between others are stepped over."""
    app = bytes.fromhex("80 cc 0002 11223344 41424344")
    feedback = bytes.fromhex("81 cd 0003 11223344 a0b0c0d0 00010000") + bytes.fromhex(
        "81 ce 0002 11223344 a0b0c0d0"
    )
    assert parse_compound(SR + app + feedback + BYE) == [SENDER, Goodbye((0x11223344,), "bye")]


def test_profile_extension_of_a_report_is_ignored() -> None:
    """What follows the blocks of a report belongs to a profile (6.4.3)."""
    extended = bytes.fromhex("80 c9 0003 11223344 01020304 05060708")
    assert parse_compound(extended) == [ReceiverReport(0x11223344)]


def test_padding_of_the_last_packet_is_stripped() -> None:
    """Padding on the last packet of a compound is legal and carries nothing."""
    padded = bytes.fromhex("a1 cb 0003 11223344 03 627965 00000004")
    assert parse_compound(RR + padded)[1] == Goodbye((0x11223344,), "bye")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "shorter than a header"),
        (RR[:3], "shorter than a header"),
        (RR + b"\x80\xc9", "shorter than a header"),
        (b"\x41" + RR[1:], "version"),
        (RR + b"\x01" + SDES[1:], "version"),
        (SDES + RR, "begin with a report"),
        (RR[:-4], "longer than the datagram"),
        (bytes.fromhex("82 c9 0007 11223344") + BLOCK, "fewer report blocks"),
        (bytes.fromhex("80 c8 0001 11223344"), "sender information"),
        (bytes.fromhex("80 c9 0000"), "without its sender"),
        (bytes.fromhex("a0 c9 0002 11223344 00000004") + BYE, "before the last"),
        (RR + bytes.fromhex("a0 cb 0001 00000000"), "impossible padding"),
        (RR + bytes.fromhex("a0 cb 0001 00000008"), "impossible padding"),
        (RR + bytes.fromhex("a0 cb 0001 00000003"), "impossible padding"),
        (RR + bytes.fromhex("a0 cb 0000"), "impossible padding"),
        (RR + bytes.fromhex("82 cb 0001 11223344"), "fewer sources"),
        (RR + bytes.fromhex("81 cb 0002 11223344 04 627965"), "reason longer"),
        (RR + bytes.fromhex("81 ca 0000"), "fewer chunks"),
        (RR + bytes.fromhex("81 ca 0002 11223344 01 03 6162"), "item longer"),
        (RR + bytes.fromhex("81 ca 0002 11223344 01 02 6162"), "terminating null"),
        (RR + bytes.fromhex("81 ca 0001 11223344"), "terminating null"),
    ],
)
def test_broken_rules_are_named(data: bytes, why: str) -> None:
    """A compound that breaks a rule is refused as a whole, with the rule in words."""
    with pytest.raises(RtcpError, match=why) as caught:
        parse_compound(data)
    assert caught.value.drop == Drop.RTCP_INVALID


def test_reduced_size_only_where_allowed() -> None:
    """A BYE alone is refused unless RFC 5506 was negotiated; a report alone is always read."""
    with pytest.raises(RtcpError):
        parse_compound(BYE)
    assert parse_compound(BYE, reduced_size=True) == [Goodbye((0x11223344,), "bye")]
    assert parse_compound(RR) == [ReceiverReport(0x11223344, (REPORT,))]


def test_building_is_checked() -> None:
    """We send neither a compound without a report first, nor more blocks than five bits can count."""
    with pytest.raises(ValueError, match="begins with a report"):
        build_compound([Goodbye((1,))])
    with pytest.raises(ValueError, match="begins with a report"):
        build_compound([])
    with pytest.raises(ValueError, match="32 entries"):
        bytes(ReceiverReport(1, (REPORT,) * 32))


@given(reports, st.lists(reports | others, max_size=3))
def test_round_trip(first: SenderReport | ReceiverReport, rest: list) -> None:
    """Every compound that we can build is read back as it was."""
    assert parse_compound(build_compound([first, *rest])) == [first, *rest]
