# SPDX-License-Identifier: GPL-2.0-or-later
"""Callers that mean harm, or do it: their packets cost nobody but themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.media_rig import MS, UplinkRig, talk, voice
from trunkline.agent_bridge.dialect import FLAG_CONCEALED, FLAG_GAP, FLAG_SPEECH
from trunkline.gateway.media.credit import CREDIT_NS, CREDIT_RATE
from trunkline.gateway.media.uplink import Uplink
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.packet import Packet


def most_frames(elapsed_ns: int) -> float:
    """What a caller may be worth: its credit, what time has brought with the 2 % that it grows by, one begun."""
    return (CREDIT_NS + elapsed_ns * CREDIT_RATE) / (20 * MS) + 1


def test_one_tiny_packet_does_not_set_the_pace(monkeypatch) -> None:
    """A 1-byte payload must not make us fill a frame each eighth of a millisecond."""
    rig = UplinkRig()
    fills = 0
    fill = Uplink.fill

    def count(*arguments: object) -> None:
        nonlocal fills
        fills += 1
        fill(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Uplink, "fill", count)
    rig.packet(voice(0, size=1))
    rig.run(1000)
    assert fills <= 51
    assert 45 <= len(rig.heard) <= 51


def test_a_first_packet_without_samples_does_not_stop_the_call() -> None:
    """A key press or an empty packet first, then a loss: speech is heard all the same."""
    for first in (Packet(101, 0, 0, 5, bytes([1, 10, 0, 160])), Packet(0, 0, 0, 5, b"")):
        rig = UplinkRig()
        rig.packet(first)
        rig.run(20)
        talk(rig, range(2, 50))
        assert sum(bool(f.flags & FLAG_SPEECH) for f in rig.heard) >= 45


def test_frames_do_not_come_faster_than_time() -> None:
    """Timestamps stamped ahead, or a sender at ten times the speed: no flood at the agent."""
    rig = UplinkRig()
    talk(rig, range(10))
    before = len(rig.heard)
    for i in range(50):
        rig.packet(voice(10 + i, ts=1600 + i * 3840))
        rig.run(20)
    assert len(rig.heard) - before < 75
    rig = UplinkRig()
    for seq in range(500):
        rig.packet(voice(seq))
        rig.run(2)
    assert len(rig.heard) < 75
    assert rig.drops()[Drop.TOO_FAST] > 400


@pytest.mark.parametrize("numbers", [1, 2])
@pytest.mark.parametrize("ahead_ts", [320, 480, 800, 3840])
@pytest.mark.parametrize("pause_ms", [0, 5, 20])
def test_what_is_made_up_does_not_come_faster_than_time(numbers: int, ahead_ts: int, pause_ms: int) -> None:
    """Gaps, in numbers or only in time, whose far side is stamped ahead: their fills are paid for as packets are."""
    rig = UplinkRig()
    start = rig.now_ns
    talk(rig, range(10))
    for i in range(100):
        rig.packet(voice(10 + numbers * i, ts=1600 + i * ahead_ts))
        rig.run(pause_ms)
    rig.run(300)
    assert len(rig.heard) <= most_frames(rig.now_ns - start)
    talk(rig, range(1000, 1050))
    assert sum(bool(f.flags & FLAG_SPEECH) for f in rig.heard[-50:]) >= 30, "who mends his ways is heard again"


def test_five_minutes_of_silence_stay_a_gap() -> None:
    """Counters of a long silence do not wrap: every frame is flagged as gap, none as speech made up."""
    rig = UplinkRig()
    talk(rig, range(10))
    rig.run(320_000, step_ms=20)
    late = rig.heard[100:]
    assert len(late) > 15_000
    assert all(f.flags == FLAG_GAP for f in late)
    assert not any(f.flags & FLAG_CONCEALED for f in late)


def test_what_waited_while_we_stalled_is_heard() -> None:
    """Two seconds without a tick: all packets are read before gaps are filled, and none is late."""
    rig = UplinkRig()
    talk(rig, range(50))
    rig.now_ns += 2000 * MS
    rig.packet(*(voice(seq) for seq in range(50, 150)))
    rig.timeline.advance(rig.now_ns)
    assert not rig.drops()
    assert sum(bool(f.flags & FLAG_SPEECH) for f in rig.heard) == 150
    talk(rig, range(150, 160))
    assert len(rig.heard) == 160


def test_a_leap_behind_a_gap_is_not_waited_for() -> None:
    """A lost packet and a timestamp jump at once: the speech behind them comes within 200 ms."""
    rig = UplinkRig()
    talk(rig, range(10))
    for seq in range(11, 31):
        rig.packet(voice(seq, ts=seq * 160 + 50_000_000))
        rig.run(20)
    assert sum(bool(f.flags & FLAG_SPEECH) for f in rig.heard) >= 10 + 10


packets = st.builds(
    Packet,
    st.sampled_from([0, 0, 0, 8, 13, 101, 77]),
    st.integers(0, 65535),
    st.integers(0, 2**32 - 1),
    st.sampled_from([5, 6]),
    st.binary(max_size=400),
)


@given(st.lists(st.tuples(packets, st.integers(0, 60)), max_size=60))
def test_any_packets_leave_the_accounting_right(plan: list[tuple[Packet, int]]) -> None:
    """Whatever comes, nothing raises, positions have no hole, and frames keep to time."""
    rig = UplinkRig()
    start = rig.now_ns
    for packet, pause_ms in plan:
        rig.packet(packet)
        rig.run(pause_ms)
    rig.run(300)
    positions = np.array([f.position for f in rig.heard])
    assert np.all(np.diff(positions) == 160)
    assert len(positions) <= most_frames(rig.now_ns - start)


@given(st.lists(st.binary(max_size=60), max_size=40))
def test_any_bytes_change_nothing_but_counters(datagrams: list[bytes]) -> None:
    rig = UplinkRig()
    for data in datagrams:
        rig.packet(data)
    rig.run(100)
    assert len(rig.heard) <= 10
