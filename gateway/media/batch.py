# SPDX-License-Identifier: GPL-2.0-or-later
"""A batch of packets, at most one for each row: what the sockets had in one look."""

from __future__ import annotations

import dataclasses
from typing import Protocol, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.sockaddr import Address as Address  # noqa: PLC0414 - part of a batch
from trunkline.gateway.media.sockaddr import Sources

PACKET_BYTES = 2048
"Room for one packet; RTP over UDP stays below the 1500 bytes of an Ethernet frame."
_FEW = 100


class Addresses(Protocol):
    """Where packets came from: a list of pairs, or what becomes such pairs when they are asked for."""

    def __getitem__(self, i: SupportsIndex, /) -> Address:
        """Host and port of packet i."""


@dataclasses.dataclass(slots=True)
class Batch:
    """n packets of n different rows."""

    rows: NDArray[np.intp]
    "[n]"
    packets: NDArray[np.uint8]
    "[n, PACKET_BYTES]; beyond `lengths` lies garbage"
    lengths: NDArray[np.int32]
    "[n] bytes"
    named: NDArray[np.bool_]
    "[n] the packet came from the address that the row expects"
    addresses: Addresses
    "where each packet came from"

    def lasting(self) -> Batch:
        """The same packets, for whoever keeps the rows for longer than the batch holds."""
        return Batch(self.rows.copy(), self.packets, self.lengths, self.named, self.addresses)

    def part(self, which: NDArray[np.intp]) -> Batch:
        """Some of these packets, copied."""
        addresses: Addresses
        if isinstance(self.addresses, Sources):
            addresses = self.addresses.part(which)
        else:
            addresses = [self.addresses[i] for i in which.tolist()]
        return Batch(self.rows[which], self.packets[which], self.lengths[which], self.named[which], addresses)


def alike(values: NDArray[np.generic]) -> bool:
    """Whether all of one or more values are the same; a microsecond faster for a few than comparing arrays."""
    if len(values) > _FEW:
        return bool((values == values[0]).all())
    listed = values.tolist()
    return bool(listed.count(listed[0]) == len(listed))
