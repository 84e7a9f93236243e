# SPDX-License-Identifier: GPL-2.0-or-later
"""The clocks of RTCP: NTP timestamps, round trips, and when the next report is due.

Two clocks must not be confused.  A sender report carries the wall clock, because a
peer relates streams by it; how long something took is measured on the monotonic one.
The round trip needs no agreement between the two ends: the peer quotes our own
timestamp (LSR) and says how long it kept it (DLSR).
"""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

from trunkline.rtp.rtcp import ReportBlock

_MASK32 = 0xFFFFFFFF
_NTP_EPOCH_S = 2_208_988_800
"Seconds from 1900, where NTP counts from, to 1970."


def ntp_from_ns(unix_ns: int) -> int:
    """NTP timestamp (64 bits, 32 of them fraction) of a Unix time in ns; wraps in 2036 as NTP does."""
    seconds, rest_ns = divmod(unix_ns, 1_000_000_000)
    return ((seconds + _NTP_EPOCH_S) & _MASK32) << 32 | (rest_ns << 32) // 1_000_000_000


def compact_ntp(ntp: int) -> int:
    """The middle 32 bits, in 1/65536 s: the form in which LSR quotes a sender report."""
    return ntp >> 16 & _MASK32


def delay_units(elapsed_ns: int) -> int:
    """DLSR: time from receiving an SR to sending the report, in 1/65536 s."""
    return min(max((elapsed_ns << 16) // 1_000_000_000, 0), _MASK32)


def delay_units_all(elapsed_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """`delay_units` of n times, i64[n]."""
    seconds, rest_ns = np.divmod(np.maximum(elapsed_ns, 0), 1_000_000_000)
    return np.minimum((seconds << 16) + (rest_ns << 16) // 1_000_000_000, _MASK32)


def round_trip_ns(now_ntp: int, block: ReportBlock) -> int | None:
    """Round-trip time that a report about us shows (6.4.1); None if it quotes no SR or cannot be true."""
    return quoted_round_trip_ns(now_ntp, block.last_sr, block.delay_since_last_sr)


def quoted_round_trip_ns(now_ntp: int, quoted: int, delay: int) -> int | None:
    """Round trip that a quoted clock of ours (LSR, LRR) and the time it was kept (DLSR, DLRR) show.

    The two clocks' rounding may make a fast path come out just below zero, which is 0.
    """
    if quoted == 0:
        return None
    units = (compact_ntp(now_ntp) - quoted - delay) & _MASK32
    if units >= 1 << 31:
        units -= 1 << 32
    return max(units, 0) * 1_000_000_000 >> 16 if units > -66 else None  # 66 units: 1 ms


def next_interval_ns(
    rng: random.Random,
    *,
    initial: bool = False,
    members: int = 2,
    average_bytes: float = 120.0,
    rtcp_bytes_per_s: float = 400.0,
) -> int:
    """Time until the next compound (6.3.1): 5 s at least, half of it before the first, randomised.

    The spread of 0.5 to 1.5 keeps calls that started together from reporting together;
    dividing by e - 3/2 makes up for its bias (A.7).  The defaults are a telephone call:
    two members, both sending, 5 % of 64 kbit/s, so the minimum always decides.
    """
    minimum_s = 2.5 if initial else 5.0
    interval_s = max(minimum_s, members * average_bytes / rtcp_bytes_per_s)
    return int(interval_s * rng.uniform(0.5, 1.5) / 1.21828 * 1e9)


def intervals_ns(uniform: NDArray[np.float64], initial: NDArray[np.bool_]) -> NDArray[np.int64]:
    """`next_interval_ns` of n telephone calls, from `uniform` f64[n] in 0..1.

    Whoever uses it must reconsider (6.3.6): when the time has come, an interval is drawn
    again, and if it ends later than now the report waits for that.  This favours long
    intervals, which is what the division makes up for.
    """
    minimum_s = np.where(initial, 2.5, 5.0)
    return (minimum_s * (0.5 + uniform) / 1.21828 * 1e9).astype(np.int64)
