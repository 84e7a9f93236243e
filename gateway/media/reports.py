# SPDX-License-Identifier: GPL-2.0-or-later
"""RTCP of every row: reports, extended reports, SDES, BYE (RFC 3550 6, RFC 3611).

A row's report is due every five seconds or so, at a random time that is reconsidered
when it comes (6.3.6): 400 a second at 2,000 calls.  So those that fall due close
together are gathered, and written as columns (`rtp/rtcp_batch.py`); in the usual shape, by a compiled
kernel (native/reports.c).

Of two parties, both of whom send, the least interval always decides, so members and
bandwidth need no counting, and a BYE, which never ends a call, changes no timer.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.compiled import Kernel
from trunkline.gateway.media import compiled
from trunkline.gateway.media.deadlines import NEVER_NS, next_point
from trunkline.gateway.media.farewell import farewell
from trunkline.gateway.media.heard_reports import HeardReports
from trunkline.gateway.media.metrics_block import VoipColumns
from trunkline.gateway.media.table import RUNNING, Stream, Table
from trunkline.rtp import rtcp_batch, rtcp_timing
from trunkline.rtp.reception import cumulative_lost, expected_packets, fraction_lost
from trunkline.rtp.rtcp_batch import Shape

Rows = NDArray[np.intp]
Compounds = NDArray[np.uint8]
RtcpSend = Callable[[Stream, bytes], bool]
RtcpSendAll = Callable[[Rows, Compounds], None]
"(rows, a compound for each: [n, bytes])"

GATHER_NS = 100_000_000
"Reports that fall due within so long leave together; their times are random anyway."
WHOLE_EVERY = 3
"With reduced size (RFC 5506) agreed on, every third report has the CNAME, and so is whole."
USUAL = 7
"Kind of a report that is a sender report, of a source that is heard, and whole."


class Reports:
    """RTCP out; what comes in is `heard` by HeardReports."""

    def __init__(
        self,
        table: Table,
        send: RtcpSend,
        rng: random.Random,
        heard: HeardReports,
        voip: VoipColumns,
        wall_offset_ns: int = 0,
        send_all: RtcpSendAll | None = None,
    ) -> None:
        """`rng` spreads the reports; seeded in tests.  `send_all` takes what leaves together, else `send` does.

        `wall_offset_ns` is Unix time minus our clock. It is taken once: a wall clock that is stepped
        would make round trips of the step's length, and streams that peers can no longer relate.
        """
        self._table, self._send, self._send_all = table, send, send_all or self._send_each
        self._rng = np.random.default_rng(rng.getrandbits(64))
        self._wall_offset_ns = wall_offset_ns
        self._heard, self._voip = heard, voip
        self._cname = f"{rng.getrandbits(96):024x}".encode()
        n = table.capacity
        self._due_ns = np.full(n, NEVER_NS, np.int64)
        self._last_ns = np.zeros(n, np.int64)  # tp of 6.3: the last report, or the start
        self._initial = np.ones(n, bool)
        self._sent = np.zeros((n, 2), np.int64)  # packets_sent at the last two reports, the older one first
        self._number = np.zeros(n, np.int64)  # reports sent
        # -- for the kernels
        self._found, self._out_rows, self._others = (np.zeros(n, np.int64) for _ in range(3))
        self._out = np.zeros((n, rtcp_batch.compound_bytes(self._shape(USUAL))), np.uint8)
        self._due_kernel = compiled.bind("due_by", self._due_ns)
        self._least_kernel = compiled.bind("least", self._due_ns)
        self._report_kernel = self._bind()
        self.next_ns = NEVER_NS
        "when `advance` has something to do"

    def _bind(self) -> Kernel | None:
        table, c = self._table, self._table.shared
        return compiled.bind(
            "report", self._due_ns, self._last_ns, self._initial, self._sent, self._number, table.rtcp_wishes,
            self._heard.sender_clocks, c.send, c.tx_ssrc, c.rx_ssrc, c.rx_proven, c.rx_base_seq, c.rx_max_seq,
            c.rx_received, c.rx_expected_prior, c.rx_received_prior, c.rx_jitter_ts, table.clock_hz,
            table.rtcp_remotes, np.frombuffer(self._cname, np.uint8), GATHER_NS, self._wall_offset_ns,
        )  # fmt: skip

    # -- when -------------------------------------------------------------------------------

    def begin(self, stream: Stream, now_ns: int) -> None:
        """Schedule the first report of a stream: half the usual interval (6.2)."""
        row = stream.row
        self._initial[row], self._last_ns[row], self._number[row] = True, now_ns, 0
        self._sent[row] = 0 if stream.resumed else self._table.shared.packets_sent[row]
        self._heard.begin(row)
        self._due_ns[row] = now_ns + int(self._draw(np.array([row], np.intp))[0])
        self.next_ns = min(self.next_ns, int(self._due_ns[row]))

    def _draw(self, rows: Rows) -> NDArray[np.int64]:
        return rtcp_timing.intervals_ns(self._rng.random(len(rows)), self._initial[rows])

    def advance(self, now_ns: int) -> None:
        """Send the reports that are due, and those that soon would be."""
        if now_ns < self.next_ns:
            return
        rows = self._due_by(now_ns + GATHER_NS)
        if len(rows):
            uniform = self._rng.random((len(rows), 2))
            (self._report_due if self._report_kernel is None else self._report_compiled)(rows, uniform, now_ns)
        # Not before the gathering is over, or reports that come one by one would leave one by one.
        soonest = self._soonest()
        point = next_point(now_ns, GATHER_NS)
        self.next_ns = max(soonest // GATHER_NS * GATHER_NS, point) if soonest < NEVER_NS else NEVER_NS

    def _due_by(self, until_ns: int) -> Rows:
        running = self._table.running
        if self._due_kernel is not None:
            return self._found[: self._due_kernel(running, until_ns, self._found)]
        return running[self._due_ns[running] <= until_ns]

    def _soonest(self) -> int:
        running = self._table.running
        if self._least_kernel is not None:
            return self._least_kernel(running)
        return int(self._due_ns[running].min()) if len(running) else NEVER_NS

    def _report_due(self, rows: Rows, uniform: NDArray[np.float64], now_ns: int) -> None:
        """Reconsider when rows are due (6.3.6), by the first number in 0..1 of each; the second says when next."""
        again_ns = self._last_ns[rows] + rtcp_timing.intervals_ns(uniform[:, 0], self._initial[rows])
        self._due_ns[rows] = again_ns
        now = again_ns <= now_ns + GATHER_NS
        rows, uniform = rows[now], uniform[now]
        self._report(rows, now_ns)
        self._last_ns[rows], self._initial[rows] = now_ns, False
        self._due_ns[rows] = now_ns + rtcp_timing.intervals_ns(uniform[:, 1], self._initial[rows])

    def _report_compiled(self, rows: Rows, uniform: NDArray[np.float64], now_ns: int) -> None:
        """The same, but for reports of another shape than the usual one."""
        assert self._report_kernel is not None
        done = self._report_kernel(rows, uniform, now_ns, self._out, self._out_rows, self._others)
        usual, others = done & 0xFFFFFFFF, done >> 32
        if usual:
            self._send_all(self._out_rows[:usual], self._out[:usual])
        if others:
            self._report(self._others[:others], now_ns)

    def goodbye(self, stream: Stream, now_ns: int) -> None:
        """The call is over: a last report with BYE."""
        row = stream.row
        self._due_ns[row] = NEVER_NS
        if self._table.shared.state[row] != RUNNING or not stream.remote_rtcp[1]:
            return
        if self._table.rtcp_wishes[row, :2].any():
            self._report(np.array([row], np.intp), now_ns, bye=True)
            return
        sender = bool(self._table.shared.packets_sent[row] > self._sent[row, 0])
        last_sr = self._heard.last_sender_report_one(row, now_ns)
        wall_ns, cname = now_ns + self._wall_offset_ns, self._cname.decode()
        self._send(stream, farewell(self._table, row, now_ns, wall_ns, cname, last_sr, sender=sender))

    # -- what -------------------------------------------------------------------------------

    def _report(self, rows: Rows, now_ns: int, *, bye: bool = False) -> None:
        """One compound for each row whose peer takes RTCP, written shape by shape, the usual one first."""
        rows = rows[self._table.rtcp_remotes[rows, 2:4].any(axis=1)]  # with a port
        if not len(rows):
            return
        kinds = self._kinds(rows, bye)
        for kind in sorted(set(kinds.tolist()), key=lambda kind: (kind != USUAL, kind)):
            same = rows[kinds == kind]
            shape = self._shape(kind)
            compounds = rtcp_batch.write(shape, len(same), self._columns(same, shape, now_ns), self._cname)
            self._send_all(same, compounds)
        self._sent[rows, 0] = self._sent[rows, 1]
        self._sent[rows, 1] = self._table.shared.packets_sent[rows]
        self._number[rows] += 1

    def _send_each(self, rows: Rows, compounds: Compounds) -> None:
        for row, compound in zip(rows.tolist(), compounds, strict=True):
            stream = self._table.streams[row]
            if stream is not None:
                self._send(stream, compound.tobytes())

    def _kinds(self, rows: Rows, bye: bool) -> NDArray[np.int64]:
        """Which parts the compound of each row has: a bit for each field of `Shape`, the first one lowest."""
        table, c = self._table, self._table.shared
        heard = c.rx_proven[rows] == 1
        wants_voip, wants_round_trip, reduced = table.rtcp_wishes[rows].T
        sender = c.packets_sent[rows] > self._sent[rows, 0]  # 6.4: sent since the last report but one
        whole = ~reduced | (self._number[rows] % WHOLE_EVERY == 0) | bye
        answers = wants_round_trip & heard & self._heard.has_reference(rows)
        kinds = (
            sender + 2 * heard + 4 * whole + 8 * (wants_voip & heard) + 16 * wants_round_trip + 32 * answers
        )
        return np.asarray(kinds + 64 * bye, np.int64)

    def _shape(self, kind: int) -> Shape:
        bits = [bool(kind >> bit & 1) for bit in range(7)]
        return Shape(bits[0], bits[1], len(self._cname) if bits[2] else 0, *bits[3:])

    def _columns(self, rows: Rows, shape: Shape, now_ns: int) -> rtcp_batch.Reports:
        table, c = self._table, self._table.shared
        ntp = np.full(len(rows), rtcp_timing.ntp_from_ns(now_ns + self._wall_offset_ns), np.uint64)
        reports = rtcp_batch.Reports(c.tx_ssrc[rows], ntp)
        if shape.sender:  # the timestamp of this moment, by the packet clock
            since_ns = now_ns - c.tx_due_ns[rows]
            reports.rtp_timestamp = c.tx_ts[rows] + since_ns * table.clock_hz[rows] // 1_000_000_000
            reports.packets, reports.octets = c.packets_sent[rows], c.octets_sent[rows]
        reports.source = c.rx_ssrc[rows]
        if shape.block:
            self._block(rows, reports, now_ns)
        if shape.answer:
            reports.last_rr, reports.delay_since_last_rr = self._heard.last_reference(rows, now_ns)
        if shape.voip:
            reports.metrics = self._voip.metrics(rows)
        return reports

    def _block(self, rows: Rows, reports: rtcp_batch.Reports, now_ns: int) -> None:
        """What we received from each peer since the last report (6.4.1, A.3)."""
        c = self._table.shared
        expected, received = expected_packets(c.rx_base_seq[rows], c.rx_max_seq[rows]), c.rx_received[rows]
        reports.fraction_lost = fraction_lost(
            expected, received, c.rx_expected_prior[rows], c.rx_received_prior[rows]
        )
        c.rx_expected_prior[rows], c.rx_received_prior[rows] = expected, received
        reports.cumulative_lost = cumulative_lost(expected, received)
        reports.highest_sequence = c.rx_max_seq[rows] - (1 << 16)
        reports.jitter_ts = c.rx_jitter_ts[rows].astype(np.int64)
        reports.last_sr, reports.delay_since_last_sr = self._heard.last_sender_report(rows, now_ns)
