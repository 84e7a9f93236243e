# SPDX-License-Identifier: GPL-2.0-or-later
"""The uplink under a virtual clock: order, gaps, jumps, sources."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.media_rig import MS, UplinkRig, samples, talk, voice
from trunkline.agent_bridge.dialect import FLAG_CONCEALED, FLAG_GAP, FLAG_SPEECH
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.packet import Packet


def test_a_packet_in_order_leaves_at_once_and_unchanged() -> None:
    """No jitter delay in the common case: the frame is there before any time passes."""
    rig = UplinkRig()
    rig.run(5)
    rig.packet(voice(0))
    assert [(f.position, f.flags) for f in rig.heard] == [(0, FLAG_SPEECH)]
    assert np.array_equal(rig.heard[0].pcm, samples(voice(0)))


def test_positions_are_gapless() -> None:
    """Each frame begins where the one before it ended, whatever happened to the packets."""
    rig = UplinkRig()
    talk(rig, range(10))
    rig.run(60)
    talk(rig, range(13, 20))
    rig.run(500)
    assert [f.position for f in rig.heard] == [160 * i for i in range(len(rig.heard))]


@pytest.mark.parametrize("first", [0, 65_530])
def test_reordered_packets_are_put_in_order(first: int) -> None:
    """Packets that overtake each other within the target delay are neither lost nor filled."""
    rig = UplinkRig()
    talk(rig, range(first, first + 3))
    rig.packet(voice(first + 4))
    rig.run(10)
    rig.packet(voice(first + 3))
    rig.run(30)
    talk(rig, range(first + 5, first + 8))
    spoken = [f.pcm for f in rig.heard]
    assert all(np.array_equal(pcm, samples(voice(first + i))) for i, pcm in enumerate(spoken))
    assert len(spoken) == 8
    assert rig.table.shared.packets_reordered[0] == 1
    assert rig.table.shared.packets_lost[0] == 0
    assert not rig.drops()


def test_a_lost_packet_is_concealed_after_the_target_delay() -> None:
    """The gap is held back, then filled with one flagged frame; what came after it follows at once."""
    rig = UplinkRig()
    talk(rig, range(5))
    rig.run(20)
    rig.packet(voice(6))
    rig.run(15)
    assert len(rig.heard) == 5
    rig.run(10)
    assert [bool(f.flags & FLAG_CONCEALED) for f in rig.heard] == [False] * 5 + [True, False]
    assert np.array_equal(rig.heard[6].pcm, samples(voice(6)))
    assert rig.table.shared.packets_lost[0] == 1


def test_a_packet_that_comes_after_its_place_was_filled_is_late() -> None:
    """It is counted, not played, and the call goes on."""
    rig = UplinkRig()
    talk(rig, range(5))
    rig.packet(voice(6))
    rig.run(60)
    rig.packet(voice(5))
    assert rig.drops() == {Drop.LATE: 1}
    assert len(rig.heard) >= 7


def test_duplicates_are_never_played() -> None:
    """A repeated sequence number is dropped, in order or not."""
    rig = UplinkRig()
    for seq in range(6):
        rig.packet(voice(seq), voice(seq))
        rig.run(20)
    rig.packet(voice(2))
    assert len(rig.heard) == 6
    assert rig.drops() == {Drop.DUPLICATE: 7}
    assert rig.table.shared.packets_received[0] == 6


def test_time_goes_on_without_packets() -> None:
    """A silent network gives one flagged frame per packet time, from the start of the call."""
    rig = UplinkRig()
    rig.run(1000)
    assert len(rig.heard) == 50
    assert all(f.flags == FLAG_GAP and not f.pcm.any() for f in rig.heard)


def test_speech_after_silence_keeps_the_timeline() -> None:
    """DTX: frames so far = time elapsed, with nothing lost when the timestamps say it was silence."""
    rig = UplinkRig()
    talk(rig, range(10))
    rig.run(400)
    for i in range(10):
        rig.packet(voice(10 + i, ts=(30 + i) * 160))
        rig.run(20)
    spoken = [f.pcm for f in rig.heard if f.flags & FLAG_SPEECH]
    assert len(spoken) == 20
    assert len(rig.heard) == 40
    assert rig.table.shared.packets_lost[0] == 0


def test_a_sender_whose_clock_stood_still_is_heard_again_within_200_ms() -> None:
    """Timestamps that did not advance over a pause must not make everything late for ever."""
    rig = UplinkRig()
    talk(rig, range(10))
    rig.run(2000)
    before = len(rig.heard)
    talk(rig, range(10, 30))
    spoken = [f for f in rig.heard[before:] if f.flags & FLAG_SPEECH]
    assert len(spoken) >= 20 - 200 // 20


@pytest.mark.parametrize("leap", [10_000_000, -10_000_000, 1 << 31])
def test_a_timestamp_jump_is_followed_within_200_ms(leap: int) -> None:
    """The stream goes on from the new timestamp; nothing is filled for the leap itself."""
    rig = UplinkRig()
    talk(rig, range(10))
    for seq in range(10, 30):
        rig.packet(voice(seq, ts=seq * 160 + leap))
        rig.run(20)
    spoken = [f for f in rig.heard if f.flags & FLAG_SPEECH]
    assert len(spoken) >= 20
    assert len(rig.heard) <= 42


def test_unknown_payload_types_are_dropped() -> None:
    rig = UplinkRig()
    rig.packet(voice(0, pt=96))
    assert rig.drops() == {Drop.PAYLOAD_TYPE: 1}
    assert not rig.heard


def test_nothing_is_received_on_hold() -> None:
    """A description that says recvonly at the peer's side closes our ears; frames still come, as gaps."""
    rig = UplinkRig(receive=False)
    talk(rig, range(10))
    assert rig.drops() == {Drop.NOT_RECEIVING: 10}
    assert all(f.flags & FLAG_GAP for f in rig.heard)
    assert len(rig.heard) == 10


