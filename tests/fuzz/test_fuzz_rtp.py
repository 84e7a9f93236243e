# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile RTP: any bytes give columns within their bounds, and batch agrees with the scalar twin."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.rtp.outcomes import Drop
from trunkline.rtp.packet import Packet, PacketError, parse_headers

WIDTH = 128

# Half of them begin as RTP does, or hardly any would get past the version.
first_octets = st.integers(0, 255) | st.integers(0x80, 0xBF)
datagrams = st.builds(
    lambda first, rest: bytes([first]) + rest, first_octets, st.binary(max_size=WIDTH - 1)
) | st.binary(max_size=WIDTH)


@given(st.lists(datagrams, min_size=1, max_size=16), st.integers(0, 255))
@settings(deadline=None, max_examples=400)
def test_any_bytes(batch: list[bytes], garbage: int) -> None:
    """Payload bounds lie within the packet, and both parsers give the same reason or the same payload."""
    rows = np.full((len(batch), WIDTH), garbage, np.uint8)
    for row, data in zip(rows, batch, strict=True):
        row[: len(data)] = np.frombuffer(data, np.uint8)
    headers = parse_headers(rows, np.array([len(data) for data in batch], np.int32))
    for i, data in enumerate(batch):
        start, size = int(headers.payload_start[i]), int(headers.payload_bytes[i])
        assert size >= 0
        assert headers.payload_type[i] < 128
        try:
            packet = Packet.parse(data)
        except PacketError as error:
            assert error.drop == headers.drop[i] != Drop.NONE
            continue
        assert headers.drop[i] == Drop.NONE
        assert start + size <= len(data)
        assert rows[i, start : start + size].tobytes() == packet.payload


@given(datagrams)
@settings(deadline=None, max_examples=400)
def test_what_is_parsed_is_written_again(data: bytes) -> None:
    """Bytes that parse come back as the same packet; only the content of padding may differ."""
    try:
        packet = Packet.parse(data)
    except PacketError:
        return
    again = bytes(packet)
    assert len(again) == len(data)
    assert Packet.parse(again) == packet
