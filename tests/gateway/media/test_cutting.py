# SPDX-License-Identifier: GPL-2.0-or-later
"""Audio in pieces of any length becomes frames, whose flags are of what is in them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from support.media_rig import UplinkRig
from trunkline.agent_bridge.dialect import FLAG_CONCEALED, FLAG_GAP, FLAG_SPEECH
from trunkline.codecs import g711
from trunkline.gateway.media.cutting import Cutter
from trunkline.rtp.packet import Packet

pieces = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 7)), max_size=40)


@given(st.tuples(pieces, pieces))
def test_a_frame_has_the_flags_of_all_that_is_in_it_and_no_others(
    rows: tuple[list[tuple[int, int]], ...],
) -> None:
    """Sample by sample, of two rows that take turns."""
    cutter = Cutter(2, 20, np.zeros(2, np.int64))
    got: list[list[tuple[list[int], int]]] = [[], []]
    for turn in range(max(map(len, rows))):
        for row in (0, 1):
            if turn < len(rows[row]):
                length, flag = rows[row][turn]
                pcm = np.full((1, length), turn, np.int16)
                cutter.add(np.array([row]), pcm, np.array([1 << flag], np.uint16))
                for of_rows, frame, flags in cutter.frames(np.array([row])):
                    assert of_rows.tolist() == [row]
                    got[row].append((frame[0].tolist(), int(flags[0])))
    for row in (0, 1):
        line = [(turn, 1 << flag) for turn, (length, flag) in enumerate(rows[row]) for _ in range(length)]
        whole = len(line) // 20
        parts = [line[20 * i : 20 * i + 20] for i in range(whole)]
        wanted = [
            ([turn for turn, _ in part], int(np.bitwise_or.reduce([flag for _, flag in part])))
            for part in parts
        ]
        assert got[row] == wanted
        waiting = np.bitwise_or.reduce([flag for _, flag in line[20 * whole :]] or [0])
        assert cutter.count[row] == len(line) - 20 * whole and cutter.flags[row] == waiting


def test_speech_and_loss_end_for_callers_with_packets_of_odd_lengths() -> None:
    """Part of a frame always waits of them, and once had all flags that ever were."""
    rig, rng = UplinkRig(), np.random.default_rng(3)
    for number in range(60):
        sound = g711.encode_ulaw(rng.normal(0, 6000 if number < 20 else 3, 161).astype(np.int16))
        rig.packet(Packet(0, number, number * 161, 5, sound.tobytes()))
        rig.run(20)
    rig.run(600)
    flags = [frame.flags for frame in rig.heard]
    assert flags[5] == FLAG_SPEECH and flags[55] == 0 and flags[-1] == FLAG_GAP
    assert any(flag & FLAG_CONCEALED for flag in flags)
