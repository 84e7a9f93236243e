# SPDX-License-Identifier: GPL-2.0-or-later
"""What the media engine costs where packets are lost, in virtual time.

    PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 python -m bench.loss_cost [--calls 200,1000] [--loss 0,0.1,1,3]
                                                                      [--tick-ms 4] [--seconds 3] [--jitter-ms 1]

PCMU at 20 ms both ways, 5 % of pauses, an agent at 8 kHz that echoes: CPU of the engine alone, per call and
second.  An echo's packets come to the caller late too where the caller's were lost: part of the cost is that.
"""

from __future__ import annotations

import argparse

from bench.tables import table
from support.virtual_costs import Costs
from support.virtual_engine import VirtualEngine
from support.virtual_network import Callers, Network


def cost_us(calls: int, loss_percent: float, tick_ms: float, jitter_ms: float, seconds: float) -> float:
    """CPU of the engine, in microseconds per call and second."""
    rig = VirtualEngine(calls, seed=1, tick_ms=tick_ms, echo=True)
    network = Network(loss=loss_percent / 100, jitter_ms=jitter_ms)
    traffic = rig.traffic(1, Callers(calls, drift_ppm=50, speech=0.95), network)
    costs = Costs(rig)
    rig.run(seconds, traffic)
    return costs.seconds()[0] / calls / seconds * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", default="200,1000")
    parser.add_argument("--loss", default="0,0.1,1,3", help="percent")
    parser.add_argument("--tick-ms", type=float, default=4)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--jitter-ms", type=float, default=1)
    options = parser.parse_args()
    losses = [float(word) for word in options.loss.split(",")]
    rows = [
        [calls, *(cost_us(calls, loss, options.tick_ms, options.jitter_ms, options.seconds) for loss in losses)]
        for calls in map(int, options.calls.split(","))
    ]
    head = ["calls", *(f"{loss:g} %" for loss in losses)]
    print(table("CPU of the engine, us per call and second, by packets lost", head, rows))


if __name__ == "__main__":
    main()
