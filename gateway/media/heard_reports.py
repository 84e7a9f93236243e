# SPDX-License-Identifier: GPL-2.0-or-later
"""RTCP that comes in: what peers say of themselves and of us.

It is believed only from the host that signalling named (with SRTP, from whoever has the key), and
only of the source that is heard and the one that we are.  SDES and BYE are read and change nothing: a call has one
peer, whose name signalling has told, and it ends when signalling says so.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media import compiled
from trunkline.gateway.media.batch import Address
from trunkline.gateway.media.table import Stream, Table
from trunkline.rtp import rtcp, rtcp_timing
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.rtcp_xr import DelaySinceLastRr, ReferenceTime
from trunkline.rtp.voip_metrics import VoipMetrics

EACH_NS, AT_ONCE = 250_000_000, 8
"""Datagrams of a peer that are read: four a second, and a few at once. It has to say something each five seconds or
so, and to read one of 2 kB that is full of small blocks takes half a millisecond of everybody's time."""
LONGEST_ROUND_TRIP_NS = 60_000_000_000
"More is a broken clock, not a network."

_FLOOD, _BELIEVED = 1, 256
"What the kernel found, as heard_reports.c says: 0, nothing was done; the share that is lost is above `_BELIEVED`."

Rows = NDArray[np.intp]


