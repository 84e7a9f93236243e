# SPDX-License-Identifier: GPL-2.0-or-later
"""Agents that come late: how long their first words wait, and what is told when that was too short."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.bursty_agents import PATTERNS, Bursty
from support.media_rig import MS, DownlinkRig
from trunkline.gateway.media import control
from trunkline.gateway.media.agent_events import EVENTS_PER_SECOND
from trunkline.gateway.media.prebuffer import CUSHION_NS, GROW, SHRINK, learn

CALLS, UTTERANCES = 3, 12


def learned(wait_ns: int, need_ns: int, most_ns: int) -> int:
    """The scalar twin of `learn`."""
    grown = min(int(need_ns * GROW), most_ns)
    if need_ns > wait_ns:
        wait_ns = grown
    elif need_ns >= 0 and grown < wait_ns:
        wait_ns -= int((wait_ns - grown) * SHRINK)
    return max(wait_ns, CUSHION_NS)


times = st.integers(-1, 400 * MS)


@given(st.lists(st.tuples(times.map(lambda t: max(t, CUSHION_NS)), times, times.map(abs)), min_size=1))
def test_learning_for_many_rows_is_as_for_each(cases: list[tuple[int, int, int]]) -> None:
    """Batch equals loop."""
    wait, need, most = np.array(cases, np.int64).T
    assert learn(wait, need, most).tolist() == [learned(*case) for case in cases]


@pytest.mark.parametrize("name", ["20 ms, steady", "three times real time, 200 ms"])
def test_who_needs_no_prebuffer_pays_for_none(name: str) -> None:
    """Steady agents and fast ones wait exactly as long as with nothing learned, and never run dry."""
    adaptive = Bursty(PATTERNS[name], CALLS, UTTERANCES).run()
    fixed = Bursty(PATTERNS[name], CALLS, UTTERANCES, prebuffer_ms=0).run()
    assert adaptive.underruns == 0
    assert adaptive.delays_ms.tolist() == fixed.delays_ms.tolist()
    assert adaptive.delays_ms.max() <= 25


@pytest.mark.parametrize("name", ["400 ms, 0 to 120 ms late", "20 ms, 0 to 60 ms late", "sentence by sentence"])
def test_agents_that_come_late_run_dry_less_and_less(name: str) -> None:
    """Half of the holes at most, nothing lost, and no wait that is longer than the bound."""
    adaptive = Bursty(PATTERNS[name], CALLS, UTTERANCES).run()
    fixed = Bursty(PATTERNS[name], CALLS, UTTERANCES, prebuffer_ms=0).run()
    assert fixed.underruns > 15
    assert adaptive.underruns * 2 < fixed.underruns
    assert adaptive.missing_ms * 2 < fixed.missing_ms
    assert adaptive.delays_ms.max() <= 200 + 25
    assert adaptive.played_samples == adaptive.spoken_ms * 8


def test_the_bound_is_the_agents() -> None:
    seen = Bursty(PATTERNS["400 ms, 0 to 120 ms late"], CALLS, UTTERANCES, prebuffer_max_ms=40).run()
    assert 40 < seen.delays_ms.max() <= 40 + 25
    nothing = Bursty(PATTERNS["400 ms, 0 to 120 ms late"], CALLS, UTTERANCES, prebuffer_max_ms=0).run()
    assert nothing.delays_ms.max() <= 25


def rig_with(**agent: int) -> DownlinkRig:
    rig = DownlinkRig()
    params = control.AgentParams("a", "unix:/nowhere", "trunkline", 8000, 20, **agent)
    rig.downlink.prebuffer.begin(rig.stream.row, params)
    return rig


def loud(ms: int) -> np.ndarray:
    return np.full(ms * 8, 8031, np.int16)


def first_word(rig: DownlinkRig, ms: int) -> float:
    """How long a chunk waits, in ms, after a second of nothing."""
    rig.run(1000)
    begin, before = rig.now_ns, len(rig.sent)
    rig.speak(loud(ms))
    rig.run(500)
    return next(at for at, packet in rig.sent[before:] if packet.marker) / MS - begin / MS


def test_a_fixed_prebuffer_is_waited_for_each_time() -> None:
    rig = rig_with(prebuffer_ms=150)
    for _ in range(3):
        assert 150 <= first_word(rig, 400) <= 170


def test_what_came_first_is_known_of_one_that_learns_to_wait_later() -> None:
    """All at once is not ahead of real time, though nobody waited for anything when it came."""
    rig = rig_with()
    rig.run(1000)
    rig.playback.pause(rig.stream, paused=True)
    rig.speak(loud(200))
    rig.downlink.prebuffer.wait_ns[rig.stream.row] = 100 * MS
    rig.downlink.prebuffer._note_longer()
    rig.playback.pause(rig.stream, paused=False)
    begin, before = rig.now_ns, len(rig.sent)
    rig.run(200)
    start = next(at for at, packet in rig.sent[before:] if packet.marker)
    assert 100 <= (start - begin) / MS <= 120


def test_what_runs_dry_goes_on_at_once() -> None:
    """The hole has made up for what came late: nothing waits for the prebuffer again in mid-sentence."""
    rig = rig_with(prebuffer_ms=150)
    rig.speak(loud(200))
    rig.run(400)  # it waits 150 ms, plays 200 ms, and is dry
    before = len(rig.sent)
    rig.speak(loud(200))
    rig.run(30)
    assert [packet.marker for _, packet in rig.sent[before:]].count(True) == 1


def test_a_talkspurt_that_is_ahead_of_real_time_does_not_wait_on() -> None:
    """So much has come since its first chunk that there is nothing to fear."""
    rig = rig_with(prebuffer_ms=200)
    rig.run(1000)
    begin, before = rig.now_ns, len(rig.sent)
    rig.speak(loud(100))
    rig.run(40)
    rig.speak(loud(200))
    rig.run(30)
    start = next(at for at, packet in rig.sent[before:] if packet.marker)
    assert 40 <= (start - begin) / MS <= 61


def told(rig: DownlinkRig, kind: str) -> list[tuple[object, ...]]:
    return [reply.data for reply in rig.link.said if reply.kind == kind]


def events(rig: DownlinkRig) -> list[control.AgentEvent]:
    return [m for m in rig.posted if isinstance(m, control.AgentEvent) and m.event == "underrun"]


def test_an_underrun_is_told_with_what_was_missing() -> None:
    """When speech goes on: where in the agent's samples, and for how long the caller heard nothing of it."""
    rig = rig_with(prebuffer_ms=0)
    rig.speak(loud(50))  # two packets and a half
    rig.run(150)
    assert told(rig, "underrun") == []
    rig.speak(loud(200))
    rig.run(300)
    markers = [at for at, packet in rig.sent if packet.marker]
    missing_ms = (markers[1] - markers[0]) // MS - 50
    assert told(rig, "underrun") == [(400, missing_ms)]
    assert [m.data for m in events(rig)] == [{"position": 400, "missing_ms": missing_ms}]
    c = rig.table.shared
    assert (int(c.underruns[0]), int(c.underrun_ns[0]), int(c.worker.underruns[0])) == (1, missing_ms * MS, 1)


def test_speech_after_a_clear_has_not_run_dry() -> None:
    """The agent threw its words away and says others: that was no hole."""
    rig = rig_with()
    rig.speak(loud(400))
    rig.run(100)
    rig.playback.clear(rig.stream)
    rig.run(100)
    rig.speak(loud(100))
    rig.run(300)
    assert told(rig, "underrun") == [] and rig.table.shared.underruns[0] == 0
    assert sum(packet.marker for _, packet in rig.sent) == 2


def test_an_agent_that_always_comes_late_is_told_at_a_pace() -> None:
    """Ten times a second at most, and not a millisecond is left out in the end."""
    rig = rig_with(prebuffer_ms=0)
    for _ in range(50):
        rig.speak(loud(20))
        rig.run(45)
    rig.run(200)
    rig.speak(loud(20))
    rig.run(100)
    count, missing_ns = int(rig.table.shared.underruns[0]), int(rig.table.shared.underrun_ns[0])
    assert count == 50
    assert 10 <= len(told(rig, "underrun")) <= 25
    assert abs(sum(int(data[1]) for data in told(rig, "underrun")) - missing_ns / MS) <= 1  # type: ignore[call-overload]
    assert len(events(rig)) <= 3 * EVENTS_PER_SECOND
