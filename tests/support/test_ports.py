# SPDX-License-Identifier: GPL-2.0-or-later
"""Ports of tests: shares of processes, and what is given in turn."""

from __future__ import annotations

import socket

import pytest

from support import ports
from support.ports import BLOCKS, SINGLE, free_block, free_port, share


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("whole", [BLOCKS, SINGLE])
def test_processes_share_without_overlap(whole: range, count: int) -> None:
    """And none is left short."""
    parts = [
        share(whole, {"PYTEST_XDIST_WORKER_COUNT": str(count), "PYTEST_XDIST_WORKER": f"gw{place}"})
        for place in range(count)
    ]
    flat = [port for part in parts for port in part]
    assert len(set(flat)) == len(flat) and set(flat) <= set(whole)
    assert all(len(part) >= len(whole) // count - ports.GRAIN for part in parts)
    assert all(part.start % 2 == 0 for part in parts)


def test_alone_a_process_has_all() -> None:
    assert len(share(SINGLE, {})) > len(SINGLE) - ports.GRAIN


def test_a_port_is_not_given_twice_in_a_row_and_none_of_the_kernels_own() -> None:
    given = [free_port() for _ in range(200)]
    assert len(set(given)) == 200 and set(given) <= set(share(SINGLE))


def test_a_block_is_whole_and_begins_even() -> None:
    block = free_block(33)
    assert len(block) == 33 and block.start % 2 == 0 and set(block) <= set(share(BLOCKS))
    assert not set(block) & set(free_block(33))


def test_a_taken_port_is_passed_over() -> None:
    """TCP or UDP: a program of a test may want either."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        turn = ports._Turn(range(SINGLE.start, SINGLE.stop))
        with socket.socket(socket.AF_INET, kind) as other:
            other.bind(("127.0.0.1", turn(1, "127.0.0.1").start))
            turn._at -= 1
            assert turn(1, "127.0.0.1").start != other.getsockname()[1]


def test_where_another_program_has_some_everywhere_the_block_with_fewest_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who wants a block passes over what is taken; one that is mostly taken is of no use."""
    free = dict.fromkeys(range(10_000, 10_040), True)
    monkeypatch.setattr(ports, "_is_free", lambda port, host: free[port])
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"):
        monkeypatch.delenv(name, raising=False)
    turn = ports._Turn(range(10_000, 10_040))
    turn._ports, turn._at = range(10_000, 10_040), 0
    free[10_003] = free[10_005] = free[10_025] = False
    assert turn(20, "127.0.0.1") == range(10_020, 10_040)
    free.update(dict.fromkeys(free, False))
    with pytest.raises(AssertionError, match="no 20 free ports"):
        turn(20, "127.0.0.1")
