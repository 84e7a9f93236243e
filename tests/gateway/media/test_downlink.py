# SPDX-License-Identifier: GPL-2.0-or-later
"""The downlink under a virtual clock: pacing, talkspurts, queues, marks, clear, digits."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.media_rig import MS, DownlinkRig, running, start_message
from trunkline.codecs import g711
from trunkline.gateway.media import downlink
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.control import AgentDtmf, AgentEvent
from trunkline.gateway.media.downlink import Downlink
from trunkline.gateway.media.table import Table
from trunkline.rtp.outcomes import Drop


def tone(n: int, start: int = 0) -> np.ndarray:
    """Samples that survive mu-law exactly, so that played audio can be compared."""
    codes = ((np.arange(start, start + n) * 3) % 100).astype(np.uint8)
    return g711.decode_ulaw(codes)


def played(rig: DownlinkRig) -> np.ndarray:
    return g711.decode_ulaw(np.frombuffer(b"".join(p.payload for _, p in rig.sent), np.uint8))


def speech(rig: DownlinkRig) -> np.ndarray:
    """What was played, without leading and trailing silence."""
    audio = played(rig)
    loud = np.flatnonzero(audio)
    return audio[loud[0] : loud[-1] + 1] if len(loud) else audio[:0]


def test_packets_leave_on_a_steady_clock() -> None:
    """A burst of two seconds goes out one packet every 20 ms, sequence and timestamp in step."""
    rig = DownlinkRig()
    rig.speak(tone(16000))
    rig.run(2000)
    packets = [p for _, p in rig.sent]
    packets = packets[:100]
    times = np.diff([t for t, _ in rig.sent]) / MS
    assert np.allclose(times, 20)
    assert np.all(np.diff([p.sequence for p in packets]) == 1)
    assert np.all(np.diff([p.timestamp for p in packets]) == 160)
    assert np.array_equal(played(rig)[:16000], tone(16000))


def test_calls_fall_due_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever they begin, calls join the group that is filling, then open the next, until all are full."""
    monkeypatch.setattr(downlink, "GROUP_CALLS", 3)
    table = Table(Columns(24))
    line = Downlink(table, SimpleNamespace(send=lambda rows, packets: np.ones(len(rows), bool)), send_silence=True)
    due_ns = table.shared.tx_due_ns
    now_ns = 1_000_000_000_000
    groups = []
    for begun in range(20):
        now_ns += 7_300_000
        row = running(table, start_message(), now_ns).row
        line.begin(row, now_ns)
        assert now_ns <= due_ns[row] < now_ns + 20 * MS
        assert line.next_due_ns <= due_ns[row]
        groups.append(int(due_ns[row]) % (20 * MS))
        sizes = sorted(groups.count(group) for group in set(groups))
        assert sizes[1:] == [3] * (len(sizes) - 1) if begun < 12 else sizes[-1] - sizes[0] <= 1, sizes
        line.advance(now_ns)
    assert set(groups) == {0, 5 * MS, 10 * MS, 15 * MS}


def test_a_group_whose_calls_have_ended_fills_first() -> None:
    """Two that were left alone at different times stay apart; who comes joins the larger group."""
    table = Table(Columns(24))
    line = Downlink(table, SimpleNamespace(send=lambda rows, packets: np.ones(len(rows), bool)), send_silence=True)
    due_ns, now_ns = table.shared.tx_due_ns, 1_000_000_000_000
    for phase in (0, 5, 5, 15):
        due_ns[running(table, start_message(), now_ns).row] = now_ns + phase * MS
    row = running(table, start_message(), now_ns).row
    line.begin(row, now_ns + 1)
    assert due_ns[row] == now_ns + 5 * MS


def test_silence_is_sent_until_there_is_speech() -> None:
    """The peer hears a quiet line, not a dead one; the first packet of speech has the marker."""
    rig = DownlinkRig()
    rig.run(200)
    rig.speak(tone(320))
    rig.run(100)
    markers = [p.marker for _, p in rig.sent]
    assert markers.count(True) == 1
    assert markers.index(True) >= 10
    assert np.array_equal(speech(rig)[:320], tone(320))


def test_a_pause_is_told_with_comfort_noise() -> None:
    """RFC 3389: once when it begins, then each second, in place of silence; the marker is the next talkspurt's."""
    rig = DownlinkRig(send_silence=False, send_cn_pt=13, receive_cn_pt=13)
    rig.speak(tone(800))
    rig.run(2250)
    rig.speak(tone(320, 100))
    rig.run(60)
    kinds = [packet.payload_type for _, packet in rig.sent]
    noise = [i for i, kind in enumerate(kinds) if kind == 13]
    assert len(noise) == 3 and noise == list(range(noise[0], noise[0] + 3))
    assert all(rig.sent[i][1].payload == bytes([66]) and not rig.sent[i][1].marker for i in noise)
    seconds = np.diff([rig.sent[i][0] for i in noise]) / 1e9
    assert np.allclose(seconds, 1.0, atol=0.03)
    assert [packet.marker for _, packet in rig.sent] == [i in (0, noise[-1] + 1) for i in range(len(kinds))]
    start_ns, first = rig.sent[0]
    for sent_ns, packet in rig.sent:
        assert (packet.timestamp - first.timestamp) & 0xFFFFFFFF == (sent_ns - start_ns) // MS * 8
    assert [packet.sequence - first.sequence for _, packet in rig.sent] == list(range(len(kinds)))


