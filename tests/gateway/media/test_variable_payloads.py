# SPDX-License-Identifier: GPL-2.0-or-later
"""Encodings whose payloads have any length: both directions, loss, silence that is not sent, the short way."""

from __future__ import annotations

import dataclasses
import itertools
import socket

import numpy as np
import pytest

from support.fake_codec import CONCEALED, LOUDNESS, FakeCodec, fake_opus, payload
from support.media_rig import PEER, DownlinkRig, UplinkRig, start_message
from trunkline.agent_bridge.dialect import FLAG_CONCEALED, FLAG_GAP
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.credit import CREDIT_NS
from trunkline.gateway.media.heard_reports import HeardReports
from trunkline.gateway.media.table import Table
from trunkline.gateway.media.udp import UdpSockets
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.packet import Packet
from trunkline.rtp.rtcp import ReceiverReport, ReportBlock

OPUS = {"codec": "OPUS", "send_pt": 96, "receive_pt": 96, "dtmf_clock_hz": 48000}
RATE = 16000
FIRST_TS = 2**32 - 48_000


def up(calls: int = 1, **start: object) -> tuple[UplinkRig, FakeCodec]:
    with fake_opus() as opened:
        rig = UplinkRig(calls, rate_hz=RATE, **OPUS, **start)  # type: ignore[arg-type]
    return rig, opened[0]


def down(**start: object) -> tuple[DownlinkRig, FakeCodec]:
    with fake_opus() as opened:
        rig = DownlinkRig(rate_hz=RATE, **OPUS, **start)  # type: ignore[arg-type]
    return rig, opened[0]


class Talker:
    """A caller whose packets are of different lengths."""

    def __init__(self, ssrc: int = 5) -> None:
        self.seq, self.ts, self.ssrc, self.bytes = 65_530, FIRST_TS, ssrc, 0

    def next(self, ms: float = 20, loudness: int = 50) -> Packet:
        data = payload(ms, loudness, self.seq % 90)
        packet = Packet(96, self.seq & 0xFFFF, self.ts & 0xFFFFFFFF, self.ssrc, data)
        self.seq, self.ts, self.bytes = self.seq + 1, self.ts + round(ms * 48), self.bytes + len(data)
        return packet


def levels(rig: UplinkRig, row: int = 0) -> list[int]:
    """Value of each frame, which is one throughout it."""
    return [int(frame.pcm[0]) for frame in rig.frames[row]]


def test_a_steady_call_takes_the_short_way_whatever_its_lengths() -> None:
    """All packets but the first; bytes, frames and positions to the last one."""
    rig, codec = up()
    talker = Talker()
    for number in range(100):
        rig.packet(talker.next(loudness=number % 50 + 1))
        rig.run(20)
    assert rig.expressed == 99
    assert levels(rig) == [(number % 50 + 1) * LOUDNESS for number in range(100)]
    assert [frame.position for frame in rig.heard] == [320 * number for number in range(100)]
    assert int(rig.table.shared.octets_received[0]) == talker.bytes
    assert int(codec.decoded[0]) == 100 * 320
    assert not rig.drops()


def test_another_duration_is_not_expected_and_changes_no_time() -> None:
    """Packets of 10, 20, 40 and 60 ms in any order: frames of 20 ms follow each other without a hole."""
    rig, codec = up()
    talker, spoken = Talker(), 0
    for ms in [20, 20, 20, 60, 60, 10, 10, 10, 40, 40, 20, 20, 60, 2.5] * 5 + [2.5] * 7:
        rig.packet(talker.next(ms))
        rig.run(ms, 0.5)
        spoken += round(ms * RATE / 1000)
    assert len(rig.heard) == spoken // 320
    assert [frame.position for frame in rig.heard] == [320 * number for number in range(len(rig.heard))]
    assert int(codec.decoded[0]) == spoken
    assert not rig.drops() and not rig.table.shared.frames_concealed[0]
    assert 0 < rig.expressed < 77


def test_rows_of_different_durations_share_a_batch() -> None:
    """Two calls, of 20 and 40 ms, each with its own lengths."""
    rig, codec = up(2)
    talkers = [Talker(5), Talker(6)]
    for number in range(40):
        rig.packet(talkers[0].next(20, 40), row=0)
        if number % 2 == 0:
            rig.packet(talkers[1].next(40, 60), row=1)
        rig.run(20)
    assert levels(rig, 0) == [40 * LOUDNESS] * 40 and levels(rig, 1) == [60 * LOUDNESS] * 40
    assert codec.decoded[:2].tolist() == [40 * 320] * 2
    assert rig.table.shared.octets_received[:2].tolist() == [talker.bytes for talker in talkers]


