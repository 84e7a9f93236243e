# SPDX-License-Identifier: GPL-2.0-or-later
"""What a usual tick costs on its way from callers to their agents, sockets and all: in a loop, and out of sleep.

    OPENBLAS_NUM_THREADS=1 python -m bench.uplink_tick [--calls 200,1000] [--seconds 2] [--functions]

Callers send over loopback, ticks are 4 ms apart in virtual time, and the agent throws away what it hears.  Timed is
what the worker does from its look at the sockets up to the write to the agent, system calls included.  `hot` is one
tick after the other; before each that is `cold` the process sleeps, and goes through so much memory that nothing of
the last one is left in the core's caches.  With --functions it counts what a usual tick calls instead: functions of
Python, and those that they call in C.
"""

from __future__ import annotations

import argparse
import collections
import random
import socket
import sys
import time
from typing import Any

import numpy as np

from bench.engine_cost import PACKET_NS, PACKETS, Pair, _Ours, spoken
from bench.tables import table as text_table
from support.media_rig import MS, start_message
from trunkline.gateway.media import agent_connecting, control
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.engine import Engine
from trunkline.gateway.media.poller import EpollPoller
from trunkline.gateway.media.table import Table
from trunkline.gateway.media.udp import UdpSockets
from trunkline.rtp.jitter import TargetParams
from trunkline.rtp.packet import Packet

TICK_NS = 4_000_000
FLUSH_BYTES = 4 << 20
"More than a core's own caches hold."


class Rig:
    """The uplink of a worker, its callers and its agent."""

    def __init__(self, calls: int, rate_hz: int) -> None:
        self.now_ns = 1_000_000_000_000
        self.table, self.pair, self.poller = Table(Columns(calls)), Pair(), EpollPoller()
        self.sockets = UdpSockets(self.table)
        self.engine = Engine(
            self.table, self.sockets, self.pair, lambda: self.now_ns, lambda message: None, random.Random(1),
            jitter=TargetParams(min_ns=45 * MS),
        )  # fmt: skip
        agent_connecting.open_socket = lambda address: (_Ours(self.pair), address)  # type: ignore[assignment,return-value]
        self._far = [_udp() for _ in range(calls)]
        for far in self._far:
            self._start(far, rate_hz)
        for _ in range(5 + calls // 100):
            self.pair.deliver()
            self.engine.tick(self.now_ns)
            self.pair.turn(self.now_ns)
        assert self.table.agent_ready.sum() == calls
        self._payloads, _ = spoken("PCMU", rate_hz)
        self._next_ns = self.now_ns + np.arange(calls) * PACKET_NS // calls
        self._count = [0] * calls
        self._junk = np.zeros(FLUSH_BYTES, np.uint8)

    def _start(self, far: socket.socket, rate_hz: int) -> None:
        host, port = far.getsockname()
        turns = control.TurnParams()
        message = start_message(rate_hz, turns=turns, remote_host=host, remote_port=port)
        ours = _udp()
        far.connect(ours.getsockname())
        stream = self.table.take(message, ours, None)
        self.sockets.add(stream)
        self.poller.watch_silently(ours.fileno())
        self.engine.start(stream, self.now_ns)

    def callers_speak(self) -> None:
        """Packets that are due leave for our sockets."""
        self.now_ns += TICK_NS
        for row in np.flatnonzero(self._next_ns <= self.now_ns).tolist():
            number = self._count[row]
            payload = self._payloads[number % PACKETS].tobytes()
            self._far[row].send(bytes(Packet(0, number & 0xFFFF, number * 160, row + 1, payload)))
            self._count[row] += 1
            self._next_ns[row] += PACKET_NS

    def tick(self) -> None:
        """As the worker does."""
        self.sockets.sampled_row = -1
        batch, _ = self.sockets.receive(self.poller.poll(0))
        if batch is not None:
            self.engine.receive(batch, self.now_ns)
        self.engine.pass_on(self.now_ns)
        if self.sockets.sampled_row >= 0:
            self.engine.note_uplink_delay(self.sockets.sampled_row, self.sockets.sampled_age_ns)

    def sleep(self) -> None:
        """Lose what the caches have."""
        time.sleep(0.001)
        self._junk += 1

    def run(self, seconds: float, *, cold: bool) -> list[int]:
        """What each tick took, ns."""
        took: list[int] = []
        for _ in range(int(seconds * 1e9 / TICK_NS)):
            self.callers_speak()
            if cold:
                self.sleep()
            before = time.perf_counter_ns()
            self.tick()
            took.append(time.perf_counter_ns() - before)
            self.pair.hear()
        return took

    def functions(self) -> collections.Counter[tuple[str, str]]:
        """What one tick calls: (call or c_call, name)."""
        called: collections.Counter[tuple[str, str]] = collections.Counter()

        def note(frame: Any, event: str, argument: Any) -> None:
            if event == "call":
                called[event, f"{frame.f_code.co_filename.rsplit('/', 1)[-1]} {frame.f_code.co_qualname}"] += 1
            elif event == "c_call":
                called[event, str(argument)] += 1

        self.callers_speak()
        sys.setprofile(note)
        self.tick()
        sys.setprofile(None)
        self.pair.hear()
        return called


def _udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def main() -> None:
    """Program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", default="200,1000")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rate", type=int, default=16000, help="of the agent's PCM, Hz")
    parser.add_argument("--functions", action="store_true")
    options = parser.parse_args()
    rows = []
    for calls in map(int, options.calls.split(",")):
        rig = Rig(calls, options.rate)
        rig.run(1, cold=False)
        if options.functions:
            found = [rig.functions() for _ in range(9)]
            usual = sorted(found, key=lambda one: one.total())[4]
            for (kind, name), count in sorted(usual.items()):
                print(f"{count:4} {kind:7} {name}")
            print({kind: sum(n for (k, _), n in usual.items() if k == kind) for kind in ("call", "c_call")})
            continue
        per_tick = [np.median(rig.run(options.seconds, cold=cold)) / 1e3 for cold in (False, True)]
        ticks = 1e9 / TICK_NS
        rows.append([calls, *per_tick, *(us * ticks / calls for us in per_tick)])
        assert not rig.table.shared.worker.drops.any()
    if rows:
        head = ["calls", "us a tick, hot", "cold", "us per call and second, hot", "cold"]
        print(text_table("The uplink's ticks, 250 a second", head, rows))


if __name__ == "__main__":
    main()
