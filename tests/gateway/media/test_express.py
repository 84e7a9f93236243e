# SPDX-License-Identifier: GPL-2.0-or-later
"""The short way of expected packets leaves the same behind as the long way."""

from __future__ import annotations

import dataclasses
from unittest import mock

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.fake_codec import fake_opus, payload
from support.media_rig import MS, UplinkRig, talk, voice
from support.talker import Talker
from trunkline.gateway.media import credit, express
from trunkline.gateway.media.batch import PACKET_BYTES, Batch
from trunkline.gateway.media.columns import FLOW_FIELDS, ROW_FIELDS
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.packet import Packet

CALLS = 3
LOCAL = ("seen", "lost_run", "held", "late_since_ns")


@dataclasses.dataclass(frozen=True)
class Step:
    """What becomes of the next packet of one call, and how much time passes before it."""

    row: int
    kind: str
    pause_ms: int


steps = st.lists(
    st.builds(
        Step,
        row=st.integers(0, CALLS - 1),
        kind=st.sampled_from(
            ["plain"] * 12
            + [
                "lost",
                "twice",
                "swapped",
                "burst",
                "ssrc",
                "leap",
                "back",
                "event",
                "short",
                "other size",
                "marker",
            ]
        ),
        pause_ms=st.sampled_from([0, 1, 6, 7, 20, 45]),
    ),
    max_size=60,
)


LONG_PAUSE = [Step(0, "ssrc", 20), Step(0, "plain", 0), Step(0, "event", 0), Step(0, "leap", 20), Step(0, "plain", 0)]
"A caller leaves out more frames than are filled at once: the next packets bring those still owed."


class Caller(Talker):
    """Whose losses are known at once, by the packet behind them."""

    burst = 30

    def packets(self, kind: str) -> list[Packet | bytes]:
        if kind == "lost":
            self.next()
            return [self.next()]
        return super().packets(kind)


class AnyLength(Caller):
    """One whose packets of one duration differ in length."""

    def next(self, size: int = 160) -> Packet:
        data = payload(size / 8, self.sequence % 100, self.sequence * 7 % 60)
        packet = Packet(96, self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF, self.ssrc, data)
        self.sequence += 1
        self.timestamp += size * 6
        return packet


def play(rig: UplinkRig, trace: list[Step], talker_of: type[Caller] = Caller) -> None:
    talkers = [talker_of(row, 65_530 - row) for row in range(CALLS)]
    for _ in range(3):
        for talker in talkers:
            rig.packet(talker.next(), row=talker.row)
        rig.run(20)
    for step in trace:
        rig.packet(*talkers[step.row].packets(step.kind), row=step.row)
        rig.run(step.pause_ms)


@given(steps)
@settings(max_examples=60, deadline=None)
def test_both_ways_lead_to_the_same_place(trace: list[Step]) -> None:
    """Every column, every drop and every frame of the agents, whatever the packets do."""
    compare(trace, Caller)


@given(steps)
@example(LONG_PAUSE)
@settings(max_examples=60, deadline=None)
def test_both_ways_lead_to_the_same_place_whatever_the_lengths(trace: list[Step]) -> None:
    """The same of an encoding whose packets have any length, and of its decoders."""
    opus = {"codec": "OPUS", "send_pt": 96, "receive_pt": 96, "dtmf_clock_hz": 48000, "rate_hz": 16000}
    with fake_opus() as opened:
        compare(trace, AnyLength, **opus)
    assert np.array_equal(opened[0].decoded, opened[1].decoded)


def compare(trace: list[Step], talker_of: type[Caller], **start: object) -> None:
    # What comes faster than time passes is another matter, and to the millisecond another on both ways.
    with mock.patch.object(credit, "CREDIT_NS", 10**12), mock.patch.object(express, "CREDIT_NS", 10**12):
        short, long = UplinkRig(CALLS, **start), UplinkRig(CALLS, express=False, **start)
        play(short, trace, talker_of)
        play(long, trace, talker_of)
    rows = [stream.row for stream in short.streams]
    for name in [name for name, _, _ in ROW_FIELDS if name not in ("flow", "call_id")]:
        np.testing.assert_array_equal(
            getattr(short.table.shared, name), getattr(long.table.shared, name), name
        )
    for name in FLOW_FIELDS:
        if not name.startswith(("expected", "credit")):
            one, other = getattr(short.table.shared, name)[rows], getattr(long.table.shared, name)[rows]
            # The schedule is reckoned in floats: to the nanosecond is not what it says.
            np.testing.assert_allclose(
                one, other, rtol=0, atol=2 if name == "rx_deadline_ns" else 0, err_msg=name
            )
    for name in LOCAL:
        np.testing.assert_array_equal(getattr(short.table, name), getattr(long.table, name), name)
    for row in rows:
        assert [(f.position, f.flags, f.now_ns) for f in short.frames[row]] == [
            (f.position, f.flags, f.now_ns) for f in long.frames[row]
        ]
        assert all(
            np.array_equal(a.pcm, b.pcm) for a, b in zip(short.frames[row], long.frames[row], strict=True)
        )


def test_an_ordinary_call_takes_the_short_way() -> None:
    """All packets but the first, which has to prove itself."""
    rig = UplinkRig()
    talk(rig, range(100))
    assert rig.expressed == 99


def test_the_short_way_earns_no_flood() -> None:
    """After a minute in order, a burst brings no more than credit allows."""
    rig = UplinkRig()
    talk(rig, range(3000))
    assert rig.expressed > 2900
    before = len(rig.heard)
    rig.packet(*(voice(seq) for seq in range(3000, 3100)))
    brought = len(rig.heard) - before
    assert brought <= credit.CREDIT_NS // (20 * MS) + 1 and rig.drops()[Drop.TOO_FAST] == 100 - brought


def test_what_is_unusual_takes_the_long_way_once() -> None:
    """After a loss, an event or another length, the next ordinary packet is expected again."""
    rig = UplinkRig()
    talk(rig, range(10))
    before = rig.expressed
    rig.packet(voice(11))  # 10 is late
    rig.packet(voice(10))
    assert rig.expressed == before
    rig.run(20)
    talk(rig, range(12, 20))
    assert rig.expressed == before + 8


def test_a_forged_packet_is_not_expected() -> None:
    """The right header from another address changes nothing."""
    rig = UplinkRig()
    talk(rig, range(10))
    counted = rig.table.shared.flow.copy()
    rig.packet(voice(10), source=("192.0.2.66", 4000))
    np.testing.assert_array_equal(rig.table.shared.flow, counted)
    assert rig.drops() == {Drop.SOURCE: 1}


def test_packets_of_several_lengths_share_a_batch() -> None:
    """Rows with another packet time are dealt with in the same look."""
    rig = UplinkRig(2)
    for seq in range(6):
        packets = [voice(seq, ssrc=5), voice(seq, ssrc=6, ts=seq * 240, size=240)]
        buffer = np.zeros((2, PACKET_BYTES), np.uint8)
        for place, packet in enumerate(packets):
            buffer[place, : len(bytes(packet))] = np.frombuffer(bytes(packet), np.uint8)
        sources = [stream.remote for stream in rig.streams]
        lengths = np.array([172, 252], np.int32)
        rig.receive(Batch(np.array([0, 1], np.intp), buffer, lengths, np.ones(2, bool), sources))
        rig.now_ns += 30 * MS
    assert rig.expressed == 10
    assert rig.table.shared.octets_received[:2].tolist() == [6 * 160, 6 * 240]
