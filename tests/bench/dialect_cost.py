# SPDX-License-Identifier: GPL-2.0-or-later
"""What a call costs in each dialect, the gateway's CPU and the agent's: a table for the README.

    PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 python -m bench.dialect_cost [--calls 100,500] [--seconds 4] [--only NAME]

As `engine_cost`: the whole media engine in virtual time, without UDP, so that a busy machine changes little; but
with the real connections of each dialect, system calls included.  The agent is that of `trunkline bench`, which
echoes without a JSON parser.  `make bench-dialects` puts the table into the README.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime as dt
import os
import pathlib
import random
import select
import socket
import sys
import time
from typing import Any
from unittest import mock

import numpy as np

from bench.engine_cost import PACKET_NS, TICK_NS, WARM_UP_S, Rig, spoken
from support.media_rig import MS, start_message
from trunkline.gateway.bench import machine
from trunkline.gateway.bench.agent_loop import Connection
from trunkline.gateway.bench.audiosocket_agent import AudioSocket
from trunkline.gateway.bench.audiosocket_agent import Log as PlainLog
from trunkline.gateway.bench.plan import DEFAULT_RATE_HZ, DIALECTS
from trunkline.gateway.bench.websocket_agent import DIALECTS as WORDS
from trunkline.gateway.bench.websocket_agent import Log, WebSocket
from trunkline.gateway.media import agent_connecting
from trunkline.gateway.media.agent_socket import PlainSocket
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.engine import Engine
from trunkline.gateway.media.poller import EpollPoller
from trunkline.gateway.media.table import Table
from trunkline.rtp.jitter import TargetParams

README = pathlib.Path(__file__).resolve().parents[2] / "gateway/bench/README.md"
BEGIN, END = "<!-- bench-dialects:begin -->", "<!-- bench-dialects:end -->"
HEADS = ("dialect", "Hz", "calls", "gateway, µs", "agent, µs")


class _Ours(PlainSocket):
    """The engine's end of a pair: it is connected already."""

    def connect_ex(self, address: Any) -> int:
        return 0


class Agents:
    """An agent for each call, at the other ends."""

    def __init__(self, dialect: str) -> None:
        self.poller = EpollPoller()
        self._dialect = dialect
        self._epoll = select.epoll()
        self._calls: dict[int, Connection] = {}

    def open_socket(self, address: str) -> tuple[PlainSocket, str]:
        """A new connection."""
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        for sock in pair:
            sock.setblocking(False)
        ours, theirs = pair
        call: Connection
        if self._dialect == "audiosocket":
            call = AudioSocket(theirs, PlainLog(0, 1))
        else:
            call = WebSocket(theirs, Log(0, 1, WORDS[self._dialect]), WORDS[self._dialect])
        self._calls[theirs.fileno()] = call
        self._epoll.register(theirs, select.EPOLLIN)
        return _Ours(fileno=ours.detach()), address

    def deliver(self) -> None:
        """Let the engine read what the agents have said."""
        for fd, events in self.poller.epoll.poll(0):
            handler = self.poller.handlers.get(fd)
            if handler is not None:
                handler(events)

    def turn(self, now_ns: int) -> bool:
        """Let the agents do likewise."""
        ready = self._epoll.poll(0)
        for fd, _ in ready:
            self._calls[fd].read()
        return bool(ready)


