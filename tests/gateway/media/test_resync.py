# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a sender does to its counters, it is heard again within 200 ms, and time goes on.

Each case runs in virtual time for packets of 20, 30 and 60 ms.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from support.media_rig import MS, UplinkRig, voice
from trunkline.agent_bridge.dialect import FLAG_CONCEALED, FLAG_GAP, FLAG_SPEECH
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.packet import Packet

PTIMES = [20, 30, 60]


@dataclasses.dataclass
class Sender:
    """A talker with counters that a test may tamper with."""

    rig: UplinkRig
    ptime_ms: int
    seq: int = 100
    ts: int = 1600
    ssrc: int = 5

    def say(self, packets: int, *, run: bool = True) -> None:
        for _ in range(packets):
            self.rig.packet(voice(self.seq, ssrc=self.ssrc, ts=self.ts, size=self.ptime_ms * 8))
            self.seq += 1
            self.pause(1, run=run)

    def pause(self, packets: int, *, run: bool = True) -> None:
        """Time passes for the sender's clock, and for ours."""
        self.ts += packets * self.ptime_ms * 8
        if run:
            self.rig.run(packets * self.ptime_ms)


def heard_again_after_ms(rig: UplinkRig, since_ns: int, frames: int = 3) -> float:
    """From `since_ns` to the first of so many spoken frames in a row."""
    run = 0
    for frame in rig.heard:
        run = run + 1 if frame.flags & FLAG_SPEECH and frame.now_ns >= since_ns else 0
        if run == 1:
            first_ns = frame.now_ns
        if run == frames:
            return (first_ns - since_ns) / MS
    return float("inf")


def frames_minus_time(rig: UplinkRig) -> float:
    return len(rig.heard) - (rig.now_ns - 1_000_000_000_000) / (20 * MS)


def _ssrc(sender: Sender) -> None:
    sender.ssrc, sender.seq, sender.ts = 6, 40_000, 123_456_789


def _sequence_forward(sender: Sender) -> None:
    sender.seq += 20_000


def _sequence_little_forward(sender: Sender) -> None:
    sender.seq += 900


def _sequence_back(sender: Sender) -> None:
    sender.seq -= 10_000


def _sequence_little_back(sender: Sender) -> None:
    sender.seq -= 40


def _restart(sender: Sender) -> None:
    sender.seq, sender.ts = 0, 0


def _timestamp_forward(sender: Sender) -> None:
    sender.ts += 50_000_000


def _timestamp_little_forward(sender: Sender) -> None:
    sender.ts += 3200


def _timestamp_back(sender: Sender) -> None:
    sender.ts -= 50_000_000


def _timestamp_little_back(sender: Sender) -> None:
    sender.ts -= 8000


def _both(sender: Sender) -> None:
    sender.seq += 5
    sender.ts += 90_000_000


CASES = [
    _ssrc, _sequence_forward, _sequence_little_forward, _sequence_back, _sequence_little_back, _restart,
    _timestamp_forward, _timestamp_little_forward, _timestamp_back, _timestamp_little_back, _both,
]  # fmt: skip


