# SPDX-License-Identifier: GPL-2.0-or-later
"""Any audio at all, in frames of any length, real or made up: the detector's story stays one that makes sense."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from support.media_rig import UplinkRig
from trunkline.gateway.media.call_policy import TurnParams

ROWS = 3
sounds = st.sampled_from(["silence", "noise", "full scale", "square", "alternating", "saw", "click", "nothing came"])
steps = st.lists(
    st.tuples(sounds, st.integers(1, 25), st.sampled_from([20, 80, 160, 240, 480, 960]), st.integers(0, 32767)),
    min_size=1, max_size=30,
)  # fmt: skip


def frame(kind: str, samples: int, peak: int, rng: np.random.Generator) -> np.ndarray:
    """i16[ROWS, samples]."""
    t = np.arange(samples)
    sound = {
        "silence": 0 * t,
        "noise": rng.integers(-peak - 1, peak + 1, samples),
        "full scale": 0 * t - 32768,
        "square": np.where(t // 10 % 2, peak, -peak),
        "alternating": np.where(t % 2, peak, -peak - 1),
        "saw": t * 317 % (2 * peak + 1) - peak,
        "click": np.where(t == samples // 2, peak, 0),
    }[kind]
    return np.tile(sound.astype(np.int16), (ROWS, 1))


@settings(max_examples=60, deadline=None)
@given(steps, st.integers(0, 1 << 30), st.sampled_from([20, 40, 300]), st.sampled_from([100, 400]))
def test_speeches_begin_and_end_in_turn_and_in_order(
    script: list[tuple[str, int, int, int]], seed: int, min_speech_ms: int, min_silence_ms: int
) -> None:
    rig = UplinkRig(ROWS, turns=TurnParams(min_speech_ms=min_speech_ms, min_silence_ms=min_silence_ms))
    rng, rows, fmt = np.random.default_rng(seed), np.arange(ROWS), rig.table.formats.at(0)
    told: dict[int, list[tuple[bool, int]]] = {row: [] for row in range(ROWS)}
    for kind, count, samples, peak in script:
        for _ in range(count):
            if kind == "nothing came":
                rig.table.lost_run[rows] += 1
                rig.uplink.fill(rows, 160, np.ones(ROWS, bool))
            else:
                rig.uplink.hear(fmt, rows, frame(kind, samples, peak, rng))
                rig.uplink.draw()
            for change, position in rig.uplink.changes:
                told[change.row].append((change.started, position))
            rig.uplink.changes.clear()
    for row in range(ROWS):
        states, positions = [started for started, _ in told[row]], [position for _, position in told[row]]
        assert states == [i % 2 == 0 for i in range(len(states))]
        assert positions == sorted(positions) and min(positions, default=0) >= 0
        assert max(positions, default=0) <= rig.table.shared.up_position[row] + 960
        assert bool(rig.table.shared.speaking[row]) == (len(states) % 2 == 1)
    assert told[0] == told[1] == told[2], "rows that hear the same are told the same"