def test_short_packets_are_no_flood() -> None:
    """400 packets a second of 2.5 ms bring as much audio as 50 of 20 ms, and are paid for as such."""
    rig, codec = up()
    talker = Talker()
    for _ in range(4000):
        rig.packet(talker.next(2.5))
        rig.run(2.5, 2.5)
    assert not rig.drops() and rig.expressed == 3999
    assert int(codec.decoded[0]) == 10 * RATE and len(rig.heard) == 500
    before = len(rig.heard)
    rig.packet(*(talker.next(2.5) for _ in range(400)))
    brought_ms = (len(rig.heard) - before) * 20
    assert brought_ms <= CREDIT_NS / 1e6 + 20 and rig.drops()[Drop.TOO_FAST] > 0


def test_lost_packets_of_2_5_ms_add_up_to_frames() -> None:
    """One of ten is lost, too short to be filled alone: in the end the agent has had all of the time."""
    rig, _ = up()
    talker = Talker()
    for number in range(4000):
        packet = talker.next(2.5)
        if number % 10 != 7:
            rig.packet(packet)
        rig.run(2.5, 2.5)
    rig.run(20)
    assert abs(len(rig.heard) - 500) <= 3
    assert not set(rig.drops()) - {Drop.LATE}


@pytest.mark.parametrize("kind", ["lost", "swapped", "late", "twice", "two lost"])
def test_the_decoder_is_moved_once_for_each_frame(kind: str) -> None:
    """Whatever is filled, overtaken, or comes too late: samples through the decoder are samples at the agent."""
    rig, codec = up()
    talker = Talker()
    for number in range(60):
        packets = [talker.next()]
        if number % 10 == 5:
            match kind:
                case "lost":
                    packets = []
                case "two lost":
                    talker.next()
                    packets = []
                case "swapped":
                    packets = [talker.next(), *packets]
                case "late":
                    late = packets.pop()
                case "twice":
                    packets *= 2
        if kind == "late" and number % 10 == 9:
            packets.append(late)
        rig.packet(*packets)
        rig.run(20)
    rig.run(100)
    c = rig.table.shared
    assert int(codec.decoded[0]) == int(c.up_position[0]) == len(rig.heard) * 320
    assert not c.frames_gap[0]
    concealed = int(c.frames_concealed[0])
    if kind == "late":  # until the target delay has grown to it
        assert 1 < rig.drops()[Drop.LATE] <= concealed
    else:
        assert concealed >= {"lost": 6, "two lost": 12}.get(kind, 0)


def test_the_last_missing_frame_comes_from_the_packet_behind_it() -> None:
    """Of two lost packets the second has a copy in the third; the first has none, and the copy is used once."""
    rig, codec = up()
    talker = Talker()
    for number in range(30):
        packet = talker.next(loudness=20 + number)
        if number not in (10, 11):
            rig.packet(packet)
        rig.run(20)
    assert [len(data) > 0 for data in codec.following] == [False, True]
    assert levels(rig)[9:13] == [29 * LOUDNESS, CONCEALED, 32 * LOUDNESS, 32 * LOUDNESS]
    assert [frame.flags & FLAG_CONCEALED for frame in rig.heard[9:13]] == [0, FLAG_CONCEALED, FLAG_CONCEALED, 0]


def test_a_long_loss_fades_as_with_any_codec_and_the_decoder_rests() -> None:
    """240 ms concealed, then gaps; the decoder is asked no more, and goes on with the next packet."""
    rig, codec = up()
    talker = Talker()
    for _ in range(10):
        rig.packet(talker.next(loudness=0))  # a quiet place, or its noise would be heard in the fade
        rig.run(20)
    rig.run(1000)
    c = rig.table.shared
    assert int(c.frames_concealed[0]) == 12 and int(c.frames_gap[0]) > 30
    assert int(codec.decoded[0]) == (10 + 12) * 320
    made_up = [frame for frame in rig.heard if frame.flags & FLAG_CONCEALED]
    assert made_up[0].pcm.tolist() == [CONCEALED] * 320 and abs(int(made_up[-1].pcm[-1])) < CONCEALED // 4
    assert rig.heard[-1].flags == FLAG_GAP
    for _ in range(50):
        talker.next()
    for _ in range(5):
        rig.packet(talker.next())
        rig.run(20)
    assert levels(rig)[-5:] == [50 * LOUDNESS] * 5


def test_a_malformed_payload_is_dropped_and_the_next_one_heard() -> None:
    rig, _ = up()
    talker = Talker()
    for number in range(10):
        packet = talker.next()
        rig.packet(packet if number != 5 else dataclasses.replace(packet, payload=b"\x00"))
        rig.run(20)
    rig.run(60)
    assert rig.drops() == {Drop.BAD_PAYLOAD: 1}
    assert [frame.flags & FLAG_GAP for frame in rig.heard[4:7]] == [0, FLAG_GAP, 0]


