# SPDX-License-Identifier: GPL-2.0-or-later
"""NTP, round trips and the report interval, on the figures of RFC 3550."""

from __future__ import annotations

import datetime as dt
import random

import pytest

from trunkline.rtp import rtcp_timing
from trunkline.rtp.rtcp import ReportBlock

SECOND_NS = 1_000_000_000


def test_ntp_of_the_rfc_example() -> None:
    """Figure 2 of RFC 3550: 10 November 1995, 11:33:25.125 UTC."""
    moment = dt.datetime(1995, 11, 10, 11, 33, 25, tzinfo=dt.UTC)
    unix_ns = int(moment.timestamp()) * SECOND_NS + 125_000_000
    assert rtcp_timing.ntp_from_ns(unix_ns) == 0xB44DB705_20000000
    assert rtcp_timing.compact_ntp(0xB44DB705_20000000) == 0xB7052000


def test_ntp_wraps_in_2036() -> None:
    """After its era ends NTP counts from 0 again, and stays within 64 bits."""
    era_end_s = (1 << 32) - 2_208_988_800
    assert rtcp_timing.ntp_from_ns(era_end_s * SECOND_NS - 1) >> 32 == 0xFFFFFFFF
    assert rtcp_timing.ntp_from_ns(era_end_s * SECOND_NS) == 0


def test_round_trip_of_the_rfc_example() -> None:
    """Figure 2: LSR 46853.125 s, DLSR 5.25 s, received at 46864.5 s, gives 6.125 s."""
    block = ReportBlock(1, 0, 0, 0, 0, 0xB7052000, rtcp_timing.delay_units(5_250_000_000))
    assert block.delay_since_last_sr == 0x00054000
    assert rtcp_timing.round_trip_ns(0xB44DB710_80000000, block) == 6_125_000_000


@pytest.mark.parametrize(
    ("now", "last_sr", "delay", "expected"),
    [
        (0x0001_0000, 0, 0, None),  # no SR has reached the peer
        (0x0001_0000, 0xFFFF_0000, 0x1_0000, SECOND_NS),  # across the wrap of 18 hours
        (0x0001_0000, 0x0001_0000, 3, 0),  # the peer rounded up
        (0x0001_0000, 0x0001_0000, 0x1_0000, None),  # held longer than it was away
        (0x0001_0000, 0x0002_0000, 0, None),  # quotes what we have not sent yet
    ],
)
def test_round_trip_edges(now: int, last_sr: int, delay: int, expected: int | None) -> None:
    """What cannot be a round trip is none, and rounding below zero is zero."""
    block = ReportBlock(1, 0, 0, 0, 0, last_sr, delay)
    assert rtcp_timing.round_trip_ns(now << 16, block) == expected


def test_delay_is_held_within_its_field() -> None:
    """DLSR counts 1/65536 s, never below zero and never over 32 bits."""
    delays = [0, -5, SECOND_NS // 2, 10**15]
    assert [rtcp_timing.delay_units(ns) for ns in delays] == [0, 0, 0x8000, 0xFFFFFFFF]


def test_interval_is_spread_around_five_seconds() -> None:
    """6.3.1: between 0.5 and 1.5 times 5 s over 1.21828; half of that before the first report."""
    rng = random.Random(1)
    later = [rtcp_timing.next_interval_ns(rng) / SECOND_NS for _ in range(2000)]
    first = [rtcp_timing.next_interval_ns(rng, initial=True) / SECOND_NS for _ in range(2000)]
    for intervals, minimum_s in ((later, 5.0), (first, 2.5)):
        low, high = 0.5 * minimum_s / 1.21828, 1.5 * minimum_s / 1.21828
        assert low <= min(intervals) < low * 1.05
        assert high * 0.95 < max(intervals) <= high
        assert sum(intervals) / 2000 == pytest.approx(minimum_s / 1.21828, rel=0.03)


def test_interval_grows_with_the_session() -> None:
    """Where reports would take more than their share of the bandwidth, they come less often."""
    rng = random.Random(2)
    interval = rtcp_timing.next_interval_ns(rng, members=100, average_bytes=200, rtcp_bytes_per_s=400)
    assert interval >= 0.5 * 50 / 1.21828 * SECOND_NS
