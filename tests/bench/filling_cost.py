# SPDX-License-Identifier: GPL-2.0-or-later
"""What a frame costs that never came, and what every frame pays for it: CPU of one thread, kernel by kernel.

    PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 .venv/bin/python -m bench.filling_cost

Of the kernels alone, and of the whole way to the agents' message (an agent at 8 kHz, which is not resampled for);
20 ms at 8 kHz, in batches of 1, 10, 100 and 200 calls.  TRUNKLINE_COMPILED=0 tells what it costs without kernels.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.tables import table
from support.media_rig import UplinkRig
from trunkline.agent_bridge.wire import AudioMessage
from trunkline.codecs import g711
from trunkline.codecs.comfort_noise import analyse, synthesise
from trunkline.codecs.conceal import conceal, conceal_between, history_samples
from trunkline.codecs.level import level_dbov
from trunkline.gateway.media.filling import Filler
from trunkline.gateway.media.uplink import Uplink

BATCHES = (1, 10, 100, 200)
FRAME = 160
CPU_S = 0.3
"for one figure, three times; the least counts"


def cost_us(work: Callable[[], object], rows: int) -> float:
    """Microseconds of CPU for one row."""
    work()
    best = float("inf")
    for _ in range(3):
        begun, times = time.process_time(), 0
        while not times or time.process_time() - begun < CPU_S / 3:
            work()
            times += 1
        best = min(best, (time.process_time() - begun) / times)
    return best / rows * 1e6


def kernels(rows: int) -> dict[str, float]:
    """The kernels alone."""
    rng = np.random.default_rng(rows)
    history = rng.normal(0, 2000, (rows, history_samples())).astype(np.int16)
    ahead = rng.normal(0, 2000, (rows, FRAME)).astype(np.int16)
    zero = np.zeros(rows, np.int64)
    colour, level = analyse(ahead), np.full(rows, -50.0)
    return {
        "conceal, from behind": cost_us(lambda: conceal(history, FRAME, zero), rows),
        "conceal, from both sides": cost_us(
            lambda: conceal_between(history, ahead, FRAME, zero, zero, zero + FRAME), rows
        ),
        "noise: colour of a background": cost_us(lambda: analyse(ahead), rows),
        "noise: one frame": cost_us(lambda: synthesise(level, colour, FRAME, zero), rows),
    }


def ways(calls: int) -> dict[str, float]:
    """With the table: what is lost, and what comes."""
    rig = UplinkRig(calls=calls)
    rows = np.array([stream.row for stream in rig.streams], np.intp)
    fmt, filler = rig.table.formats.at(0), Filler(rig.table)
    pcm = np.random.default_rng(calls).normal(0, 60, (calls, FRAME)).astype(np.int16)
    payload = [g711.encode_ulaw(one).tobytes() for one in pcm]
    rig.table.lost_run[rows] = 0
    level, background = level_dbov(pcm), filler.background

    def remember() -> None:
        background.turn = next(background.turns)
        filler.remember(fmt, rows, pcm, level)

    def listen() -> None:
        background.turn = next(background.turns)
        background.listen(rows, pcm, level, 0.02)

    figures = {
        "a good frame: history and background": cost_us(remember, calls),
        "a good frame: of that, background": cost_us(listen, calls),
        "a good frame: was anything lost before?": cost_us(lambda: filler.join(fmt, rows, pcm), calls),
    }
    return figures | _lost(rig, rows, payload)


class Records:
    """An agent that takes ready records; they go nowhere."""

    def message(self, rows: NDArray[np.intp], samples: int) -> AudioMessage:
        """Room for them."""
        return AudioMessage(len(rows), samples, [])

    def deliver(self, *frames: object) -> None:
        """Without kernels."""


def _lost(rig: UplinkRig, rows: NDArray[np.intp], payload: list[bytes]) -> dict[str, float]:
    """From the gap to the agents' message."""
    lost_run, loud, gap = rig.table.lost_run, np.zeros(len(rows), bool), np.full(len(rows), FRAME)
    uplink = Uplink(rig.table, Records())

    def one(run: int, *, ahead: bool, quiet: bool = False) -> float:
        def work() -> None:
            lost_run[rows] = run
            if ahead:
                uplink.expect(rows, gap, payload)
            uplink.fill(rows, FRAME, loud | quiet)

        return cost_us(work, len(rows))

    return {
        "a lost frame, the next one is there": one(1, ahead=True),
        "a lost frame, it is not": one(1, ahead=False),
        "the sixth lost frame, with noise": one(6, ahead=False),
        "a frame of a gap: noise": one(20, ahead=False, quiet=True),
    }


def main() -> None:
    """Measure and print."""
    measured = [kernels(rows) | ways(rows) for rows in BATCHES]
    rows = [[name, *(one[name] for one in measured)] for name in measured[0]]
    print(table("us of CPU a frame, in batches of", ["", *map(str, BATCHES)], rows))


if __name__ == "__main__":
    main()
