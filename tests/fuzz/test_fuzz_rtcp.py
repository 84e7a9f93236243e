# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile RTCP: any bytes give packets or RtcpError, and nothing else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.rtp.rtcp import (
    ExtendedReport,
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpError,
    SenderReport,
    SourceDescription,
    parse_compound,
)
from trunkline.rtp.rtcp_xr import DelaySinceLastRr, LastReference, ReferenceTime, RunLengths
from trunkline.rtp.voip_metrics import VoipMetrics

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

XR = bytes(
    ExtendedReport(
        1,
        (
            RunLengths(1, 2, 3, 4, (5, 6)),
            ReferenceTime(7),
            DelaySinceLastRr((LastReference(8, 9, 10),)),
            VoipMetrics(11),
        ),
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


@st.composite
def extended(draw: st.DrawFn) -> bytes:
    """An extended report whose blocks have right headers and any bodies, perhaps cut."""
    body = b"\0\0\0\1"
    for kind in draw(st.lists(st.integers(0, 9), max_size=5)):
        words = draw(st.integers(0, 10))
        content = draw(st.binary(min_size=4 * words, max_size=4 * words))
        body += struct.pack("!BBH", kind, draw(st.integers(0, 255)), words) + content
    body = body[: draw(st.integers(1, len(body) // 4)) * 4]
    return struct.pack("!BBH", 0x80, 207, len(body) // 4) + body


@given(extended())
@settings(deadline=None, max_examples=600)
def test_extended_reports_of_any_content(data: bytes) -> None:
    """Every block that fits is kept, whatever it holds, and written as it was read but for reserved bits."""
    (packet,) = parse_compound(data, reduced_size=True)
    assert isinstance(packet, ExtendedReport)
    again = bytes(packet)
    assert len(again) <= len(data)
    (same,) = parse_compound(again, reduced_size=True)
    assert same == packet


@given(st.integers(0, len(XR) - 1), st.integers(0, 255))
@settings(deadline=None, max_examples=400)
def test_one_wrong_byte_in_an_extended_report(position: int, value: int) -> None:
    """It is read or refused, and never costs what came before it in the datagram."""
    data = bytearray(XR)
    data[position] = value
    try:
        packets = parse_compound(GOOD[:76] + bytes(data))
    except RtcpError:
        return
    assert packets[0] == parse_compound(GOOD[:76])[0]
