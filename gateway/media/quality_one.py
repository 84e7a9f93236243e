# SPDX-License-Identifier: GPL-2.0-or-later
"""The figures of a single row: the scalar twin of `QualityWatch.refresh`.

A call that ends is looked at once more, alone, and arrays of one element would cost
five times as much.  A test holds the two to each other.
"""

from __future__ import annotations

import dataclasses
import math

from trunkline.gateway.media.figures import QUALITY_SLOTS, Figure
from trunkline.gateway.media.table import Table
from trunkline.rtp import emodel
from trunkline.rtp.emodel import CodecImpairment
from trunkline.rtp.loss_bursts import C13, C14, C23, C33, LOST, burst_metrics_one
from trunkline.rtp.outcomes import Drop

DISCARDED = (Drop.LATE, Drop.OVERFLOW, Drop.TOO_FAST)
"Drops of packets that came, and too late (or too early) to be heard."
RECENT_MS = 900
"Speech that makes a recent interval: one packet lost of two would be half of it."


@dataclasses.dataclass(slots=True)
class _Row:
    """What the columns say of a row."""

    codec: CodecImpairment
    packet_ms: float
    counted: list[int]
    "expected, missing, missing by the timeline, missing right behind another"
    lost: int
    delay_ms: float
    "half a round trip, as far as it is known, a packet, and what a gap may wait"


def figures_of(table: Table, row: int, codec: CodecImpairment, before: list[int]) -> list[float]:
    """The slots of the `quality` column; `before` is what had been counted when the recent interval began."""
    c = table.shared
    counts = c.loss_counts[row].tolist()
    packet_ms = int(c.rx_ptime_ts[row]) * 1000 / int(table.clock_hz[row])
    lost = max(int(c.packets_lost[row]), 0)
    discarded = sum(int(c.drops[row, reason]) for reason in DISCARDED)
    gone = counts[C13] + counts[C14] + counts[C23] + counts[C33] + (counts[LOST] > 0)
    counted = [int(c.packets_received[row]) + lost, lost + discarded, gone, counts[C33]]
    rtt_ms = float(c.rtt_ms[row])
    wait_ms = packet_ms + float(c.rx_target_ns[row]) / 1e6
    out = [math.nan] * QUALITY_SLOTS
    if counted[0]:
        one = _Row(codec, packet_ms, counted, lost, rtt_ms / 2 + wait_ms)
        arrived = max(int(c.rx_next_seq[row]) - int(c.loss_from_seq[row]), 0) + int(c.loss_carry[row])
        _heard(one, burst_metrics_one(counts, arrived), rtt_ms > 0, out)
        _recent(one, before, c.quality[row].tolist(), out)
    if c.peer_expected[row]:
        _heard_by_peer(table, row, codec, out)
    return out


def _heard(one: _Row, bursts: tuple[float, ...], round_trip: bool, out: list[float]) -> None:
    number, burst_density, burst_packets, gap_density, gap_packets, run = bursts
    expected, missing = one.counted[:2]
    percent = _percent(missing, expected)
    out[Figure.LOSS_PERCENT] = _percent(one.lost, expected)
    out[Figure.DISCARD_PERCENT] = percent - out[Figure.LOSS_PERCENT]
    out[Figure.BURSTS] = number
    out[Figure.BURST_MS] = burst_packets * one.packet_ms
    out[Figure.BURST_LOSS_PERCENT] = burst_density * 100
    out[Figure.GAP_MS] = gap_packets * one.packet_ms
    out[Figure.GAP_LOSS_PERCENT] = gap_density * 100
    if round_trip:
        out[Figure.DELAY_MS] = one.delay_ms
    equipment = _equipment(one.codec, percent, run)
    r = out[Figure.R_FACTOR] = emodel.rating_one(emodel.delay_impairment_one(one.delay_ms), equipment)
    out[Figure.MOS] = emodel.mos_one(r)
    out[Figure.R_LISTENING] = emodel.rating_one(emodel.delay_impairment_one(0), equipment)


def _recent(one: _Row, before: list[int], old: list[float], out: list[float]) -> None:
    expected, missing, gone, behind = (now - then for now, then in zip(one.counted, before, strict=True))
    measured = old[Figure.RECENT_MOS] != 0
    if expected * one.packet_ms >= RECENT_MS:
        percent = _percent(max(missing, 0), expected)
        run = max(gone, 1) / max(gone - behind, 1)
        equipment = _equipment(one.codec, percent, run)
        r = emodel.rating_one(emodel.delay_impairment_one(one.delay_ms), equipment)
        out[Figure.RECENT_MOS], out[Figure.RECENT_LOSS_PERCENT] = emodel.mos_one(r), percent
    elif measured:
        out[Figure.RECENT_MOS] = old[Figure.RECENT_MOS]
        out[Figure.RECENT_LOSS_PERCENT] = old[Figure.RECENT_LOSS_PERCENT]
    least = [out[Figure.RECENT_MOS], old[Figure.MOS_MIN] if measured else math.nan]
    out[Figure.MOS_MIN] = min((mos for mos in least if not math.isnan(mos)), default=math.nan)


def _heard_by_peer(table: Table, row: int, codec: CodecImpairment, out: list[float]) -> None:
    c = table.shared
    loss = _percent(int(c.peer_lost[row]), int(c.peer_expected[row]))
    seen, rated, score, lost, discarded, burst_ms, burst_loss = c.peer_xr[row].tolist()
    missing = max(loss, lost + discarded) if seen else loss
    late = emodel.delay_impairment_one(float(c.rtt_ms[row]) / 2 + int(table.ptime_ns[row]) / 1e6)
    ours = emodel.rating_one(late, _equipment(codec, missing, 1.0))
    r = rated if seen and not math.isnan(rated) else ours
    out[Figure.PEER_R_FACTOR] = r
    out[Figure.PEER_MOS] = score if seen and not math.isnan(score) else emodel.mos_one(r)
    out[Figure.PEER_LOSS_PERCENT] = loss
    if seen:
        out[Figure.PEER_DISCARD_PERCENT] = discarded
        out[Figure.PEER_BURST_MS] = burst_ms
        out[Figure.PEER_BURST_LOSS_PERCENT] = burst_loss


def _percent(part: int, whole: int) -> float:
    return 100.0 * min(part, whole) / max(whole, 1)


def _equipment(codec: CodecImpairment, percent: float, run: float) -> float:
    return emodel.effective_impairment_one(codec, percent, emodel.burst_ratio_one(run, percent))
