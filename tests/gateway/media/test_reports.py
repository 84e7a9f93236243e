# SPDX-License-Identifier: GPL-2.0-or-later
"""RTCP of a worker under a virtual clock: when reports leave, what is in them, what is believed of a peer."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.media_rig import MS, PEER, running, start_message
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.figures import Figure
from trunkline.gateway.media.heard_reports import HeardReports
from trunkline.gateway.media.metrics_block import VoipColumns
from trunkline.gateway.media.quality import QualityWatch
from trunkline.gateway.media.reports import Reports
from trunkline.gateway.media.table import Stream, Table
from trunkline.rtp import rtcp, rtcp_timing
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.rtcp import ReceiverReport, ReportBlock, SenderReport, SourceDescription, parse_compound
from trunkline.rtp.rtcp_xr import DelaySinceLastRr, ExtendedReport, LastReference, ReferenceTime
from trunkline.rtp.voip_metrics import VoipMetrics

SECOND = 1000 * MS
RTCP_PEER = (PEER[0], PEER[1] + 1)
WALL_NS = 1_700_000_000 * SECOND
THEIRS, OURS = 5, 77


class Rig:
    """Streams that send a packet each 20 ms, and hear one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, calls: int = 1, **media: object) -> None:
        self.start_ns = self.now_ns = 1_000 * SECOND
        self.table = Table(Columns(max(calls, 4)))
        self.sent: list[tuple[int, int, list[rtcp.RtcpPacket]]] = []
        self.heard = HeardReports(self.table, WALL_NS)
        voip = VoipColumns(self.table, 200.0)
        self.reports = Reports(self.table, self.take, random.Random(3), self.heard, voip, WALL_NS)
        self.streams = [running(self.table, start_message(**media), self.now_ns) for _ in range(calls)]
        self.c, self.rows = self.table.shared, self.table.active
        self.c.rx_proven[self.rows], self.c.rx_ssrc[self.rows] = 1, THEIRS
        self.c.rx_base_seq[self.rows] = 1 << 16
        self.c.rx_max_seq[self.rows] = (1 << 16) - 1
        self.talking = True
        for stream in self.streams:
            self.reports.begin(stream, self.now_ns)

    def take(self, stream: Stream, data: bytes) -> bool:
        """Be the socket."""
        packets = parse_compound(bytes(data), reduced_size=True)
        self.sent.append((stream.row, self.now_ns, packets))
        return True

    def run(self, seconds: float) -> None:
        """Time passes in packets."""
        for _ in range(round(seconds * 50)):
            self.now_ns += 20 * MS
            self.c.rx_max_seq[self.rows] += 1
            self.c.rx_received[self.rows] += 1
            if self.talking:
                self.c.packets_sent[self.rows] += 1
                self.c.octets_sent[self.rows] += 160
                self.c.tx_seq[self.rows] += 1
            self.c.tx_ts[self.rows] += 160
            self.c.tx_due_ns[self.rows] = self.now_ns
            self.reports.advance(self.now_ns)

    def hear(self, *packets: object, source: tuple[str, int] = RTCP_PEER) -> None:
        """A datagram of the peer."""
        self.heard.receive(self.streams[0], b"".join(map(bytes, packets)), source, self.now_ns)  # type: ignore[call-overload]

    def last(self, kind: type) -> object:
        """The newest packet of a kind that we sent."""
        return next(p for _, _, packets in reversed(self.sent) for p in packets if isinstance(p, kind))

    def kinds(self) -> list[list[str]]:
        """Names of the packets in each compound."""
        return [[type(packet).__name__ for packet in packets] for _, _, packets in self.sent]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """One call whose peer wants no extended reports."""
    return Rig(monkeypatch)