class DialectRig(Rig):
    """An engine with calls to agents that take one on each connection."""

    def __init__(self, calls: int, dialect: str, rate_hz: int) -> None:
        self._peers = None
        self.clock_ts = 160
        self.now_ns = 1_000_000_000_000
        self.table = Table(Columns(calls + 4))
        self.pair = agents = Agents(dialect)  # type: ignore[assignment]
        self.sent = 0
        self.spent: collections.Counter[str] = collections.Counter()
        self.engine = Engine(
            self.table, self, agents.poller, lambda: self.now_ns, lambda message: None, random.Random(1),
            jitter=TargetParams(min_ns=40 * MS),
        )  # fmt: skip
        params = {"dialect": dialect, "address": "tcp:127.0.0.1:9", "url": "" if dialect == "audiosocket" else "ws://a/"}
        with mock.patch.object(agent_connecting, "open_socket", agents.open_socket):
            for first in range(8):  # answered at different times, so that their packets fall due in different ticks
                for _ in range(first, calls, 8):
                    one = start_message(rate_hz)
                    agent = type(one.agent)(**{f: getattr(one.agent, f) for f in one.agent.__struct_fields__} | params)
                    call = type(one)(one.info, one.media, agent, answered=True)
                    self.engine.start(self.table.take(call, None, None), self.now_ns)  # type: ignore[arg-type]
                for _ in range(9):
                    self.now_ns += TICK_NS
                    agents.deliver()
                    self.engine.tick(self.now_ns)
                    agents.turn(self.now_ns)
        assert self.table.agent_ready.sum() == calls
        self._payloads, self._lengths = spoken("PCMU", rate_hz)
        self._next_ns = self.now_ns + np.arange(calls) * PACKET_NS // calls
        self._count = np.zeros(calls, np.int64)


@dataclasses.dataclass
class Cost:
    """CPU per call and second, us."""

    dialect: str
    rate_hz: int
    calls: int
    ours: float
    agents: float

    def line(self) -> str:
        """A row of the table."""
        return f"| {self.dialect} | {self.rate_hz:,} | {self.calls} | {self.ours:.0f} | {self.agents:.0f} |"


def measure(dialect: str, calls: int, seconds: float) -> Cost:
    """In virtual time."""
    rate_hz = DEFAULT_RATE_HZ.get(dialect, 16000)
    rig: Any = Rig(calls, rate_hz, "PCMU") if dialect == "trunkline" else DialectRig(calls, dialect, rate_hz)
    turn, agents_ns = rig.pair.turn, 0

    def timed_turn(now_ns: int) -> Any:
        nonlocal agents_ns
        before = time.process_time_ns()
        done = turn(now_ns)
        agents_ns += time.process_time_ns() - before
        return done

    rig.pair.turn = timed_turn
    rig.run(WARM_UP_S)
    rig.spent.clear()
    rig.sent, began = 0, int(rig.table.shared.worker.frames_from_agent[0])
    agents_ns = 0
    rig.run(seconds)
    assert rig.sent >= calls * (seconds * 50 - 1), rig.sent
    frames = int(rig.table.shared.worker.frames_from_agent[0]) - began
    assert frames >= calls * seconds * 49, f"{frames} frames came back"
    assert not rig.table.shared.worker.drops.any()
    each = 1e3 * calls * seconds
    return Cost(dialect, rate_hz, calls, sum(rig.spent.values()) / each, agents_ns / each)


def main(arguments: list[str] | None = None) -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="bench.dialect_cost")
    parser.add_argument("--calls", default="100,500")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--only", choices=DIALECTS)
    parser.add_argument("--keep-readme", action="store_true", help="print the table only")
    options = parser.parse_args(arguments)
    machine.need_descriptors(2 * max(map(int, options.calls.split(","))) + 200)
    load, lines = os.getloadavg()[0], []
    for calls in map(int, options.calls.split(",")):
        for dialect in [options.only] if options.only else DIALECTS:
            lines.append(measure(dialect, calls, options.seconds).line())
            print(lines[-1], flush=True)
    if not options.keep_readme and not options.only:
        here, today = machine.describe(), dt.datetime.now(dt.UTC).date().isoformat()
        where = f"{here['cpu']}, {here['cores']} cores, load average {load:.0f}"
        how = f"`make bench-dialects` on {today}, {where}; PCMU, 20 ms."
        before, _, rest = README.read_text().partition(BEGIN)
        table = [f"| {' | '.join(HEADS)} |", "|---|--:|--:|--:|--:|", *lines, "", how]
        README.write_text("\n".join([before + BEGIN, *table, END]) + rest.partition(END)[2])
    return 0


if __name__ == "__main__":
    sys.exit(main())
