# SPDX-License-Identifier: MIT
"""Connect to an agent as a gateway does, in asyncio: for the test double and the conformance check."""

from __future__ import annotations

import asyncio
import socket
import ssl
from urllib.parse import urlsplit

from trunkline.agent_bridge.links import AddressError, UnixAddress, parse_address

CONNECT_TIMEOUT_S = 5.0


async def open_streams(
    address: str, tls: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to `unix:/path`, `tcp:host:port`, `ws://host[:port]/...` or `wss://...`.

    Raises OSError (`ssl.SSLError` and TimeoutError are) when nobody is there, or AddressError.
    """
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        if address.startswith(("ws://", "wss://")):
            host, port, secure = web_address(address)
            context = (tls or ssl.create_default_context()) if secure else None
            return await asyncio.open_connection(host, port, ssl=context)
        where = parse_address(address)
        if isinstance(where, UnixAddress):
            return await asyncio.open_unix_connection(where.path)
        return await asyncio.open_connection(where.host, where.port)


def web_address(url: str) -> tuple[str, int, bool]:
    """Host, port and whether TLS is spoken, of a WebSocket's URL."""
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    try:
        port = parts.port or (443 if secure else 80)
    except ValueError:
        raise AddressError(f"{url!r}: the port is not a number from 1 to 65535") from None
    if not parts.hostname:
        raise AddressError(f"{url!r} names no host: write ws://host:port/path")
    return parts.hostname, port, secure


def narrow(writer: asyncio.StreamWriter, size: int = 1 << 16) -> None:
    """Let little wait in the kernel on our side, so that it shows soon that one of the two does not read."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
