# SPDX-License-Identifier: GPL-2.0-or-later
"""The last compound of a call whose peer wants no extended reports: SR or RR, SDES, BYE.

Calls end one by one, and arrays of one element would cost three times as much.  It is what
`Reports` would write, byte for byte (tested).
"""

from __future__ import annotations

from trunkline.gateway.media.table import Table
from trunkline.rtp import rtcp, rtcp_timing
from trunkline.rtp.reception import cumulative_lost_one, fraction_lost_one


def farewell(
    table: Table, row: int, now_ns: int, wall_ns: int, cname: str, last_sr: tuple[int, int], *, sender: bool
) -> bytes:
    """`last_sr` are LSR and DLSR of the source that is heard; `wall_ns` is Unix time, for the NTP field."""
    c = table.shared
    ssrc = int(c.tx_ssrc[row])
    blocks = (_block(table, row, last_sr),) if c.rx_proven[row] else ()
    report: rtcp.SenderReport | rtcp.ReceiverReport
    if sender:
        since_ns = now_ns - int(c.tx_due_ns[row])
        report = rtcp.SenderReport(
            ssrc=ssrc,
            ntp=rtcp_timing.ntp_from_ns(wall_ns),
            rtp_timestamp=int(c.tx_ts[row]) + since_ns * int(table.clock_hz[row]) // 1_000_000_000,
            packet_count=int(c.packets_sent[row]),
            octet_count=int(c.octets_sent[row]),
            reports=blocks,
        )
    else:
        report = rtcp.ReceiverReport(ssrc, blocks)
    names = rtcp.SourceDescription(((ssrc, cname),))
    return rtcp.build_compound([report, names, rtcp.Goodbye((ssrc,))])


def _block(table: Table, row: int, last_sr: tuple[int, int]) -> rtcp.ReportBlock:
    """What was received since the last report (6.4.1, A.3)."""
    c = table.shared
    expected, received = int(c.rx_max_seq[row] - c.rx_base_seq[row]) + 1, int(c.rx_received[row])
    prior = int(c.rx_expected_prior[row]), int(c.rx_received_prior[row])
    return rtcp.ReportBlock(
        int(c.rx_ssrc[row]),
        fraction_lost_one(expected, received, *prior),
        cumulative_lost_one(expected, received),
        int(c.rx_max_seq[row]) - (1 << 16),
        int(c.rx_jitter_ts[row]),
        *last_sr,
    )
