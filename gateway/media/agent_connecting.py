# SPDX-License-Identifier: GPL-2.0-or-later
"""From an agent's address to a connection that carries bytes: connect, and with wss shake hands in TLS.

Each `step` goes as far as it can without waiting, and says what to wait for: the socket
(`mask`), or a time (`wake_ns`).
"""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

from trunkline.gateway.media.agent_socket import PlainSocket, Target, open_socket
from trunkline.gateway.media.agent_tls import Contexts, TlsFailed, TlsStream
from trunkline.gateway.media.control import AgentParams
from trunkline.gateway.media.outbox import Sink

RETRY_NS = 20_000_000
"Next try after a Unix listener's queue was full (EAGAIN); the kernel does not say when there is room."
CONTEXT_RETRY_NS = 5_000_000
"Next look whether the authorities have been read."

_CONTEXTS = Contexts()


class ByteStream(Sink, Protocol):
    """A connected socket, or TLS on one."""

    more: bool
    "bytes can be read that no poller will tell of"

    @property
    def waiting(self) -> bool:
        """Bytes were taken by sendmsg() and not yet by the kernel."""

    def fileno(self) -> int:
        """For the poller."""

    def recv_into(self, buffer: bytearray) -> int:
        """Read some bytes; 0 at the end, BlockingIOError when there are none."""

    def close(self) -> None:
        """Let go of it."""


class ConnectFailed(Exception):
    """Why there is no connection."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class Connecting:
    """One attempt."""

    def __init__(self, agent: AgentParams, clock: Callable[[], int]) -> None:
        self._agent, self._clock = agent, clock
        self.deadline_ns = clock() + agent.connect_timeout_ms * 1_000_000
        self.wake_ns: int | None = None
        "when to call step() again, whatever the socket does"
        self.socket: PlainSocket | None = None
        self._target: Target = ""
        self._under_way = self._connected = False
        self._tls: TlsStream | None = None

    @property
    def mask(self) -> int:
        """What of the socket to wait for; 0: nothing."""
        if self._tls is not None:
            return select.EPOLLIN | (select.EPOLLOUT if self._tls.waiting else 0)
        if self._connected:
            return 0
        return select.EPOLLIN | select.EPOLLOUT if self._under_way else 0

    def step(self) -> ByteStream | None:
        """Go on; the connection, once there is one. Raises ConnectFailed."""
        self.wake_ns = None
        if self.socket is None:
            self._open()
        elif self._under_way and not self._connected:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise self._refused(code)
            self._connected, self._under_way = True, False
        assert self.socket is not None
        if not self._connected:
            self._begin(self.socket)
            return None
        return self._secure(self.socket) if self._agent.url.startswith("wss:") else self.socket

    def _open(self) -> None:
        try:
            self.socket, self._target = open_socket(self._agent.address)
        except (OSError, ValueError) as error:
            where = f"agent {self._agent.name} at {self._agent.address}"
            raise ConnectFailed("agent_unreachable", f"cannot connect to {where}: {error}") from None

    def _begin(self, sock: PlainSocket) -> None:
        code = sock.connect_ex(self._target)
        if code in (0, errno.EINPROGRESS):
            self._under_way = True
        elif code == errno.EAGAIN:  # only Unix: it listens, but has not accepted those before us (unix(7))
            self.wake_ns = self._clock() + RETRY_NS
        else:
            raise self._refused(code)

    def _refused(self, code: int) -> ConnectFailed:
        where, why = f"{self._agent.name} at {self._agent.address}", errno.errorcode.get(code, str(code))
        text = f"agent {where} does not take connections ({why}): is it running?"
        return ConnectFailed("agent_unreachable", text)

    def _secure(self, sock: PlainSocket) -> TlsStream | None:
        try:
            if self._tls is None:
                context = _CONTEXTS.get(self._agent.ca, self._agent.verify)
                if context is None:
                    self.wake_ns = self._clock() + CONTEXT_RETRY_NS
                    return None
                self._tls = TlsStream(sock, context, urlsplit(self._agent.url).hostname or "")
            return self._tls if self._tls.shake() else None
        except TlsFailed as failure:
            raise ConnectFailed("agent_unreachable", f"agent {self._agent.name}: {failure}") from None
        except OSError as error:
            text = f"agent {self._agent.name} broke the connection off in the TLS handshake: {error.strerror}"
            raise ConnectFailed("agent_unreachable", text) from None

    def too_late(self) -> ConnectFailed:
        """The deadline has passed: what it was that took so long."""
        name, waited = self._agent.name, f"within {self._agent.connect_timeout_ms} ms"
        if self._connected:
            text = f"agent {name} did not finish the TLS handshake {waited}: does it speak TLS at this port?"
            return ConnectFailed("agent_timeout", text)
        full = ": its queue of connections is full" if self.wake_ns is not None else ""
        return ConnectFailed("agent_unreachable", f"agent {name} did not accept {waited}{full}")
