# SPDX-License-Identifier: GPL-2.0-or-later
"""RTP and RTCP sockets of a worker: bytes in as batches, bytes out.

The gateway process has opened and bound the sockets and keeps its own copies,
so a datagram that arrives while a worker is being replaced waits in the kernel.

While the source of a call speaks, its socket is connected to it: the kernel then passes nothing on from
elsewhere, which we should only drop (`source.py`), and spares both of us the address of every packet; a
packet in and one out cost a quarter less.  When the source falls silent the socket is open to others again,
long before one of them may be followed.

How old a packet is when we read it is sampled, once a look, by the kernel's
receive timestamp (SO_TIMESTAMPNS): the first socket that the poller names has
usually waited longest, so the sample does not flatter.
"""

from __future__ import annotations

import contextlib
import ctypes
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

SPEAKS_NS = 200_000_000
"A source that was heard so recently speaks; less than half of `source.QUIET_NS`."
CHANGES_PER_LOOK = 128
"Sockets connected or opened in one look, 2 us each: after a stall all of them would be at once."
_NOBODY = struct.pack("=H14x", socket.AF_UNSPEC)
_LIBC = ctypes.CDLL(None, use_errno=True)

Rows = NDArray[np.intp]


class UdpSockets:
    """The sockets of all rows; implements `downlink.PacketSink`."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rtp: dict[int, tuple[Stream, bool]] = {}
        "by descriptor: whose it is, and whether it is connected"
        self._connected = np.zeros(table.capacity, bool)
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
        self._rtp[stream.rtp.fileno()] = (stream, False)
        if stream.resumed:  # the worker before may have connected it
            self.open(stream)

    def remove(self, stream: Stream) -> None:
        """Forget the sockets of a stream, before they are closed."""
        self._rtp.pop(stream.rtp.fileno(), None)
        self._connected[stream.row] = False

    def look(self, now_ns: int) -> None:
        """Connect the sockets whose source speaks, open those whose source has fallen silent."""
        table, c = self._table, self._table.shared
        rows = table.active
        speaks = (now_ns - c.rx_last_ns[rows] < SPEAKS_NS) & (c.rx_proven[rows] == 1)
        speaks &= c.rx_followed_port[rows] == 0  # what was named may still speak, and is believed then
        changed = rows[speaks != self._connected[rows]]
        for row in changed[:CHANGES_PER_LOOK].tolist():
            stream = table.streams[row]
            if stream is not None:
                (self.open if self._connected[row] else self._connect)(stream)

    def _connect(self, stream: Stream) -> None:
        with contextlib.suppress(OSError, OverflowError):
            stream.rtp.connect(stream.remote)
            self._connected[stream.row] = True
            self._rtp[stream.rtp.fileno()] = (stream, True)

    def open(self, stream: Stream) -> None:
        """Take packets from anywhere (connect(2) to AF_UNSPEC, which the socket module cannot say)."""
        _LIBC.connect(stream.rtp.fileno(), _NOBODY, len(_NOBODY))
        self._connected[stream.row] = False
        self._rtp[stream.rtp.fileno()] = (stream, False)

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
            entry = sockets.get(item[0])
            if entry is None:
                others.append(item)
                continue
            if len(rows) == BATCH_PACKETS:
                continue
            stream, connected = entry
            view = self._views[len(rows)]
            try:
                if self.sampled_row < 0:
                    size, address = self._receive_timed(stream, view)
                elif connected:
                    size, address = stream.rtp.recv_into(view), stream.remote
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

    def send(self, rows: Rows, packets: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Send packets[n, bytes] of one length; False where the kernel refused one."""
        size = packets.shape[1]
        data = packets.tobytes()
        streams = self._table.streams
        refused: list[int] = []
        offset = 0
        for row, connected in zip(rows.tolist(), self._connected[rows].tolist(), strict=True):
            stream = streams[row]
            packet = data[offset : offset + size]
            try:
                if connected:
                    stream.rtp.send(packet)
                elif stream is not None:
                    stream.rtp.sendto(packet, stream.remote)
            except (OSError, OverflowError):
                if not (connected and self._sent_again(stream, packet)):
                    refused.append(offset // size)
            offset += size
        sent = np.ones(len(rows), bool)
        sent[refused] = False
        return sent

    @staticmethod
    def _sent_again(stream: Stream | None, packet: bytes) -> bool:
        """A connected socket first tells of the ICMP error that an earlier packet met; the next try sends."""
        try:
            return stream is not None and stream.rtp.send(packet) > 0
        except OSError:
            return False

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