# -- to the caller ---------------------------------------------------------------------------


def test_each_packet_has_its_own_length_and_octets_are_counted() -> None:
    """Louder frames make longer payloads; timestamps run at 48 kHz."""
    rig, codec = down()
    rig.speak(np.repeat(np.arange(1, 51) * LOUDNESS, 320))
    rig.run(995)
    sent = [packet for _, packet in rig.sent]
    spoken = [packet for packet in sent if packet.payload[1]]
    assert [len(packet.payload) for packet in spoken] == [2 + number for number in range(1, 51)]
    assert {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in itertools.pairwise(sent)} == {960}
    c = rig.table.shared
    assert int(c.packets_sent[0]) == len(sent)
    assert int(c.octets_sent[0]) == sum(len(packet.payload) for packet in sent)
    assert int(c.down_position[0]) == 50 * 320 and int(c.frames_played[0]) == 50
    assert int(codec.encoded[0]) == 320 * len(sent)


def test_silence_that_is_not_sent_moves_the_clock_and_no_counter_of_packets() -> None:
    """Speech, 400 ms of the agent's silence, speech: no packet between, no number used, a marker behind."""
    rig, _ = down()
    rig.speak(np.concatenate([np.full(3200, 1000), np.zeros(6400), np.full(3200, 2000)]))
    rig.run(795)
    sent = [packet for _, packet in rig.sent]
    assert [packet.sequence - sent[0].sequence & 0xFFFF for packet in sent] == list(range(20))
    steps = [(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in itertools.pairwise(sent)]
    assert steps == [960] * 9 + [960 * 21] + [960] * 9
    assert [packet.marker for packet in sent] == [True] + [False] * 9 + [True] + [False] * 9
    c = rig.table.shared
    assert int(c.packets_sent[0]) == 20 and int(c.octets_sent[0]) == sum(len(p.payload) for p in sent)
    assert int(c.down_position[0]) == 12_800  # the silence was played too
    assert not rig.table.shared.drops[0].any()


def test_a_refused_packet_is_told_from_one_that_was_not_made() -> None:
    """The kernel's refusal costs a number and what was in it; silence costs nothing."""
    rig, _ = down()
    rig.speak(np.concatenate([np.full(1600, 1000), np.zeros(1600), np.full(1600, 1000)]))
    rig.run(75)
    rig.refuse = True
    rig.run(20)
    rig.refuse = False
    rig.run(200)
    c = rig.table.shared
    assert int(c.drops[0, Drop.SEND_FAILED]) == 1
    assert int(c.packets_sent[0]) == 9 and int(c.down_position[0]) == 4800 - 320


def test_what_the_peer_wishes_and_reports_reaches_the_codec() -> None:
    """Its a=fmtp at every description, its losses, and the end of the stream."""
    rig, codec = down(send_fmtp="useinbandfec=1")
    assert codec.configured == {0: "useinbandfec=1"}
    rig.table.apply(rig.stream, dataclasses.replace(rig.stream.media, send_fmtp="cbr=1"))
    assert codec.configured == {0: "cbr=1"}
    rig.table.release(rig.stream)
    assert codec.forgotten == [0]


def test_loss_that_the_peer_reports_of_our_stream_is_told_to_the_encoder() -> None:
    """The share since its last report, of our source only."""
    rig, codec = down()
    rig.run(2000)
    c = rig.table.shared
    c.packets_sent[0] = 100
    heard = HeardReports(rig.table)
    for ssrc in (int(c.tx_ssrc[0]), 4711):
        block = ReportBlock(ssrc, 64, 25, int(c.tx_seq[0]) - 1, 0)
        heard.receive(rig.stream, bytes(ReceiverReport(5, (block,))), (PEER[0], PEER[1] + 1), rig.now_ns)
    assert codec.losses == [(0, 25.0)]


def test_packets_leave_in_their_own_lengths() -> None:
    """What lies behind a packet in the array stays here; where there is nothing to send to, the row is told."""
    table = Table(Columns(4))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer, socket.socket(
        socket.AF_INET, socket.SOCK_DGRAM
    ) as ours:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(5)
        streams = [table.take(start_message(), ours, None) for _ in range(3)]
        for stream in streams:
            stream.remote = peer.getsockname()
        streams[1].remote = ("127.0.0.1", 1 << 17)
        packets = np.arange(90, dtype=np.uint8).reshape(3, 30)
        rows = np.array([stream.row for stream in streams], np.intp)
        sent = UdpSockets(table).send(rows, packets, np.array([14, 20, 30], np.int32))
        assert sent.tolist() == [True, False, True]
        assert [peer.recv(100), peer.recv(100)] == [bytes(range(14)), bytes(range(60, 90))]
