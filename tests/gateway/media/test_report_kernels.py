# SPDX-License-Identifier: GPL-2.0-or-later
"""RTCP, compiled and not: the same datagrams leave at the same time, and the same is believed of what comes."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import kernels
from support.media_rig import MS, PEER, running, start_message
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.heard_reports import HeardReports
from trunkline.gateway.media.metrics_block import VoipColumns
from trunkline.gateway.media.reports import Reports
from trunkline.gateway.media.table import Stream, Table
from trunkline.rtp.rtcp import Goodbye, ReceiverReport, ReportBlock, SenderReport, SourceDescription
from trunkline.rtp.rtcp_xr import ExtendedReport, ReferenceTime

pytestmark = pytest.mark.skipif(
    not kernels.there, reason="built without a compiler: there is nothing to compare"
)

SECOND = 1000 * MS
WALL_NS = 1_700_000_000 * SECOND + 123_456_789
OURS, THEIRS = 77, 0xFFFFFFF5
u32 = st.integers(0, 0xFFFFFFFF)


class Side:
    """Rows of one kind of code, and what leaves."""

    def __init__(self, calls: list[dict[str, Any]]) -> None:
        self.now_ns = 1_000 * SECOND
        self.table = Table(Columns(max(len(calls), 4)))
        self.sent: list[tuple[int, int, bytes]] = []
        self.heard = HeardReports(self.table, WALL_NS)
        voip = VoipColumns(self.table, 200.0)
        self.reports = Reports(self.table, self._send, random.Random(3), self.heard, voip, WALL_NS)
        self.streams = []
        for call in calls:
            stream = running(self.table, start_message(**call["media"]), self.now_ns)
            for name, value in call["columns"].items():
                getattr(self.table.shared, name)[stream.row] = value
            self.reports.begin(stream, self.now_ns)
            self.streams.append(stream)

    def _send(self, stream: Stream, data: bytes) -> bool:
        self.sent.append((self.now_ns, stream.row, data))
        return True

    def hear(self, datagrams: list[tuple[int, bytes, int]]) -> None:
        for call, data, later_ms in datagrams:
            self.now_ns += later_ms * MS
            stream = self.streams[call % len(self.streams)]
            self.heard.receive(stream, data, (PEER[0], 1), self.now_ns)

    def run(self, seconds: int, talking: list[bool]) -> None:
        """Time passes; those who talk send."""
        c = self.table.shared
        for _ in range(seconds * 20):
            self.now_ns += 50 * MS
            for stream, talks in zip(self.streams, talking, strict=False):
                c.packets_sent[stream.row] += talks
                c.octets_sent[stream.row] += 160 * talks
                c.tx_seq[stream.row] += talks
                c.rx_max_seq[stream.row] += 1
                c.rx_received[stream.row] += stream.row != 2
            c.tx_due_ns[:] = self.now_ns + 7 * MS
            self.reports.advance(self.now_ns)

    def left_behind(self) -> list[np.ndarray]:
        c, r, h = self.table.shared, self.reports, self.heard
        return [
            c.rx_expected_prior, c.rx_received_prior, c.peer_expected, c.peer_lost, c.peer_jitter_ms, c.rtt_ms,
            c.peer_xr, c.drops, c.worker.drops, r._due_ns, r._last_ns, r._initial, r._sent, r._number,
            h.sender_clocks, h._rr, h._read_until_ns,
        ]  # fmt: skip


def sides(calls: list[dict[str, Any]]) -> tuple[Side, Side]:
    """Compiled, and not."""
    with kernels.without_kernels():
        twin = Side(calls)
    return Side(calls), twin


def same(fast: Side, twin: Side) -> None:
    """Every byte, its moment, and all columns."""
    assert fast.sent == twin.sent
    for mine, its in zip(fast.left_behind(), twin.left_behind(), strict=True):
        np.testing.assert_array_equal(mine, its)


CALL = st.fixed_dictionaries(
    {
        "media": st.sampled_from(
            [{}, {}, {}, {"rtcp_rsize": True}, {"xr_voip": True, "xr_round_trip": True}, {"remote_rtcp_port": 0},
             {"codec": "OPUS", "dtmf_clock_hz": 48000}]
        ),
        "columns": st.fixed_dictionaries(
            {
                "rx_proven": st.sampled_from([0, 1, 1, 1]), "rx_ssrc": st.sampled_from([THEIRS, 5]),
                "tx_ssrc": st.just(OURS), "tx_ts": st.integers(0, 1 << 40), "rx_base_seq": st.integers(65536, 131071),
                "rx_max_seq": st.integers(131072, 1 << 40), "rx_received": st.integers(0, 1 << 40),
                "rx_jitter_ts": st.floats(0, 1e6), "tx_seq": st.integers(0, 1 << 34),
                "packets_sent": st.integers(0, 1 << 34),
            }
        ),
    }
)  # fmt: skip
block = st.builds(
    ReportBlock, st.sampled_from([OURS, OURS, 78]), st.integers(0, 255),
    st.integers(-(1 << 23), (1 << 23) - 1), u32, u32, st.sampled_from([0, 5]) | u32, st.integers(0, 200_000) | u32,
)  # fmt: skip
blocks = st.lists(block, max_size=2).map(tuple)
source = st.sampled_from([THEIRS, THEIRS, 5, 6])
report = st.builds(SenderReport, source, st.integers(0, (1 << 64) - 1), u32, u32, u32, blocks) | st.builds(
    ReceiverReport, source, blocks
)
names = st.lists(st.tuples(source, st.text(max_size=9)), max_size=2).map(
    lambda some: SourceDescription(tuple(some))
)
rest = st.lists(
    names | names | st.just(Goodbye((THEIRS,))) | st.just(ExtendedReport(THEIRS, (ReferenceTime(1 << 40),))),
    max_size=2,
)
datagram = st.builds(lambda first, more: b"".join(map(bytes, [first, *more])), report, rest)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A compound with some bytes changed, or cut off."""
    data = bytearray(draw(datagram))
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


