# SPDX-License-Identifier: GPL-2.0-or-later
"""An hour of a hundred calls in virtual time, on a bad network: do the books balance to the last packet?

    PYTHONPATH=tests python -m bench.hour [MINUTES [CALLS]]

All parts of a media worker but its sockets: PCMU at 20 ms both ways, an agent that echoes, clocks
of callers from -200 to +200 ppm, jitter, stalls, random and burst loss, duplicates.  Prints what
was counted, and the digests of every byte that left and of all of them that are no samples: the
same seed gives the same ones.  The CPU is the engine's, and that of the network, the far ends and
the checks.
"""

from __future__ import annotations

import gc
import sys

from support.virtual_accounts import Places, frames_minus_time, unaccounted
from support.virtual_costs import Costs
from support.virtual_engine import START_NS, VirtualEngine
from support.virtual_network import Callers, Network

SEED = 2026
NETWORK = Network(loss=0.01, burst=0.001, duplicate=0.002, jitter_ms=4, stall=0.0005)


def main(minutes: float = 60, calls: int = 100) -> bool:
    """Run and print; True if everything is accounted for."""
    rig = VirtualEngine(calls, seed=SEED, tick_ms=20, echo=True)
    places = Places(rig)
    traffic = rig.traffic(SEED, Callers(calls, drift_ppm=200, speech=0.95), NETWORK)
    gc.collect()
    gc.freeze()
    gc.disable()  # as in a worker
    costs = Costs(rig)
    rig.run(minutes * 60, traffic)
    traffic.stopped = True
    rig.run(8, traffic)
    missing = unaccounted(rig, traffic, places)
    sent_wrong = rig.sockets.sent - ((rig.now_ns - START_NS) // 20_000_000 + 1)
    slip, queued = frames_minus_time(rig), rig.table.shared.queued_samples[:calls] / 8
    first, last = 0, calls - 1
    digests = rig.digests()
    engine_s, rest_s = costs.seconds()
    call_seconds = calls * (minutes * 60 + 8)
    print(
        f"{calls} calls, {minutes:g} minutes: {engine_s:.0f} s of CPU for the engine, "
        f"{engine_s / call_seconds * 1e6:.0f} us per call and second; {rest_s:.0f} s for the network and the checks"
    )
    print(f"packets in {traffic.delivered.sum():,}: played {places.heard.sum():,}, dropped {rig.drops()}")
    print(
        f"not accounted for: {int(abs(missing).sum())}; played twice or out of order: {places.not_in_order}"
    )
    print(f"frames not at their own time: {int(places.moves.sum())} of {int(rig.agent.frames.sum()):,}")
    print(f"packets to callers missing or too many: {int(abs(sent_wrong).sum())}")
    print(
        f"frames minus our packet times: {slip[first]:+.0f} at -200 ppm, {slip[last]:+.0f} at +200 ppm "
        f"(the callers' own clocks: {-minutes * 0.6:+.0f} and {minutes * 0.6:+.0f})"
    )
    print(f"waiting for callers at the end: {queued.max():.0f} ms at most")
    print("digest {}\nwithout samples {}".format(*digests))
    return not (missing.any() or places.not_in_order or places.moves.any() or sent_wrong.any())


if __name__ == "__main__":
    sys.exit(0 if main(*(float(sys.argv[1]),) if sys.argv[1:] else (60,), *map(int, sys.argv[2:3])) else 1)
