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
from collections.abc import Iterable

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
        self._rtp: dict[int, Stream] = {}
        "by descriptor"
        self._packets = np.zeros((BATCH_PACKETS, PACKET_BYTES), np.uint8)
        self._views = [row.data for row in self._packets]
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
        self._rtp[stream.rtp.fileno()] = stream

    def remove(self, stream: Stream) -> None:
        """Forget the sockets of a stream, before they are closed."""
        self._rtp.pop(stream.rtp.fileno(), None)

    # -- in ---------------------------------------------------------------------------------

    def receive(self, ready: Iterable[tuple[int, int]]) -> tuple[Batch | None, list[tuple[int, int]]]:
        """One datagram from each RTP socket among what the poller found ready, as (fd, events).

        Returns them, and what in `ready` is none of our sockets.
        """
        rows: list[int] = []
        lengths: list[int] = []
        named: list[bool] = []
        addresses: list[Address] = []
        others: list[tuple[int, int]] = []
        sockets = self._rtp
        for item in ready:
            stream = sockets.get(item[0])
            if stream is None:
                others.append(item)
                continue
            if len(rows) == BATCH_PACKETS:
                continue
            view = self._views[len(rows)]
            try:
                if self.sampled_row < 0:
                    size, address = self._receive_timed(stream, view)
                else:
                    size, address = stream.rtp.recvfrom_into(view)
            except OSError:  # nothing there after all, or an ICMP error that says nothing of this packet
                continue
            if len(address) > 2:
                address = address[:2]
            rows.append(stream.row)
            lengths.append(size)
            named.append(address == stream.remote)
            addresses.append(address)
        if not rows:
            return None, others
        n = len(rows)
        batch = Batch(
            np.array(rows, np.intp), self._packets[:n], np.array(lengths, np.int32), np.array(named), addresses
        )
        return batch, others

    def _receive_timed(self, stream: Stream, view: memoryview) -> tuple[int, Address]:
        size, ancillary, _flags, address = stream.rtp.recvmsg_into([view], ANCILLARY_BYTES)
        for _level, kind, data in ancillary:
            if kind == SO_TIMESTAMPNS and len(data) >= 16:
                seconds, nanoseconds = struct.unpack("=qq", data[:16])
                age = time.time_ns() - (seconds * 1_000_000_000 + nanoseconds)
                if 0 <= age < 1_000_000_000:  # a stepped wall clock is not an old packet
                    self.sampled_row, self.sampled_age_ns = stream.row, age
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

    def send(
        self, rows: Rows, packets: NDArray[np.uint8], lengths: NDArray[np.int32] | None = None
    ) -> NDArray[np.bool_]:
        """Send packets[n, bytes], of which lengths[n] bytes (all, without it); False where the kernel refused one."""
        if lengths is not None:
            return self._send_each(rows, packets, lengths)
        size = packets.shape[1]
        data = packets.tobytes()
        streams = self._table.streams
        refused: list[int] = []
        offset = 0
        for row in rows.tolist():
            stream = streams[row]
            try:
                if stream is not None:
                    stream.rtp.sendto(data[offset : offset + size], stream.remote)
            except (OSError, OverflowError):
                refused.append(offset // size)
            offset += size
        sent = np.ones(len(rows), bool)
        sent[refused] = False
        return sent

    def _send_each(
        self, rows: Rows, packets: NDArray[np.uint8], lengths: NDArray[np.int32]
    ) -> NDArray[np.bool_]:
        """Packets of several lengths."""
        sent = np.ones(len(rows), bool)
        data, width = packets.tobytes(), packets.shape[1]
        for i, (row, length) in enumerate(zip(rows.tolist(), lengths.tolist(), strict=True)):
            stream = self._table.streams[row]
            try:
                if stream is not None:
                    stream.rtp.sendto(data[i * width : i * width + length], stream.remote)
            except (OSError, OverflowError):
                sent[i] = False
        return sent

    def send_datagram(self, stream: Stream, data: bytes) -> bool:
        """Send a datagram from the RTP port to where signalling says that the peer is."""
        try:
            stream.rtp.sendto(data, stream.named)
        except (OSError, OverflowError):
            return False
        return True

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