@pytest.mark.parametrize("ptime_ms", PTIMES)
@pytest.mark.parametrize("tamper", CASES, ids=lambda case: case.__name__.strip("_"))
def test_a_sender_is_heard_again_within_200_ms(tamper: Callable[[Sender], None], ptime_ms: int) -> None:
    """And the agent has neither lost nor gained time by it."""
    rig = UplinkRig(ptime_ms=ptime_ms)
    sender = Sender(rig, ptime_ms)
    sender.say(1000 // ptime_ms)
    before, at_ns = frames_minus_time(rig), rig.now_ns
    tamper(sender)
    sender.say(1000 // ptime_ms)
    assert heard_again_after_ms(rig, at_ns) <= 200
    assert abs(frames_minus_time(rig) - before) <= 1 + ptime_ms / 20


@pytest.mark.parametrize("ptime_ms", PTIMES)
def test_old_and_new_source_overlap(ptime_ms: int) -> None:
    """The new one is heard within 200 ms of the old one's last packet, which it does not disturb before."""
    rig = UplinkRig(ptime_ms=ptime_ms)
    old, new = Sender(rig, ptime_ms), Sender(rig, ptime_ms, 7000, 99, 6)
    old.say(600 // ptime_ms)
    for _ in range(300 // ptime_ms):
        new.say(1, run=False)
        old.say(1)
    assert set(rig.drops()) == {Drop.SSRC}
    at_ns = rig.now_ns
    new.say(1000 // ptime_ms)
    assert heard_again_after_ms(rig, at_ns) <= 200
    assert rig.table.shared.rx_ssrc[0] == 6


def test_a_hundred_restarts_neither_lose_nor_gain_time() -> None:
    """What is less than a packet time is carried from restart to restart."""
    rig = UplinkRig()
    sender = Sender(rig, 20)
    for i in range(100):
        sender.ssrc = 1000 + i
        sender.say(10)
        rig.run(7)
        sender.ts += 56
    assert abs(frames_minus_time(rig)) <= 3


@pytest.mark.parametrize("ptime_ms", PTIMES)
def test_the_first_syllable_after_a_pause_is_whole(ptime_ms: int) -> None:
    """After DTX of 5 s, time was filled with flagged frames and not one packet of speech is lost."""
    rig = UplinkRig(ptime_ms=ptime_ms)
    sender = Sender(rig, ptime_ms)
    sender.say(600 // ptime_ms)
    spoken = len([f for f in rig.heard if f.flags & FLAG_SPEECH])
    sender.pause(4980 // ptime_ms)
    pause = rig.heard[spoken:]
    assert len(pause) >= 4980 / 20 - 5
    assert all(f.flags & (FLAG_GAP | FLAG_CONCEALED) for f in pause)
    sender.say(600 // ptime_ms)
    assert not rig.drops()
    assert rig.table.shared.packets_lost[0] == 0
    assert abs(len([f for f in rig.heard if f.flags & FLAG_SPEECH]) - 2 * spoken) <= 1
    assert abs(frames_minus_time(rig)) <= 4


@pytest.mark.parametrize("drift_ms", [-180, 180])
def test_a_clock_that_drifted_in_a_long_pause_costs_no_syllable(drift_ms: int) -> None:
    """Fifteen minutes of silence, after which the caller's clock is off by 200 ppm: all is heard at once."""
    rig = UplinkRig(ptime_ms=60)  # for the test's own sake: fewer frames to fill
    sender = Sender(rig, 60)
    sender.say(10)
    sender.pause(15_000, run=False)
    rig.run(900_000 - drift_ms, step_ms=240)
    at_ns = rig.now_ns
    before = len(rig.heard)
    sender.say(10)
    assert not rig.drops()
    assert heard_again_after_ms(rig, at_ns) == 0
    assert sum(bool(f.flags & FLAG_SPEECH) for f in rig.heard[before:]) == 30


def test_an_outage_that_ends_in_a_burst_is_no_change_of_clock() -> None:
    """Two seconds of packets come at once, in 150 ms: their places were filled, and time is not lived twice."""
    rig = UplinkRig()
    sender = Sender(rig, 20)
    sender.say(50)
    rig.run(2000)
    for _ in range(100):
        sender.say(1, run=False)
        rig.run(1.5)
    rig_time = frames_minus_time(rig)
    assert rig_time <= 3
    sender.say(3, run=False)
    sender.say(50)
    assert heard_again_after_ms(rig, rig.now_ns - 1000 * MS) <= 200


def test_reordering_within_the_target_loses_nothing() -> None:
    """Pairs, triples and a packet 30 ms late, for a thousand packets: all are heard, in order, once."""
    rig = UplinkRig()
    rng = np.random.default_rng(4)
    arrivals = sorted((20 * k + float(rng.uniform(0, 35)), k) for k in range(1000))
    for at_ms, k in arrivals:
        rig.run(max(0.0, at_ms - (rig.now_ns - 1_000_000_000_000) / MS))
        rig.packet(voice(k))
    assert not rig.drops()
    assert rig.table.shared.packets_reordered[0] > 100
    assert sum(bool(f.flags & FLAG_SPEECH) for f in rig.heard) == 1000
    assert not any(f.flags & FLAG_CONCEALED for f in rig.heard)


def test_duplicates_are_never_played_however_late() -> None:
    """Each packet comes three times: at once, after 50 ms and after a second."""
    rig = UplinkRig()
    for k in range(200):
        rig.packet(voice(k), voice(k))
        if k >= 3:
            rig.packet(voice(k - 3))
        if k >= 50:
            rig.packet(voice(k - 50))
        rig.run(20)
    assert sum(bool(f.flags & FLAG_SPEECH) for f in rig.heard) == 200
    assert rig.drops() == {Drop.DUPLICATE: 200 + 197 + 150}


def test_audio_that_a_pause_or_a_key_has_overtaken_is_heard() -> None:
    """Its number is old and its timestamp may be new to us: that is no sender who began anew."""
    for kind in (13, 101):
        rig = UplinkRig()
        for seq in range(20):
            rig.packet(voice(seq))
            rig.run(20)
        late = voice(20)
        rig.packet(Packet(kind, 21, 21 * 160, 5, bytes([40]) if kind == 13 else bytes([5, 10, 0, 160])))
        rig.packet(late)
        rig.run(20)
        assert not rig.drops(), kind
        assert rig.table.shared.packets_reordered[0] == 1 and rig.table.shared.packets_lost[0] == 0
