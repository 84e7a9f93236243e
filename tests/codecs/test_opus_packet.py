# SPDX-License-Identifier: GPL-2.0-or-later
"""Durations of Opus packets (RFC 6716 section 3): columns, scalar twin and libopus agree."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.opus_peer import rows_of
from trunkline.codecs.opus_native import LIBRARY
from trunkline.codecs.opus_packet import durations, frame_us, packet_us

RATES_HZ = (8000, 12000, 16000, 24000, 48000)


def libopus_us(packet: bytes) -> int:
    """As libopus reads it, with all of its checks; 0 where it refuses."""
    library = ctypes.CDLL(LIBRARY)
    sizes, offset = (ctypes.c_int16 * 48)(), ctypes.c_int()
    frames = library.opus_packet_parse(packet, len(packet), None, None, sizes, ctypes.byref(offset))
    samples = library.opus_packet_get_nb_samples(packet, len(packet), 48000)
    return samples * 1000 // 48 if frames > 0 and samples > 0 else 0


@st.composite
def likely_packets(draw: st.DrawFn) -> bytes:
    """Packets that are right or nearly so; random bytes alone would hardly ever be."""
    toc = draw(st.integers(0, 255))
    sizes = draw(st.lists(st.integers(0, 300) | st.just(1275), min_size=1, max_size=6))
    kind = toc & 3
    if kind == 3:
        flags, padding = (
            draw(st.sampled_from([0, 0x40, 0x80, 0xC0])),
            draw(st.sampled_from([0, 3, 254, 255, 600])),
        )
        head = bytes([toc, flags | draw(st.just(len(sizes)) | st.integers(0, 63))])
        if flags & 0x40:
            head += b"\xff" * (padding // 254) + bytes([padding % 254])
        if flags & 0x80:
            head += b"".join(_size(size) for size in sizes[:-1])
        body = bytes(sum(sizes) if flags & 0x80 else sizes[0] * len(sizes))
        packet = head + body + bytes(padding if flags & 0x40 else 0)
    elif kind == 2:
        packet = bytes([toc]) + _size(sizes[0]) + bytes(sizes[0] + sizes[-1])
    else:
        packet = bytes([toc]) + bytes(sizes[0] * (1 + kind))
    return packet[: draw(st.just(len(packet)) | st.integers(0, len(packet)))] + bytes(
        draw(st.sampled_from([0, 0, 1]))
    )


def _size(size: int) -> bytes:
    """RFC 6716 3.2.1."""
    return bytes([size]) if size < 252 else bytes([252 + size % 4, (size - 252 - size % 4) // 4])


def test_frame_sizes_of_all_configurations():
    """Table 2 of the RFC, written out."""
    silk, hybrid, celt = [10, 20, 40, 60] * 3, [10, 20] * 2, [2.5, 5, 10, 20] * 4
    assert [frame_us(config << 3) / 1000 for config in range(32)] == silk + hybrid + celt


@pytest.mark.parametrize(
    ("packet", "milliseconds"),
    [
        (b"", 0),
        (b"\x08", 20),  # nothing but the first byte: DTX
        (b"\x08" + bytes(1275), 20),
        (b"\x08" + bytes(1276), 0),
        (b"\x09" + bytes(20), 40),
        (b"\x09" + bytes(21), 0),
        (b"\x0a\x05" + bytes(12), 40),
        (b"\x0a\x0d" + bytes(12), 0),
        (b"\x0a", 0),
        (b"\x0a\xfc", 0),
        (b"\x0b", 0),
        (b"\x0b\x00", 0),
        (b"\x0b\x06" + bytes(60), 120),
        (b"\x0b\x07" + bytes(70), 0),  # 140 ms
        (b"\x0b\x43\x02" + bytes(30 + 2), 60),
        (b"\x83\x30" + bytes(48), 120),
        (b"\x83\x31" + bytes(49), 0),  # 122.5 ms
        (b"\x0b\x43\xff\x00" + bytes(254 + 30), 60),  # 255: 254 bytes of padding, and more
        (b"\x0b\x43\xff\x00" + bytes(253 + 30), 0),
        (b"\x0b\x43\xff\xff", 0),
        (b"\x0b\x82\x04" + bytes(10), 40),
        (b"\x1b\x02" + bytes(10), 120),
    ],
)
def test_rules_of_the_rfc(packet, milliseconds):
    """R1 to R7 of section 3.4, at their limits."""
    assert packet_us(packet) == milliseconds * 1000 == libopus_us(packet)


@given(likely_packets() | st.binary(max_size=80))
def test_twin_reads_what_libopus_reads(packet):
    """Neither takes what the other refuses."""
    assert packet_us(packet) == libopus_us(packet)


@given(st.lists(likely_packets() | st.binary(max_size=80), max_size=12), st.sampled_from(RATES_HZ))
def test_columns_are_the_twin(packets, rate_hz):
    """In samples of every rate; none of them is rounded."""
    payload, lengths = rows_of(packets)
    found = durations(payload, lengths, rate_hz)
    assert found.dtype == np.int64
    assert found.tolist() == [packet_us(packet) * rate_hz / 1e6 for packet in packets]


def test_what_lies_behind_the_length_is_not_read():
    """Rows are as wide as the widest packet, and what is behind a shorter one is of an older packet."""
    packets = [b"\x0a\xfc", b"\x0b", b"\x0b\xc1", b"", b"\x0a"]
    payload, lengths = rows_of(packets)
    payload = np.concatenate([payload, np.full((len(packets), 40), 1, np.uint8)], axis=1)
    for row, length in zip(payload, lengths, strict=True):
        row[length:] = 1
    assert not durations(payload, lengths, 48000).any()


def test_a_length_beyond_the_row_is_malformed():
    """It would be read from the neighbour."""
    assert durations(np.full((1, 4), 8, np.uint8), np.array([5], np.int32), 8000).tolist() == [0]
