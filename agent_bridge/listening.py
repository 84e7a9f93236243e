# SPDX-License-Identifier: MIT
"""Sockets that agents listen on: private by default, and never taken from a living process."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from trunkline.agent_bridge.links import Address, AddressError, TcpAddress, UnixAddress, parse_address

_BACKLOG = 1024
"A gateway with AudioSocket opens one connection a call, many at once when it restarts."


class ListenError(OSError):
    """Listening is not possible; the text says why and what to do."""


def listening_address(text: str) -> Address:
    """Like `links.parse_address`, but `tcp:9092` means loopback and port 0 lets the system choose."""
    scheme, _, rest = text.partition(":")
    if scheme != "tcp":
        return parse_address(text)
    host, _, port = rest.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise AddressError(f"{text!r}: {port!r} is not a port number; write tcp:9092 or tcp:host:port")
    return TcpAddress(host or "127.0.0.1", int(port))


def listen(address: Address, mode: int = 0o600) -> socket.socket:
    """A listening socket; `mode` is the permission of a Unix socket's file. Raises ListenError."""
    if isinstance(address, UnixAddress):
        return _listen_unix(address, mode)
    return _listen_tcp(address)


def _listen_tcp(address: TcpAddress) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        found = socket.getaddrinfo(address.host, address.port, family, socket.SOCK_STREAM)
        return socket.create_server(found[0][4][:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ListenError(error.errno, f"cannot listen on {address}: {error.strerror or error}") from error


def _listen_unix(address: UnixAddress, mode: int) -> socket.socket:
    path = Path(address.path)
    folder = path.parent
    if not folder.is_dir():
        message = f"cannot listen on {address}: there is no folder {folder} (mkdir -p {folder})"
        raise ListenError(errno.ENOENT, message)
    _remove_stale(address)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux gives the file the mode of the unbound socket, so it is never open wider than this.
        os.fchmod(sock.fileno(), mode)
        sock.bind(address.path)
        path.chmod(mode)  # the umask may have taken bits that were asked for
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise ListenError(error.errno, f"cannot listen on {address}: {error.strerror}") from error
    return sock


def _remove_stale(address: UnixAddress) -> None:
    """Remove what a dead process left; anything else in the way is an error."""
    try:
        found = os.lstat(address.path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ListenError(errno.EEXIST, f"cannot listen on {address}: a file is there that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        answer = probe.connect_ex(address.path)
    if answer == errno.ECONNREFUSED:
        with contextlib.suppress(FileNotFoundError):
            Path(address.path).unlink()
    elif answer != errno.ENOENT:
        raise ListenError(errno.EADDRINUSE, f"cannot listen on {address}: another process does already")


class SocketFile:
    """Removes a Unix socket's file at the end, unless somebody else has put theirs there."""

    def __init__(self, address: Address) -> None:
        self._path = address.path if isinstance(address, UnixAddress) else None
        self._identity = self._look()

    def _look(self) -> tuple[int, int, int] | None:
        if self._path is None:
            return None
        with contextlib.suppress(OSError):
            found = os.lstat(self._path)
            # Inode numbers are used again at once, so the time of creation counts as well.
            return found.st_dev, found.st_ino, found.st_mtime_ns
        return None

    @property
    def there(self) -> bool:
        """It is still the one that was made; a TCP socket has no file, and is always there."""
        return self._path is None or self._look() == self._identity

    def remove(self) -> None:
        """Remove it, once."""
        if self._path is not None and self._identity is not None and self._look() == self._identity:
            with contextlib.suppress(OSError):
                Path(self._path).unlink()
        self._identity = None