class HeardReports:
    """Takes RTCP datagrams; remembers the clocks that our reports must quote."""

    def __init__(self, table: Table, wall_offset_ns: int = 0) -> None:
        """`wall_offset_ns` is Unix time minus our clock."""
        self._table = table
        self._wall_offset_ns = wall_offset_ns
        n = table.capacity
        self._read_until_ns = np.zeros(n, np.int64)
        "by when the datagrams that were read would be due (GCRA)"
        self.sender_clocks = np.zeros((n, 3), np.int64)
        "of the last sender report: compact NTP, when it came, of which source; `_rr` of the last reference time"
        self._rr = np.zeros((n, 3), np.int64)
        c = table.shared
        self._kernel = compiled.bind(
            "hear_report", c.tx_ssrc, c.tx_seq, c.packets_sent, c.rx_ssrc, c.rx_proven, table.clock_hz,
            self.sender_clocks, self._read_until_ns, c.peer_expected, c.peer_lost, c.peer_jitter_ms, c.rtt_ms,
            EACH_NS, AT_ONCE, LONGEST_ROUND_TRIP_NS, wall_offset_ns,
        )  # fmt: skip
        "for the usual compound"

    def begin(self, row: int) -> None:
        """A row is somebody else's now."""
        self.sender_clocks[row] = self._rr[row] = 0
        self._read_until_ns[row] = 0

    # -- what our reports quote -------------------------------------------------------------

    def last_sender_report(self, rows: Rows, now_ns: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """LSR and DLSR; 0 where the source that is heard now has sent no SR."""
        return self._quote(self.sender_clocks[rows], rows, now_ns)

    def last_sender_report_one(self, row: int, now_ns: int) -> tuple[int, int]:
        """Scalar twin of `last_sender_report`."""
        clock, came_ns, ssrc = self.sender_clocks[row].tolist()
        if not clock or ssrc != int(self._table.shared.rx_ssrc[row]):
            return 0, 0
        return clock, rtcp_timing.delay_units(now_ns - came_ns)

    def last_reference(self, rows: Rows, now_ns: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """LRR and DLRR."""
        return self._quote(self._rr[rows], rows, now_ns)

    def has_reference(self, rows: Rows) -> NDArray[np.bool_]:
        """Whether the source that is heard now has sent a reference time."""
        return (self._rr[rows, 0] != 0) & (self._rr[rows, 2] == self._table.shared.rx_ssrc[rows])

    def _quote(
        self, clocks: NDArray[np.int64], rows: Rows, now_ns: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        known = (clocks[:, 2] == self._table.shared.rx_ssrc[rows]) & (clocks[:, 0] != 0)
        delay = rtcp_timing.delay_units_all(now_ns - clocks[:, 1])
        return np.where(known, clocks[:, 0], 0), np.where(known, delay, 0)

    # -- what comes in ----------------------------------------------------------------------

    def receive(self, stream: Stream, data: bytes, address: Address, now_ns: int) -> None:
        """A datagram on the RTCP port (or multiplexed)."""
        row = stream.row
        if not self._table.secure[row] and address[0] != stream.remote_rtcp[0]:
            self._drop(row, Drop.SOURCE)
            return
        heard = 0 if self._kernel is None else self._kernel(row, data, now_ns)
        if heard >= _BELIEVED:
            self._note_loss(row, heard - _BELIEVED)
        elif heard == _FLOOD:
            self._drop(row, Drop.RTCP_FLOOD)
        elif not heard:
            self._read(stream, data, now_ns)

    def _read(self, stream: Stream, data: bytes, now_ns: int) -> None:
        row = stream.row
        until_ns = max(int(self._read_until_ns[row]), now_ns - AT_ONCE * EACH_NS) + EACH_NS
        if until_ns > now_ns:
            self._drop(row, Drop.RTCP_FLOOD)
            return
        self._read_until_ns[row] = until_ns
        try:
            packets = rtcp.parse_compound(data, reduced_size=stream.media.rtcp_rsize)
        except rtcp.RtcpError:
            self._drop(row, Drop.RTCP_INVALID)
            return
        for packet in packets:
            match packet:
                case rtcp.SenderReport():
                    self._remember(self.sender_clocks, row, packet.ssrc, packet.ntp, now_ns)
                    self._blocks(row, packet.reports, now_ns)
                case rtcp.ReceiverReport():
                    self._blocks(row, packet.reports, now_ns)
                case rtcp.ExtendedReport():
                    self._extended(row, packet, now_ns)

    def _remember(self, clocks: NDArray[np.int64], row: int, ssrc: int, ntp: int, now_ns: int) -> None:
        if self._table.shared.rx_proven[row] and ssrc == int(self._table.shared.rx_ssrc[row]):
            clocks[row] = rtcp_timing.compact_ntp(ntp), now_ns, ssrc

    def _blocks(self, row: int, blocks: tuple[rtcp.ReportBlock, ...], now_ns: int) -> None:
        ours = int(self._table.shared.tx_ssrc[row])
        for block in blocks:
            if block.ssrc == ours:
                self._report_of_us(row, block, now_ns)

    def _report_of_us(self, row: int, block: rtcp.ReportBlock, now_ns: int) -> None:
        """How many packets it speaks of: all that were sent but those behind the highest that it has."""
        c = self._table.shared
        behind = (int(c.tx_seq[row]) - 1 - block.highest_sequence) & 0xFFFF
        expected = int(c.packets_sent[row]) - behind
        if expected <= 0:  # of packets that we have not sent
            return
        c.peer_expected[row] = expected
        c.peer_lost[row] = min(max(0, block.cumulative_lost), expected)
        c.peer_jitter_ms[row] = block.jitter_ts * 1000 / int(self._table.clock_hz[row])
        self._note_loss(row, block.fraction_lost)
        self._round_trip(row, block.last_sr, block.delay_since_last_sr, now_ns)

    def _note_loss(self, row: int, fraction: int) -> None:
        """The peer has lost so many 256ths of our packets; encodings whose payloads have one length cannot help it."""
        if self._table.variable[row]:
            lost = np.array([fraction * 100 / 256])
            self._table.formats.at(row).codec.note_loss(np.array([row], np.intp), lost)

    def _extended(self, row: int, packet: rtcp.ExtendedReport, now_ns: int) -> None:
        ours = int(self._table.shared.tx_ssrc[row])
        for block in packet.blocks:
            match block:
                case ReferenceTime():
                    self._remember(self._rr, row, packet.ssrc, block.ntp, now_ns)
                case DelaySinceLastRr():
                    for entry in block.entries:
                        if entry.ssrc == ours:
                            self._round_trip(row, entry.last_rr, entry.delay, now_ns)
                case VoipMetrics() if block.ssrc == ours:
                    self._metrics_of_us(row, block)

    def _metrics_of_us(self, row: int, block: VoipMetrics) -> None:
        rates = (block.loss_rate, block.discard_rate, block.burst_density)
        loss, discard, burst = (rate * 100 / 256 for rate in rates)
        rating = block.r_or_none
        score = block.mos_or_none
        unknown = float("nan")
        self._table.shared.peer_xr[row] = (
            1,
            unknown if rating is None else rating,
            unknown if score is None else score,
            loss,
            discard,
            block.burst_ms,
            burst,
        )

    def _round_trip(self, row: int, quoted: int, delay: int, now_ns: int) -> None:
        now_ntp = rtcp_timing.ntp_from_ns(now_ns + self._wall_offset_ns)
        round_trip_ns = rtcp_timing.quoted_round_trip_ns(now_ntp, quoted, delay)
        if round_trip_ns is not None and round_trip_ns < LONGEST_ROUND_TRIP_NS:
            # 0 stands for no round trip yet, and one below the clock's 15 us is not that.
            self._table.shared.rtt_ms[row] = max(round_trip_ns / 1e6, 0.01)

    def _drop(self, row: int, reason: Drop) -> None:
        self._table.shared.drops[row, reason] += 1
        self._table.shared.worker.drops[reason] += 1
