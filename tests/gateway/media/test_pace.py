# SPDX-License-Identifier: GPL-2.0-or-later
"""Live agents whose clock is not ours: no growing delay, no running dry, and nothing for other agents."""

from __future__ import annotations

import numpy as np
import pytest

from support.media_rig import MS, DownlinkRig, running, start_message
from trunkline.gateway.media import compiled
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.frame_queue import FrameQueue
from trunkline.gateway.media.pace import Pace
from trunkline.gateway.media.table import Table

FRAME = 160


def live(
    rig: DownlinkRig, seconds: float, ppm: float, *, quiet: bool = True, prebuffer_ms: int = 0
) -> list[int]:
    """Speak in real time by a clock that is `ppm` fast; returns what waits for the caller each second, in ms."""
    interval_ns = 20 * MS * (1 - ppm * 1e-6)
    loud = (np.sin(np.arange(FRAME) * 0.4) * 8000).astype(np.int16)
    faint = (np.arange(FRAME) % 2 * 20).astype(np.int16)
    begin_ns, waiting, turn = rig.now_ns, [], 0
    if prebuffer_ms:
        rig.speak(np.tile(loud, prebuffer_ms // 20))
    for k in range(int(seconds * 50)):
        at_ns = begin_ns + int(k * interval_ns)
        while rig.now_ns < at_ns:
            rig.now_ns = min(at_ns, rig.now_ns + 5 * MS // 2)
            rig.downlink.advance(rig.now_ns)
        turn = k % 75
        rig.speak(faint if quiet and turn >= 50 else loud)
        if k % 50 == 49:
            row = np.array([rig.stream.row])
            waiting.append(int(rig.table.formats.at(0).queue.queued_samples(row)[0]) // 8)
    return waiting


@pytest.mark.parametrize("ppm", [2000, 5000])
def test_a_fast_agent_does_not_fall_behind(ppm: int) -> None:
    """What it says too much is left out where it is quiet: 100 s would otherwise add 200 and 500 ms."""
    rig = DownlinkRig()
    waiting = live(rig, 100, ppm)
    assert max(waiting) <= 120
    c = rig.table.shared
    assert 100 * ppm / 20_000 - 6 <= c.frames_left_out[0] <= 100 * ppm / 20_000
    assert c.underruns[0] == 0
    assert c.frames_from_agent[0] == c.frames_played[0] + c.frames_left_out[0] + waiting[-1] // 20


def test_a_slow_agent_does_not_run_dry() -> None:
    """Quiet blocks come twice: without them its queue would run dry three times in 200 s."""
    rig = DownlinkRig()
    live(rig, 200, -300)
    c = rig.table.shared
    assert c.underruns[0] == 0
    assert 2 <= c.frames_repeated[0] <= 4
    sent = [packet.sequence for _, packet in rig.sent]
    assert np.all(np.diff(sent) % 65536 == 1)


@pytest.mark.parametrize("late_ms", [0, 1, 3, 10, 19])
def test_an_exact_clock_is_left_alone(late_ms: int) -> None:
    """Whatever the phase of agent and packet clock: nothing is left out or said twice in a minute."""
    rig = DownlinkRig()
    rig.run(late_ms, step_ms=0.5)
    live(rig, 60, 0)
    c = rig.table.shared
    assert (c.frames_left_out[0], c.frames_repeated[0], c.underruns[0]) == (0, 0, 0)


def test_music_is_bounded_too() -> None:
    """Nothing in it is quiet: the delay stops growing at a bound all the same."""
    rig = DownlinkRig()
    waiting = live(rig, 240, 1000, quiet=False)
    assert waiting[-1] <= 180
    assert rig.table.shared.underruns[0] == 0


def test_what_an_agent_holds_in_reserve_is_left_alone() -> None:
    """Half a second that it sent ahead on purpose stays, by an exact clock and by one that drifts."""
    for ppm in (0, 1000):
        rig = DownlinkRig()
        waiting = live(rig, 60, ppm, prebuffer_ms=500)
        assert min(waiting) >= 480
        assert max(waiting) <= 580
        assert rig.table.shared.frames_left_out[0] <= 60 * ppm / 20_000


def test_a_faster_than_real_time_agent_is_played_whole() -> None:
    """A minute of speech at once, and more while it plays: not a sample is left out."""
    rig = DownlinkRig()
    speech = np.zeros(8000 * 20, np.int16)
    for _ in range(3):
        rig.speak(speech)
        rig.run(15_000, step_ms=5)
    rig.run(20_000, step_ms=5)
    c = rig.table.shared
    assert c.frames_left_out[0] == c.frames_repeated[0] == 0
    assert c.down_position[0] == 3 * len(speech)


def test_marks_are_reached_in_spite_of_what_was_left_out() -> None:
    """Positions count the agent's samples, also those that were left out."""
    rig = DownlinkRig()
    live(rig, 60, 5000)
    rig.playback.mark(rig.stream, "end")
    rig.run(500, step_ms=5)
    assert rig.table.shared.frames_left_out[0] > 5
    assert [(said.kind, said.data[0], said.data[2]) for said in rig.link.said] == [("mark", "end", "played")]
    assert rig.table.shared.down_position[0] == 60 * 50 * FRAME


@pytest.mark.parametrize("native", [compiled.native, None])
def test_only_rows_that_are_due_and_have_a_quiet_block_are_found(
    monkeypatch: pytest.MonkeyPatch, native: object
) -> None:
    """Whoever waits is asked at once: of those to leave one out, who has another; at any cost, whatever they say."""
    monkeypatch.setattr(compiled, "native", native)
    table = Table(Columns(8))
    for _ in range(8):
        running(table, start_message(), 0)
    rows, queue = np.arange(8), table.formats.at(0).queue
    pace = Pace(table)
    loud, faint = np.full((8, FRAME), 9000, np.int16), np.full((8, FRAME), 30, np.int16)
    queue.push(rows[:3], loud[:3])
    queue.push(rows[:6], faint[:6])
    queue.push(rows[3:5], loud[:2])
    table.shared.tx_due_ns[:] = [5, 5, 5, 5, 6, 5, 5, 5]
    pace.want(rows, np.array([2, -1, 2, 2, 2, 2, 2, 0]))
    pace._at_any_cost[2] = True
    assert pace.find(5).tolist() == [2, 3], "0, 1: loud; 4: not due; 5: the only one; 6: none; 7: wants nothing"
    assert pace.find(6).tolist() == [2, 3, 4]
    pace.want(rows[5:6], -1)
    assert pace.find(5).tolist() == [2, 3, 5]
    again = pace.adjust(table.formats.list[0], rows, queue.count[rows] > 0)
    assert np.flatnonzero(again).tolist() == [5]
    assert queue.count.tolist() == [2, 2, 1, 1, 1, 1, 0, 0]
    assert table.shared.frames_left_out.tolist() == [0, 0, 1, 1, 1, 0, 0, 0]
    assert table.shared.down_position.tolist() == [0, 0, FRAME, FRAME, FRAME, 0, 0, 0]
    assert pace.find(6).tolist() == [], "2 did it at any cost, 3 and 4 have one block, 5 has said its own twice"
    pace.forget(0)
    queue.pop(rows[:1])
    queue.push(rows[:1], faint[:1])
    assert pace.find(6).tolist() == [], "a new call owes nothing"


@pytest.mark.skipif(compiled.native is None, reason="nothing is compiled")
def test_the_kernel_does_not_look_beyond_queues_and_columns() -> None:
    """Rows that a queue has not, rows that a column has not, and no room for the answer."""
    table = Table(Columns(4))
    running(table, start_message(), 0)
    fmt, columns = table.formats.at(0), (np.ones(4, np.int32), np.zeros(4, bool), table.shared.send)
    bound = (*columns, table.formats.of_row, fmt.index, -50.0)
    kernel = compiled.bind("suited", *fmt.queue.arrays, *bound)
    short = compiled.bind("suited", *FrameQueue(3, FRAME, 4).arrays, *bound)
    assert kernel is not None
    assert short is not None
    assert kernel(np.arange(4), 1, np.zeros(4, np.intp)) == 0
    for kernel_, rows, room in ((kernel, [4], 4), (kernel, [-1], 4), (kernel, [0, 1], 1), (short, [3], 4)):
        with pytest.raises((ValueError, IndexError)):
            kernel_(np.array(rows, np.intp), 1, np.zeros(room, np.intp))