def test_reports_come_every_five_seconds_on_average_and_never_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """6.3: the first sooner, then 5 s with timer reconsideration, spread from half to more than that."""
    rig = Rig(monkeypatch, calls=100)
    rig.run(60)
    by_row: dict[int, list[int]] = {}
    for row, now_ns, _ in rig.sent:
        by_row.setdefault(row, []).append(now_ns)
    first = np.array([times[0] - rig.start_ns for times in by_row.values()]) / SECOND
    later = np.concatenate([np.diff(times) for times in by_row.values()]) / SECOND
    assert len(by_row) == 100
    assert 1.0 <= first.min() < 1.6 and first.max() < 6.5
    assert later.mean() == pytest.approx(5.0, abs=0.25)
    assert later.min() > 1.9 and np.std(later) > 0.8
    together = np.bincount([now_ns // (100 * MS) for _, now_ns, _ in rig.sent[100:]] - np.int64(10_000))
    assert together.max() < 12, "calls that began at once do not report at once"


def test_a_report_says_what_was_sent_and_heard(rig: Rig) -> None:
    """SR with block and CNAME, in the figures of the columns."""
    rig.run(8)
    assert rig.kinds()[-1] == ["SenderReport", "SourceDescription"]
    sender, description = rig.sent[-1][2]
    assert isinstance(sender, SenderReport) and isinstance(description, SourceDescription)
    ticks = (rig.sent[-1][1] - rig.start_ns) // (20 * MS)
    assert (sender.ssrc, sender.packet_count, sender.octet_count) == (OURS, ticks, ticks * 160)
    assert sender.rtp_timestamp == ticks * 160
    assert sender.ntp == rtcp_timing.ntp_from_ns(WALL_NS + rig.sent[-1][1])
    (block,) = sender.reports
    assert (block.ssrc, block.fraction_lost, block.cumulative_lost) == (THEIRS, 0, 0)
    assert block.highest_sequence == ticks - 1
    assert description.cnames[0][0] == OURS and len(description.cnames[0][1]) == 24


def test_loss_of_an_interval_is_told_once(rig: Rig) -> None:
    """A.3: the fraction is of the packets since the last report, the sum of the call."""
    rig.run(8)
    rig.c.rx_received[0] -= 30
    told = len(rig.sent)
    rig.run(16)
    blocks = [packets[0].reports[0] for _, _, packets in rig.sent[told:]]  # type: ignore[union-attr]
    assert blocks[0].fraction_lost > 0 and blocks[0].cumulative_lost == 30
    assert blocks[1].fraction_lost == 0 and blocks[1].cumulative_lost == 30


def test_who_has_not_sent_since_the_last_report_but_one_is_a_receiver(rig: Rig) -> None:
    """6.4: the report after the last packet is still a sender's, and the one after that; then RR."""
    rig.run(12)
    rig.talking = False
    spoke = len(rig.sent)
    rig.run(40)
    kinds = [names[0] for names in rig.kinds()]
    assert set(kinds[:spoke]) == {"SenderReport"}
    assert kinds[spoke] == "SenderReport"
    assert kinds[spoke + 2 :] == ["ReceiverReport"] * len(kinds[spoke + 2 :]) and len(kinds) > spoke + 3
    rig.talking = True
    rig.run(8)
    assert rig.kinds()[-1][0] == "SenderReport"


def test_round_trip_and_last_sender_report(rig: Rig) -> None:
    """6.4.1: LSR and DLSR quote the peer's clock; its quote of ours gives the round trip."""
    rig.run(4)
    rig.hear(SenderReport(THEIRS, 0xB44DB705_20000000, 0, 0, 0))
    heard_ns = rig.now_ns
    told = len(rig.sent)
    rig.run(8)
    block = rig.sent[told][2][0].reports[0]  # type: ignore[union-attr]
    assert block.last_sr == 0xB7052000
    assert block.delay_since_last_sr == rtcp_timing.delay_units(rig.sent[told][1] - heard_ns)
    ours = rig.last(SenderReport)
    assert isinstance(ours, SenderReport)
    kept_ns = rig.now_ns - rig.sent[-1][1] - 37 * MS
    quote = rtcp_timing.compact_ntp(ours.ntp), rtcp_timing.delay_units(max(kept_ns, 0))
    if kept_ns < 0:
        rig.run(1)
        quote = quote[0], rtcp_timing.delay_units(rig.now_ns - rig.sent[-1][1] - 37 * MS)
    rig.hear(ReceiverReport(THEIRS, (ReportBlock(OURS, 0, 4, int(rig.c.tx_seq[0]) - 1, 80, *quote),)))
    assert rig.c.rtt_ms[0] == pytest.approx(37, abs=0.1)
    assert rig.c.peer_lost[0] == 4 and rig.c.peer_jitter_ms[0] == 10
    assert rig.c.peer_expected[0] == rig.c.packets_sent[0]


def test_a_new_source_is_not_told_the_old_ones_clock(rig: Rig) -> None:
    """LSR is of the source that the block is about."""
    rig.hear(SenderReport(THEIRS, 0xB44DB705_20000000, 0, 0, 0))
    rig.c.rx_ssrc[0] = THEIRS + 1
    rig.run(8)
    block = rig.sent[-1][2][0].reports[0]  # type: ignore[union-attr]
    assert (block.ssrc, block.last_sr, block.delay_since_last_sr) == (THEIRS + 1, 0, 0)


def test_a_peer_is_told_of_its_calls_quality_when_it_wants_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 3611: VoIP metrics out of the quality column, and a reference time."""
    rig = Rig(monkeypatch, xr_voip=True, xr_round_trip=True)
    rig.c.quality[0] = np.nan
    for figure, value in {
        Figure.LOSS_PERCENT: 6.25, Figure.DISCARD_PERCENT: 1.5625, Figure.BURST_LOSS_PERCENT: 50,
        Figure.GAP_LOSS_PERCENT: 0.5, Figure.BURST_MS: 180, Figure.GAP_MS: 70000, Figure.R_FACTOR: 71.6,
        Figure.MOS: 3.67, Figure.R_LISTENING: 80,
    }.items():  # fmt: skip
        rig.c.quality[0, figure] = value
    rig.c.rtt_ms[0], rig.c.rx_target_ns[0] = 80.4, 60 * MS
    rig.run(8)
    extended = rig.last(ExtendedReport)
    assert isinstance(extended, ExtendedReport) and extended.ssrc == OURS
    reference, metrics = extended.blocks
    assert reference == ReferenceTime(rtcp_timing.ntp_from_ns(WALL_NS + rig.sent[-1][1]))
    assert metrics == VoipMetrics(
        THEIRS, 16, 4, 128, 1, 180, 65535, 80, 80, r_factor=72, mos_lq=40, mos_cq=37, rx_config=0xB1,
        nominal_ms=60, maximum_ms=60, absolute_maximum_ms=200,
    )  # fmt: skip


def test_without_figures_the_metrics_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """127 stands for unknown."""
    rig = Rig(monkeypatch, xr_voip=True)
    rig.run(8)
    extended = rig.last(ExtendedReport)
    assert isinstance(extended, ExtendedReport)
    (metrics,) = extended.blocks
    assert isinstance(metrics, VoipMetrics)
    assert (metrics.r_factor, metrics.mos_lq, metrics.mos_cq, metrics.loss_rate) == (127, 127, 127, 0)


def test_reference_times_are_answered_and_answers_give_a_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    """4.4, 4.5: for those who only listen, both ways."""
    rig = Rig(monkeypatch, xr_round_trip=True)
    rig.run(4)
    rig.hear(ReceiverReport(THEIRS), ExtendedReport(THEIRS, (ReferenceTime(0xB44DB705_20000000),)))
    heard_ns, told = rig.now_ns, len(rig.sent)
    rig.run(8)
    extended = rig.sent[told][2][-1]
    assert isinstance(extended, ExtendedReport)
    ours, answer = extended.blocks
    assert answer == DelaySinceLastRr(
        (LastReference(THEIRS, 0xB7052000, rtcp_timing.delay_units(rig.sent[told][1] - heard_ns)),)
    )
    assert isinstance(ours, ReferenceTime)
    away_ns = rig.now_ns - rig.sent[told][1]
    entry = LastReference(
        OURS, rtcp_timing.compact_ntp(ours.ntp), rtcp_timing.delay_units(max(away_ns - 55 * MS, 0))
    )
    assert away_ns > 55 * MS
    stranger = LastReference(OURS + 1, 1, 1)
    rig.hear(ReceiverReport(THEIRS), ExtendedReport(THEIRS, (DelaySinceLastRr((stranger, entry)),)))
    assert rig.c.rtt_ms[0] == pytest.approx(55, abs=0.1)


def test_metrics_of_us_are_kept_and_those_of_others_are_not(rig: Rig) -> None:
    """As percentages; unknown is nan."""
    theirs = ExtendedReport(THEIRS, (VoipMetrics(OURS, 64, 32, 128, 0, 240, r_factor=60, mos_lq=31),))
    rig.hear(ReceiverReport(THEIRS), ExtendedReport(THEIRS, (VoipMetrics(OURS + 1, 1),)))
    assert not rig.c.peer_xr[0].any()
    rig.hear(ReceiverReport(THEIRS), theirs)
    assert rig.c.peer_xr[0].tolist() == pytest.approx([1, 60, 3.1, 25, 12.5, 240, 50])
    rig.hear(ReceiverReport(THEIRS), ExtendedReport(THEIRS, (VoipMetrics(OURS),)))
    assert np.isnan(rig.c.peer_xr[0, 1:3]).all()


def test_only_the_host_that_signalling_named_is_believed(rig: Rig) -> None:
    """Neither its clock nor its figures."""
    rig.run(4)
    report = ReceiverReport(THEIRS, (ReportBlock(OURS, 0, 9, int(rig.c.tx_seq[0]) - 1, 80),))
    rig.hear(report, source=("192.0.2.99", RTCP_PEER[1]))
    assert rig.c.peer_expected[0] == 0 and rig.c.drops[0, Drop.SOURCE] == 1
    rig.hear(b"\x80\xc9\x00")
    assert rig.c.drops[0, Drop.RTCP_INVALID] == 1
    assert rig.c.worker.drops[Drop.RTCP_INVALID] == 1


def test_figures_that_cannot_be_true_are_held_or_dropped(rig: Rig) -> None:
    """More lost than was sent, or a report of packets that were never sent."""
    rig.run(4)
    sent = int(rig.c.packets_sent[0])
    rig.hear(ReceiverReport(THEIRS, (ReportBlock(OURS, 255, 1 << 22, int(rig.c.tx_seq[0]) - 11, 0),)))
    assert (rig.c.peer_expected[0], rig.c.peer_lost[0]) == (sent - 10, sent - 10)
    rig.hear(ReceiverReport(THEIRS, (ReportBlock(OURS, 0, -7, int(rig.c.tx_seq[0]) + 50, 0),)))
    assert rig.c.peer_expected[0] == sent - 10
    rig.hear(ReceiverReport(THEIRS, (ReportBlock(OURS, 0, -7, int(rig.c.tx_seq[0]) - 1, 0),)))
    assert (rig.c.peer_expected[0], rig.c.peer_lost[0]) == (sent, 0)


def test_a_bye_ends_nothing(rig: Rig) -> None:
    """Signalling ends calls; reports go on, and so does belief in the peer's."""
    rig.hear(ReceiverReport(THEIRS), rtcp.Goodbye((THEIRS,), "gone"))
    rig.run(12)
    assert len(rig.sent) >= 2 and rig.sent[-1][2][0].reports  # type: ignore[union-attr]
    rig.hear(SenderReport(THEIRS, 1 << 32, 0, 0, 0))
    rig.run(8)
    assert rig.sent[-1][2][0].reports[0].last_sr == 1 << 16  # type: ignore[union-attr]


def test_reduced_size_is_taken_and_sent_where_it_was_agreed(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 5506: a BYE or XR alone is read; our names are left out of two reports of three."""
    plain = Rig(monkeypatch)
    plain.hear(ExtendedReport(THEIRS, (VoipMetrics(OURS, 64),)))
    assert plain.c.drops[0, Drop.RTCP_INVALID] == 1
    rig = Rig(monkeypatch, rtcp_rsize=True)
    rig.hear(ExtendedReport(THEIRS, (VoipMetrics(OURS, 64),)))
    assert rig.c.peer_xr[0, 3] == 25 and not rig.c.drops.any()
    rig.run(40)
    named = ["SourceDescription" in names for names in rig.kinds()]
    assert named[:6] == [True, False, False, True, False, False]
    rig.reports.goodbye(rig.streams[0], rig.now_ns)
    assert rig.kinds()[-1] == ["SenderReport", "SourceDescription", "Goodbye"]


def test_the_last_report_says_goodbye(rig: Rig) -> None:
    """A whole compound, and then none any more."""
    rig.run(4)
    rig.reports.goodbye(rig.streams[0], rig.now_ns)
    assert rig.kinds()[-1] == ["SenderReport", "SourceDescription", "Goodbye"]
    assert rig.last(rtcp.Goodbye) == rtcp.Goodbye((OURS,))
    count = len(rig.sent)
    rig.run(20)
    assert len(rig.sent) == count


@pytest.mark.parametrize("talking", [True, False])
@pytest.mark.parametrize("heard", [True, False])
def test_a_farewell_is_what_the_batch_would_write(rig: Rig, talking: bool, heard: bool) -> None:
    """The scalar way of ending calls, byte for byte."""
    rig.talking, rig.c.rx_proven[0] = talking, heard
    rig.run(7)
    rig.hear(SenderReport(THEIRS, 0xB44DB705_20000000, 0, 0, 0))
    rig.c.rx_received[0] -= 9
    rig.c.rx_jitter_ts[0] = 41.7
    rig.now_ns += 7 * MS
    rig.reports.goodbye(rig.streams[0], rig.now_ns)
    rig.reports._report(rig.rows, rig.now_ns, bye=True)
    (_, _, scalar), (_, _, batch) = rig.sent[-2:]
    assert scalar == batch
    assert isinstance(scalar[0], SenderReport if talking else ReceiverReport)
    assert bool(scalar[0].reports) is heard


def test_a_peer_without_a_port_for_rtcp_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Port 0 is nowhere."""
    rig = Rig(monkeypatch, remote_rtcp_port=0)
    rig.run(15)
    rig.reports.goodbye(rig.streams[0], rig.now_ns)
    assert rig.sent == []


u32 = st.integers(0, 0xFFFFFFFF)
hostile = st.lists(
    st.builds(
        ReceiverReport,
        u32,
        st.lists(
            st.builds(
                ReportBlock,
                st.just(OURS),
                st.integers(0, 255),
                st.integers(-(1 << 23), (1 << 23) - 1),
                *[u32] * 4,
            ),
            max_size=2,
        ).map(tuple),
    )
    | st.builds(
        ExtendedReport,
        st.just(THEIRS),
        st.tuples(
            st.builds(VoipMetrics, st.just(OURS), *[st.integers(0, 255)] * 4, *[st.integers(0, 0xFFFF)] * 4),
            st.builds(ReferenceTime, st.integers(0, (1 << 64) - 1)),
            st.builds(LastReference, st.just(OURS), u32, u32).map(lambda one: DelaySinceLastRr((one,))),
        ),
    ),
    min_size=1,
    max_size=4,
)


@given(hostile)
@settings(deadline=None, max_examples=100)
def test_whatever_a_peer_reports_its_figures_stay_on_their_scales(packets: list[rtcp.RtcpPacket]) -> None:
    """A liar changes what is said of its own call, and nothing breaks."""
    with pytest.MonkeyPatch.context() as patch:
        rig = Rig(patch, xr_voip=True, xr_round_trip=True)
        rig.run(1)
        rig.hear(ReceiverReport(THEIRS), *packets)
        quality = QualityWatch(rig.table, lambda stream, figures: None)
        quality.refresh(rig.rows)
        figures = quality.figures(0)
        rig.run(7)
    assert rig.sent, "reports go on"
    assert all(np.isfinite(value) for value in figures.values())
    assert all(1 <= value <= 5 for name, value in figures.items() if name.endswith("mos"))
    assert all(0 <= value <= 100 for name, value in figures.items() if "percent" in name or "factor" in name)
    assert 0 <= figures.get("rtt_ms", 0) < 60_000


def test_a_flood_of_reports_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few at once and four a second: to read them all would cost everybody's time."""
    rig = Rig(monkeypatch)
    stream = rig.streams[0]
    answer = bytes(
        rtcp.build_compound([rtcp.ReceiverReport(THEIRS, ()), rtcp.SourceDescription(((THEIRS, "p"),))])
    )
    flood = int(Drop.RTCP_FLOOD)
    for _ in range(100):
        rig.heard.receive(stream, answer, RTCP_PEER, rig.now_ns)
    assert rig.c.drops[stream.row, flood] == 100 - 8
    for _ in range(40):
        rig.now_ns += SECOND // 4
        rig.heard.receive(stream, answer, RTCP_PEER, rig.now_ns)
    assert rig.c.drops[stream.row, flood] == 100 - 8, "at four a second all are read"
