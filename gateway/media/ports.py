# SPDX-License-Identifier: GPL-2.0-or-later
"""RTP and RTCP sockets of calls, out of a range of ports (RFC 3550 section 11: even, odd).

The gateway process opens them and keeps them; workers get duplicates.  The free pairs
are a queue in random order: a pair that was given back goes to its end, so the late
packets of a call that has ended find a closed port and not somebody else's call, and an
outsider cannot guess the next port.  Taking and giving back are O(1) and thread-safe,
because an INVITE is screened on the SIP thread while calls end on the event loop.
"""

from __future__ import annotations

import errno
import random
import resource
import socket
import threading
from collections import deque

RECEIVE_BUFFER_BYTES = 256 * 1024
"""SO_RCVBUF of an RTP socket.

The kernel doubles the figure, and charges 0.8 to 1.3 kB for a packet of 172 bytes: measured, 630 fit on
loopback, 12 s of one call.  A media worker is replaced in a fraction of a second, or 2 s after it hung.
"""

MAX_ATTEMPTS = 256
"Ports of strangers skipped in one call of `acquire`; binding 8,000 times would hold the SIP thread 50 ms."

RESERVED_DESCRIPTORS = 48
"""Descriptors that no call gets, so that when they are short the API still answers, a dead worker is replaced and
a TCP peer is heard; an eighth of all where there are few."""

_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class PortsExhausted(Exception):
    """No pair can be had; `cause` is `range` (all in use) or `descriptors` (the process has no more)."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause


class PortPair:
    """Two bound non-blocking UDP sockets; `release()` closes them, once however often it is called."""

    __slots__ = ("_pool", "rtcp", "rtcp_port", "rtp", "rtp_port")

    def __init__(self, pool: PortPool, rtp_port: int, rtp: socket.socket, rtcp: socket.socket) -> None:
        self._pool: PortPool | None = pool
        self.rtp_port = rtp_port
        self.rtcp_port = rtp_port + 1
        self.rtp = rtp
        self.rtcp = rtcp

    def release(self) -> None:
        """Close both sockets and give the ports back."""
        pool, self._pool = self._pool, None
        if pool is not None:
            self.rtp.close()
            self.rtcp.close()
            pool._give_back(self.rtp_port)

    @property
    def released(self) -> bool:
        """Whether the sockets are closed."""
        return self._pool is None


class PortPool:
    """Pairs of UDP ports on one local address."""

    def __init__(self, host: str, first: int, last: int, *, rng: random.Random | None = None) -> None:
        """`first`..`last` inclusive; an odd first or an even last port is left out."""
        self.host = host
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        pairs = list(range(first + first % 2, last, 2))
        (rng or random.SystemRandom()).shuffle(pairs)
        self._free = deque(pairs)
        self._lock = threading.Lock()
        self.capacity = len(pairs)
        self.in_use = 0
        "pairs held by calls"
        self.skipped = 0
        "pairs passed over because another program had a port of them; since start"

    def acquire(self) -> PortPair:
        """Open the pair that has been unused the longest; raises PortsExhausted."""
        for _ in range(MAX_ATTEMPTS):
            with self._lock:
                if not self._free:
                    break
                port = self._free.popleft()
                self.in_use += 1
            pair = self._open(port)
            if pair is not None:
                return pair
        raise PortsExhausted(
            "range",
            f"no free RTP port pair of {self.capacity} on {self.host} ({self.in_use} in use by calls, "
            f"{self.skipped} times another program had one); widen media.port_range",
        )

    def _open(self, port: int) -> PortPair | None:
        """Bind both; None when a stranger has one of them."""
        rtp = rtcp = None
        try:
            rtp = self._bind(port)
            rtp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            rtcp = self._bind(port + 1)
            _leave_some(rtp, rtcp)
            return PortPair(self, port, rtp, rtcp)
        except OSError as error:
            for sock in (rtp, rtcp):
                if sock is not None:
                    sock.close()
            self._give_back(port)
            if error.errno == errno.EADDRINUSE:
                self.skipped += 1
                return None
            cause, cure = "system", ""
            if error.errno in _OUT_OF_DESCRIPTORS:
                cause, cure = "descriptors", f"; raise `ulimit -n`, now {_limit()}, or lower limits.max_calls"
            why = f"cannot open RTP port {port} on {self.host}: {error.strerror or error}{cure}"
            raise PortsExhausted(cause, why) from error

    def _bind(self, port: int) -> socket.socket:
        sock = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.bind((self.host, port))
        except OSError:
            sock.close()
            raise
        return sock

    def _give_back(self, port: int) -> None:
        with self._lock:
            self._free.append(port)
            self.in_use -= 1


def _limit() -> int:
    """Descriptors that this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _leave_some(*sockets: socket.socket) -> None:
    """Raise OSError when these are of the last descriptors: the kernel gives out the lowest first."""
    limit = _limit()
    if max(sock.fileno() for sock in sockets) >= limit - min(RESERVED_DESCRIPTORS, limit // 8):
        raise OSError(errno.EMFILE, "the last descriptors are kept for other things than calls")
