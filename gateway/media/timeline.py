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

from trunkline.gateway.media import compiled
from trunkline.gateway.media.arrivals import AUDIO, Arrivals
from trunkline.gateway.media.backlog import Backlog
from trunkline.gateway.media.credit import Credit
from trunkline.gateway.media.onward import Onward
from trunkline.gateway.media.reorder import ReorderBuffer
from trunkline.gateway.media.schedule import Lacking, Schedule
from trunkline.gateway.media.table import SILENT_RUN, Table
from trunkline.gateway.media.uplink import Uplink
from trunkline.rtp.outcomes import Drop

MANY_ROWS = 50
"""From so many calls on, frames are filled at points of a raster, some milliseconds later: with ticks of 4 ms, three
times as many in a batch, and most of what a batch costs it costs whatever its size."""
RASTER_NS = 10_000_000
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

_COUNT = (1 << 20) - 1
_FOUND = 7
"Rows of what `follow` fills in: native/reorder.c."

Rows = NDArray[np.intp]
Indices = NDArray[np.intp]

_NOTHING: Indices = np.zeros(0, np.intp)


class Timeline:
    """Next sequence number, next timestamp and deadline of every row."""

    def __init__(self, table: Table, speaker: Uplink) -> None:
        self._table = table
        self._speaker = speaker
        self.held = ReorderBuffer(table)
        self._credit = Credit(table)
        self._schedule = Schedule(table, self.held, self._credit)
        self.soonest = self._schedule.soonest
        self.columns, self.moment = self._schedule.columns, self._schedule.moment
        self.onward = None if compiled.native is None else Onward(table, speaker, self._schedule)
        self._follow = compiled.bind("follow", *self.columns())
        self._found: NDArray[np.int64] = np.zeros((_FOUND, table.capacity), np.int64)
        "what it fills in"
        self.backlog = Backlog(table)
        self._waits: NDArray[np.bool_] = np.zeros(table.capacity, bool)
        self.on_missing: Callable[[int, int, int], None] = _ignore_missing
        "called (row, first, end): these numbers did not come in time, those before them in order did"
        self.on_released: Callable[[Rows], None] = _ignore_released
        "called (rows) when what waited behind their gaps has been heard"

    # -- arrivals ---------------------------------------------------------------------------

    def arrive(self, arrivals: Arrivals, which: Indices, moved: Indices, now_ns: int) -> None:
        """Admitted packets: what is in order goes on, what is ahead waits, what is behind is dropped.

        `moved` are those of them that a kernel has taken that far already: they are only to be heard.
        """
        expected = self._table.shared.rx_next_seq[arrivals.rows[which]]
        seq = arrivals.seq[which]
        in_order = which[seq == expected]
        if len(in_order) < len(which):
            if self.backlog.skips and self._skip(arrivals, which[seq > expected]):
                expected = self._table.shared.rx_next_seq[arrivals.rows[which]]
                in_order = which[seq == expected]
            self._drop(arrivals.rows[self.held.put(arrivals, which[seq > expected])], Drop.OVERFLOW)
            self._drop(arrivals.rows[which[seq < expected]], Drop.LATE)
        if not len(in_order) + len(moved):
            return
        self._accept(arrivals, in_order, moved, now_ns)
        rows = arrivals.rows[_together(in_order, moved)]
        self.release(rows[self._table.held[rows] > 0], now_ns)

    def _skip(self, arrivals: Arrivals, ahead: NDArray[np.intp]) -> bool:
        """Where what came before was given up, nobody waits for it; returns whether that is so anywhere."""
        which = ahead[self.backlog.take_skipped(arrivals.rows[ahead])]
        for i in which.tolist():
            row, seq = int(arrivals.rows[i]), int(arrivals.seq[i])
            self.on_missing(row, int(self._table.shared.rx_next_seq[row]), seq)
            self._table.shared.rx_next_seq[row] = seq
        return len(which) > 0

    def release(self, rows: Rows, now_ns: int) -> None:
        """Packets of these rows that waited and are in order now."""
        take = self._next_by_numpy if self._follow is None else self._next_compiled
        while len(rows):
            if self.onward is not None and not len(rows := self.onward.release(rows, now_ns)):
                return
            if (found := take(rows, now_ns)) is None:
                return
            self._accept(*found, now_ns)
            rows = rows[self._table.held[rows] > 0]

    def _next_by_numpy(self, rows: Rows, now_ns: int) -> tuple[Arrivals, Indices, Indices] | None:
        """The packets that are next now, all of them to be accepted."""
        next_seq = self._table.shared.rx_next_seq[rows]
        self._drop(self.held.drop_before(rows, next_seq), Drop.LATE)
        arrivals = self.held.take_next(rows, next_seq)
        return None if arrivals is None else (arrivals, np.arange(len(arrivals.rows)), _NOTHING)

    def _next_compiled(self, rows: Rows, now_ns: int) -> tuple[Arrivals, Indices, Indices] | None:
        """The packets that are next now, those to be accepted, and those that have been."""
        assert self._follow is not None
        counts = self._follow(*self.moment(now_ns), rows, self._found)
        count, left = counts & _COUNT, counts >> 20
        if not count:
            return None
        *columns, moved = self._found[:, :count].copy()
        arrivals = self.held.arrivals(*columns)
        every = np.arange(count)
        return (arrivals, every[moved == 0], every[moved > 0]) if left else (arrivals, _NOTHING, every)

    def _accept(self, arrivals: Arrivals, which: Indices, moved: Indices, now_ns: int) -> None:
        """In-order arrivals: align each with the timeline, then decode, those that have `moved` it as well."""
        if len(which):
            which, timestamp, duration = self._align(arrivals, which, now_ns)
        heard = _together(which, moved)
        if not len(heard):
            return
        self._speaker.speak(arrivals, heard)
        if len(which):
            self._move(arrivals.rows[which], timestamp, duration, arrivals.size[which])
        rows = arrivals.rows[heard]
        self._table.lost_run[rows] = 0
        self._schedule.set_deadlines(rows)

    def _align(
        self, arrivals: Arrivals, which: Indices, now_ns: int
    ) -> tuple[Indices, NDArray[np.int64], NDArray[np.int64]]:
        """Those of in-order arrivals that are to be heard, their timestamps and durations."""
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
        owing = (astray != 0) | (table.slip[rows] >= 1)
        if owing.any():
            self._owe(rows[owing], astray[owing], now_ns)
        return which, timestamp, duration

    def _move(
        self, rows: Rows, timestamp: NDArray[np.int64], duration: NDArray[np.int64], size: NDArray[np.int32]
    ) -> None:
        """Packets of so many bytes have become audio: the timeline is behind them now."""
        table, c = self._table, self._table.shared
        c.rx_next_ts[rows] = timestamp + duration
        # Only from packets of an ordinary length: fills of a millisecond each would burn the core.
        ordinary = duration * MIN_PTIME_DIVISOR >= table.clock_hz[rows]
        c.rx_ptime_ts[rows] = np.where(ordinary, duration, c.rx_ptime_ts[rows])
        table.payload_bytes[rows], table.payload_ts[rows] = size, duration

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
        self._drop(np.full(self.held.forget(row), row, np.intp), Drop.LATE)
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
        rounds, done = min(int(count.max(initial=0)), FILLS_PER_TICK), 0
        if rounds and self.onward is not None:
            few = np.minimum(count, rounds)
            done = self.onward.refill(rows, few, now_ns, hurried=self._speaker.hurried)
        for more in range(done, rounds):
            self._fill_one(rows[count > more], now_ns)

    # -- gaps -------------------------------------------------------------------------------

    def advance(self, now_ns: int, waiting: Rows = _NOTHING) -> None:
        """Fill the frames whose time has run out, but of rows for which packets wait at their sockets."""
        running = self._table.running
        if self.backlog.busy:
            self.backlog.jump(waiting, now_ns, self._schedule.set_deadlines)
        if len(waiting):
            self._waits[waiting] = True
            running = running[~self._waits[running]]
            self._waits[waiting] = False
        raster_ns = self.raster_ns
        due_ns = now_ns // raster_ns * raster_ns
        for _ in range(FILLS_PER_TICK):
            if self._schedule.soonest(running) > due_ns:
                return
            lacking, rows = self._fill_overdue(running, now_ns)
            over = lacking.over[0]
            for missing in zip(*(column.tolist() for column in lacking.over), strict=True):
                self.on_missing(*missing)
            if len(rows):
                self.release(rows, now_ns)
                # Who has no schedule has had no frame for the time that is over, and its deadline stays.
                self._schedule.set_deadlines(over[~np.isnan(self._table.shared.rx_base_delay_ns[over])])
            if len(over):
                self.on_released(over)

    def _fill_overdue(self, running: Rows, now_ns: int) -> tuple[Lacking, Rows]:
        """Make up a frame of each of these rows whose time has run out.

        Returns them, and the rows whose packets behind them are still to be looked at.
        """
        if self.onward is not None:
            done = self.onward.catch_up(running, now_ns, hurried=self._speaker.hurried)
            if done is not None:
                lacking, is_made, rows = done
                if not is_made:
                    self._make_up(lacking)
                return lacking, rows
        lacking = self._schedule.overdue(running, now_ns)
        self._make_up(lacking)
        return lacking, lacking.over[0]

    def overdue(self, rows: Rows, now_ns: int) -> int:
        """How many of these rows lack a frame whose time has run out."""
        return int((self._table.shared.rx_deadline_ns[rows] <= now_ns).sum())

    def next_deadline_ns(self) -> int:
        """When `advance` has something to do."""
        raster_ns = self.raster_ns
        return -(-self._schedule.soonest(self._table.running) // raster_ns) * raster_ns

    @property
    def raster_ns(self) -> int:
        """Frames are filled at multiples of this."""
        return RASTER_NS if len(self._table.running) >= MANY_ROWS else 1

    def _make_up(self, lacking: Lacking) -> None:
        """Frames that never came, by length; what waits behind them helps to make up what is missing."""
        rows, durations, silent = lacking.filled
        if not len(rows):
            return
        if len(lacking.gaps[0]):
            gap_rows, gap_ts, slots = lacking.gaps
            self._speaker.expect(gap_rows, gap_ts, [self.held.payload(slot) for slot in slots.tolist()])
        if (durations == durations[0]).all():
            self._speaker.fill(rows, int(durations[0]), silent > 0)
            return
        for duration in np.unique(durations):
            same = durations == duration
            self._speaker.fill(rows[same], int(duration), silent[same] > 0)

    def _fill_one(self, rows: Rows, now_ns: int) -> NDArray[np.bool_]:
        """One frame that did not come, for each row; False where it is not paid for, and not filled."""
        if not len(rows):
            return np.zeros(0, bool)
        lacking, paid = self._schedule.lack(rows, now_ns)
        self._make_up(lacking)
        return paid

    # -- life -------------------------------------------------------------------------------

    def begin(self, row: int, now_ns: int) -> None:
        """The call is up: its timeline runs from now, with or without packets."""
        self._table.shared.rx_deadline_ns[row] = now_ns + int(self._table.ptime_ns[row])
        self._table.lost_run[row] = SILENT_RUN
        self._credit.begin(row, now_ns)

    def forget_held(self, row: int) -> None:
        """The call is over: drop what waits."""
        self.backlog.forget(row)
        self._drop(np.full(self.held.forget(row), row, np.intp), Drop.LATE)

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


def _ignore_released(rows: Rows) -> None:
    """Until somebody expects what comes next."""


def _together(which: Indices, others: Indices) -> Indices:
    """Places in a batch, in their order."""
    if not len(others):
        return which
    return others if not len(which) else np.sort(np.concatenate([which, others]))
