# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever happens in whatever order: no sample is lost, doubled or moved, and every mark is settled once, in time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.playback_truth import PlaybackTruth

chunk = st.one_of(st.integers(1, 30), st.integers(100, 400), st.integers(400, 9000))
step = st.one_of(
    st.tuples(st.just("speak"), st.lists(chunk, min_size=1, max_size=5)),
    st.tuples(st.just("wait"), st.integers(1, 120)),
    st.tuples(st.just("mark"), st.none()),
    st.tuples(st.just("repack"), st.sampled_from([10, 20, 40, 60])),
    st.tuples(st.just("stall"), st.integers(30, 400)),
    st.tuples(st.sampled_from(["clear", "hold", "press", "refuse", "replace", "mark"]), st.none()),
)


def do(truth: PlaybackTruth, kind: str, what: object) -> None:
    match kind, what:
        case "speak", list(sizes):
            truth.speak(*sizes)
        case "wait", int(ms):
            truth.rig.run(ms)
        case "repack" | "stall", int(number):
            getattr(truth, kind)(number)
        case _:
            getattr(truth, kind)()
    truth.check()


@settings(max_examples=120, deadline=None)
@given(st.lists(step, max_size=40))
def test_the_agent_is_told_what_the_caller_heard(script: list[tuple[str, object]]) -> None:
    """Chunks, marks, clears, holds, keys, packet times, refused packets, stalls, dead workers, and the end."""
    truth = PlaybackTruth()
    for kind, what in script:
        do(truth, kind, what)
    truth.end()
    truth.check()


def test_a_mark_behind_what_a_change_of_packet_time_left_no_room_for_is_reached() -> None:
    """A second in packets of 40 ms, and most of one more, is more than 16 packets of 60 ms and a part."""
    truth = PlaybackTruth()
    script = [("repack", 40), ("speak", [8300]), ("mark", None), ("repack", 60), ("wait", 900)]
    for kind, what in script:
        do(truth, kind, what)
    assert truth.sums.dropped > 0 and truth.expected == []
    do(truth, "wait", 300)
    assert truth.expected == [("m1", "played")]


@pytest.mark.parametrize("seed", range(2))
def test_a_long_call_of_an_agent_that_does_everything(seed: int) -> None:
    """A thousand things in a row; none of the accounts is off by a sample at any time."""
    rng, truth = random.Random(seed), PlaybackTruth(queue_ms=3000)
    for _ in range(1000):
        kind = rng.choices(
            ["speak", "wait", "mark", "clear", "hold", "press", "refuse", "replace", "repack", "stall"],
            [30, 40, 20, 3, 2, 1, 2, 0.3, 1, 1],
        )[0]
        do(truth, kind, {
            "speak": [rng.choice([rng.randint(1, 20), 160, rng.randint(1, 3000)]) for _ in range(rng.randint(1, 4))],
            "wait": rng.randint(1, 60),
            "repack": rng.choice([10, 20, 40, 60]),
            "stall": rng.randint(30, 300),
        }.get(kind))  # fmt: skip
    assert truth.sums.heard > 10_000 and truth.sums.discarded and truth.sums.refused and truth.sums.dropped
    truth.end()
    truth.check()
