# SPDX-License-Identifier: GPL-2.0-or-later
"""An agent's speech that stands still: silence on the line, and nothing of it lost, moved or reported."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from support.media_rig import DownlinkRig, samples

LOUD = np.full(160 * 50, 4000, np.int16)
"One second."


def talking() -> DownlinkRig:
    rig = DownlinkRig()
    rig.speak(LOUD)
    rig.playback.mark(rig.stream, "end")
    rig.run(300)
    return rig


def test_it_fades_at_the_next_packet_and_keeps_its_queue() -> None:
    rig = talking()
    position, queued = int(rig.table.shared.down_position[0]), int(rig.table.formats.at(0).queue.count[0])
    before = len(rig.sent)
    rig.playback.pause(rig.stream, paused=True)
    rig.run(1000)
    first, *rest = rig.sent[before:]
    fade = samples(first[1])
    assert fade[0] > 3000 and (np.diff(fade.astype(int)) <= 0).all() and fade[-1] == 0, "5 ms, then silence"
    assert all(not samples(packet).any() for _, packet in rest) and len(rest) == 49
    assert int(rig.table.shared.down_position[0]) == position
    assert int(rig.table.formats.at(0).queue.count[0]) == queued
    assert not [reply for reply in rig.link.said if reply.kind == "mark"], "marks wait"


def test_it_goes_on_with_the_next_sample_and_every_packet_time_has_its_packet() -> None:
    rig = talking()
    rig.playback.pause(rig.stream, paused=True)
    rig.run(400)
    rig.playback.pause(rig.stream, paused=False)
    rig.run(1000)
    c = rig.table.shared
    assert (int(c.down_position[0]), int(c.frames_played[0]), int(c.underruns[0])) == (len(LOUD), 50, 0)
    assert [reply.data[2] for reply in rig.link.said if reply.kind == "mark"] == ["played"]
    steps = {(b.timestamp - a.timestamp) & 0xFFFFFFFF for (_, a), (_, b) in itertools.pairwise(rig.sent)}
    assert steps == {160}
    opening = [packet.marker for _, packet in rig.sent]
    assert sum(opening) == 2, "speech that goes on is a talkspurt of its own"


def test_what_is_said_meanwhile_waits_behind_it() -> None:
    rig = talking()
    rig.playback.pause(rig.stream, paused=True)
    rig.speak(np.full(160 * 10, -4000, np.int16))
    rig.run(200)
    rig.playback.pause(rig.stream, paused=False)
    rig.run(1500)
    heard = np.concatenate([samples(packet) for _, packet in rig.sent])
    assert (np.flatnonzero(heard < -3000).min() > np.flatnonzero(heard > 3000).max())
    assert int(rig.table.shared.down_position[0]) == len(LOUD) + 1600


def test_clear_ends_a_pause() -> None:
    rig = talking()
    rig.playback.pause(rig.stream, paused=True)
    rig.run(100)
    rig.playback.clear(rig.stream, "x")
    (cleared,) = [reply.data for reply in rig.link.said if reply.kind == "cleared"]
    assert cleared[3] == ("end",)
    rig.speak(LOUD)
    before = int(rig.table.shared.down_position[0])
    rig.run(100)
    assert int(rig.table.shared.down_position[0]) > before


def test_pausing_twice_is_pausing_once() -> None:
    rig = talking()
    for paused in (True, True, False, False):
        rig.playback.pause(rig.stream, paused=paused)
    told = [(m.event, m.data["paused"]) for m in rig.posted if getattr(m, "event", "") == "pause"]
    assert told == [("pause", True), ("pause", False)]


@pytest.mark.parametrize("send_silence", [True, False])
def test_digits_are_sent_all_the_same(send_silence: bool) -> None:
    rig = DownlinkRig(send_silence=send_silence)
    rig.speak(LOUD)
    rig.run(100)
    rig.playback.pause(rig.stream, paused=True)
    rig.playback.send_digits(rig.stream, "5", 160, 80)
    rig.run(400)
    assert any(packet.payload_type == 101 for _, packet in rig.sent)
