# SPDX-License-Identifier: GPL-2.0-or-later
"""RTP and RTCP sockets of a worker: bytes in as batches, bytes out.

The gateway process has opened and bound the sockets and keeps its own copies,
so a datagram that arrives while a worker is being replaced waits in the kernel.

How old a packet is when we read it is sampled, once a look, by the kernel's
receive timestamp (SO_TIMESTAMPNS): the first socket that the poller names has
usually waited longest, so the sample does not flatter.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.batch import PACKET_BYTES, Address, Batch
from trunkline.gateway.media.table import Stream, Table

SO_TIMESTAMPNS = 35
"asm-generic/socket.h; the socket module does not name it."
ANCILLARY_BYTES = socket.CMSG_SPACE(16)
BATCH_PACKETS = 1024
"Packets in one look at most; the sockets that are left wait for the next."

Rows = NDArray[np.intp]


class UdpSockets:
    """The sockets of all rows; implements `downlink.PacketSink`."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rtp: dict[int, tuple[int, Callable[..., tuple[int, Address]], socket.socket]] = {}
        self._packets = np.zeros((BATCH_PACKETS, PACKET_BYTES), np.uint8)
        self._views = [row.data for row in self._packets]
        self._lengths = np.zeros(BATCH_PACKETS, np.int32)
        self._rows = np.zeros(BATCH_PACKETS, np.intp)
        self._named = np.zeros(BATCH_PACKETS, bool)
        self.sampled_row = -1
        "row whose packet was timed in this tick, -1 for none"
        self.sampled_age_ns = 0

    # -- which sockets ----------------------------------------------------------------------

    def add(self, stream: Stream) -> None:
        """Take the sockets of a stream."""
        for sock in stream.sockets:
            sock.setblocking(False)
        with contextlib.suppress(OSError):  # only a measurement is lost without it
            stream.rtp.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._rtp[stream.rtp.fileno()] = (stream.row, stream.rtp.recvfrom_into, stream.rtp)

    def remove(self, stream: Stream) -> None:
        """Forget the sockets of a stream, before they are closed."""
        self._rtp.pop(stream.rtp.fileno(), None)

    # -- in ---------------------------------------------------------------------------------

    def receive(self, ready: Iterable[tuple[int, int]]) -> Batch | None:
        """One datagram from each RTP socket among what the poller found ready, as (fd, events)."""
        n = 0
        addresses: list[Address] = []
        streams, rows, lengths, named = self._table.streams, self._rows, self._lengths, self._named
        for fd, _events in ready:
            entry = self._rtp.get(fd)
            if entry is None or n == BATCH_PACKETS:
                continue
            row, receive_into, sock = entry
            stream = streams[row]
            if stream is None:
                continue
            try:
                if self.sampled_row < 0:
                    size, address = self._receive_timed(row, sock, self._views[n])
                else:
                    size, address = receive_into(self._views[n])
            except OSError:  # nothing there after all, or an ICMP error that says nothing of this packet
                continue
            address = address[:2] if len(address) > 2 else address
            rows[n], lengths[n], named[n] = row, size, address == stream.remote
            addresses.append(address)
            n += 1
        if n == 0:
            return None
        return Batch(rows[:n].copy(), self._packets[:n], lengths[:n], named[:n], addresses)

    def _receive_timed(self, row: int, sock: socket.socket, view: memoryview) -> tuple[int, Address]:
        size, ancillary, _flags, address = sock.recvmsg_into([view], ANCILLARY_BYTES)
        for _level, kind, data in ancillary:
            if kind == SO_TIMESTAMPNS and len(data) >= 16:
                seconds, nanoseconds = struct.unpack("=qq", data[:16])
                age = time.time_ns() - (seconds * 1_000_000_000 + nanoseconds)
                if 0 <= age < 1_000_000_000:  # a stepped wall clock is not an old packet
                    self.sampled_row, self.sampled_age_ns = row, age
        return size, address

    def receive_rtcp(self, stream: Stream) -> tuple[bytes, Address] | None:
        """One datagram from a stream's RTCP socket."""
        if stream.rtcp is None:
            return None
        try:
            data, address = stream.rtcp.recvfrom(PACKET_BYTES)
        except OSError:
            return None
        return data, address[:2]

    # -- out --------------------------------------------------------------------------------

    def send(self, rows: Rows, packets: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Send packets[n, bytes] of one length; False where the kernel refused one."""
        sent = np.ones(len(rows), bool)
        size = packets.shape[1]
        data = np.ascontiguousarray(packets).data.cast("B")
        streams = self._table.streams
        offset = 0
        for i, row in enumerate(rows.tolist()):
            stream = streams[row]
            try:
                if stream is not None:
                    stream.rtp.sendto(data[offset : offset + size], stream.remote)
            except (OSError, OverflowError):
                sent[i] = False
            offset += size
        return sent

    def send_rtcp(self, stream: Stream, data: bytes) -> bool:
        """Send one compound packet where the peer wants its RTCP."""
        try:
            if stream.rtcp is None or stream.media.rtcp_mux:
                stream.rtp.sendto(data, stream.remote)
            else:
                stream.rtcp.sendto(data, stream.remote_rtcp)
        except (OSError, OverflowError):
            return False
        return True
