# SPDX-License-Identifier: GPL-2.0-or-later
"""Beginning and unexpected end of a connection to an agent, for `agent_link.py`."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import traceback
from collections.abc import Callable

from trunkline.agent_bridge.links import UnixAddress, parse_address

Target = str | tuple[str, int]

SO_SNDBUFFORCE = 32
"socket(7), beyond wmem_max with CAP_NET_ADMIN; the socket module does not name it."


class PlainSocket(socket.socket):
    """A socket with the two facts that TLS would add: nothing waits in it beyond the kernel."""

    more = waiting = False


def open_socket(text: str) -> tuple[PlainSocket, Target]:
    """A socket for an agent's address, and where it must be connected to."""
    address = parse_address(text)
    if isinstance(address, UnixAddress):
        return PlainSocket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK), address.path
    ip = ipaddress.ip_address(address.host)  # a name would make the whole worker wait for DNS
    family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
    sock = PlainSocket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock, (address.host, address.port)


def widen(sock: socket.socket, size: int) -> None:
    """Let the kernel take more of a Unix socket's data at once; TCP sees to that by itself.

    Unprivileged, net.core.wmem_max (208 KB by default) is the most there is: 2,000 calls at 16 kHz need 164 KB
    per tick of 2.5 ms, and what does not fit waits for the next one.
    """
    if sock.family != socket.AF_UNIX or sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >= size:
        return
    for option in (SO_SNDBUFFORCE, socket.SO_SNDBUF):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, size)
            return


def narrow(sock: socket.socket, size: int) -> None:
    """Let the kernel keep no more than this (it takes twice as much, for its own needs) of what TCP cannot send.

    By itself it takes megabytes, minutes of a call's audio: so long nobody would know that an agent does not read.
    """
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)


def contain(error: Exception, name: str, fail: Callable[[str, str], None]) -> None:
    """A bug that one agent brings to light costs that agent its connection, and nobody a tick.

    To be called while `error` is handled.
    """
    _report(f"agent {name} failed in the gateway")
    try:
        fail("agent_protocol", f"the gateway could not handle what agent {name} said: {error!r}"[:500])
    except Exception:  # noqa: BLE001 - the same bug again; the connection is closed by now
        _report(f"agent {name} failed again, at its end")


def _report(what: str) -> None:
    """To the gateway's log, once: the connection does not live on to say it again."""
    print(f"{what}:\n{traceback.format_exc()}", flush=True)  # noqa: T201 - a worker's output is the log
