# SPDX-License-Identifier: GPL-2.0-or-later
"""Rings of callers' audio: all rows at once do what one row at a time would, and a memory without end."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from support.media_rig import MS, running, start_message
from trunkline.agent_bridge.dialect import FLAG_GAP, FLAG_REPLAY
from trunkline.gateway.media import replay
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.replay import Replay, Rings
from trunkline.gateway.media.table import Table

FRAME = 160
SLOT_BYTES = 110 * (FRAME * 2 + 8)
"Of 0.2 s of replay, with all that belongs to it."
FRAMES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 25), st.integers(0, 31)), max_size=60)


@given(FRAMES)
def test_a_ring_gives_back_the_last_frame_that_was_written_to_each_place(written: list[tuple[int, int, int]]) -> None:
    """Batches equal a dictionary with as many places; what is not there says what stands there instead."""
    rings, model = Rings(4, 8, FRAME), {}
    slots = [rings.take() for _ in range(4)]
    for row, number, flags in written:
        pcm = np.full((1, FRAME), number * 4 + row, np.int16)
        rings.write(np.array([slots[row]]), np.array([number * FRAME]), np.array([flags], np.uint16), pcm)
        model[row, number % 8] = number, flags
    for number in range(26):
        pcm, flags, found = rings.read(np.array(slots), np.full(4, number * FRAME))
        for row in range(4):
            there = model.get((row, number % 8))
            assert found[row] == (-1 if there is None else there[0] * FRAME)
            if there is not None and there[0] == number:
                assert flags[row] == there[1] and (pcm[row] == number * 4 + row).all()


class Worker:
    """A table with some calls, their rings, and what their agents get."""

    def __init__(self, calls: int, replay_ms: int) -> None:
        self.table = Table(Columns(max(calls, 4)))
        self.replay = Replay(self.table)
        self.rows = np.array([running(self.table, start_message(), 1).row for _ in range(calls)], np.intp)
        for row in self.rows.tolist():
            assert self.replay.open(row, replay_ms, FRAME, 20)
        self.got: dict[int, list[tuple[int, int]]] = {row: [] for row in self.rows.tolist()}
        self.now_ns = 1_000_000_000
        self.able = np.ones(self.table.capacity, bool)

    def say(self, rows: np.ndarray) -> None:
        """One frame of each."""
        c = self.table.shared
        at = c.up_position[rows].copy()
        c.up_position[rows] += FRAME
        pcm = np.repeat((at // FRAME).astype(np.int16)[:, None], FRAME, axis=1)
        flags = np.zeros(len(rows), np.uint16)
        self.replay.keep(rows, at, flags, pcm)
        live = ~self.replay.behind[rows]
        self.hear(rows[live], at[live], flags[live], pcm[live])

    def hear(self, rows: np.ndarray, at: np.ndarray, flags: np.ndarray, pcm: np.ndarray) -> None:
        assert (pcm == (at // FRAME)[:, None]).all(), "the frame that was said there"
        for row, position, flag in zip(rows.tolist(), at.tolist(), flags.tolist(), strict=True):
            self.got[row].append((position // FRAME, flag))

    def step(self, ms: int) -> None:
        self.now_ns += ms * MS
        self.replay.step(self.now_ns, lambda rows: self.able[rows], self.hear)


WHAT = st.sampled_from(["say", "step", "lose", "ack", "slow", "able"])
OPS = st.lists(st.tuples(WHAT, st.integers(0, 2)), max_size=120)


@settings(deadline=None)
@given(OPS)
def test_whatever_happens_an_agent_hears_all_frames_in_order_from_where_it_was_told(ops: list[tuple[str, int]]) -> None:
    """Losses, acknowledgements and slow agents in any order, short of what the rings hold: no hole, nothing twice."""
    worker = Worker(3, 4000)
    for what, number in ops:
        row = int(worker.rows[number])
        match what:
            case "say":
                worker.say(worker.rows)
            case "step":
                worker.step(20)
            case "lose":
                worker.replay.lose(row)
                start, samples = worker.replay.offer(row)
                worker.got[row] = []
                assert start >= int(worker.replay.acked[row])
                assert start + samples == int(worker.table.shared.up_position[row])
            case "ack":
                worker.replay.acknowledge(row, int(worker.table.shared.up_position[row]) - FRAME * number)
            case "slow":
                worker.able[row] = False
                now = worker.table.shared.up_position[row : row + 1]
                if not worker.replay.behind[row]:
                    worker.replay.hold(worker.rows[number : number + 1], now.copy())
            case "able":
                worker.able[row] = True
    worker.able[:] = True
    for _ in range(60):
        worker.step(20)
    assert not worker.replay.waiting
    for row, got in worker.got.items():
        numbers = [n for n, _ in got]
        end = int(worker.table.shared.up_position[row]) // FRAME
        assert numbers == list(range(end - len(numbers), end))
        assert not any(flags & FLAG_GAP for _, flags in got)
        replayed = [bool(flags & FLAG_REPLAY) for _, flags in got]
        assert replayed == sorted(replayed, reverse=True), "what was said before comes before what was not"


def test_a_ring_that_nobody_empties_loses_its_oldest_and_says_so() -> None:
    """One gap, at the first frame behind it; as many are counted as are missing."""
    worker = Worker(1, 200)  # and 2 s: 110 frames
    worker.replay.lose(0)
    worker.replay.offer(0)
    for _ in range(150):
        worker.say(worker.rows)
    for _ in range(30):
        worker.step(20)
    got = worker.got[0]
    assert [n for n, _ in got] == list(range(41, 150))
    assert [bool(flags & FLAG_GAP) for _, flags in got] == [True] + [False] * 108
    assert int(worker.table.shared.drops[0].sum()) == 41


def test_a_call_that_finds_no_place_has_no_ring_and_one_that_ends_gives_its_back(monkeypatch) -> None:
    """The pool is bounded; a slot that comes back is empty for the next call."""
    monkeypatch.setattr(replay, "POOL_BYTES", 2 * SLOT_BYTES)
    table = Table(Columns(4))
    rows = [running(table, start_message(), 1).row for _ in range(3)]
    rings = Replay(table)
    assert [rings.open(row, 200, FRAME, 20) for row in rows] == [True, True, False]
    assert rings.rows == 2 and not rings.has(rows[2]) and table.shared.worker.replays_refused[0] == 1
    rings.keep(np.array(rows), np.zeros(3, np.int64), np.zeros(3, np.uint16), np.ones((3, FRAME), np.int16))
    table.shared.up_position[rows] = FRAME
    rings.close(rows[0])
    rings.close(rows[0])
    assert rings.open(rows[2], 200, FRAME, 20) and rings.rows == 2
    rings.acked[rows[2]] = 0
    assert rings.offer(rows[2]) == (FRAME, 0), "nothing of the call before"
    assert rings.offer(rows[1]) == (0, FRAME)


def test_rings_of_all_kinds_share_one_budget(monkeypatch) -> None:
    """Calls at 16 kHz and at 8: together they get no more memory; what one kind has left, another may have."""
    monkeypatch.setattr(replay, "POOL_BYTES", 4 * SLOT_BYTES)
    table = Table(Columns(8))
    rows = [running(table, start_message(), 1).row for _ in range(8)]
    rings = Replay(table)
    taken = [rings.open(row, 200, FRAME * (1 + k % 2), 20) for k, row in enumerate(rows)]
    assert 2 <= sum(taken) <= 3 and taken[:2] == [True, True]
    assert rings.reserved_bytes <= 4 * SLOT_BYTES
    for row in rows:
        rings.close(row)
    assert [rings.open(row, 200, FRAME, 20) for row in rows[:5]] == [True] * 4 + [False], "all for one kind now"
    assert rings.reserved_bytes == 4 * SLOT_BYTES
