# SPDX-License-Identifier: GPL-2.0-or-later
"""Ports for programs of tests, from a share that each process of a test run has to itself.

    10,000 to 25,999    blocks of them, for RTP
    26,000 to 29,999    the demonstration's, which finds its own
    30,000 to 32,767    single ones
    32,768 and more     what the kernel gives out by itself, to whoever asks for any: never a test's

A port is found free now and taken later.  In between nothing else may take it: not another
process of this run (each has its share), and not this one (each port is given once before any is
given again).
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Mapping

BLOCKS = range(10_000, 26_000)
SINGLE = range(30_000, 32_768)
GRAIN = 10
"Blocks begin at a multiple of that, which is even, as RTP wants."


def share(ports: range, environment: Mapping[str, str] = os.environ) -> range:
    """What of `ports` belongs to this process of pytest-xdist; all, where it runs alone."""
    count = int(environment.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    place = int(environment.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % count
    size = len(ports) // count // GRAIN * GRAIN
    return ports[place * size : (place + 1) * size]


class _Turn:
    """Goes round the share for ever, from a place at random: other runs on this machine begin elsewhere."""

    def __init__(self, ports: range) -> None:
        self._ports = share(ports)
        self._at = random.randrange(0, len(self._ports), GRAIN)

    def __call__(self, count: int, host: str) -> range:
        step = -(-count // GRAIN) * GRAIN if count > 1 else 1
        best, least = range(0), count
        for _ in range(len(self._ports) // step + 1):
            if self._at + step > len(self._ports):
                self._at = 0
            found = self._ports[self._at : self._at + count]
            self._at += step
            taken = sum(not _is_free(port, host) for port in found)
            if taken == 0:
                return found
            if taken < least:
                best, least = found, taken
        # Another program has some everywhere; gateways and PBXs pass over those.
        assert least < count / 2, f"no {count} free ports of {self._ports} on {host}"
        return best


_next_block, _next_single = _Turn(BLOCKS), _Turn(SINGLE)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that neither UDP nor TCP uses at this moment, and that nobody else is given."""
    return _next_single(1, host).start


def free_block(count: int, host: str = "127.0.0.1") -> range:
    """As many ports side by side; the first one is even."""
    return _next_block(count, host)


def _is_free(port: int, host: str) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp, socket.socket(family) as tcp:
        try:
            udp.bind((host, port))
            tcp.bind((host, port))
        except OSError:
            return False
    return True
