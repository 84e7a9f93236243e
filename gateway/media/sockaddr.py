# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses as the kernel has them: `struct sockaddr_in` and `struct sockaddr_in6`, as bytes.

    family, 2 bytes | port, 2, big-endian | IPv4: address, 4 | zeros
                                          | IPv6: flow label, 4 | address, 16 | interface, 4
"""

from __future__ import annotations

import socket
import struct
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

SOCKADDR_BYTES = 28
"of IPv6, the longer one; what IPv4 does not need is zero"

Address = tuple[str, int]


def pack(address: Address) -> NDArray[np.uint8]:
    """An address [SOCKADDR_BYTES]; zeros, which is no family, for what nothing can be sent to."""
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    between = bytes(4) if family == socket.AF_INET6 else b""
    try:
        packed = struct.pack("=H", family) + struct.pack(">H", port) + between + socket.inet_pton(family, host)
    except (OSError, struct.error):
        packed = b""
    return np.frombuffer(packed.ljust(SOCKADDR_BYTES, b"\0"), np.uint8)


def unpack(packed: bytes) -> Address:
    """Host and port of a packed address; an empty host if it is none."""
    (family,) = struct.unpack_from("=H", packed)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return "", 0
    host = packed[4:8] if family == socket.AF_INET else packed[8:24]
    return socket.inet_ntop(family, host), int.from_bytes(packed[2:4], "big")


class Sources:
    """Where packets came from, as bytes; an address is made of them when somebody asks."""

    def __init__(self, packed: NDArray[np.uint8]) -> None:
        """`packed` is [n, SOCKADDR_BYTES]; what lies behind an address in its row is ignored."""
        self._packed = packed

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, i: SupportsIndex, /) -> Address:
        return unpack(self._packed[i].tobytes())

    def part(self, which: NDArray[np.intp]) -> Sources:
        """Some of them, copied."""
        return Sources(self._packed[which])
