# SPDX-License-Identifier: GPL-2.0-or-later
"""An agent that marks all it says, and keeps the time at which it is told that a mark was played.

    python -m bench.marking_agent --listen /path/agent.sock --record FILE [--marks 200]

To each call, at 8 kHz, it says pieces of 3 to 90 ms, up to 400 ms ahead of time.  Only the last sample of a
piece is loud, so the packet that carries it can be found; behind it is a mark with the piece's number.  The time of
a report is taken (CLOCK_REALTIME) when `recv` has returned it.  The end of standard input ends it.
"""

from __future__ import annotations

import argparse
import os
import random
import select
import socket
import sys
import time

import numpy as np

from trunkline.agent_bridge.agent_events import CallOffered, CallStopped, MarkReported
from trunkline.agent_bridge.agent_protocol import AgentConnection

RATE_HZ = 8000
SAMPLES = (24, 720)
LOUD, SOFT = 32124, 132
"Both survive mu-law as they are."
AHEAD_NS = 400_000_000
TURN_S = 0.02


class Call:
    """One call that is spoken to."""

    def __init__(self, index: int, channel: int, marks: int) -> None:
        self.index, self.channel = index, channel
        self._rng = random.Random(index)
        self._left = marks
        self._number = 0
        self._until_ns = time.monotonic_ns()
        "what has been said lasts until then"

    def speak(self, connection: AgentConnection, now_ns: int) -> None:
        """As far ahead as it is allowed."""
        while self._left and self._until_ns - now_ns < AHEAD_NS:
            piece = np.full((1, self._rng.randint(*SAMPLES)), SOFT, np.int16)
            piece[0, -1] = LOUD
            connection.send_audio(np.array([self.channel], np.uint32), piece)
            connection.mark(self.channel, str(self._number))
            self._number += 1
            self._left -= 1
            self._until_ns = max(self._until_ns, now_ns) + piece.shape[1] * 1_000_000_000 // RATE_HZ


class Agent:
    """One connection: a media worker's."""

    def __init__(self, sock: socket.socket, marks: int) -> None:
        self.sock = sock
        self.call_ids: list[str] = []
        self.reports: list[tuple[int, int, int, bool]] = []
        "index of the call, number of the mark, time, whether it was played"
        self._marks = marks
        self._calls: dict[int, Call] = {}
        self._connection = AgentConnection("marking")
        self._connection.connected(time.monotonic_ns())

    def read(self) -> bool:
        """What has come; False at the end."""
        data = self.sock.recv(1 << 20)
        now_ns = time.time_ns()
        for event in self._connection.receive(data, time.monotonic_ns()):
            if isinstance(event, MarkReported) and event.channel in self._calls:
                index = self._calls[event.channel].index
                self.reports.append((index, int(event.name), now_ns, event.outcome == "played"))
            elif isinstance(event, CallOffered):
                self._calls[event.channel] = Call(len(self.call_ids), event.channel, self._marks)
                self.call_ids.append(event.info.call_id)
                self._connection.accept(event.channel)
            elif isinstance(event, CallStopped):
                self._calls.pop(event.channel, None)
        return bool(data)

    def turn(self) -> None:
        """Speak, and write."""
        now_ns = time.monotonic_ns()
        self._connection.handle_timeout(now_ns)
        for call in self._calls.values():
            call.speak(self._connection, now_ns)
        if out := b"".join(self._connection.data_to_send()):
            self.sock.sendall(out)


def serve(listener: socket.socket, marks: int) -> list[Agent]:
    """Until standard input ends."""
    agents: dict[int, Agent] = {}
    while True:
        ready, _, _ = select.select([listener, sys.stdin, *(a.sock for a in agents.values())], [], [], TURN_S)
        for source in ready:
            if source is sys.stdin:
                if not os.read(sys.stdin.fileno(), 4096):
                    return list(agents.values())
            elif source is listener:
                agent = Agent(listener.accept()[0], marks)
                agents[agent.sock.fileno()] = agent
            elif not agents[source.fileno()].read():
                return list(agents.values())
        for agent in agents.values():
            agent.turn()


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="bench.marking_agent")
    parser.add_argument("--listen", required=True, help="path of the Unix socket")
    parser.add_argument("--record", required=True, help="file for what was reported (.npz)")
    parser.add_argument("--marks", type=int, default=200, help="of each call")
    options = parser.parse_args()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(options.listen)
        listener.listen()
        print("ready", flush=True)
        agents = serve(listener, options.marks)
    reports = [report for agent in agents for report in agent.reports]
    np.savez(
        options.record, call_ids=np.array([call for agent in agents for call in agent.call_ids]),
        reports=np.array(reports, np.int64).reshape(-1, 4),
    )  # fmt: skip


if __name__ == "__main__":
    main()
