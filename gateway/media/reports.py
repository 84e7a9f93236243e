# SPDX-License-Identifier: GPL-2.0-or-later
"""RTCP of every row: sender and receiver reports, SDES, BYE (RFC 3550 6).

A report is due every five seconds or so, at random times (6.3), so one by one
is cheap enough.  What comes in is believed only from the address that
signalling named; a BYE is noted and never ends a call.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import numpy as np

from trunkline.gateway.media.batch import Address
from trunkline.gateway.media.table import RUNNING, Stream, Table
from trunkline.rtp import rtcp, rtcp_timing
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.reception import cumulative_lost, fraction_lost

RtcpSend = Callable[[Stream, bytes], bool]


class Reports:
    """RTCP in and out."""

    def __init__(self, table: Table, send: RtcpSend, rng: random.Random, wall_offset_ns: int = 0) -> None:
        """`rng` spreads the reports; seeded in tests.

        `wall_offset_ns` is Unix time minus our clock. It is taken once: a wall clock that is stepped
        would make round trips of the step's length, and streams that peers can no longer relate.
        """
        self._table = table
        self._send = send
        self._rng = rng
        self._wall_offset_ns = wall_offset_ns
        self._cname = f"{rng.getrandbits(96):024x}"
        self._due: list[tuple[int, int, Stream]] = []
        "heap of (time, channel, stream); entries of ended calls are passed over"

    def begin(self, stream: Stream, now_ns: int) -> None:
        """Schedule the first report of a stream: half the usual interval (6.2)."""
        stream.rtcp_initial = True
        self._schedule(stream, now_ns)

    def _schedule(self, stream: Stream, now_ns: int) -> None:
        due = now_ns + rtcp_timing.next_interval_ns(self._rng, initial=stream.rtcp_initial)
        stream.rtcp_initial = False
        heapq.heappush(self._due, (due, stream.channel, stream))

    def next_deadline_ns(self) -> int | None:
        """When the next report of any stream is due."""
        return self._due[0][0] if self._due else None

    def advance(self, now_ns: int) -> None:
        """Send the reports that are due."""
        while self._due and self._due[0][0] <= now_ns:
            _, _, stream = heapq.heappop(self._due)
            if self._table.streams[stream.row] is not stream:
                continue
            if stream.remote_rtcp[1]:
                self._send(stream, self._compound(stream, now_ns))
            self._schedule(stream, now_ns)

    def goodbye(self, stream: Stream, now_ns: int) -> None:
        """The call is over: a last report with BYE."""
        if self._table.shared.state[stream.row] == RUNNING and stream.remote_rtcp[1]:
            ssrc = int(self._table.shared.tx_ssrc[stream.row])
            self._send(stream, self._compound(stream, now_ns) + bytes(rtcp.Goodbye((ssrc,), "")))

    def _compound(self, stream: Stream, now_ns: int) -> bytes:
        """SR if we have sent, else RR, then SDES with our CNAME."""
        c, row = self._table.shared, stream.row
        ssrc = int(c.tx_ssrc[row])
        blocks = (self._block(stream, now_ns),) if c.rx_proven[row] else ()
        report: rtcp.SenderReport | rtcp.ReceiverReport
        if c.packets_sent[row]:
            report = rtcp.SenderReport(
                ssrc=ssrc,
                ntp=rtcp_timing.ntp_from_ns(now_ns + self._wall_offset_ns),
                rtp_timestamp=self._media_time(row, now_ns),
                packet_count=int(c.packets_sent[row]) & 0xFFFFFFFF,
                octet_count=int(c.octets_sent[row]) & 0xFFFFFFFF,
                reports=blocks,
            )
        else:
            report = rtcp.ReceiverReport(ssrc=ssrc, reports=blocks)
        return rtcp.build_compound([report, rtcp.SourceDescription(((ssrc, self._cname),))])

    def _media_time(self, row: int, now_ns: int) -> int:
        """RTP timestamp of this moment, by the packet clock."""
        c, table = self._table.shared, self._table
        since = now_ns - int(c.tx_due_ns[row])
        return int(c.tx_ts[row] + since * int(table.clock_hz[row]) // 1_000_000_000) & 0xFFFFFFFF

    def _block(self, stream: Stream, now_ns: int) -> rtcp.ReportBlock:
        """What we received from the peer since the last report (6.4.1, A.3)."""
        c, row = self._table.shared, stream.row
        expected = int(c.rx_max_seq[row] - c.rx_base_seq[row] + 1)
        received = int(c.rx_received[row])
        fraction = int(
            fraction_lost(
                np.array([expected]), np.array([received]),
                c.rx_expected_prior[row : row + 1], c.rx_received_prior[row : row + 1],
            )[0]
        )  # fmt: skip
        c.rx_expected_prior[row], c.rx_received_prior[row] = expected, received
        since = now_ns - stream.last_sr_ns
        return rtcp.ReportBlock(
            ssrc=int(c.rx_ssrc[row]),
            fraction_lost=fraction,
            cumulative_lost=int(cumulative_lost(np.array([expected]), np.array([received]))[0]),
            highest_sequence=int(c.rx_max_seq[row] - (1 << 16)) & 0xFFFFFFFF,
            jitter_ts=int(c.rx_jitter_ts[row]),
            last_sr=stream.last_sr_ntp_mid,
            delay_since_last_sr=rtcp_timing.delay_units(since) if stream.last_sr_ntp_mid else 0,
        )

    def receive(self, stream: Stream, data: bytes, address: Address, now_ns: int) -> None:
        """A datagram on the RTCP port (or multiplexed): only from the host that signalling named."""
        c, row = self._table.shared, stream.row
        if address[0] != stream.remote_rtcp[0]:
            self._drop(row, Drop.SOURCE)
            return
        try:
            packets = rtcp.parse_compound(data)
        except rtcp.RtcpError:
            self._drop(row, Drop.RTCP_INVALID)
            return
        for packet in packets:
            if isinstance(packet, rtcp.SenderReport):
                if packet.ssrc == int(c.rx_ssrc[row]):
                    stream.last_sr_ntp_mid = rtcp_timing.compact_ntp(packet.ntp)
                    stream.last_sr_ns = now_ns
            if isinstance(packet, rtcp.SenderReport | rtcp.ReceiverReport):
                for block in packet.reports:
                    if block.ssrc == int(c.tx_ssrc[row]):
                        self._peer_report(row, block, now_ns)

    def _peer_report(self, row: int, block: rtcp.ReportBlock, now_ns: int) -> None:
        c = self._table.shared
        c.peer_lost[row] = max(0, block.cumulative_lost)
        c.peer_jitter_ms[row] = block.jitter_ts * 1000 / int(self._table.clock_hz[row])
        now_ntp = rtcp_timing.ntp_from_ns(now_ns + self._wall_offset_ns)
        round_trip_ns = rtcp_timing.round_trip_ns(now_ntp, block)
        if (
            round_trip_ns is not None and round_trip_ns < 60_000_000_000
        ):  # more is a broken clock, not a network
            c.rtt_ms[row] = round_trip_ns / 1e6

    def _drop(self, row: int, reason: Drop) -> None:
        self._table.shared.drops[row, reason] += 1
        self._table.shared.worker.drops[reason] += 1
