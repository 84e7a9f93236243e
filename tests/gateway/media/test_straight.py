# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets behind lost and overtaken ones: one kernel does what four do one after the other."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
from numpy.typing import NDArray

from support.virtual_engine import VirtualEngine
from support.virtual_network import Callers, Network
from trunkline.gateway.media import compiled
from trunkline.gateway.media.control import TurnParams
from trunkline.gateway.media.onward import Onward
from trunkline.gateway.media.straight import Straight
from trunkline.gateway.media.uplink import Uplink

pytestmark = pytest.mark.skipif(compiled.native is None, reason="nothing is compiled")

NETWORK = Network(loss=0.08, burst=0.005, duplicate=0.01, jitter_ms=15, stall=0.001)


SPEAKERS = Callers(12, drift_ppm=200, speech=0.5)


def digests(seconds: float, callers: Callers = SPEAKERS, **start: object) -> tuple[tuple[str, str], VirtualEngine]:
    rig = VirtualEngine(12, seed=5, tick_ms=10, echo=True, **start)  # type: ignore[arg-type]
    rig.run(seconds, rig.traffic(5, callers, NETWORK))
    return rig.digests(), rig


STEP_BY_STEP = mock.patch.object(Onward, "_open", return_value=None)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000])
def test_one_kernel_leaves_behind_what_four_do(rate_hz: int) -> None:
    """To the last byte, callers who begin and cease to speak included; and voices are heard nowhere else."""
    with STEP_BY_STEP, mock.patch.object(Uplink, "_speak_straight", return_value=False):
        by_four, _ = digests(12, rate_hz=rate_hz, turns=TurnParams(min_speech_ms=20))
    changed, write = [], Straight.write

    def watched(self: Straight, *args: Any) -> NDArray[np.intp]:
        changed.append(len(rows := write(self, *args)))
        return rows

    with STEP_BY_STEP, mock.patch.object(Uplink, "hear") as other_way, mock.patch.object(Straight, "write", watched):
        by_one, _ = digests(12, rate_hz=rate_hz, turns=TurnParams(min_speech_ms=20))
    assert by_one == by_four
    assert not other_way.called
    assert len(changed) > 500
    assert sum(changed) > 3


def test_the_kernel_wants_room_for_every_row() -> None:
    """Arrays of other lengths, and packets that are not there, are errors and no accidents."""
    _, rig = digests(1)
    fmt = rig.table.formats.at(0)
    straight = rig.engine.uplink.straight
    assert straight.knows(fmt, 160)
    way = straight._ways[fmt.index, 160]
    assert way is not None
    rows, record = np.arange(2), 16 + 2 * fmt.frame_samples
    good = {
        "rows": rows, "index": rows, "packets": np.zeros((2, 200), np.uint8), "starts": np.full(2, 12, np.int32),
        "pcm": np.zeros((2, 160), np.int16), "joined": np.zeros((2, 160), np.int16), "level": np.zeros(2, np.float32),
        "flags": np.zeros(2, np.uint16), "changed": np.zeros(2, np.intp), "out": np.zeros((2, record), np.uint8),
    }  # fmt: skip
    assert way.kernel(0.0, 20.0, -1.0, *good.values()) & 0xFFFFF == 2
    bad: dict[str, list[np.ndarray]] = {name: [array[:1]] for name, array in good.items() if name != "rows"}
    bad["rows"] = [np.array([0, 10**6]), np.array([-1, 0])]
    bad["index"] += [np.array([0, 2]), np.array([0, -1])]
    bad["starts"] += [np.array([12, 41], np.int32), np.array([-1, 12], np.int32)]
    bad["joined"] += [np.zeros((2, 80), np.int16)]
    bad["out"] += [np.zeros((2, record - 2), np.uint8)]
    for name, arrays in bad.items():
        for array in arrays:
            with pytest.raises((ValueError, IndexError)):
                way.kernel(0.0, 20.0, -1.0, *(good | {name: array}).values())
