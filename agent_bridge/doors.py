# SPDX-License-Identifier: MIT
"""Where an agent listens, and goes on listening: a socket file that somebody has removed is made again."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable

from trunkline.agent_bridge.links import Address, TcpAddress
from trunkline.agent_bridge.listening import ListenError, SocketFile, listen, listening_address

log = logging.getLogger("trunkline.agent")


@dataclasses.dataclass(slots=True)
class _Door:
    address: Address
    mode: int
    server: asyncio.Server
    file: SocketFile
    complained: bool = False


class Doors:
    """Listening sockets of one agent."""

    def __init__(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        """`protocol` makes what serves a connection."""
        self._protocol = protocol
        self._doors: list[_Door] = []

    async def open(self, text: str, mode: int) -> Address:
        """Listen; returns the address with the port that it has become. Raises AddressError or ListenError."""
        address = listening_address(text)
        server, file, port = await self._listen(address, mode)
        self._doors.append(_Door(address, mode, server, file))
        return TcpAddress(address.host, port) if isinstance(address, TcpAddress) else address

    async def _listen(self, address: Address, mode: int) -> tuple[asyncio.Server, SocketFile, int]:
        sock = listen(address, mode)
        name = sock.getsockname()
        server = await asyncio.get_running_loop().create_server(self._protocol, sock=sock)
        return server, SocketFile(address), name[1] if isinstance(name, tuple) else 0

    async def look_after(self) -> None:
        """Make a socket file again that is gone: no gateway could come in any more."""
        for door in self._doors:
            if door.file.there:
                door.complained = False
                continue
            try:
                server, file, _ = await self._listen(door.address, door.mode)
            except ListenError as error:
                if not door.complained:
                    log.warning("the socket file is gone: %s", error.strerror)
                door.complained = True
            else:
                log.warning("%s was gone, and is there again", door.address)
                door.server.close()
                door.server, door.file = server, file

    def close(self) -> None:
        """Listen no more."""
        for door in self._doors:
            door.server.close()
            door.file.remove()
        self._doors.clear()