def test_comfort_noise_is_not_sent_where_silence_is() -> None:
    """A peer that takes it need not get it."""
    rig = DownlinkRig(send_cn_pt=13, receive_cn_pt=13)
    rig.run(1500)
    assert {packet.payload_type for _, packet in rig.sent} == {0}


def test_suppressed_silence_leaves_the_timestamps_right() -> None:
    """With silence suppressed nothing is sent in a pause, and the next talkspurt's timestamp counts it."""
    rig = DownlinkRig(send_silence=False)
    rig.speak(tone(320))
    rig.run(1000)
    rig.speak(tone(320))
    rig.run(200)
    spurts = [i for i, (_, p) in enumerate(rig.sent) if p.marker]
    first, second = (rig.sent[i] for i in spurts)
    assert second[1].sequence - first[1].sequence < 10
    assert (second[1].timestamp - first[1].timestamp) * 125_000 == second[0] - first[0]


def test_a_first_frame_waits_a_moment_and_no_more() -> None:
    """One frame alone starts within a packet time and the cushion of 5 ms."""
    for offset in range(20):
        rig = DownlinkRig()
        rig.run(100 + offset)
        begin = rig.now_ns
        rig.speak(tone(160))
        rig.run(60)
        start = next(t for t, p in rig.sent if p.marker)
        assert start - begin <= 25 * MS


def test_real_time_speech_with_jitter_does_not_run_dry() -> None:
    """Frames every 20 ms, each up to 4 ms late: one talkspurt, no underrun, nothing changed."""
    rng = np.random.default_rng(3)
    rig = DownlinkRig()
    for i in range(200):
        late = float(rng.uniform(0, 4))
        rig.run(late)
        rig.speak(tone(160, i * 160))
        rig.run(20 - late)
    rig.run(100)
    assert rig.table.shared.underruns[0] == 0
    assert sum(p.marker for _, p in rig.sent) == 1


def test_an_underrun_fades_and_is_counted() -> None:
    """The queue runs dry in mid-speech: the last sample fades out, and what comes next counts one underrun."""
    rig = DownlinkRig()
    loud = np.full(320, 8031, np.int16)  # a value that mu-law keeps
    rig.speak(loud)
    rig.run(65)
    rig.speak(loud)
    rig.run(100)
    assert rig.table.shared.underruns[0] == 1
    after = played(rig)[320:480].astype(int)
    assert 0 < after[1] < 8031
    assert np.all(np.diff(after[:80]) <= 0)
    assert not after[100:].any()


def test_a_long_pause_is_no_underrun() -> None:
    rig = DownlinkRig()
    rig.speak(tone(320))
    rig.run(1000)
    rig.speak(tone(320))
    rig.run(200)
    assert rig.table.shared.underruns[0] == 0


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=30))
def test_any_chunk_sizes_give_the_same_audio(chunks: list[int]) -> None:
    """However the agent cuts its speech, the caller hears the same samples."""
    rig = DownlinkRig()
    total = sum(chunks)
    said, at = tone(total), 0
    for size in chunks:
        rig.speak(said[at : at + size])
        at += size
    rig.run(total / 8 + 200, step_ms=5)
    heard = played(rig)
    first = np.flatnonzero([p.marker for _, p in rig.sent])[0] * 160
    assert np.array_equal(heard[first : first + total], said)


def test_the_queue_is_bounded_and_says_so() -> None:
    """What does not fit is dropped from the end and counted, after the agent was asked to pause."""
    rig = DownlinkRig(queue_ms=1000)
    for i in range(100):
        rig.speak(tone(160, i * 160))
    assert rig.table.shared.drops[0, Drop.AGENT_OVERFLOW] == 50
    assert [r.data[0] for r in rig.link.said if r.kind == "flow"] == [False]
    rig.run(1100)
    assert [r.data[0] for r in rig.link.said if r.kind == "flow"] == [False, True]
    assert np.array_equal(played(rig)[:8000], tone(8000))


def test_a_mark_fires_after_the_packet_with_its_last_sample() -> None:
    """Not when it was asked for, not one packet early."""
    rig = DownlinkRig()
    rig.speak(tone(800))
    rig.playback.mark(rig.stream, "said")
    while len(rig.sent) < 4:
        rig.run(1)
    rig.run(15)
    assert rig.link.said == []
    rig.run(10)
    assert len(rig.sent) == 5
    assert [r.data for r in rig.link.said] == [("said", 800, "played")]


