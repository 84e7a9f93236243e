# SPDX-License-Identifier: GPL-2.0-or-later
"""What the failover bench counts is what agents wrote down: a hole is found, wherever it is."""

from __future__ import annotations

import pathlib

import pytest

from bench.failover import completeness, lives

FRAME = 320


def frames(first: int, last: int, flags: int = 0) -> str:
    return "".join(f"frame 7 {n * FRAME} {FRAME} {flags}\n" for n in range(first, last))


def counted(folder: pathlib.Path, one: str, other: str) -> dict:
    paths = [folder / "a-0.log", folder / "b-0.log"]
    for path, text in zip(paths, (one, other), strict=True):
        path.write_text(text)
    return completeness(lives(paths))


FIRST = "start 7 call 1 0 0\n" + frames(0, 50) + f"ack 7 {30 * FRAME}\n"


def test_a_successor_that_hears_all_since_the_acknowledgement_has_lost_nothing(tmp_path: pathlib.Path) -> None:
    second = f"start 7 call 2 {30 * FRAME} 400\n" + frames(30, 50, 0x10) + frames(50, 80)
    found = counted(tmp_path, FIRST, second)
    assert (found["lost"], found["doubled"], found["replayed"], found["changes"]) == (0, 0, 20, 1)


@pytest.mark.parametrize(
    ("second", "lost", "doubled"),
    [
        (f"start 7 call 2 {33 * FRAME} 400\n" + frames(33, 80), 3, 0),
        (f"start 7 call 2 {30 * FRAME} 400\n" + frames(30, 40) + frames(45, 80), 5, 0),
        (f"start 7 call 2 {30 * FRAME} 400\n" + frames(32, 80), 2, 0),
        (f"start 7 call 2 {30 * FRAME} 400\n" + frames(30, 60) + frames(58, 80), 0, 1),
    ],
)
def test_holes_and_repetitions_are_found(tmp_path: pathlib.Path, second: str, lost: int, doubled: int) -> None:
    """Before its first frame, between the position it was told and the first frame, in the middle; twice."""
    found = counted(tmp_path, FIRST, second)
    assert (found["lost"], found["doubled"]) == (lost, doubled)
    assert bool(found["holes"]) == bool(lost)
