# SPDX-License-Identifier: GPL-2.0-or-later
"""The wire between the gateway and a media worker: SOCK_SEQPACKET with descriptors.

The kernel keeps message boundaries and order, so there is no framing of ours: one
packet is one message of `control.py`, and sockets ride on it as SCM_RIGHTS.  Both
ends use this module; neither end blocks (a `Channel` queues what the kernel does not
take, and a queued message keeps duplicates of its descriptors, so that the caller may
close its own at once).
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
from collections import deque
from collections.abc import Sequence

MAX_MESSAGE_BYTES = 65536
"Longest message; far below the socket buffer, so one always fits in an empty one."
MAX_FDS = 8
"Descriptors on one message: RTP and RTCP today."

_SOCKET_BUFFER_BYTES = 1 << 20
"Asked for; the kernel gives what net.core.wmem_max allows. A restart resumes 1,000 calls at once."
_FD_BYTES = array.array("i").itemsize
_WOULD_BLOCK = (errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS)
"ETOOMANYREFS: more descriptors in flight than RLIMIT_NOFILE; passes as soon as the peer reads."


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends: ours (non-blocking) and the worker's (left blocking, inheritable by choice)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
    ours.setblocking(False)
    return ours, theirs


def send(sock: socket.socket, message: bytes, fds: Sequence[int] = ()) -> None:
    """Send one message; raises BlockingIOError when the kernel does not take it now."""
    if len(message) > MAX_MESSAGE_BYTES:
        raise ValueError(f"message of {len(message)} bytes; the channel takes {MAX_MESSAGE_BYTES}")
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    try:
        sock.sendmsg([message], ancillary)
    except OSError as error:
        if error.errno in _WOULD_BLOCK:
            raise BlockingIOError(error.errno, os.strerror(error.errno or 0)) from error
        raise


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Take one message and its descriptors; `b""` means that the peer is gone.

    Raises BlockingIOError when there is none on a non-blocking socket.  Descriptors are
    close-on-exec, and belong to the caller.  When this process has no room for them, the
    message comes without any: the sender has its own still, and what it wanted is refused.
    """
    try:
        message, ancillary, flags, _ = sock.recvmsg(
            MAX_MESSAGE_BYTES, socket.CMSG_SPACE(MAX_FDS * _FD_BYTES), socket.MSG_CMSG_CLOEXEC
        )
    except ConnectionResetError:  # it died with messages of ours unread
        return b"", []
    fds = _descriptors(ancillary)
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        _close_all(fds)
        fds = []
        if flags & socket.MSG_TRUNC:
            raise OSError(errno.EMSGSIZE, "control message was cut short")
    return message, fds


def _descriptors(ancillary: Sequence[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % _FD_BYTES])
    return list(fds)


class Channel:
    """One end, with a queue for what cannot be sent now.

    The owner watches the socket: readable -> `receive()`, and while `pending`, writable -> `flush()`.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._queue: deque[tuple[bytes, list[int]]] = deque()

    def fileno(self) -> int:
        """Descriptor of the socket, for a poller."""
        return self.sock.fileno()

    @property
    def pending(self) -> int:
        """Messages that wait for the kernel."""
        return len(self._queue)

    def send(self, message: bytes, fds: Sequence[int] = ()) -> None:
        """Send now or queue; order is kept. The caller's descriptors stay its own.

        Raises OSError when the peer is gone, or (EMFILE) when there is no descriptor for the copies
        that a queued message holds: it is not sent then.
        """
        if not self._queue:
            try:
                send(self.sock, message, fds)
                return
            except BlockingIOError:
                pass
        copies: list[int] = []
        try:
            copies += map(os.dup, fds)
        except OSError:
            _close_all(copies)
            raise
        self._queue.append((message, copies))

    def flush(self) -> bool:
        """Send what is queued; True when nothing is left. Raises OSError when the peer is gone."""
        while self._queue:
            message, fds = self._queue[0]
            try:
                send(self.sock, message, fds)
            except BlockingIOError:
                return False
            self._queue.popleft()
            _close_all(fds)
        return True

    def receive(self) -> tuple[bytes, list[int]]:
        """Like the function `receive`, on this socket."""
        return receive(self.sock)

    def close(self) -> None:
        """Close the socket and drop what is queued."""
        while self._queue:
            _close_all(self._queue.popleft()[1])
        self.sock.close()


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