def test_a_mark_behind_nothing_fires_at_once() -> None:
    rig = DownlinkRig()
    rig.playback.mark(rig.stream, "idle")
    assert [r.data for r in rig.link.said] == [("idle", 0, "played")]


def test_clear_silences_within_one_packet_and_tells_the_truth() -> None:
    """Played and discarded add up to what was said; each cut mark is named once."""
    rig = DownlinkRig()
    rig.speak(tone(8000))
    rig.playback.mark(rig.stream, "end")
    rig.run(300)
    before = len(rig.sent)
    rig.playback.clear(rig.stream, "barge-in")
    rig.run(200)
    (cleared,) = [r.data for r in rig.link.said if r.kind == "cleared"]
    name, played_ms, discarded_ms, marks = cleared
    assert (name, marks) == ("barge-in", ("end",))
    assert played_ms + discarded_ms == 1000
    assert played_ms == before * 20
    after = [p for _, p in rig.sent[before:]]
    quiet = g711.decode_ulaw(np.frombuffer(b"".join(p.payload for p in after[1:]), np.uint8))
    assert not quiet.any()
    assert not [r for r in rig.link.said if r.kind == "mark"]
    assert (
        AgentEvent(
            rig.stream.call_id,
            "clear",
            {"played_ms": played_ms, "discarded_ms": discarded_ms, "marks": 1, "first_marks": "end"},
        )
        in rig.posted
    )


def test_digits_replace_audio_and_audio_waits() -> None:
    """RFC 4733: one timestamp, marker on the first, three ends; the speech goes on afterwards, whole."""
    rig = DownlinkRig()
    rig.speak(tone(1600))
    rig.playback.send_digits(rig.stream, "1", 100, 60)
    rig.run(600)
    events = [p for _, p in rig.sent if p.payload_type == 101]
    assert len({p.timestamp for p in events}) == 1
    assert [p.marker for p in events] == [True] + [False] * (len(events) - 1)
    assert sum(p.payload[1] >> 7 for p in events) == 3
    assert np.all(np.diff([p.sequence for _, p in rig.sent]) == 1)
    audio = b"".join(p.payload for _, p in rig.sent if p.payload_type == 0)
    assert np.array_equal(g711.decode_ulaw(np.frombuffer(audio, np.uint8))[:1600], tone(1600))


def test_digits_without_telephone_event_are_handed_back() -> None:
    """A peer that takes no RTP events gets its digits another way: call control is told."""
    rig = DownlinkRig(send_dtmf_pt=-1)
    rig.playback.send_digits(rig.stream, "12#", 160, 80)
    assert rig.posted == [AgentDtmf(rig.stream.call_id, "12#", 160)]


@pytest.mark.parametrize("ptime_ms", [10, 20, 60])
def test_a_short_stall_is_made_up_for(ptime_ms: int) -> None:
    """A tick that is 90 ms late sends all that has fallen due: no hole in the timestamps, nothing lost."""
    rig = DownlinkRig(ptime_ms=ptime_ms)
    rig.speak(tone(4800))
    rig.run(100)
    rig.now_ns += 90 * MS
    rig.run(600)
    assert set(np.diff([p.timestamp for _, p in rig.sent])) == {ptime_ms * 8}
    assert np.array_equal(played(rig)[:4800], tone(4800))


def test_a_long_stall_is_not_made_up_for() -> None:
    """After half a second without a tick, time is lost, not crammed: timestamps keep real time."""
    rig = DownlinkRig()
    rig.speak(tone(16000))
    rig.run(100)
    start = rig.sent[0]
    rig.now_ns += 500 * MS
    rig.run(200)
    for at, packet in rig.sent[8:]:
        assert abs((packet.timestamp - start[1].timestamp) * 125_000 - (at - start[0])) <= 20 * MS
    assert np.all(np.diff([p.sequence for _, p in rig.sent]) == 1)


def test_a_refused_packet_is_counted_and_the_call_goes_on() -> None:
    rig = DownlinkRig()
    rig.refuse = True
    rig.run(100)
    rig.refuse = False
    rig.run(100)
    refused = rig.table.shared.drops[0, Drop.SEND_FAILED]
    assert refused >= 5
    assert rig.sent[0][1].sequence == refused
    assert rig.table.shared.packets_sent[0] == len(rig.sent) >= 4


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
def test_every_packet_time(ptime_ms: int) -> None:
    rig = DownlinkRig(ptime_ms=ptime_ms)
    rig.speak(tone(4800))
    rig.run(700)
    sizes = {len(p.payload) for _, p in rig.sent}
    assert sizes == {ptime_ms * 8}
    assert np.array_equal(played(rig)[:4800], tone(4800))
