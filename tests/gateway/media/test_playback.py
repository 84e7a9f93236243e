# SPDX-License-Identifier: GPL-2.0-or-later
"""Marks, clear, flow and digits: an agent learns what the caller has really heard, and no flood costs others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from support.media_rig import MS, DownlinkRig
from trunkline.agent_bridge import link_events, wire
from trunkline.codecs import g711
from trunkline.gateway.media import control
from trunkline.gateway.media.agent_commands import AgentCommands
from trunkline.gateway.media.agent_events import EVENTS_PER_SECOND
from trunkline.gateway.media.channel import MAX_MESSAGE_BYTES
from trunkline.gateway.media.playback import MAX_DIGITS, MAX_MARKS
from trunkline.gateway.media.replay import Replay
from trunkline.gateway.media.rescue import Rescue
from trunkline.rtp.outcomes import Drop


def tone(n: int) -> np.ndarray:
    """Samples that survive mu-law exactly."""
    return g711.decode_ulaw(((np.arange(n) * 3) % 100).astype(np.uint8))


def said(rig: DownlinkRig, kind: str) -> list[tuple[object, ...]]:
    return [reply.data for reply in rig.link.said if reply.kind == kind]


def events(rig: DownlinkRig, event: str) -> list[dict[str, str | int | float]]:
    return [m.data for m in rig.posted if isinstance(m, control.AgentEvent) and m.event == event]


def test_a_mark_is_not_played_when_the_kernel_refused_the_packet() -> None:
    """Audio of a refused packet is gone; the mark is reached with the next packet that leaves."""
    rig = DownlinkRig()
    rig.refuse = True
    rig.speak(tone(160))
    rig.playback.mark(rig.stream, "said")
    rig.run(100)
    rig.playback.mark(rig.stream, "after")
    assert rig.link.said == []
    assert (int(rig.table.shared.frames_played[0]), int(rig.table.shared.down_position[0])) == (0, 0)
    rig.refuse = False
    rig.run(25)
    assert said(rig, "mark") == [("said", 0, "played"), ("after", 0, "played")]


def test_a_packet_lost_in_mid_speech_moves_the_marks_behind_it() -> None:
    """Positions count what was played: a later mark is reached with its own last sample all the same."""
    rig = DownlinkRig()
    rig.speak(tone(480))
    rig.playback.mark(rig.stream, "end")
    rig.run(5)
    rig.refuse = True
    rig.run(20)
    rig.refuse = False
    rig.run(14)
    assert said(rig, "mark") == []
    rig.run(20)
    assert said(rig, "mark") == [("end", 320, "played")]
    assert int(rig.table.shared.drops[0, Drop.SEND_FAILED]) == 1


def test_padding_is_no_speech() -> None:
    """Ten pieces of 5 ms, each the end of its talkspurt, are 50 ms played; what is cut is what was said."""
    rig = DownlinkRig()
    for _ in range(10):
        rig.speak(tone(40))
        rig.run(200)
    rig.speak(tone(1600))
    rig.playback.clear(rig.stream, "x")
    assert said(rig, "cleared") == [("x", 50, 200, ())]


def test_a_marks_position_is_within_what_the_agent_said() -> None:
    rig = DownlinkRig()
    rig.speak(tone(200))
    rig.playback.mark(rig.stream, "m")
    rig.run(200)
    assert said(rig, "mark") == [("m", 200, "played")]


def test_the_end_of_an_utterance_fades_from_its_last_sample() -> None:
    """No click where a block is only half full, and an underrun behind it is counted."""
    rig = DownlinkRig()
    loud = np.full(400, 7932, np.int16)  # a value that mu-law keeps
    rig.speak(loud)
    rig.run(75)
    rig.speak(loud)
    rig.run(200)
    audio = g711.decode_ulaw(np.frombuffer(b"".join(p.payload for _, p in rig.sent), np.uint8)).astype(int)
    assert -np.diff(audio).min() < 1000
    assert (audio == 7932).sum() >= 800
    assert rig.table.shared.underruns[0] == 1


def test_speech_after_a_hold_opens_a_talkspurt() -> None:
    """Nothing was sent for a second: the next packet has the marker (RFC 3551 4.1)."""
    rig = DownlinkRig()
    rig.speak(tone(16000))
    rig.run(300)
    media = rig.stream.media
    rig.table.apply(rig.stream, dataclasses.replace(media, send=False))
    rig.run(1000)
    before = len(rig.sent)
    rig.table.apply(rig.stream, media)
    rig.run(100)
    assert rig.sent[before][1].marker
    assert not rig.sent[before + 1][1].marker


def test_waiting_marks_are_bounded_and_each_is_settled_once() -> None:
    """The oldest gives way; a clear names all that were left, and people are told a number and a few names."""
    rig = DownlinkRig()
    rig.speak(tone(16000))
    names = ["n" * 250 + str(i) for i in range(MAX_MARKS + 3)]
    for name in names:
        rig.playback.mark(rig.stream, name)
    assert said(rig, "mark") == [(name, 0, "cleared") for name in names[:3]]
    rig.playback.clear(rig.stream)
    ((_, _, _, cut),) = said(rig, "cleared")
    assert list(cut) == names[3:]  # type: ignore[call-overload]
    (event,) = events(rig, "clear")
    assert event["marks"] == MAX_MARKS
    assert all(len(control.encode(message)) < MAX_MESSAGE_BYTES // 8 for message in rig.posted)
    assert events(rig, "overflow") == [{"marks": 1}]


def test_events_for_people_come_at_a_pace() -> None:
    """A thousand marks a second are all answered, and told to people twenty at a time with a count of the rest."""
    rig = DownlinkRig()
    for second in range(2):
        for i in range(1000):
            rig.playback.mark(rig.stream, f"{second}.{i}")
        rig.now_ns += 1000 * MS
        rig.downlink.advance(rig.now_ns)
    assert len(said(rig, "mark")) == 2000
    told = events(rig, "mark")
    assert len(told) == 2 * EVENTS_PER_SECOND
    assert told[EVENTS_PER_SECOND]["left_out"] == 1000 - EVENTS_PER_SECOND


def test_overflow_is_told_once_a_second() -> None:
    """A queue that overflows all the time is one event a second, with what was dropped since the last."""
    rig = DownlinkRig(queue_ms=1000)
    for _ in range(30):
        rig.speak(tone(16000))
        rig.run(100)
    told = events(rig, "overflow")
    assert len(told) == 3
    assert told[0] == {"dropped_ms": 1000}
    assert int(told[1]["dropped_ms"]) > 15_000


def test_waiting_digits_are_bounded() -> None:
    """What would make more than 1,024 wait is not sent at all, and somebody is told."""
    rig = DownlinkRig()
    for _ in range(5):
        rig.playback.send_digits(rig.stream, "1" * 256, 40, 40)
    assert rig.stream.digits_out is not None
    assert rig.stream.digits_out.waiting == MAX_DIGITS
    assert events(rig, "overflow") == [{"digits": 256}]
    rig.run(200)
    rig.playback.send_digits(rig.stream, "2", 40, 40)
    assert len(events(rig, "overflow")) == 1


def test_digits_before_the_answer_are_bounded_too() -> None:
    rig = DownlinkRig()
    rig.stream.held_media = True
    for _ in range(5):
        rig.playback.send_digits(rig.stream, "1" * 256, 40, 40)
    assert sum(len(digits) for digits, _, _ in rig.stream.early_digits) == MAX_DIGITS


def test_a_crowded_pool_asks_for_a_pause_before_it_drops() -> None:
    """Flow control knows that the room for all calls together is bounded."""
    rig = DownlinkRig(queue_ms=60000)
    queue = rig.table.formats.at(0).queue
    queue._owed = queue._free_count - queue.promised // 2  # as if others had used the common half
    rig.speak(tone(160 * (queue.promised + 10)))
    assert [data[0] for data in said(rig, "flow")] == [False]


def test_bounds_are_those_of_the_protocols_text() -> None:
    """Agents can read what the gateway keeps for them."""
    text = Path(wire.__file__).with_name("PROTOCOL.md").read_text()
    assert f"**{MAX_MARKS:,} marks**" in text
    assert f"{MAX_DIGITS:,} digits" in text


def test_an_agent_that_asks_learns_how_much_waits() -> None:
    """Queue, its bound, what was played, marks, flow; in ms of speech, whatever the rate."""
    rig = DownlinkRig(queue_ms=2000)
    rescue = Rescue(rig.table, rig.playback, rig.playback.sounds, Replay(rig.table), rig.posted.append)
    commands = AgentCommands(rig.playback, rig.posted.append, rig.table, rig.playback.telling, rescue)
    rig.speak(tone(8000))
    rig.playback.mark(rig.stream, "m")
    rig.run(200)
    played_ms = int(rig.table.shared.down_position[0]) / 8
    commands.take(rig.stream, link_events.AskStatus(rig.stream.channel), rig.now_ns)
    rig.speak(tone(8000))
    commands.take(rig.stream, link_events.AskStatus(rig.stream.channel), rig.now_ns)
    first, second = (data[0] for data in said(rig, "status"))
    assert 180 <= played_ms <= 220
    assert first == {
        "queued_ms": 1000 - played_ms, "max_queue_ms": 2000, "played_ms": played_ms, "marks": 1,
        "flow_paused": 0, "paused": 0, "sending": 1, "underruns": 0, "prebuffer_ms": 5,
    }  # fmt: skip
    assert isinstance(second, dict)
    assert (second["queued_ms"], second["flow_paused"]) == (2000 - played_ms, 1)
