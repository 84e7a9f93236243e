# SPDX-License-Identifier: GPL-2.0-or-later
"""What a call costs each second beside its audio: reports, quality, targets, time-outs.

    OPENBLAS_NUM_THREADS=1 PYTHONPATH=tests python -m bench.beside_cost [--calls 200,1000] [--seconds 10] [--cold]

The calls of bench.engine_cost, whose peers report every five seconds too (SR, one block and SDES, as
a PBX does), and the CPU time of each piece, us per call and second.  With --cold as much memory is
walked through before each tick as the caches hold: a worker that has slept finds nothing of its own there.
"""

from __future__ import annotations

import argparse
import collections
import time
from typing import Any

import numpy as np

from bench.engine_cost import PACKET_NS, TICK_NS, WARM_UP_S, Rig
from bench.tables import table as text_table
from support.media_rig import PEER
from trunkline.rtp import rtcp, rtcp_timing

REPORT_NS = 5_000_000_000
CACHES_BYTES = 64 << 20


class Pieces:
    """CPU time by name, of functions that are wrapped."""

    def __init__(self) -> None:
        self.spent_ns: collections.Counter[str] = collections.Counter()
        self.times: collections.Counter[str] = collections.Counter()

    def watch(self, owner: Any, *names: str) -> None:
        """Time these methods of an object from now on."""
        for name in names:
            setattr(owner, name, self._timed(f"{type(owner).__name__}.{name}", getattr(owner, name)))

    def _timed(self, label: str, function: Any) -> Any:
        clock = time.thread_time_ns

        def timed(*arguments: Any, **named: Any) -> Any:
            begun_ns = clock()
            try:
                return function(*arguments, **named)
            finally:
                self.spent_ns[label] += clock() - begun_ns
                self.times[label] += 1

        return timed


class Reporting(Rig):
    """Calls whose peers report, each in its turn."""

    def __init__(self, calls: int, cold: bool) -> None:
        super().__init__(calls, 16_000, "PCMU")
        self._reports_ns = self.now_ns + np.arange(calls) * REPORT_NS // calls
        self._cold = np.zeros(CACHES_BYTES // 8, np.int64) if cold else None

    def _batch(self, rows: Any) -> Any:
        due = np.flatnonzero(self._reports_ns <= self.now_ns)
        self._reports_ns[due] += REPORT_NS
        datagrams = [self._datagram(row) for row in due.tolist()]
        if self._cold is not None:
            self._cold += 1
        for row, data in zip(due.tolist(), datagrams, strict=True):
            stream = self.table.streams[row]
            assert stream is not None
            self.engine.receive_rtcp(stream, data, PEER, self.now_ns)
        return super()._batch(rows)

    def _datagram(self, row: int) -> bytes:
        c = self.table.shared
        ntp = rtcp_timing.ntp_from_ns(self.now_ns)
        block = rtcp.ReportBlock(int(c.tx_ssrc[row]), 0, 0, int(c.tx_seq[row]) - 2 & 0xFFFFFFFF, 3, 0, 0)
        report = rtcp.SenderReport(row + 1, ntp, 5, 6, 7, (block,))
        return rtcp.build_compound([report, rtcp.SourceDescription(((row + 1, "peer@192.0.2.1"),))])


def measure(calls: int, seconds: float, cold: bool) -> list[list[Any]]:
    """A line for each piece."""
    rig, pieces = Reporting(calls, cold), Pieces()
    engine = rig.engine
    rig.run(WARM_UP_S)
    pieces.watch(engine.quality, "advance", "refresh", "_tell_agents", "_settle")
    pieces.watch(engine.reports, "advance")
    pieces.watch(engine, "receive_rtcp")
    pieces.watch(engine.receiver.lateness, "update")
    pieces.watch(engine.quiet, "advance")
    pieces.watch(engine.downlink, "note_queues")
    pieces.watch(engine.agents, "handle_timeouts")
    pieces.watch(engine.keys, "advance")
    pieces.watch(engine.turns, "advance")
    pieces.watch(engine, "next_deadline_ns")
    rig.run(seconds)
    assert not rig.table.shared.worker.drops.any()
    assert (rig.table.shared.peer_expected[:calls] > 0).all() or seconds < REPORT_NS / 1e9
    return [
        [name, calls, round(pieces.times[name] / seconds), pieces.spent_ns[name] / 1e3 / pieces.times[name],
         pieces.spent_ns[name] / 1e3 / calls / seconds]
        for name in sorted(pieces.times)
    ]  # fmt: skip


def main() -> None:
    """Program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", default="200,1000")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--cold", action="store_true", help="evict what the caches hold before each tick")
    options = parser.parse_args()
    rows = [
        line
        for calls in options.calls.split(",")
        for line in measure(int(calls), options.seconds, options.cold)
    ]
    head = ["what", "calls", "a second", "us each", "us per call and second"]
    print(
        text_table(f"CPU beside the audio, ticks of {TICK_NS / 1e6:g} of {PACKET_NS / 1e6:g} ms", head, rows)
    )


if __name__ == "__main__":
    main()
