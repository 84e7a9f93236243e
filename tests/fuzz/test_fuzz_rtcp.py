# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile RTCP: any bytes give packets or RtcpError, and nothing else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.rtp.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpError,
    SenderReport,
    SourceDescription,
    parse_compound,
)

GOOD = b"".join(
    map(
        bytes,
        [
            SenderReport(1, 2, 3, 4, 5, (ReportBlock(6, 7, -8, 9, 10), ReportBlock(11, 12, 13, 14, 15))),
            ReceiverReport(1, (ReportBlock(6, 7, 8, 9, 10),)),
            SourceDescription(((1, "somebody@host"), (2, ""))),
            Goodbye((1, 2), "over"),
        ],
    )
)


@st.composite
def framed(draw: st.DrawFn) -> bytes:
    """Packets whose headers are right and whose bodies are anything."""
    out = b""
    for kind in draw(st.lists(st.sampled_from([200, 201, 202, 203, 204, 207]), min_size=1, max_size=4)):
        words = draw(st.integers(0, 12))
        body = draw(st.binary(min_size=4 * words, max_size=4 * words))
        padding = draw(st.sampled_from([0, 0, 0, 0x20]))
        out += struct.pack("!BBH", 0x80 | padding | draw(st.integers(0, 3)), kind, words) + body
    return out


@given(st.binary(max_size=120) | framed(), st.booleans())
@settings(deadline=None, max_examples=800)
def test_any_bytes(data: bytes, reduced_size: bool) -> None:
    """A refusal says why; what is accepted can be written and read again."""
    try:
        packets = parse_compound(data, reduced_size=reduced_size)
    except RtcpError as error:
        assert str(error)
        return
    for packet in packets:
        assert len(bytes(packet)) % 4 == 0
    if packets:
        again = b"".join(map(bytes, packets))
        # Names that were not UTF-8 grow when replaced and may be cut at 255 bytes.
        assert len(parse_compound(again, reduced_size=True)) == len(packets)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
@settings(deadline=None, max_examples=400)
def test_one_wrong_byte(position: int, value: int) -> None:
    """A real compound with one byte changed is read or refused."""
    data = bytearray(GOOD)
    data[position] = value
    try:
        packets = parse_compound(bytes(data))
    except RtcpError:
        return
    assert len(packets) <= 5


@pytest.mark.parametrize("length", range(len(GOOD)))
def test_every_truncation(length: int) -> None:
    """A compound that is cut is refused, except between two packets."""
    boundaries = [76, 76 + 32, 76 + 32 + 32]
    if length in boundaries:
        assert len(parse_compound(GOOD[:length])) == boundaries.index(length) + 1
        return
    with pytest.raises(RtcpError):
        parse_compound(GOOD[:length])
