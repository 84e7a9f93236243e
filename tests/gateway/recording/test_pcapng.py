# SPDX-License-Identifier: GPL-2.0-or-later
"""Recordings are pcapng as others read it, and what is broken or cut off ends them without a fault."""

from __future__ import annotations

import contextlib
import io
import pathlib

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.agent_bridge import wire
from trunkline.gateway.recording import contents, pcapng
from trunkline.gateway.recording.pcapng import BRIDGE, INBOUND, OUTBOUND, RTP, NotARecording, Packet

TIME_NS = 1_790_000_000_123_456_789
PACKETS = st.builds(
    Packet, st.sampled_from([RTP, BRIDGE]), st.integers(0, (1 << 64) - 1), st.booleans(), st.binary(max_size=40)
)


def write(packets: list[Packet]) -> bytes:
    return pcapng.section() + b"".join(
        pcapng.packet(one.interface, one.time_ns, INBOUND if one.inbound else OUTBOUND, one.data) for one in packets
    )


def test_another_reader_finds_the_datagrams_and_their_times() -> None:
    file = pcapng.section()
    for version, ends in ((4, ("192.0.2.1", "198.51.100.7")), (6, ("2001:db8::1", "2001:db8::2"))):
        data = pcapng.udp((ends[0], 4000), (ends[1], 5004), b"payload %d" % version)
        file += pcapng.packet(RTP, TIME_NS, INBOUND, data)
    found = list(dpkt.pcapng.Reader(io.BytesIO(file)))
    assert [round(time, 3) for time, _ in found] == [round(TIME_NS / 1e9, 3)] * 2
    four, six = dpkt.ip.IP(found[0][1]), dpkt.ip6.IP6(found[1][1])
    assert (four.src, four.dst) == (bytes([192, 0, 2, 1]), bytes([198, 51, 100, 7])) and four.len == len(found[0][1])
    for datagram, version in ((four.data, 4), (six.data, 6)):
        assert isinstance(datagram, dpkt.udp.UDP)
        assert (datagram.sport, datagram.dport, datagram.data) == (4000, 5004, b"payload %d" % version)
    good = four.sum
    four.sum = 0
    assert dpkt.ip.IP(bytes(four)).sum == good, "the header's checksum"


@given(st.lists(PACKETS, max_size=6))
def test_what_is_written_is_read(packets: list[Packet]) -> None:
    assert list(pcapng.packets(write(packets) + write(packets))) == packets * 2


@given(st.lists(PACKETS, max_size=4), st.data())
def test_what_is_cut_off_or_changed_ends_in_packets_or_one_exception(
    packets: list[Packet], data: st.DataObject
) -> None:
    whole = write(packets)
    cut = whole[: data.draw(st.integers(4, len(whole)))]
    assert list(pcapng.packets(cut)) == packets[: len(list(pcapng.packets(cut)))]
    broken = bytearray(whole)
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=4)):
        broken[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(NotARecording):
        contents.parse(pcapng.packets(bytes(broken)))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "does not begin like"),
        (b"PK\x03\x04" + bytes(40), "does not begin like"),
        (pcapng.section(), "no agent was offered a call"),
        (pcapng.section() + pcapng.packet(BRIDGE, 1, OUTBOUND, bytes(12)), "is broken"),
        (
            pcapng.section()
            + pcapng.packet(BRIDGE, 1, OUTBOUND, wire.control_message("start", call={}, audio={"sample_rate_hz": "?"})),
            "has no sample rate",
        ),
    ],
)
def test_a_file_that_is_no_recording_says_why(tmp_path: pathlib.Path, data: bytes, why: str) -> None:
    file = tmp_path / "call.pcapng"
    file.write_bytes(data)
    with pytest.raises(NotARecording, match=why):
        contents.read(file)


@pytest.mark.parametrize(
    "fields",
    [
        b'"audio":{"sample_rate_hz":1e999,"frame_ms":20}',
        b'"audio":{"sample_rate_hz":8000,"frame_ms":1e999}',
        b'"audio":{"sample_rate_hz":8000,"frame_ms":20},"position":1e999',
    ],
)
def test_infinite_figures_are_no_recording(fields: bytes) -> None:
    """JSON has them, and no whole number is like them."""
    payload = b'{"type":"start","channel":1,"call":{},' + fields + b"}"
    message = (len(payload)).to_bytes(4, "little") + bytes([wire.CONTROL, 0, 0, 0]) + payload
    with pytest.raises(NotARecording, match="has no sample rate, frame length or position"):
        contents.parse([Packet(BRIDGE, 1, False, message)])
