# SPDX-License-Identifier: GPL-2.0-or-later
"""RTP and RTCP sockets of a worker: bytes in as batches, bytes out.

In the usual case a look is one call into a compiled kernel, and so is a batch that leaves
(native/sockets.c); what has no kernel is done one packet after the other.

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

from trunkline.codecs.compiled import Kernel
from trunkline.gateway.media import compiled
from trunkline.gateway.media.batch import PACKET_BYTES, Address, Batch
from trunkline.gateway.media.poller import MOST_FOUND, Found, Ready
from trunkline.gateway.media.sockaddr import SOCKADDR_BYTES, Sources
from trunkline.gateway.media.table import Stream, Table

SO_TIMESTAMPNS = 35
"asm-generic/socket.h; the socket module does not name it."
ANCILLARY_BYTES = socket.CMSG_SPACE(16)
MOST_AGE_NS = 1_000_000_000
BATCH_PACKETS = 4096
"Packets in one look at most; the sockets that are left wait for the next. What a look does not need is never touched."

Rows = NDArray[np.intp]
Events = list[tuple[int, int]]

_COUNT_BITS = 20
_COUNT = (1 << _COUNT_BITS) - 1

_WHOLE = np.zeros(0, np.int32)
"Packets that are as long as their array is wide."


class UdpSockets:
    """The sockets of all rows; implements `downlink.PacketSink`."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rtp: dict[int, Stream] = {}
        "by descriptor"
        self._packets = np.zeros((BATCH_PACKETS, PACKET_BYTES), np.uint8)
        self._views: list[memoryview] = []
        "of each of these; made where nothing is compiled"
        self._last: Events = []
        "what was ready in the last look"
        self.sampled_row = -1
        "row whose packet was timed in this tick, -1 for none"
        self.sampled_age_ns = 0
        # -- for the kernels
        self._row_of = np.full(0, -1, np.int32)  # row of each descriptor, -1: not one of RTP
        self._looked = np.zeros(0, np.int64)  # look in which a descriptor was last found ready
        self._look = 0
        self._sources = np.zeros((BATCH_PACKETS, SOCKADDR_BYTES), np.uint8)
        self._rows = np.zeros(BATCH_PACKETS, np.int64)
        self._lengths = np.zeros(BATCH_PACKETS, np.int32)
        self._named = np.zeros(BATCH_PACKETS, bool)
        self._others = np.zeros((MOST_FOUND, 2), np.int32)
        self._notes = np.zeros(2, np.int64)  # row and age of the packet that was timed
        self._batches: dict[int, Batch] = {}  # by number of packets: there is always the same array behind them
        self._waiting = np.zeros(MOST_FOUND, np.intp)
        self._receive_kernel, self._waiting_kernel = self._bind()
        self.compiled_send = compiled.bind("send_packets", table.rtp_fd, table.remotes)
        "does all that `send` does; None where nothing is compiled"
        self._report_kernel = compiled.bind("send_packets", table.rtcp_fd, table.rtcp_remotes)

    # -- which sockets ----------------------------------------------------------------------

    def add(self, stream: Stream) -> None:
        """Take the sockets of a stream."""
        for sock in stream.sockets:
            sock.setblocking(False)
            with contextlib.suppress(OSError):  # only a measurement is lost without it
                sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        fd = stream.rtp.fileno()
        self._rtp[fd] = stream
        if fd >= len(self._row_of):
            more = 2 * fd + 64 - len(self._row_of)
            self._row_of = np.append(self._row_of, np.full(more, -1, np.int32))
            self._looked = np.append(self._looked, np.full(more, -1))
            self._receive_kernel, self._waiting_kernel = self._bind()
        self._row_of[fd] = stream.row

    def remove(self, stream: Stream) -> None:
        """Forget the sockets of a stream, before they are closed."""
        fd = stream.rtp.fileno()
        if self._rtp.pop(fd, None) is not None:
            self._row_of[fd] = -1

    def _bind(self) -> tuple[Kernel | None, Kernel | None]:
        receive = compiled.bind(
            "receive", self._row_of, self._looked, self._table.remotes, self._packets, self._sources,
            self._rows, self._lengths, self._named, self._others, self._notes,
        )  # fmt: skip
        return receive, compiled.bind("waiting", self._row_of, self._waiting)

    # -- in ---------------------------------------------------------------------------------

    def receive(self, ready: Ready, *, behind: bool = False) -> tuple[Batch | None, Events]:
        """One datagram from each RTP socket among what the poller has found ready.

        With `behind`, only from those that were ready in the last look, too.  Returns the datagrams, and what in
        `ready` is none of our sockets, as (fd, events).  The batch and its arrays hold until the next look.
        """
        if isinstance(ready, Found):
            assert self._receive_kernel is not None  # else the poller would have none either
            timed = self.sampled_row < 0
            said = self._receive_kernel(ready.events, ready.count, self.next_look(), behind, timed)
            if timed:
                self.sampled_row, self.sampled_age_ns = self.sampled()
            return self.batch_of(said & _COUNT), self.others(said >> _COUNT_BITS)
        last = set(self._last) if behind else ()
        self._last = [item for item in ready if item in last] if behind else ready
        return self._receive_each(self._last)

    @property
    def receive_kernel(self) -> Kernel | None:
        """What `receive` calls with (events, how many, `next_look`, behind, timed)."""
        return self._receive_kernel

    def next_look(self, looks: int = 1) -> int:
        """The number of a look, other than that of the last; the first of so many."""
        first = self._look + 1
        self._look += looks
        return first

    def batch_of(self, n: int) -> Batch | None:
        """The n packets that the kernel has received; they hold until the next look."""
        return (self._batches.get(n) or self._new_batch(n)) if n else None

    def others(self, n: int) -> Events:
        """What it has found besides: so many descriptors that are none of ours, and their events."""
        return [(fd, events) for fd, events in self._others[:n].tolist()] if n else []

    def sampled(self) -> tuple[int, int]:
        """Row (-1: none) and age in ns of the packet that it has timed."""
        row, age_ns = self._notes.tolist()
        return row, age_ns

    def waiting(self, ready: Ready) -> Rows:
        """Rows whose RTP sockets are among what the poller has found ready."""
        if isinstance(ready, Found):
            if not ready.count:
                return self._waiting[:0]
            assert self._waiting_kernel is not None
            return self._waiting[: self._waiting_kernel(ready.events, ready.count)]
        rows = [self._rtp[fd].row for fd, _ in ready if fd in self._rtp]
        return np.array(rows, np.intp)

    def _new_batch(self, n: int) -> Batch:
        """What the kernel writes n packets into."""
        sources = Sources(self._sources[:n])
        self._batches[n] = batch = Batch(
            self._rows[:n], self._packets[:n], self._lengths[:n], self._named[:n], sources
        )
        return batch

    def _receive_each(self, ready: Iterable[tuple[int, int]]) -> tuple[Batch | None, Events]:
        """One system call after the other."""
        rows: list[int] = []
        lengths: list[int] = []
        named: list[bool] = []
        addresses: list[Address] = []
        others: Events = []
        sockets, self._views = self._rtp, self._views or [row.data for row in self._packets]
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
        if (age := _age_ns(ancillary)) >= 0:
            self.sampled_row, self.sampled_age_ns = stream.row, age
        return size, address

    def receive_rtcp(self, stream: Stream) -> tuple[bytes, Address, int] | None:
        """One datagram from a stream's RTCP socket, and for how many ns it has been there (0 where nobody knows)."""
        if stream.rtcp is None:
            return None
        try:
            data, ancillary, _flags, address = stream.rtcp.recvmsg(PACKET_BYTES, ANCILLARY_BYTES)
        except OSError:
            return None
        return data, address[:2], max(_age_ns(ancillary), 0)

    # -- out --------------------------------------------------------------------------------

    def send(
        self, rows: Rows, packets: NDArray[np.uint8], lengths: NDArray[np.int32] | None = None
    ) -> NDArray[np.bool_]:
        """Send packets[n, bytes], of which lengths[n] bytes (all, without it); False where the kernel refused one."""
        if self.compiled_send is not None:
            sent = np.empty(len(rows), bool)
            self.compiled_send(rows, packets, _WHOLE if lengths is None else lengths, sent)
            return sent
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

    def send_reports(self, rows: Rows, packets: NDArray[np.uint8]) -> None:
        """Send a compound packet [bytes] of packets[n, bytes] to each of these rows, as `send_rtcp` does."""
        if self.compiled_send is None or self._report_kernel is None:
            for row, packet in zip(rows.tolist(), packets, strict=True):
                stream = self._table.streams[row]
                if stream is not None:
                    self.send_rtcp(stream, packet.tobytes())
            return
        apart = (self._table.rtcp_fd[rows] >= 0) & ~self._table.rtcp_mux[rows]
        for which, kernel in ((apart, self._report_kernel), (~apart, self.compiled_send)):
            if which.any():
                kernel(rows[which], packets[which], _WHOLE, np.empty(len(rows), bool))

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


def _age_ns(ancillary: Iterable[tuple[int, int, bytes]]) -> int:
    """How long ago the kernel got a datagram, -1 if it does not say; a stepped wall clock is not an old packet."""
    for _level, kind, data in ancillary:
        if kind == SO_TIMESTAMPNS and len(data) >= 16:
            seconds, nanoseconds = struct.unpack("=qq", data[:16])
            age_ns = time.time_ns() - (seconds * 1_000_000_000 + nanoseconds)
            return age_ns if 0 <= age_ns < MOST_AGE_NS else -1
    return -1