@pytest.mark.parametrize(("size", "expected"), [(80, 10), (240, 30), (480, 60)])
def test_any_packet_time_of_the_peer_becomes_frames_of_the_agent(size: int, expected: int) -> None:
    """10, 30 and 60 ms packets: the same audio, cut into 20 ms frames."""
    rig = UplinkRig()
    said = []
    for i in range(20):
        packet = voice(i, ts=i * size, size=size)
        said.append(samples(packet))
        rig.packet(packet)
        rig.run(expected)
    whole = np.concatenate(said)
    heard = np.concatenate([f.pcm for f in rig.heard])
    assert np.array_equal(heard[: len(whole) // 160 * 160], whole[: len(heard)])
    assert {len(f.pcm) for f in rig.heard} == {160}


def test_digits_take_sequence_numbers_but_bring_no_audio() -> None:
    """A key press in mid-speech: the event packets are handed on, the gap is not concealed as speech."""
    rig = UplinkRig()
    talk(rig, range(5))
    for i in range(5):
        rig.packet(Packet(101, 5 + i, 5 * 160, 5, bytes([1, 10, 0, 160])))
        rig.run(20)
    for seq in range(10, 15):
        rig.packet(voice(seq))
        rig.run(20)
    assert len(rig.presses) == 5
    assert not rig.drops()
    assert not any(f.flags & FLAG_CONCEALED for f in rig.heard)
    assert sum(bool(f.flags & FLAG_SPEECH) for f in rig.heard) == 10


def test_impossible_payloads_are_counted() -> None:
    """Empty, and longer than any packet time."""
    rig = UplinkRig()
    rig.packet(Packet(0, 1, 160, 5, b""), Packet(0, 2, 320, 5, bytes(1200)))
    assert rig.drops() == {Drop.BAD_PAYLOAD: 2}


def test_agents_at_16_khz_get_16_khz() -> None:
    rig = UplinkRig(rate_hz=16000)
    talk(rig, range(5))
    assert {len(f.pcm) for f in rig.heard} == {320}
    assert [f.position for f in rig.heard] == [0, 320, 640, 960, 1280]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60), st.booleans()), min_size=1, max_size=120))
def test_packets_in_equal_frames_plus_drops(plan: list[tuple[int, int, bool]]) -> None:
    """Accounting: whatever is lost, delayed or doubled, each packet is heard once or dropped with a reason."""
    rig = UplinkRig()
    given_in = 0
    arrivals = sorted(
        (i * 20 + delay, i)
        for i, (delay, lose, twice) in enumerate(plan)
        if lose > 3
        for _ in range(1 + twice)
    )
    for at_ms, seq in arrivals:
        rig.run(max(0.0, at_ms - (rig.now_ns - 1_000_000_000_000) / MS))
        rig.packet(voice(seq))
        given_in += 1
    rig.run(500)
    heard = sum(bool(f.flags & FLAG_SPEECH) for f in rig.heard)
    assert given_in == heard + sum(rig.drops().values())
    assert [f.position for f in rig.heard] == [160 * i for i in range(len(rig.heard))]
