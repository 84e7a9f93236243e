# SPDX-License-Identifier: GPL-2.0-or-later
"""A wall clock that is stepped by an hour changes nothing: hardly anybody reads it."""

from __future__ import annotations

import ast
import pathlib
import time

from support.virtual_engine import START_NS, WALL_NS, VirtualEngine
from trunkline.gateway.media import udp
from trunkline.rtp import rtcp
from trunkline.rtp.rtcp_timing import ntp_from_ns

ROOT = pathlib.Path(udp.__file__).resolve().parents[2]
WALL = {"time", "time_ns", "now", "utcnow", "today", "gmtime", "localtime"}
READERS = {
    "gateway/media/engine.py": "once, at the start, for the NTP fields of reports",
    "gateway/media/udp.py": "to know how old a packet is by the kernel's time stamp; what cannot be is left out",
}
HOUR_NS = 3600 * 10**9


def wall_clock_calls(source: str) -> list[str]:
    """Calls like time.time() and datetime.now()."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WALL:
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id in ("time", "datetime", "date"):
                found.append(f"{owner.id}.{node.func.attr}")
    return found


def test_who_reads_the_wall_clock() -> None:
    """In all that handles media: two places, and both can bear a step."""
    readers = {}
    for folder in ("gateway/media", "rtp", "codecs", "agent_bridge"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            assert "from time import" not in text, path
            if wall_clock_calls(text):
                readers[str(path.relative_to(ROOT))] = wall_clock_calls(text)
    assert readers == {"gateway/media/engine.py": ["time.time_ns"], "gateway/media/udp.py": ["time.time_ns"]}
    assert set(readers) == set(READERS)
    assert wall_clock_calls("import time\nx = time.time()") == ["time.time"]


def _reports(rig: VirtualEngine) -> list[rtcp.SenderReport]:
    parsed = [packet for data in rig.sockets.rtcp for packet in rtcp.parse_compound(bytes(data))]
    return [packet for packet in parsed if isinstance(packet, rtcp.SenderReport)]


def test_reports_and_round_trips_bear_a_step(monkeypatch) -> None:
    """Between a report and the peer's answer the clock is stepped by an hour: the round trip stays true."""
    for step_ns in (HOUR_NS, -HOUR_NS):
        rig = VirtualEngine(1, tick_ms=10)
        rig.sockets.keep_rtcp = True
        rig.run(5)
        report = _reports(rig)[-1]
        real = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda real=real, step=step_ns: real() + step)
        rig.sockets.rtcp.clear()
        rig.run(0.1)
        middle = report.ntp >> 16 & 0xFFFFFFFF
        # The peer got it 40 ms before it answered; our own clock says how long ago it was sent.
        sent_ago_ns = _age_ns(rig, report)
        kept = (sent_ago_ns - 60_000_000) * 65536 // 10**9
        stream = rig.streams[0]
        newest = int(rig.table.shared.tx_seq[stream.row]) - 1
        block = rtcp.ReportBlock(report.ssrc, 0, 0, newest, 0, middle, kept)
        answer = bytes(
            rtcp.build_compound([rtcp.ReceiverReport(9, (block,)), rtcp.SourceDescription(((9, "p"),))])
        )
        rig.engine.receive_rtcp(stream, answer, stream.remote_rtcp, rig.now_ns)
        assert abs(float(rig.table.shared.rtt_ms[0]) - 60) < 1
        rig.run(10)
        later = _reports(rig)[-1]
        ran_ns = ((later.ntp - report.ntp) * 10**9) >> 32
        assert abs(ran_ns - (later.rtp_timestamp - report.rtp_timestamp) % 2**32 * 125_000) < 30_000_000
        monkeypatch.undo()


def _age_ns(rig: VirtualEngine, report: rtcp.SenderReport) -> int:
    now_ntp = ntp_from_ns(WALL_NS + rig.now_ns - START_NS)
    return ((now_ntp - report.ntp) * 10**9) >> 32
