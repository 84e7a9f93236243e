# SPDX-License-Identifier: GPL-2.0-or-later
"""How good each call is: bursts of loss, rating and MOS of all rows, and the agents that are told.

    Timeline -> missing(): runs of packets that did not come in time (rare rows)
    advance(): a slice of the rows every 100 ms, so each row once a second -> `quality` column
               -> the agent, every five seconds, or as soon as the last second was notably better or worse

Nothing here is done per packet: loss and discards are in columns already, and bursts are
counted where packets are missing.  Compiled kernels (native/quality.c, bursts.c) take all of it,
and look at twenty rows in the time of one call into NumPy; what stands here is their twin.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.compiled import Kernel
from trunkline.gateway.media import compiled
from trunkline.gateway.media.deadlines import next_point
from trunkline.gateway.media.figures import Figure, told, told_each
from trunkline.gateway.media.quality_one import DISCARDED, RECENT_MS, figures_of
from trunkline.gateway.media.table import Stream, Table
from trunkline.rtp import emodel
from trunkline.rtp.loss_bursts import C13, C14, C23, C33, LOST, BurstMetrics, burst_metrics, note_missing

SLICES = 10
LOOK_NS = 100_000_000
"A slice of the rows this often: 1 s for all. A tick must not be held up by 2,000 rows."
TELL_NS = 5_000_000_000
"The agent hears of quality this often, and of changes once a second at most."
NOTABLE_MOS = 0.3
"A change that a listener notices (differences below 0.1 are lost in the model's own error)."

Rows = NDArray[np.intp]
Floats = NDArray[np.float64]

_DISCARDED = np.array(DISCARDED, np.int64)
_NOBODY = np.zeros(0, np.int64)


def _percent(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Floats:
    return np.asarray(100.0 * np.minimum(part, whole) / np.maximum(whole, 1), np.float64)


def _impairment(codec: str) -> emodel.CodecImpairment:
    """A codec that the table does not have yet is judged like G.711."""
    return emodel.CODECS.get(codec, emodel.G711_CONCEALED)


class QualityWatch:
    """Quality of every row."""

    def __init__(self, table: Table, tell: Callable[[Stream, dict[str, float]], None]) -> None:
        """`tell` takes the figures to the agent of a stream."""
        self._table = table
        self._tell = tell
        n = table.capacity
        self._pending: list[tuple[int, int, int]] = []
        "(row, packets in order before, missing) of this tick"
        self._turn = 0
        self._look_ns = 0
        self.next_ns = 0
        "when `advance` has something to do"
        self._codecs = np.zeros((0, 2))
        "Ie and Bpl of each format"
        # What had been counted when the recent interval began: expected, missing, runs of missing packets.
        self._before = np.zeros((n, 4), np.int64)
        self._told_ns = np.zeros(n, np.int64)
        self._told_mos = np.zeros(n)
        self._to_tell = np.zeros(n, np.int64)
        c = table.shared
        self._missing_kernel = compiled.bind("missing", c.loss_counts, c.loss_from_seq, c.loss_carry)
        self._rate_kernel = self._bind()

    def _bind(self) -> Kernel | None:
        table, c = self._table, self._table.shared
        return compiled.bind(
            "rate", c.quality, self._before, self._told_ns, self._told_mos, c.loss_counts, c.packets_received,
            c.packets_lost, c.drops, c.rx_next_seq, c.loss_from_seq, c.loss_carry, c.rx_ptime_ts, table.clock_hz,
            c.rx_target_ns, c.rtt_ms, c.peer_expected, c.peer_lost, c.peer_xr, table.ptime_ns, table.formats.of_row,
            _DISCARDED, emodel.DELAYS_MS, emodel.DELAY_IMPAIRMENTS, emodel.UNDISTURBED, RECENT_MS, NOTABLE_MOS,
            TELL_NS,
        )  # fmt: skip

    def begin(self, stream: Stream, now_ns: int) -> None:
        """A stream's audio begins, or goes on after its worker was replaced."""
        row = np.array([stream.row], np.intp)
        self._before[row] = self._counted(row)
        self._told_ns[row], self._told_mos[row] = now_ns, np.nan

    # -- bursts -----------------------------------------------------------------------------

    def missing(self, row: int, first: int, end: int) -> None:
        """Packets first..end-1 (extended numbers) did not come in time; those before them in order did."""
        if self._missing_kernel is not None:
            self._missing_kernel(row, first, end)
            return
        c = self._table.shared
        received = first - int(c.loss_from_seq[row]) + int(c.loss_carry[row])
        c.loss_from_seq[row], c.loss_carry[row] = end, 0
        if end > first:
            self._pending.append((row, max(received, 0), end - first))
            self.next_ns = 0

    def _settle(self) -> None:
        """Count what is pending: one event of each row at a time."""
        c = self._table.shared
        while self._pending:
            now: dict[int, tuple[int, int, int]] = {}
            later = [event for event in self._pending if now.setdefault(event[0], event) is not event]
            rows, received, missing = np.array(list(now.values()), np.int64).T
            c.loss_counts[rows] = note_missing(c.loss_counts[rows], received, missing)
            self._pending = later

    def bursts(self, rows: Rows) -> BurstMetrics:
        """Burst metrics as of now."""
        return burst_metrics(self._table.shared.loss_counts[rows], self._arrived(rows))

    def _arrived(self, rows: Rows) -> NDArray[np.int64]:
        """Packets in order since the last missing one."""
        c = self._table.shared
        return np.asarray(np.maximum(c.rx_next_seq[rows] - c.loss_from_seq[rows], 0) + c.loss_carry[rows])

    def _counted(self, rows: Rows) -> NDArray[np.int64]:
        """Totals of the call: expected, missing, missing by the timeline, missing right behind another."""
        c = self._table.shared
        counts = c.loss_counts[rows]
        lost = np.maximum(c.packets_lost[rows], 0)
        discarded = c.drops[rows[:, None], _DISCARDED].sum(axis=1)
        gone = counts[:, C13] + counts[:, C14] + counts[:, C23] + counts[:, C33] + (counts[:, LOST] > 0)
        return np.column_stack([c.packets_received[rows] + lost, lost + discarded, gone, counts[:, C33]])

    # -- figures ----------------------------------------------------------------------------

    def advance(self, now_ns: int) -> None:
        """Look at a slice of the rows when its time has come."""
        if self._pending:
            self._settle()
        self.next_ns = self._look_ns
        if now_ns < self._look_ns:
            return
        self.next_ns = self._look_ns = next_point(now_ns, LOOK_NS)
        self._turn = (self._turn + 1) % SLICES
        rows = self._table.running
        rows = rows[rows % SLICES == self._turn]
        if not len(rows):
            return
        if self._rate_kernel is not None:
            to_tell = self._rate_kernel(self._impairments(), rows, now_ns, self._to_tell)
            self._tell_all(self._to_tell[:to_tell])
            return
        self.refresh(rows)
        self._tell_agents(rows, now_ns)

    def refresh(self, rows: Rows) -> None:
        """Bring the `quality` column of these rows up to date."""
        if self._rate_kernel is not None:
            self._rate_kernel(self._impairments(), rows, 0, _NOBODY)
            return
        if self._pending:
            self._settle()
        c = self._table.shared
        out = np.full((len(rows), c.quality.shape[1]), np.nan)
        self._heard(rows, out)
        self._heard_by_peer(rows, out)
        c.quality[rows] = out

    def refresh_one(self, row: int) -> None:
        """The same for a single row, which is how calls end."""
        if self._pending:
            self._settle()
        codec = _impairment(self._table.formats.at(row).key.codec)
        self._table.shared.quality[row] = figures_of(self._table, row, codec, self._before[row].tolist())

    def _heard(self, rows: Rows, out: Floats) -> None:
        """What we hear, of rows that have heard anything."""
        table, c = self._table, self._table.shared
        counted = self._counted(rows)
        expected, missing = counted[:, 0], counted[:, 1]
        bursts = self.bursts(rows)
        packet_ms = c.rx_ptime_ts[rows] * 1000 / table.clock_hz[rows]
        wait_ms = packet_ms + c.rx_target_ns[rows] / 1e6
        rtt_ms = c.rtt_ms[rows].astype(np.float64)
        out[:, Figure.LOSS_PERCENT] = _percent(np.maximum(c.packets_lost[rows], 0), expected)
        out[:, Figure.DISCARD_PERCENT] = _percent(missing, expected) - out[:, Figure.LOSS_PERCENT]
        out[:, Figure.BURSTS] = bursts.bursts
        out[:, Figure.BURST_MS] = bursts.burst_packets * packet_ms
        out[:, Figure.BURST_LOSS_PERCENT] = bursts.burst_density * 100
        out[:, Figure.GAP_MS] = bursts.gap_packets * packet_ms
        out[:, Figure.GAP_LOSS_PERCENT] = bursts.gap_density * 100
        out[:, Figure.DELAY_MS] = np.where(rtt_ms > 0, rtt_ms / 2 + wait_ms, np.nan)
        late = emodel.delay_impairment(rtt_ms / 2 + wait_ms)
        equipment = self._equipment(rows, _percent(missing, expected), bursts.loss_run)
        r = out[:, Figure.R_FACTOR] = emodel.rating(late, equipment)
        out[:, Figure.MOS] = emodel.mos(r)
        out[:, Figure.R_LISTENING] = emodel.rating(emodel.delay_impairment(np.zeros(1)), equipment)
        self._recent(rows, counted, late, packet_ms, out)
        out[expected == 0] = np.nan

    def _recent(
        self, rows: Rows, counted: NDArray[np.int64], late: Floats, packet_ms: Floats, out: Floats
    ) -> None:
        """The same of what came since the agent was told last; what is too short to judge keeps its old figures."""
        expected, missing, gone, behind = (counted - self._before[rows]).T
        percent = _percent(np.maximum(missing, 0), expected)
        run = np.maximum(gone, 1) / np.maximum(gone - behind, 1)
        mos = emodel.mos(emodel.rating(late, self._equipment(rows, percent, run)))
        old = self._table.shared.quality[rows].astype(np.float64)
        old[old[:, Figure.RECENT_MOS] == 0] = np.nan
        young = expected * packet_ms < RECENT_MS
        out[:, Figure.RECENT_MOS] = np.where(young, old[:, Figure.RECENT_MOS], mos)
        out[:, Figure.RECENT_LOSS_PERCENT] = np.where(young, old[:, Figure.RECENT_LOSS_PERCENT], percent)
        out[:, Figure.MOS_MIN] = np.fmin(old[:, Figure.MOS_MIN], out[:, Figure.RECENT_MOS])

    def _heard_by_peer(self, rows: Rows, out: Floats) -> None:
        """What the peer says that it hears of us, in extended reports or at least in receiver reports."""
        table, c = self._table, self._table.shared
        said = np.flatnonzero(c.peer_expected[rows] > 0)
        if not len(said):
            return
        rows = rows[said]
        loss = _percent(c.peer_lost[rows], c.peer_expected[rows])
        xr = c.peer_xr[rows].astype(np.float64)
        xr[xr[:, 0] == 0] = np.nan  # none has come
        _, rated, score, lost, discarded, burst_ms, burst_loss = xr.T
        late = emodel.delay_impairment(c.rtt_ms[rows] / 2.0 + table.ptime_ns[rows] / 1e6)
        missing = np.fmax(loss, np.nan_to_num(lost) + np.nan_to_num(discarded))
        ours = emodel.rating(late, self._equipment(rows, missing, np.ones(len(rows))))
        r = np.where(np.isnan(rated), ours, rated)
        out[said, Figure.PEER_R_FACTOR] = r
        out[said, Figure.PEER_MOS] = np.where(np.isnan(score), emodel.mos(r), score)
        out[said, Figure.PEER_LOSS_PERCENT] = loss
        out[said, Figure.PEER_DISCARD_PERCENT] = discarded
        out[said, Figure.PEER_BURST_MS] = burst_ms
        out[said, Figure.PEER_BURST_LOSS_PERCENT] = burst_loss

    def _impairments(self) -> Floats:
        """Ie and Bpl of each format, [formats, 2]."""
        formats = self._table.formats.list
        if len(self._codecs) != len(formats):
            impairments = [_impairment(f.key.codec) for f in formats]
            self._codecs = np.array([(one.ie, one.bpl) for one in impairments])
        return self._codecs

    def _equipment(self, rows: Rows, missing_percent: Floats, loss_run: Floats) -> Floats:
        ie, bpl = self._impairments()[self._table.formats.of_row[rows]].T
        ratio = emodel.burst_ratio(loss_run, missing_percent)
        return emodel.effective_impairment(ie, bpl, missing_percent, ratio)

    # -- the agent --------------------------------------------------------------------------

    def _tell_agents(self, rows: Rows, now_ns: int) -> None:
        """Every five seconds, and on a change that can be heard; the next interval begins there."""
        c = self._table.shared
        recent = c.quality[rows, Figure.RECENT_MOS].astype(np.float64)
        changed = np.abs(recent - self._told_mos[rows]) >= NOTABLE_MOS  # false for nan
        rows = rows[changed | (now_ns - self._told_ns[rows] >= TELL_NS)]
        if not len(rows):
            return
        self._before[rows] = self._counted(rows)
        self._told_ns[rows] = now_ns
        self._told_mos[rows] = c.quality[rows, Figure.RECENT_MOS]
        self._tell_all(rows)

    def _tell_all(self, rows: Rows) -> None:
        if not len(rows):
            return
        streams = self._table.streams
        for row, figures in zip(rows.tolist(), self.figures_each(rows), strict=True):
            stream = streams[row]
            if stream is not None and figures:
                self._tell(stream, figures)

    def figures(self, row: int) -> dict[str, float]:
        """All that is known of a row's quality, by name."""
        c = self._table.shared
        out = told(c.quality[row].tolist())
        if out:
            out["jitter_ms"] = round(float(c.rx_jitter_ts[row]) * 1000 / float(self._table.clock_hz[row]), 3)
            if c.rtt_ms[row] > 0:
                out["rtt_ms"] = round(float(c.rtt_ms[row]), 3)
            if c.peer_expected[row]:
                out["peer_jitter_ms"] = round(float(c.peer_jitter_ms[row]), 3)
        return out

    def figures_each(self, rows: Rows) -> list[dict[str, float]]:
        """`figures` of several rows at once."""
        c = self._table.shared
        out = told_each(c.quality[rows])
        jitter_ms = c.rx_jitter_ts[rows] * 1000 / self._table.clock_hz[rows]
        more = np.column_stack([jitter_ms, c.rtt_ms[rows], c.peer_jitter_ms[rows], c.peer_expected[rows]])
        for figures, (jitter, rtt, peer_jitter, reported) in zip(out, more.round(3).tolist(), strict=True):
            if figures:
                figures["jitter_ms"] = jitter
                if rtt > 0:
                    figures["rtt_ms"] = rtt
                if reported:
                    figures["peer_jitter_ms"] = peer_jitter
        return out
