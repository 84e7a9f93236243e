# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may speak: the proof rule for plain RTP, under a virtual clock."""

from __future__ import annotations

import msgspec

from support.media_rig import PEER, UplinkRig, talk, voice
from trunkline.agent_bridge.dialect import FLAG_SPEECH
from trunkline.gateway.media import source
from trunkline.gateway.media.table import Table
from trunkline.rtp.outcomes import Drop

OTHER_PORT = (PEER[0], 4444)


def spoken(rig: UplinkRig) -> int:
    return sum(bool(frame.flags & FLAG_SPEECH) for frame in rig.heard)


def test_a_new_ssrc_takes_over_after_two_packets() -> None:
    """A restarted sender is believed within 200 ms, once it is consistent; one stray packet changes nothing."""
    rig = UplinkRig()
    talk(rig, range(10))
    rig.packet(voice(999, ssrc=6))
    talk(rig, range(10, 12))
    assert rig.table.shared.rx_ssrc[0] == 5
    assert rig.drops() == {Drop.SSRC: 1}
    talk(rig, range(500, 510), ssrc=6)
    assert rig.table.shared.rx_ssrc[0] == 6
    assert sum(bool(f.flags & FLAG_SPEECH) for f in rig.heard) >= 12 + 10 - 200 // 20


def test_a_sequence_jump_restarts_the_source() -> None:
    """A jump beyond MAX_DROPOUT costs one packet (RFC 3550 A.1), not the call."""
    rig = UplinkRig()
    talk(rig, range(10))
    talk(rig, range(30_000, 30_010))
    assert rig.drops() == {Drop.PROBATION: 1}
    assert rig.table.shared.rx_max_seq[0] & 0xFFFF == 30_009


def test_packets_from_elsewhere_change_nothing() -> None:
    """Sprayed packets are counted and leave no trace in statistics, timeline or address."""
    rig = UplinkRig()
    talk(rig, range(5))
    before = {
        name: rig.table.shared.__dict__[name][0].copy() for name in ("rx_max_seq", "rx_jitter_ts", "rx_ssrc")
    }
    for seq in range(100):
        rig.packet(voice(seq, ssrc=9), source=("198.51.100.7", 4000))
    assert rig.drops() == {Drop.SOURCE: 100}
    assert {name: rig.table.shared.__dict__[name][0] for name in before} == before
    assert rig.streams[0].remote == PEER
    assert len(rig.heard) == 5


def test_another_port_at_the_named_host_is_followed_once() -> None:
    """After four consecutive packets, with the named port quiet; a third port is refused."""
    rig = UplinkRig()
    moved, third = (PEER[0], 4444), (PEER[0], 5555)
    rig.run(600)
    for seq in range(8):
        rig.packet(voice(seq), source=moved)
        rig.run(20)
    assert rig.streams[0].remote == moved
    assert rig.drops() == {Drop.SOURCE: 3}
    rig.run(1000)
    for seq in range(8, 20):
        rig.packet(voice(seq), source=third)
    assert rig.streams[0].remote == moved


def test_a_second_port_is_not_followed_while_the_named_one_speaks() -> None:
    """Whoever sends from the same host cannot take over a live call."""
    rig = UplinkRig()
    for seq in range(20):
        rig.packet(voice(seq))
        rig.packet(voice(seq, ssrc=8), source=(PEER[0], 4444))
        rig.run(20)
    assert rig.streams[0].remote == PEER
    assert rig.drops() == {Drop.SOURCE: 20}


def test_the_named_port_gets_its_call_back() -> None:
    """Another call's stray packets from the same PBX, in a pause of ours, cost us at most two packets."""
    rig = UplinkRig()
    talk(rig, range(20))
    rig.run(2100)
    for seq in range(900, 910):
        rig.packet(voice(seq, ssrc=99), source=OTHER_PORT)
        rig.run(20)
    assert rig.streams[0].remote == OTHER_PORT
    before = spoken(rig)
    for seq in range(20, 120):
        rig.packet(voice(seq, ts=(seq + 115) * 160))
        rig.run(20)
    assert rig.streams[0].remote == PEER
    assert spoken(rig) - before >= 98


def test_a_pause_of_speech_is_no_change_of_port() -> None:
    """600 ms of silence is voice activity detection at the peer: its neighbour's port is not followed."""
    rig = UplinkRig()
    talk(rig, range(20))
    rig.run(600)
    for seq in range(900, 920):
        rig.packet(voice(seq, ssrc=99), source=OTHER_PORT)
    assert rig.streams[0].remote == PEER
    assert rig.drops() == {Drop.SOURCE: 20}


def test_the_old_port_is_not_followed_after_signalling_moved_the_media() -> None:
    """After a re-INVITE the last packets of the old leg change nothing, and the new port is heard at once."""
    rig = UplinkRig()
    talk(rig, range(20))
    source.move(rig.table, rig.streams[0], OTHER_PORT, rig.now_ns)
    for seq in range(20, 70):
        rig.packet(voice(seq), source=PEER)
        rig.run(20)
    before = spoken(rig)
    for seq in range(100):
        rig.packet(voice(seq, ssrc=77), source=OTHER_PORT)
        rig.run(20)
    assert rig.streams[0].remote == OTHER_PORT
    assert spoken(rig) - before >= 98


def test_losses_before_a_change_of_source_stay_counted() -> None:
    rig = UplinkRig()
    talk(rig, range(10))
    rig.run(60)
    talk(rig, range(15, 20))
    rig.run(2100)
    for seq in range(100, 108):
        rig.packet(voice(seq, ssrc=6), source=OTHER_PORT)
        rig.run(20)
    assert rig.table.shared.packets_lost[0] == 5


def test_a_followed_port_survives_a_worker_restart() -> None:
    """The successor sends where its predecessor did, and follows nobody else."""
    rig = UplinkRig()
    rig.run(600)
    for seq in range(8):
        rig.packet(voice(seq), source=OTHER_PORT)
        rig.run(20)
    stream = rig.streams[0]
    generation = int(rig.table.shared.generation[stream.row])
    start = msgspec.structs.replace(stream.start, slot=stream.row, generation=generation)
    successor = Table(rig.table.shared).take(start, None, None)  # type: ignore[arg-type]
    assert successor.remote == OTHER_PORT
    assert successor.resumed


def test_of_two_ssrcs_that_alternate_the_first_stays() -> None:
    rig = UplinkRig()
    for seq in range(50):
        rig.packet(voice(seq), voice(seq, ssrc=8))
        rig.run(20)
    assert rig.table.shared.rx_ssrc[0] == 5
    assert len(rig.heard) == 50
