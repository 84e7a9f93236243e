# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets behind lost and overtaken ones: one kernel does what four do one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
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


KINDS_OF_CALLS: list[dict[str, Any]] = [
    {},
    {"rate_hz": 16000, "turns": TurnParams(min_speech_ms=20)},
    {"rate_hz": 24000, "turns": TurnParams(min_speech_ms=20, min_silence_ms=40)},
    {"frame_ms": 40},
    {"codec": "PCMA", "rate_hz": 16000},
]


@pytest.mark.parametrize("start", KINDS_OF_CALLS, ids=repr)
@pytest.mark.parametrize("callers", [Callers(12, drift_ppm=200, speech=0.5), Callers(12, restart=0.1, ptime_ms=40)])
def test_all_the_way_is_what_all_the_steps_are(start: dict[str, Any], callers: Callers) -> None:
    """Losses, pauses, stalls, other sources, packets that are two frames: to the last byte, in the same order."""
    with STEP_BY_STEP:
        by_steps, _ = digests(10, callers, **start)
    done = Counter[str]()
    with mock.patch.object(Onward, "_done", counting(done)):
        at_once, rig = digests(10, callers, **start)
    assert at_once == by_steps
    straight_on = rig.table.formats.at(0).frame_samples * 1000 // rig.table.formats.at(0).key.agent_rate_hz
    if straight_on == callers.ptime_ms and not callers.restart:
        assert done["rounds"] > 300 and done["filled"] > 300 and done["stopped"]


def counting(done: Counter[str]) -> Callable[..., Any]:
    """`Onward._done`, which counts."""
    inner = Onward._done

    def outer(self: Onward, *args: Any) -> tuple[bool, NDArray[np.intp]]:
        done["filled"] += args[1] if len(args) > 1 else 0
        done["rounds"] += int(self._notes[1])
        is_heard, rows = inner(self, *args)
        done["stopped"] += len(rows) > 0
        return is_heard, rows

    return outer


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


def test_the_kernels_of_the_whole_way_want_what_goes_together() -> None:
    """Columns, kernels and packets that are not of one worker, or too few: errors, and no memory is touched."""
    _, rig = digests(1)
    onward, timeline = rig.engine.timeline.onward, rig.engine.timeline
    assert onward is not None
    to = onward._open(0, 12)
    assert to is not None
    rows, moment, records = np.arange(3), timeline.moment(rig.now_ns), to.message.records
    call, none, packets = (to.link, *rig.engine.uplink.drawn), np.zeros(0, np.intp), np.zeros((3, 200), np.uint8)
    first, sizes = np.full(3, 12), np.full(3, 160)
    heard = (rows, rows, packets, first, sizes)
    to.way.onward(*moment, *call, *heard, records)
    assert onward._notes.tolist()[:2] == [3, 1]
    link, turns, turn = call
    for others in (link + 1, *call[1:], *heard), (*call, *heard[:4], sizes - 1):
        to.way.onward(*moment, *others, records)
        assert onward._notes.tolist()[:2] == [0, 0], "they are on no way of ours"
    bad: list[tuple[Any, ...]] = [
        (link, turns, len(turns), *heard, records),
        (link, turns, -1, *heard, records),
        (*call, rows, rows, packets, first[:2], sizes, records),
        (*call, rows, rows, packets, first, sizes[:2], records),
        (*call, rows, rows[:2], packets, first, sizes, records),
        (*call, *heard, records[:2]),
        (*call, *heard, records[:, :-2]),
        (*call, rows, rows + 1, packets, first, sizes, records),
        (*call, rows, rows, packets, first + 60, sizes, records),
        (*call, rows, rows, packets, first - 13, sizes, records),
        (*call, rows + 10**6, rows, packets, first, sizes, records),
        (*call, np.tile(rows, 9), none, packets, none, none, records),
    ]
    for arguments in bad:
        with pytest.raises((ValueError, IndexError)):
            to.way.onward(*moment, *arguments)
    with pytest.raises(ValueError, match="do not go together"):
        to.way.onward(*moment[:3], moment[3][:5], *moment[4:], *call, *heard, records)
    with pytest.raises(IndexError):
        to.way.catch_up(*moment, rows + 10**6, 0, link, records, turns, turn)
