# SPDX-License-Identifier: GPL-2.0-or-later
"""SRTP and SRTCP that leave: between those who make packets and the sockets.

Packets of rows with keys are copied into a buffer with room for their tags, protected there, one call into the
library each, and sent on.  What the library does not protect is not sent.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.compiled import Kernel
from trunkline.gateway.media.batch import PACKET_BYTES
from trunkline.gateway.media.downlink import PacketSink
from trunkline.gateway.media.recorder import Recorder
from trunkline.gateway.media.srtp_rows import SrtpRows
from trunkline.gateway.media.table import Stream, Table
from trunkline.gateway.recording.pcapng import OUTBOUND
from trunkline.rtp.srtp import TRAILER_BYTES, protect

Rows = NDArray[np.intp]
Packets = NDArray[np.uint8]
Lengths = NDArray[np.int32]
Mask = NDArray[np.bool_]


class Sockets(PacketSink, Protocol):
    """The UDP side as the engine uses it."""

    def send_rtcp(self, stream: Stream, data: bytes) -> bool:
        """Send one compound packet."""

    def send_reports(self, rows: Rows, packets: Packets) -> None:
        """Send one compound packet of packets[n, bytes] to each of these rows."""

    def send_datagram(self, stream: Stream, data: bytes) -> bool:
        """Send a datagram from the RTP port to where signalling says that the peer is."""


class SrtpOut:
    """Packets of RTP and RTCP over the real sockets; datagrams of DTLS go by it."""

    def __init__(self, table: Table, rows: SrtpRows, sockets: Sockets) -> None:
        self._table, self._rows, self._sockets = table, rows, sockets
        self._recorder: Recorder | None = None
        self._kernel: Kernel | None = getattr(sockets, "compiled_send", None)
        self._buffer = np.zeros((0, PACKET_BYTES + TRAILER_BYTES), np.uint8)

    def tap(self, recorder: Recorder | None) -> None:
        """Show somebody what goes out, in the clear; None: nobody any more."""
        self._recorder = recorder

    @property
    def compiled_send(self) -> Kernel | None:
        """`send_packets`, while there is nobody who wants to see packets before they leave."""
        return None if self._recorder is not None or self._rows.count else self._kernel

    def send(self, rows: Rows, packets: Packets, lengths: Lengths | None = None) -> Mask:
        """Send packets[n, bytes], of which lengths[n] bytes (all, without it)."""
        if self._recorder is not None:
            self._recorder.sent(rows, packets, lengths)
        if not self._rows.count:
            return self._sockets.send(rows, packets, lengths)
        secured = self._table.secure[rows]
        if secured.all():
            return self._send_protected(rows, packets, lengths)
        if not secured.any():
            return self._sockets.send(rows, packets, lengths)
        sent = np.zeros(len(rows), bool)
        for mask, send in ((secured, self._send_protected), (~secured, self._sockets.send)):
            sent[mask] = send(rows[mask], packets[mask], None if lengths is None else lengths[mask])
        return sent

    def _send_protected(self, rows: Rows, packets: Packets, lengths: Lengths | None) -> Mask:
        n, width = packets.shape
        if len(self._buffer) < n:
            self._buffer = np.zeros((2 * n, self._buffer.shape[1]), np.uint8)
        room = self._buffer[:n]
        room[:, :width] = packets
        sizes = np.full(n, width, np.int32) if lengths is None else lengths.astype(np.int32)
        done = protect(self._rows.send_handle[rows], self._rows.send_mki[rows], room, sizes)
        if done.all():
            return self._send_sizes(rows, room, sizes)
        sent = np.zeros(n, bool)
        if done.any():
            sent[done] = self._send_sizes(rows[done], room[done], sizes[done])
        return sent

    def _send_sizes(self, rows: Rows, room: Packets, sizes: Lengths) -> Mask:
        if (sizes == sizes[0]).all():
            return self._sockets.send(rows, room[:, : sizes[0]])
        return self._sockets.send(rows, room[:, : sizes.max()], sizes)

    def send_reports(self, rows: Rows, packets: Packets) -> None:
        """Send one compound packet of packets[n, bytes] to each of these rows."""
        if self._recorder is None and not (self._rows.count and self._table.secure[rows].any()):
            self._sockets.send_reports(rows, packets)
            return
        for row, packet in zip(rows.tolist(), packets, strict=True):
            stream = self._table.streams[row]
            if stream is not None:
                self.send_rtcp(stream, packet.tobytes())

    def send_rtcp(self, stream: Stream, data: bytes) -> bool:
        """Send one compound packet where the peer wants its RTCP."""
        if self._recorder is not None:
            muxed = stream.rtcp is None or stream.media.rtcp_mux
            self._recorder.report(stream, data, stream.remote if muxed else stream.remote_rtcp, OUTBOUND)
        if not self._table.secure[stream.row]:
            return self._sockets.send_rtcp(stream, data)
        self._table.shared.srtp_tx_reports[stream.row] += 1  # first: no index may ever be used twice
        protected = self._rows.senders[stream.row].protect_rtcp(bytes(data))
        return protected is not None and self._sockets.send_rtcp(stream, protected)
