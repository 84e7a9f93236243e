# SPDX-License-Identifier: GPL-2.0-or-later
"""A bad network in a box: a UDP relay that loses, repeats, delays and reorders, the same way each time.

    endpoint  <-->  relay.near | relay.far  <-->  gateway

What happens to a packet depends on the seed, the direction and the packet's number in
that direction, and on nothing else: neither on time nor on other packets.  So a test
that fails fails again.  `Impairment.fate` is that function, without I/O; `Relay` is the
thread that carries it out.
"""

from __future__ import annotations

import dataclasses
import heapq
import random
import selectors
import socket
import threading
import time
from types import TracebackType
from typing import Self

MS = 1_000_000
RECEIVE_BUFFER_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Impairment:
    """How bad the network is, one way."""

    loss: float = 0.0
    "share of packets that never arrive"
    duplicate: float = 0.0
    "share that arrives twice"
    reorder: float = 0.0
    "share that is held back by `reorder_ms`, so that later ones overtake it"
    reorder_ms: float = 35.0
    delay_ms: float = 0.0
    "of every packet"
    jitter_ms: float = 0.0
    "mean of an exponential delay on top; the tail is cut at five times that"
    drop: frozenset[int] = frozenset()
    "numbers of packets that are lost in any case"

    def fate(self, seed: int, way: str, number: int) -> list[int]:
        """Delay in ns of each copy of packet `number` (from 0); none when it is lost."""
        if number in self.drop:
            return []
        rng = random.Random(f"{seed}/{way}/{number}")
        lost, twice, late = (
            rng.random() < self.loss,
            rng.random() < self.duplicate,
            rng.random() < self.reorder,
        )
        jitter = min(rng.expovariate(1.0) if self.jitter_ms else 0.0, 5.0) * self.jitter_ms
        again = rng.random() * 30.0
        if lost:
            return []
        delay_ms = self.delay_ms + jitter + (self.reorder_ms if late else 0.0)
        return [round(one * MS) for one in ([delay_ms, delay_ms + again] if twice else [delay_ms])]


@dataclasses.dataclass(slots=True)
class Counts:
    """What became of the packets of one way."""

    packets: int = 0
    lost: int = 0
    duplicated: int = 0
    overtaken: int = 0
    "packets that left after one that had come in later"


class Relay:
    """Carries packets between an endpoint and a gateway's port; a context manager.

    The endpoint sends to `near_port` and names `far_port` as its own in SDP.  Where the
    endpoint listens is given, or learned from its first packet.
    """

    def __init__(
        self,
        to_gateway: Impairment = Impairment(),
        to_endpoint: Impairment = Impairment(),
        *,
        seed: int = 1,
        host: str = "127.0.0.1",
        endpoint: tuple[str, int] | None = None,
    ) -> None:
        self.seed = seed
        self.impairments = {"to_gateway": to_gateway, "to_endpoint": to_endpoint}
        self.counts = {"to_gateway": Counts(), "to_endpoint": Counts()}
        self.gateway: tuple[str, int] | None = None
        "set it when signalling has told it"
        self.endpoint = endpoint
        self._near, self._far = (_socket(host) for _ in range(2))
        self.near_port = self._near.getsockname()[1]
        self.far_port = self._far.getsockname()[1]
        self._waiting: list[tuple[int, int, int, str, bytes]] = []
        "heap of (due ns, order, number, way, packet)"
        self._order = 0
        self._highest = {"to_gateway": -1, "to_endpoint": -1}
        self._wake_read, self._wake_write = socket.socketpair()
        self._running = True
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running = False
        self._wake_write.send(b"x")
        self._thread.join(5)
        for sock in (self._near, self._far, self._wake_read, self._wake_write):
            sock.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for sock, way in ((self._near, "to_gateway"), (self._far, "to_endpoint"), (self._wake_read, "")):
                selector.register(sock, selectors.EVENT_READ, way)
            while self._running:
                timeout = (self._waiting[0][0] - time.monotonic_ns()) / 1e9 if self._waiting else None
                for key, _ in selector.select(timeout if timeout is None else max(0.0, timeout)):
                    if key.data:
                        self._take(key.fileobj, key.data)  # type: ignore[arg-type]
                self._send_due()

    def _take(self, sock: socket.socket, way: str) -> None:
        while True:
            try:
                packet, source = sock.recvfrom(2048)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error of an earlier packet
                continue
            if way == "to_gateway" and self.endpoint is None:
                self.endpoint = source
            now, count = time.monotonic_ns(), self.counts[way]
            number, count.packets = count.packets, count.packets + 1
            copies = self.impairments[way].fate(self.seed, way, number)
            count.lost += not copies
            count.duplicated += len(copies) > 1
            for delay in copies:
                self._order += 1
                heapq.heappush(self._waiting, (now + delay, self._order, number, way, packet))

    def _send_due(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic_ns():
            _, _, number, way, packet = heapq.heappop(self._waiting)
            self.counts[way].overtaken += number < self._highest[way]
            self._highest[way] = max(number, self._highest[way])
            sock, target = (self._far, self.gateway) if way == "to_gateway" else (self._near, self.endpoint)
            if target is not None:
                try:
                    sock.sendto(packet, target)
                except OSError:  # nobody listens there (any more), as on a real network
                    continue


def _socket(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    sock.bind((host, 0))
    sock.setblocking(False)
    return sock
