# SPDX-License-Identifier: GPL-2.0-or-later
"""Queues of agents' audio in one pool: order, bounds, and a share for everybody."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.media import frame_queue
from trunkline.gateway.media.frame_queue import FrameQueue


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.intp)


def ramp(n: int, start: int = 0) -> np.ndarray:
    return np.arange(start, start + n, dtype=np.int16)[None]


def test_chunks_of_any_size_come_out_in_blocks() -> None:
    """Whole blocks first, then what is left of the last one, with its real length."""
    queue = FrameQueue(2, 4, 10)
    queue.push(rows(1), ramp(3))
    queue.push(rows(1), ramp(6, 3))
    assert int(queue.queued_samples(rows(1))[0]) == 9
    assert [queue.pop(rows(1))[0].tolist() for _ in range(2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    pcm, held = queue.pop_partial(rows(1))
    assert (pcm.tolist(), held.tolist()) == ([[8, 0, 0, 0]], [1])
    assert int(queue.queued_samples(rows(1))[0]) == 0


def test_several_blocks_for_several_rows_at_once() -> None:
    """One push of three blocks each is the same as three pushes of one."""
    queue = FrameQueue(4, 4, 10)
    queue.push(rows(3, 0), np.stack([ramp(12)[0], ramp(12, 100)[0]]))
    assert queue.count.tolist() == [3, 0, 0, 3]
    assert queue.take_all(0).tolist() == ramp(12, 100)[0].tolist()
    assert queue.take_all(3).tolist() == ramp(12)[0].tolist()


def test_what_exceeds_the_limit_is_dropped_from_the_end() -> None:
    """The caller hears the beginning of what was said."""
    queue = FrameQueue(1, 4, 2)
    assert queue.push(rows(0), ramp(12)).tolist() == [4]
    assert queue.take_all(0).tolist() == list(range(8))


def test_long_queues_of_some_leave_room_for_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the common half of the pool is gone, each row still gets what it was promised."""
    monkeypatch.setattr(frame_queue, "POOL_BLOCKS", 1000)
    queue = FrameQueue(50, 1, 200)
    assert queue.promised == 10
    for row in range(10):
        queue.push(rows(row), np.ones((1, 200), np.int16))
    assert int(queue.count.sum()) == 10 * 10 + 500
    assert queue.crowded
    everybody = np.arange(50)
    lost = queue.push(everybody, np.ones((50, 10), np.int16))
    assert lost[:3].tolist() == [10, 10, 10]
    assert not lost[10:].any()
    assert (queue.count >= 10).all()


operations = st.lists(
    st.tuples(st.sampled_from(["push", "pop", "clear", "take"]), st.integers(0, 4), st.integers(1, 30)),
    max_size=60,
)


@given(operations)
def test_blocks_are_neither_lost_nor_given_twice(steps: list[tuple[str, int, int]]) -> None:
    """A queue per row does as a plain list would, whatever happens, and at the end all blocks are free."""
    queue = FrameQueue(5, 3, 8)
    free = queue._free_count
    plain: list[list[int]] = [[] for _ in range(5)]
    at = 0
    for kind, row, n in steps:
        if kind == "push":
            dropped = queue.push(rows(row), ramp(n, at))
            lost = 0 if dropped is None else int(dropped[0])
            whole = (len(plain[row]) + n) // 3 * 3
            said = plain[row] + list(range(at, at + n))
            plain[row] = said[: whole - lost] + said[whole:]
            at += n
        elif kind == "pop" and queue.count[row]:
            assert queue.pop(rows(row))[0].tolist() == plain[row][:3]
            del plain[row][:3]
        elif kind == "clear":
            assert queue.clear(row) == len(plain[row])
            plain[row].clear()
        elif kind == "take":
            assert queue.take_all(row).tolist() == plain[row]
            plain[row].clear()
        assert int(queue.queued_samples(rows(row))[0]) == len(plain[row])
        assert queue._owed == int(np.maximum(queue.promised - queue.count, 0).sum())
        assert queue._free_count >= queue._owed
    for row in range(5):
        queue.clear(row)
    assert queue._free_count == free
    assert sorted(queue._free[:free].tolist()) == list(range(free))


chunks = st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40)), max_size=6), max_size=12)


@given(chunks, st.integers(2, 12))
def test_pieces_of_many_rows_at_once_are_as_one_row_after_the_other(
    pushes: list[list[tuple[int, int]]], limit: int
) -> None:
    """Batch equals loop, for any lengths: what is kept, what is dropped, and what is left of each last block."""
    batch, loop = FrameQueue(6, 5, limit), FrameQueue(6, 5, limit)
    at = 0
    for push in pushes:
        pieces = {}
        for row, n in push:
            pieces[row] = ramp(n, at)[0]
            at += n
        if not pieces:
            continue
        lengths = np.array([len(piece) for piece in pieces.values()])
        dropped = batch.push_pieces(rows(*pieces), np.concatenate(list(pieces.values())), lengths)
        alone = [loop.push(rows(row), piece[None]) for row, piece in pieces.items()]
        assert (np.zeros(len(pieces)) if dropped is None else dropped).tolist() == [
            0 if lost is None else int(lost[0]) for lost in alone
        ]
        if len(pieces) == 6:  # somebody plays
            ready = np.flatnonzero(batch.count)
            assert np.array_equal(batch.pop(ready), loop.pop(ready))
    assert (batch._owed, batch._free_count) == (loop._owed, loop._free_count)
    for row in range(6):
        assert batch.take_all(row).tolist() == loop.take_all(row).tolist()
