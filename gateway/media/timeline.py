# SPDX-License-Identifier: GPL-2.0-or-later
"""Order and completeness of what the agent hears: the uplink's timeline.

An agent needs order, not a playout clock.  A packet that is next in sequence
goes on at once.  A gap is held back until its packet is later than the adaptive
target delay allows, then filled and flagged.  The timeline itself is counted in
RTP timestamps (`rx_next_ts`): sequence numbers only say that nothing is missing
in between, so DTX, hold and a dead network all look alike, time goes on and
frames are filled.

`rx_deadline_ns` of a row is when its next frame will be filled if it has not
come: least relative delay + its media time + target.

So the agent's frames follow the caller's clock while it sends, and ours while it
does not.  Where the caller's timestamps cannot be followed (they leap, stand still,
or another source takes over), the timeline is first brought up to now, and then goes
on from the new timestamp: nothing is lost or gained by it, however often it happens.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.arrivals import AUDIO, EMPTY, Arrivals, Speaker
from trunkline.gateway.media.backlog import Backlog
from trunkline.gateway.media.credit import Credit
from trunkline.gateway.media.reorder import ReorderBuffer
from trunkline.gateway.media.soonest import soonest_of
from trunkline.gateway.media.table import SILENT_RUN, Table
from trunkline.rtp.outcomes import Drop

LATE_RUN_NS = 100_000_000
"In-order packets that all come late for so long mean that the sender's clock stood still: start anew,"
DRAINED_NS = 50_000_000
"unless they catch up by more than this: then the network had stopped, and they are late indeed."
CLOCK_ERROR = 300e-6
"How much a caller's clock may have gained or lost on ours while it was silent."
MIN_PTIME_DIVISOR = 100
"Packet times from 1/100 s up are learned from what a peer sends."
FILLS_PER_TICK = 50
"Frames filled for one row in one tick at most (one second), after a stall of ours."
CONCEAL_MS = 240
"Concealment has faded to silence by then; what follows is a gap, not speech."

Rows = NDArray[np.intp]

_NOBODY: Rows = np.zeros(0, np.intp)


class Timeline:
    """Next sequence number, next timestamp and deadline of every row."""

    def __init__(self, table: Table, speaker: Speaker) -> None:
        self._table = table
        self._speaker = speaker
        self._held = ReorderBuffer(table)
        self._credit = Credit(table)
        self.backlog = Backlog(table)
        self._soonest = soonest_of(table.shared.rx_deadline_ns)
        self._waits: NDArray[np.bool_] = np.zeros(table.capacity, bool)
        self.on_missing: Callable[[int, int, int], None] = _ignore_missing
        "called (row, first, end): these numbers did not come in time, those before them in order did"

    # -- arrivals ---------------------------------------------------------------------------

    def arrive(self, arrivals: Arrivals, now_ns: int) -> None:
        """Admitted packets: what is in order goes on, what is ahead waits, what is behind is dropped."""
        expected = self._table.shared.rx_next_seq[arrivals.rows]
        in_order = np.flatnonzero(arrivals.seq == expected)
        if len(in_order) < len(arrivals.rows):
            if self.backlog.skips and self._skip(arrivals, np.flatnonzero(arrivals.seq > expected)):
                expected = self._table.shared.rx_next_seq[arrivals.rows]
                in_order = np.flatnonzero(arrivals.seq == expected)
            for i in np.flatnonzero(arrivals.seq > expected):
                if not self._held.put(int(arrivals.rows[i]), arrivals, int(i)):
                    self._drop(arrivals.rows[i : i + 1], Drop.OVERFLOW)
            self._drop(arrivals.rows[arrivals.seq < expected], Drop.LATE)
        if not len(in_order):
            return
        self._accept(arrivals, in_order, now_ns)
        rows = arrivals.rows[in_order]
        self._release(rows[self._table.held[rows] > 0], now_ns)

    def _skip(self, arrivals: Arrivals, ahead: NDArray[np.intp]) -> bool:
        """Where what came before was given up, nobody waits for it; returns whether that is so anywhere."""
        which = ahead[self.backlog.take_skipped(arrivals.rows[ahead])]
        for i in which.tolist():
            row, seq = int(arrivals.rows[i]), int(arrivals.seq[i])
            self.on_missing(row, int(self._table.shared.rx_next_seq[row]), seq)
            self._table.shared.rx_next_seq[row] = seq
        return len(which) > 0

    def _release(self, rows: Rows, now_ns: int) -> None:
        """Packets of these rows that waited and are in order now."""
        if not len(rows):
            return
        while (arrivals := self._held.take_next(rows)) is not None:
            self._accept(arrivals, np.arange(len(arrivals.rows)), now_ns)
        for row, seq in zip(rows.tolist(), self._table.shared.rx_next_seq[rows].tolist(), strict=True):
            self._drop(np.full(self._held.drop_before(row, seq), row, np.intp), Drop.LATE)

    def _accept(self, arrivals: Arrivals, which: NDArray[np.intp], now_ns: int) -> None:
        """In-order arrivals: align each with the timeline, then decode."""
        table, c = self._table, self._table.shared
        rows = arrivals.rows[which]
        c.rx_next_seq[rows] = arrivals.seq[which] + 1
        audio = arrivals.kind[which] == AUDIO
        if not audio.all():
            table.lost_run[rows[~audio]] = SILENT_RUN
            which, rows = which[audio], rows[audio]
        timestamp = arrivals.timestamp[which]
        if (timestamp < c.rx_next_ts[rows]).any():
            keep = self._not_late(rows, timestamp, now_ns)
            which, rows, timestamp = which[keep], rows[keep], timestamp[keep]
        table.late_since_ns[rows] = 0
        duration = self._speaker.durations(arrivals, which)
        bad = duration <= 0
        if bad.any():
            self._drop(rows[bad], Drop.BAD_PAYLOAD)
            which, rows, timestamp, duration = which[~bad], rows[~bad], timestamp[~bad], duration[~bad]
        paid = self._credit.spend(rows, duration, now_ns)
        if not paid.all():
            self._discard(rows[~paid], Drop.TOO_FAST)
            c.rx_next_ts[rows[~paid]] = timestamp[~paid] + duration[~paid]  # too much audio, not too little
            which, rows, timestamp, duration = which[paid], rows[paid], timestamp[paid], duration[paid]
        packet_ts = c.rx_ptime_ts[rows]
        paused = timestamp - c.rx_next_ts[rows] >= packet_ts - packet_ts // 2
        if paused.any():
            self._fill_pause(rows[paused], timestamp[paused], now_ns)
        astray = timestamp - c.rx_next_ts[rows]
        if astray.any():
            self._owe(rows, astray, now_ns)
        if len(which):
            self._speaker.speak(arrivals, which)
            self._move(rows, timestamp, duration, arrivals.size[which])

    def _move(
        self, rows: Rows, timestamp: NDArray[np.int64], duration: NDArray[np.int64], size: NDArray[np.int32]
    ) -> None:
        """Packets of so many bytes have become audio: the timeline is behind them now."""
        table, c = self._table, self._table.shared
        c.rx_next_ts[rows] = timestamp + duration
        # Only from packets of an ordinary length: fills of a millisecond each would burn the core.
        ordinary = duration * MIN_PTIME_DIVISOR >= table.clock_hz[rows]
        c.rx_ptime_ts[rows] = np.where(ordinary, duration, c.rx_ptime_ts[rows])
        table.lost_run[rows] = 0
        table.payload_bytes[rows], table.payload_ts[rows] = size, duration
        self._set_deadlines(rows)

    # -- timestamps -------------------------------------------------------------------------

    def _not_late(self, rows: Rows, timestamp: NDArray[np.int64], now_ns: int) -> NDArray[np.intp]:
        """Indices of the packets whose place has not been filled; drops the others."""
        c, keep = self._table.shared, np.ones(len(rows), bool)
        packet_ts = c.rx_ptime_ts[rows]
        # A caller that was silent comes back by its own clock, and nothing of it has been missed.
        silent_ts = self._table.lost_run[rows] * packet_ts
        allowed_ts = np.maximum(packet_ts, (silent_ts * CLOCK_ERROR).astype(np.int64))
        late = c.rx_next_ts[rows] - timestamp >= allowed_ts
        if late.any():
            keep[late] = self._stood_still(rows[late], timestamp[late], now_ns)
        self._discard(rows[~keep], Drop.LATE)
        return np.flatnonzero(keep)

    def _fill_pause(self, rows: Rows, timestamp: NDArray[np.int64], now_ns: int) -> None:
        """These senders have left out time (DTX): whole packet times; less than half of one is let go."""
        c, lost_run = self._table.shared, self._table.lost_run
        packet_ts = c.rx_ptime_ts[rows]
        lost_run[rows] = np.maximum(lost_run[rows], SILENT_RUN)
        count = (timestamp - c.rx_next_ts[rows] + packet_ts // 2) // packet_ts
        self._fill(rows, np.minimum(count, self._credit.packets(rows, now_ns)), now_ns)

    def _owe(self, rows: Rows, let_go: NDArray[np.int64], now_ns: int) -> None:
        """Gaps and overlaps of less than half a packet time each: what they add up to is filled in the end.

        Or every lost packet of 2.5 ms would make the agent's time shorter.
        """
        slip, c = self._table.slip, self._table.shared
        packet_ts = c.rx_ptime_ts[rows]
        # A whole packet time back: the sender's clock stood still, and its silence has been filled, not borrowed.
        slip[rows] += np.where(let_go <= -packet_ts, 0, let_go) / packet_ts
        slip[rows] = np.minimum(slip[rows], FILLS_PER_TICK)  # of a pause that was not paid for
        owed = rows[slip[rows] >= 1]
        if len(owed):
            next_ts = c.rx_next_ts[owed]
            paid = self._fill_one(owed, now_ns)
            slip[owed[paid]] -= 1
            c.rx_next_ts[owed] = next_ts  # the time of this frame has gone by already

    def _stood_still(self, rows: Rows, timestamp: NDArray[np.int64], now_ns: int) -> NDArray[np.bool_]:
        """Late packets in sequence: has the sender's clock paused, rather than the network?"""
        table, c = self._table, self._table.shared
        delay_ns = now_ns - table.media_ns(rows, timestamp)
        since_ns = table.late_since_ns[rows]
        anew = (since_ns == 0) | (delay_ns < table.late_by_ns[rows] - DRAINED_NS)
        table.late_since_ns[rows[anew]], table.late_by_ns[rows[anew]] = now_ns, delay_ns[anew]
        stood = ~anew & (now_ns - since_ns >= LATE_RUN_NS)
        if stood.any():
            self._catch_up(rows[stood], now_ns)
            c.rx_base_delay_ns[rows[stood]] = delay_ns[stood]
        return np.asarray(stood)

    def note_stall(self) -> None:
        """Packets have waited for us: that they are late, and then fast, says nothing of their senders' clocks."""
        self._table.late_since_ns[self._table.running] = 0
        self._credit.restore(self._table.running)

    def jump(self, rows: Rows, timestamp: NDArray[np.int64], now_ns: int) -> None:
        """The sender's timestamps leapt: the timeline goes on from there, nothing is filled for the leap."""
        c = self._table.shared
        self._catch_up(rows, now_ns)
        c.rx_next_ts[rows] = timestamp
        c.rx_base_delay_ns[rows] = np.nan
        c.rx_has_transit[rows] = 0  # or the leap would show as jitter

    def leave_source(self, row: int, now_ns: int) -> None:
        """Another source will be heard from now on: drop what waits, fill what the old one owes."""
        self._drop(np.full(self._held.forget(row), row, np.intp), Drop.LATE)
        if self._table.shared.rx_proven[row]:
            self._catch_up(np.array([row], np.intp), now_ns)

    def _catch_up(self, rows: Rows, now_ns: int) -> None:
        """Fill frames up to now by the old schedule, before another begins.

        What is less than a packet time is remembered, so that many changes do not add up.
        """
        table, c = self._table, self._table.shared
        rows = rows[~np.isnan(c.rx_base_delay_ns[rows])]
        now_ts = (now_ns - c.rx_base_delay_ns[rows]) * table.clock_hz[rows] / 1e9
        behind = (now_ts - c.rx_next_ts[rows]) / c.rx_ptime_ts[rows] + table.slip[rows]
        count = np.clip(behind, 0, FILLS_PER_TICK).astype(np.int64)
        table.slip[rows] = np.clip(behind - count, -FILLS_PER_TICK, 1.0)
        self._fill(rows, count, now_ns)

    def _fill(self, rows: Rows, count: NDArray[np.int64], now_ns: int) -> None:
        """So many frames for each row, all rows at once: a stall makes many of them wait."""
        for done in range(min(int(count.max(initial=0)), FILLS_PER_TICK)):
            self._fill_one(rows[count > done], now_ns)

    # -- gaps -------------------------------------------------------------------------------

    def advance(self, now_ns: int, waiting: Rows = _NOBODY) -> None:
        """Fill the frames whose time has run out, but of rows for which packets wait at their sockets."""
        table, c = self._table, self._table.shared
        running = table.running
        if self.backlog.busy:
            self.backlog.jump(waiting, now_ns, self._set_deadlines)
        if len(waiting):
            self._waits[waiting] = True
            running = running[~self._waits[running]]
            self._waits[waiting] = False
        for _ in range(FILLS_PER_TICK):
            if self._soonest(running) > now_ns:
                return
            rows = running[c.rx_deadline_ns[running] <= now_ns]
            behind = table.held[rows] > 0
            alone = rows[~behind]
            unpaid = alone[~self._fill_one(alone, now_ns)]
            if len(unpaid):  # its schedule is ahead of time: no more than a frame each packet time
                c.rx_deadline_ns[unpaid] = (
                    now_ns + c.rx_ptime_ts[unpaid] * 1_000_000_000 // table.clock_hz[unpaid]
                )
            if behind.any():
                self._give_up_waiting(rows[behind], now_ns)

    def overdue(self, rows: Rows, now_ns: int) -> int:
        """How many of these rows lack a frame whose time has run out."""
        return int((self._table.shared.rx_deadline_ns[rows] <= now_ns).sum())

    def next_deadline_ns(self) -> int:
        """When `advance` has something to do."""
        return self._soonest(self._table.running)

    def _give_up_waiting(self, rows: Rows, now_ns: int) -> None:
        """Packets wait behind a gap, and the gap's time has run out: fill one frame, then look again."""
        table, c = self._table, self._table.shared
        firsts = [self._held.first(row) for row in rows.tolist()]
        seq, timestamp, kind = np.array([first[:3] for first in firsts], np.int64).T
        leap = timestamp - c.rx_next_ts[rows] > table.clock_hz[rows]  # behind the gap, not a second of loss
        leap |= self._credit.packets(rows, now_ns) < 1  # or more than time has brought
        c.rx_next_ts[rows[leap]] = timestamp[leap]
        packet_ts = c.rx_ptime_ts[rows]
        gap = (kind == AUDIO) & (timestamp - c.rx_next_ts[rows] >= packet_ts - packet_ts // 2)
        if gap.any():  # what waits behind it helps to make up what is missing
            behind = [first[3] for first, lacks in zip(firsts, gap.tolist(), strict=True) if lacks]
            self._speaker.expect(rows[gap], (timestamp - c.rx_next_ts[rows])[gap], behind)
            self._fill_one(rows[gap], now_ns)
        near = timestamp - c.rx_next_ts[rows] < packet_ts - packet_ts // 2
        over = near | (kind == EMPTY)
        for i in np.flatnonzero(over):
            self.on_missing(int(rows[i]), int(c.rx_next_seq[rows[i]]), int(seq[i]))
        c.rx_next_seq[rows[over]] = seq[over]
        self._release(rows[over], now_ns)
        self._set_deadlines(rows)

    def _fill_one(self, rows: Rows, now_ns: int) -> NDArray[np.bool_]:
        """One frame that did not come, for each row; False where it is not paid for, and not filled."""
        if not len(rows):
            return np.zeros(0, bool)
        table, c = self._table, self._table.shared
        durations = c.rx_ptime_ts[rows]
        paid = self._credit.spend(rows, durations, now_ns)
        if not paid.all():
            rows, durations = rows[paid], durations[paid]
        for duration in np.unique(durations):
            same = rows[durations == duration]
            table.lost_run[same] += 1
            c.expected_bytes[same] = 0
            lost_ms = (
                (table.lost_run[same] - 1).astype(np.int64) * int(duration) * 1000 // table.clock_hz[same]
            )
            self._speaker.fill(same, int(duration), lost_ms >= CONCEAL_MS)
        c.rx_next_ts[rows] += durations
        unproven = c.rx_proven[rows] == 0
        c.rx_deadline_ns[rows[unproven]] += (
            durations[unproven] * 1_000_000_000 // table.clock_hz[rows[unproven]]
        )
        self._set_deadlines(rows[~unproven])
        return paid

    def _set_deadlines(self, rows: Rows) -> None:
        c = self._table.shared
        media_ns = self._table.media_ns(rows, c.rx_next_ts[rows])
        base = c.rx_base_delay_ns[rows]
        unknown = np.isnan(base)
        if unknown.any():  # nothing but events so far: no schedule to go by, our own clock serves
            c.rx_deadline_ns[rows[unknown]] += self._table.ptime_ns[rows[unknown]]
            rows, media_ns, base = rows[~unknown], media_ns[~unknown], base[~unknown]
        c.rx_deadline_ns[rows] = media_ns + (base + c.rx_target_ns[rows]).astype(np.int64)

    # -- life -------------------------------------------------------------------------------

    def begin(self, row: int, now_ns: int) -> None:
        """The call is up: its timeline runs from now, with or without packets."""
        self._table.shared.rx_deadline_ns[row] = now_ns + int(self._table.ptime_ns[row])
        self._table.lost_run[row] = SILENT_RUN
        self._credit.begin(row, now_ns)

    def forget_held(self, row: int) -> None:
        """The call is over: drop what waits."""
        self.backlog.forget(row)
        self._drop(np.full(self._held.forget(row), row, np.intp), Drop.LATE)

    def _discard(self, rows: Rows, reason: Drop) -> None:
        """Drop packets that were next in sequence: they came, and are missing all the same."""
        self._drop(rows, reason)
        for row in rows.tolist():
            end = int(self._table.shared.rx_next_seq[row])
            self.on_missing(row, end - 1, end)

    def _drop(self, rows: Rows, reason: Drop) -> None:
        if len(rows):
            np.add.at(self._table.shared.drops[:, reason], rows, 1)
            self._table.shared.worker.drops[reason] += len(rows)


def _ignore_missing(row: int, first: int, end: int) -> None:
    """Until somebody counts bursts."""
