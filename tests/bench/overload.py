# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls that begin all at once: how far a worker falls behind, how soon it has caught up, what it costs, what is lost.

    PYTHONPATH=tests python -m bench.overload [--calls 1000,1500,2000] [--scale 2,2.5,3] [--seconds 4] [--begin]

The worker's own loop and engine on a clock that runs on with the CPU time that they take here, `scale` times:
out of sleep, with cold caches, all takes longer than in a loop.  System calls cost what they do in the floor
(gateway/bench/README.md).  Neither other programs nor callers nor the agent take anything from it, so the
same comes out on a busy machine, nearly.  `share` is of a core when all is well again: the scale says less.
With --begin: CPU of the first second of calls, and of a later one, per call.
"""

from __future__ import annotations

import argparse
import itertools

from bench.tables import table
from support.busy_worker import BusyWorker, State, measured

TALK_AFTER_MS = 1000
RATE_HZ = 16000


def behind(state: State, calls: int) -> bool:
    """More waits than a tick leaves."""
    return state.waiting > 0.75 * calls


def measure(calls: int, scale: float, seconds: float) -> list[object]:
    """A row of the table."""
    worker = BusyWorker(calls, measured(scale), talk_after_ms=TALK_AFTER_MS, rate_hz=RATE_HZ)
    worker.run(seconds + TALK_AFTER_MS / 1000)
    talking = [state for state in worker.states if state.at_ms >= TALK_AFTER_MS]
    last = max((state.at_ms for state in talking if behind(state, calls)), default=TALK_AFTER_MS)
    caught_up = "no" if behind(talking[-1], calls) else last - TALK_AFTER_MS
    most = max(state.waiting for state in talking) / calls
    filled = (talking[-1].filled - talking[0].filled) / calls
    drops = ", ".join(f"{name} {count}" for name, count in worker.rig.drops().items()) or "none"
    return [calls, scale, talking[-1].share, most * 20, caught_up, filled, drops]


def beginnings(calls: int) -> list[object]:
    """CPU in us per call: of the first second of speech, and of the third."""
    worker = BusyWorker(calls, measured(1.0), talk_after_ms=TALK_AFTER_MS, rate_hz=RATE_HZ)
    worker.run(TALK_AFTER_MS / 1000 - 0.02)
    spent = [worker.clock.cpu()]
    for _ in range(3):
        worker.run(1.0)
        spent.append(worker.clock.cpu())
    first, _, third = (after - before for before, after in itertools.pairwise(spent))
    return [calls, first / 1000 / calls, third / 1000 / calls, (first - third) / 1000 / calls]


def main() -> None:
    """Program."""
    parser = argparse.ArgumentParser(prog="bench.overload")
    parser.add_argument("--calls", default="1000,1500,2000")
    parser.add_argument("--scale", default="2,2.5,3")
    parser.add_argument("--seconds", type=float, default=4.0, help="of speech")
    parser.add_argument("--begin", action="store_true")
    options = parser.parse_args()
    numbers = [int(word) for word in options.calls.split(",")]
    if options.begin:
        head = ["calls", "first second", "third second", "more"]
        print(table("CPU, us per call", head, [beginnings(calls) for calls in numbers]))
        return
    head = ["calls", "scale", "share", "behind by, ms", "caught up after, ms", "filled per call", "dropped"]
    scales = [float(word) for word in options.scale.split(",")]
    rows = [measure(calls, scale, options.seconds) for calls in numbers for scale in scales]
    print(table("calls that begin at once", head, rows))


if __name__ == "__main__":
    main()
