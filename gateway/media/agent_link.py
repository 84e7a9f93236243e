# SPDX-License-Identifier: GPL-2.0-or-later
"""One connection to an agent: the socket around a sans-I/O `Link`.

Never blocks: the connect, the handshake and a slow reader all wait in the
worker's poller.  Names are resolved by the gateway process beforehand; here an
address is a path or a literal.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import ipaddress
import select
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from trunkline.agent_bridge.dialect import Link, LinkEvent, LinkFailed, LinkUp
from trunkline.agent_bridge.links import TcpAddress, UnixAddress, create_link, parse_address
from trunkline.gateway.media.control import AgentParams

READ_BYTES = 1 << 18
READS_PER_TICK = 4
"An agent that floods gets no more of a tick than a megabyte."
STALL_NS = 5_000_000_000
"An agent that has read nothing for so long, with audio waiting, is lost."
BACKLOG_NS = 1_000_000_000
"Uplink audio that waits for a slow agent at most, before frames are dropped."
IOV_MAX = 512


class Poller(Protocol):
    """Readiness of descriptors (worker.py, or a test)."""

    def watch(self, fd: int, mask: int, handler: Callable[[int], None]) -> None:
        """Call handler(events) when fd is ready; a second call changes the mask."""

    def forget(self, fd: int) -> None:
        """Stop watching."""


EventHandler = Callable[["AgentLink", Sequence[LinkEvent], int], None]


class AgentLink:
    """A connection: connecting, up, or closed for good."""

    def __init__(
        self,
        index: int,
        agent: AgentParams,
        poller: Poller,
        clock: Callable[[], int],
        on_events: EventHandler,
    ) -> None:
        """`clock` is monotonic, in ns; `on_events` gets what the agent says, and LinkFailed once at the end."""
        self.index = index
        self.agent = agent
        self.protocol: Link = create_link(
            agent.dialect, token=agent.token, sample_rate_hz=agent.sample_rate_hz
        )
        self.open = True
        self.connected = False
        self.up = False
        "the handshake is done"
        self.begun = False
        self._poller = poller
        self._clock = clock
        self._on_events = on_events
        self._socket: socket.socket | None = None
        self._out: collections.deque[memoryview] = collections.deque()
        self.backlog_bytes = 0
        self._progress_ns = clock()
        self._deadline_ns: int | None = None
        self._buffer = bytearray(READ_BYTES)
        self._closing = False
        self.limit_bytes = 1 << 18
        "backlog from which uplink frames are dropped; grows with the calls on the link"

    def connect(self) -> None:
        """Begin to connect, once; the outcome comes as events."""
        if self.begun:
            return
        self.begun = True
        self._deadline_ns = self._clock() + self.agent.connect_timeout_ms * 1_000_000
        try:
            address = parse_address(self.agent.address)
            target: str | tuple[str, int]
            if isinstance(address, UnixAddress):
                family, target = socket.AF_UNIX, address.path
            else:
                ip = ipaddress.ip_address(address.host)  # a name would make the whole worker wait for DNS
                family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
                target = (address.host, address.port)
            self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            if isinstance(address, TcpAddress):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = self._socket.connect_ex(target)
        except (OSError, ValueError) as error:
            where = f"agent {self.agent.name} at {self.agent.address}"
            self.fail("agent_unreachable", f"cannot connect to {where}: {error}")
            return
        if code not in (0, errno.EINPROGRESS):
            self._refuse(code)
            return
        self._poller.watch(self._socket.fileno(), select.EPOLLIN | select.EPOLLOUT, self._on_ready)

    def _refuse(self, code: int) -> None:
        why = errno.errorcode.get(code, str(code))
        self.fail(
            "agent_unreachable",
            f"agent {self.agent.name} at {self.agent.address} does not take connections ({why}): is it running?",
        )

    def _on_ready(self, events: int) -> None:
        """The poller says that the socket can be read or written."""
        if self._socket is None:
            return
        if not self.connected:
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._refuse(code)
                return
            self.connected, self._deadline_ns = True, None
            self.protocol.connected(self._clock())
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            self._read()
        if self.open:
            self.flush()

    def _read(self) -> None:
        view = memoryview(self._buffer)
        for _ in range(READS_PER_TICK):
            if self._socket is None:
                return
            try:
                n = self._socket.recv_into(self._buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self.fail("agent_lost", f"connection to agent {self.agent.name} broke: {error}")
                return
            self._tell(self.protocol.receive(view[:n], self._clock()))
            if n == 0 and self.open:
                self.fail("agent_lost", f"agent {self.agent.name} closed the connection")
                return
            if n < READ_BYTES:
                return

    def _tell(self, events: Sequence[LinkEvent]) -> None:
        """Pass events on; a failure closes the socket first, so that nobody writes to it."""
        if any(isinstance(event, LinkUp) for event in events):
            self.up = True
        if any(isinstance(event, LinkFailed) for event in events):
            self._shut()
        if events:
            self._on_events(self, events, self._clock())

    def flush(self) -> None:
        """Write what the protocol has to say, as far as the socket takes it."""
        if not self.connected or self._socket is None:
            return
        for piece in self.protocol.data_to_send():
            view = memoryview(piece).cast("B")
            self._out.append(view)
            self.backlog_bytes += len(view)
        was_empty = not self._out
        while self._out:
            pieces = [self._out[i] for i in range(min(len(self._out), IOV_MAX))]
            try:
                sent = self._socket.sendmsg(pieces)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self.fail("agent_lost", f"connection to agent {self.agent.name} broke: {error}")
                return
            self._consume(sent)
            self._progress_ns = self._clock()
        if was_empty:
            self._progress_ns = self._clock()
        if self._socket is not None:
            mask = select.EPOLLIN | (select.EPOLLOUT if self._out else 0)
            self._poller.watch(self._socket.fileno(), mask, self._on_ready)
        if self._closing and not self._out:
            self._shut()

    def _consume(self, sent: int) -> None:
        self.backlog_bytes -= sent
        while sent:
            first = self._out[0]
            if sent < len(first):
                self._out[0] = first[sent:]
                return
            sent -= len(first)
            self._out.popleft()

    @property
    def next_deadline_ns(self) -> int | None:
        """When `handle_timeout` must be called."""
        deadlines = [self._deadline_ns, self.protocol.next_deadline_ns]
        if self._out:
            deadlines.append(self._progress_ns + STALL_NS)
        return min((d for d in deadlines if d is not None), default=None) if self.open else None

    def handle_timeout(self, now_ns: int) -> None:
        """Time-outs of the connect, of the protocol, of an agent that does not read."""
        if not self.open:
            return
        if not self.connected and self._deadline_ns is not None and now_ns >= self._deadline_ns:
            waited = self.agent.connect_timeout_ms
            self.fail("agent_unreachable", f"agent {self.agent.name} did not accept within {waited} ms")
        elif self._out and now_ns - self._progress_ns >= STALL_NS:
            self.fail("agent_lost", f"agent {self.agent.name} has read nothing for {STALL_NS // 10**9} s")
        elif self.connected:
            self._tell(self.protocol.handle_timeout(now_ns))
            self.flush()

    def close_when_flushed(self) -> None:
        """Nothing more will be said: close once what waits has been written."""
        self._closing = True
        self.flush()
        if not self.connected:
            self._shut()

    def fail(self, reason: str, detail: str) -> None:
        """Close, and tell why."""
        if self.open:
            self._shut()
            self._on_events(self, [LinkFailed(reason, detail)], self._clock())

    def _shut(self) -> None:
        self.open = self.up = False
        self.backlog_bytes = 0
        if self._socket is not None:
            last_words = [*self._out, *self.protocol.data_to_send()] if self.connected else []
            with contextlib.suppress(OSError):
                self._socket.sendmsg(last_words[:IOV_MAX])
            self._poller.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._out.clear()