@given(
    st.lists(CALL, min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), datagram | damaged(), st.sampled_from([0, 100, 400])), max_size=25),
)
@settings(deadline=None, max_examples=60)
def test_what_leaves_and_what_is_believed_is_the_same(
    calls: list[dict[str, Any]], talking: list[bool], datagrams: list[tuple[int, bytes, int]]
) -> None:
    """Byte by byte, of whatever rows, after whatever datagrams."""
    fast, twin = sides(calls)
    for side in (fast, twin):
        side.run(4, talking)
        side.hear(datagrams)
        side.run(8, talking)
    same(fast, twin)


def test_the_kernel_takes_the_usual_ones() -> None:
    """Else the property would compare a twin with itself."""
    fast, _ = sides([{"media": {}, "columns": {"rx_proven": 1, "rx_ssrc": THEIRS, "rx_base_seq": 65536}}] * 3)
    fast.reports._report = None  # type: ignore[method-assign, assignment]
    fast.heard._read = None  # type: ignore[method-assign, assignment]
    fast.run(20, [True] * 3)
    assert len(fast.sent) >= 6
    newest = int(fast.table.shared.tx_seq[0]) - 1
    usual = bytes(SenderReport(THEIRS, 7 << 32, 0, 0, 0, (ReportBlock(OURS, 64, 3, newest, 80),)))
    fast.hear(
        [(0, usual + bytes(SourceDescription(((THEIRS, "me"),))), 0), (1, bytes(ReceiverReport(THEIRS)), 0)]
    )
    c = fast.table.shared
    assert fast.heard.sender_clocks[0].tolist() == [7 << 16, fast.now_ns, THEIRS]
    assert (c.peer_lost[0], c.peer_jitter_ms[0]) == (3, 10)


def test_reports_of_calls_that_began_together_come_apart() -> None:
    """Within a minute they are spread, and each comes every five seconds or so (RFC 3550 6.2)."""
    fast, twin = sides([{"media": {}, "columns": {"rx_proven": 1, "rx_base_seq": 65536}}] * 40)
    for side in (fast, twin):
        side.run(60, [True] * 40)
    same(fast, twin)
    times: dict[int, list[int]] = {}
    for now_ns, row, _ in fast.sent:
        times.setdefault(row, []).append(now_ns)
    gaps = np.concatenate([np.diff(of_row) for of_row in times.values()]) / SECOND
    assert gaps.min() > 1.9 and gaps.max() < 6.5
    assert gaps.mean() == pytest.approx(5, abs=0.7)
    assert len({now_ns for now_ns, _, _ in fast.sent[-40:]}) > 15


def test_what_cannot_be_is_refused() -> None:
    """Nothing indexes out of bounds."""
    fast, _ = sides([{"media": {}, "columns": {}}])
    heard, due, written = fast.heard._kernel, fast.reports._due_kernel, fast.reports._report_kernel
    assert heard is not None and due is not None and written is not None
    for row in (-1, fast.table.capacity):
        with pytest.raises(IndexError):
            heard(row, b"", 0)
        with pytest.raises(IndexError):
            due(np.array([row]), 0, np.zeros(1, np.int64))
    none, rows = np.zeros(0, np.int64), np.zeros(1, np.int64)
    with pytest.raises(ValueError, match="no room"):
        due(rows, 0, none)
    for out, found in ((np.zeros((1, 20), np.uint8), rows), (fast.reports._out, none)):
        with pytest.raises(ValueError, match="shapes"):
            written(rows, np.zeros((1, 2)), 0, out, found, found)
