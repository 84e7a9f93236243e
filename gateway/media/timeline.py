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
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.arrivals import AUDIO, Arrivals, Speaker
from trunkline.gateway.media.table import RUNNING, SILENT_RUN, Table
from trunkline.rtp.outcomes import Drop

HELD_PACKETS = 64
"Packets held back for one row at most: 1.3 s at 20 ms, beyond any target delay."
LATE_RUN_NS = 100_000_000
"In-order packets that all come late for so long mean that the sender's clock stood still: start anew."
MIN_PTIME_DIVISOR = 100
"Packet times from 1/100 s up are learned from what a peer sends."
CREDIT_NS = 400_000_000
"""Audio that may come faster than time passes, at most; what waited while we stalled is not
faster.  It grows back with time and 2 % more (no clock drifts that much), so a sender that
runs fast, or stamps its packets ahead, cannot flood its agent."""
CREDIT_RATE = 1.02
FILLS_PER_TICK = 50
"Frames filled for one row in one tick at most (one second), after a stall of ours."
CONCEAL_MS = 240
"Concealment has faded to silence by then; what follows is a gap, not speech."

Rows = NDArray[np.intp]


class Timeline:
    """Next sequence number, next timestamp and deadline of every row."""

    def __init__(self, table: Table, speaker: Speaker) -> None:
        self._table = table
        self._speaker = speaker
        self._held: dict[int, dict[int, tuple[int, int, bytes]]] = {}
        "row -> extended sequence -> (timestamp, kind, payload)"
        self.on_missing: Callable[[int, int, int], None] = _ignore_missing
        "called (row, first, end): these numbers did not come in time, those before them in order did"

    # -- arrivals ---------------------------------------------------------------------------

    def arrive(self, arrivals: Arrivals, now_ns: int) -> None:
        """Admitted packets: what is in order goes on, what is ahead waits, what is behind is dropped."""
        expected = self._table.shared.rx_next_seq[arrivals.rows]
        in_order = np.flatnonzero(arrivals.seq == expected)
        if len(in_order) < len(arrivals.rows):
            for i in np.flatnonzero(arrivals.seq > expected):
                self._hold(int(arrivals.rows[i]), arrivals, int(i))
            self._drop(arrivals.rows[arrivals.seq < expected], Drop.LATE)
        if not len(in_order):
            return
        self._accept(arrivals, in_order, now_ns)
        rows = arrivals.rows[in_order]
        for row in rows[self._table.held[rows] > 0]:
            self._release_held(int(row), now_ns)

    def _hold(self, row: int, arrivals: Arrivals, i: int) -> None:
        held = self._held.setdefault(row, {})
        if len(held) >= HELD_PACKETS:
            self._drop(np.array([row], np.intp), Drop.OVERFLOW)
            return
        held[int(arrivals.seq[i])] = (
            int(arrivals.timestamp[i]), int(arrivals.kind[i]), arrivals.payload(i),
        )  # fmt: skip
        self._table.held[row] = len(held)

    def _accept(self, arrivals: Arrivals, which: NDArray[np.intp], now_ns: int) -> None:
        """In-order arrivals: align each with the timeline, then decode."""
        table, c = self._table, self._table.shared
        rows = arrivals.rows[which]
        c.rx_next_seq[rows] = arrivals.seq[which] + 1
        audio = arrivals.kind[which] == AUDIO
        if not audio.all():
            table.lost_run[rows[~audio]] = SILENT_RUN
            which, rows = which[audio], rows[audio]
        paid = self._spend(rows, c.rx_ptime_ts[rows], now_ns)
        if not paid.all():
            self._discard(rows[~paid], Drop.TOO_FAST)
            which, rows = which[paid], rows[paid]
        timestamp = arrivals.timestamp[which]
        ahead = timestamp - c.rx_next_ts[rows]
        if ahead.any():
            keep = self._align(rows, timestamp, ahead, now_ns)
            which, rows, timestamp = which[keep], rows[keep], timestamp[keep]
        table.late_since_ns[rows] = 0
        sizes = arrivals.size[which]
        for size in np.unique(sizes):
            same = np.flatnonzero(sizes == size)
            self._decode(rows[same], timestamp[same], arrivals.payloads(which[same], int(size)))

    def _decode(self, rows: Rows, timestamp: NDArray[np.int64], payload: NDArray[np.uint8]) -> None:
        """Payloads of one size become audio and move the timeline on."""
        table, c = self._table, self._table.shared
        duration = self._speaker.decode(rows, payload)
        bad = duration <= 0
        if bad.any():
            self._drop(rows[bad], Drop.BAD_PAYLOAD)
            rows, timestamp, duration = rows[~bad], timestamp[~bad], duration[~bad]
        c.rx_next_ts[rows] = timestamp + duration
        # Only from packets of an ordinary length: fills of a millisecond each would burn the core.
        ordinary = duration * MIN_PTIME_DIVISOR >= table.clock_hz[rows]
        c.rx_ptime_ts[rows] = np.where(ordinary, duration, c.rx_ptime_ts[rows])
        table.lost_run[rows] = 0
        table.payload_bytes[rows], table.payload_ts[rows] = payload.shape[1], duration
        self._set_deadlines(rows)

    def _align(
        self, rows: Rows, timestamp: NDArray[np.int64], ahead: NDArray[np.int64], now_ns: int
    ) -> NDArray[np.intp]:
        """Fill what lies before each packet; returns the indices of those that are not too late."""
        keep = []
        c = self._table.shared
        for i, row in enumerate(rows):
            packet_ts = int(c.rx_ptime_ts[row])
            if ahead[i] > 0:
                self._fill_until(int(row), int(timestamp[i]), now_ns)
            elif ahead[i] <= -packet_ts and not self._stood_still(int(row), int(timestamp[i]), now_ns):
                self._discard(rows[i : i + 1], Drop.LATE)
                continue
            keep.append(i)
        return np.array(keep, np.intp)

    def _stood_still(self, row: int, timestamp: int, now_ns: int) -> bool:
        """A late packet in sequence: has the sender's clock paused, rather than the network?"""
        table = self._table
        since = int(table.late_since_ns[row])
        if since == 0:
            table.late_since_ns[row] = now_ns
            return False
        if now_ns - since < LATE_RUN_NS:
            return False
        table.shared.rx_base_delay_ns[row] = now_ns - timestamp * 1_000_000_000 // int(table.clock_hz[row])
        return True

    def jump(self, rows: Rows, timestamp: NDArray[np.int64]) -> None:
        """The sender's timestamps leapt: the timeline goes on from there, nothing is filled."""
        c = self._table.shared
        c.rx_next_ts[rows] = timestamp
        c.rx_base_delay_ns[rows] = np.nan
        c.rx_has_transit[rows] = 0  # or the leap would show as jitter

    # -- gaps -------------------------------------------------------------------------------

    def advance(self, now_ns: int) -> None:
        """Fill the frames whose time has run out."""
        table, c = self._table, self._table.shared
        for _ in range(FILLS_PER_TICK):
            rows = table.active
            rows = rows[(c.rx_deadline_ns[rows] <= now_ns) & (c.state[rows] == RUNNING)]
            if not len(rows):
                return
            self._fill_one(rows[c.rx_proven[rows] == 0], now_ns)
            proven = rows[c.rx_proven[rows] == 1]
            waiting = table.held[proven] > 0
            self._fill_one(proven[~waiting], now_ns)
            self._give_up_waiting(proven[waiting], now_ns)

    def _give_up_waiting(self, rows: Rows, now_ns: int) -> None:
        """Packets wait behind gaps, and the gaps' time has run out: fill one frame of each, then look again."""
        if not len(rows):
            return
        table, c = self._table, self._table.shared
        held = [self._held[row] for row in rows.tolist()]
        seqs = [min(waiting) for waiting in held]
        first = [waiting[seq] for waiting, seq in zip(held, seqs, strict=True)]
        timestamp = np.array([one[0] for one in first], np.int64)
        audio = np.array([one[1] == AUDIO for one in first])
        # A leap behind the gap, not a second of loss.
        leapt = timestamp - c.rx_next_ts[rows] > table.clock_hz[rows]
        if leapt.any():
            self.jump(rows[leapt], timestamp[leapt])
        gap = timestamp - c.rx_next_ts[rows]
        packet = c.rx_ptime_ts[rows]
        one_more = c.rx_next_ts[rows] + np.minimum(gap, packet)
        fill = audio & (gap > 0)
        paid = table.credit_ns[rows] >= packet * 1_000_000_000 // table.clock_hz[rows]
        whole = fill & (2 * gap >= packet) & paid  # what is less than half a packet time is let go
        lacking = np.flatnonzero(whole)
        self._speaker.expect(rows[lacking], gap[lacking], [first[i][2] for i in lacking])
        self._fill_one(rows[lacking], now_ns)
        c.rx_next_ts[rows[fill]] = one_more[fill]
        for i in np.flatnonzero((c.rx_next_ts[rows] >= timestamp) | ~audio):
            self.on_missing(int(rows[i]), int(c.rx_next_seq[rows[i]]), seqs[i])
            c.rx_next_seq[rows[i]] = seqs[i]
            self._release_held(int(rows[i]), now_ns)
        self._set_deadlines(rows)

    def _release_held(self, row: int, now_ns: int) -> None:
        """Packets that waited and are in order now."""
        held = self._held.get(row, {})
        c = self._table.shared
        while (seq := int(c.rx_next_seq[row])) in held:
            timestamp, kind, payload = held.pop(seq)
            self._accept(Arrivals.one(row, seq, timestamp, kind, payload), np.zeros(1, np.intp), now_ns)
        for seq in [s for s in held if s < c.rx_next_seq[row]]:
            del held[seq]
            self._drop(np.array([row], np.intp), Drop.LATE)
        self._table.held[row] = len(held)
        if not held:
            self._held.pop(row, None)

    def _fill_until(self, row: int, timestamp: int, now_ns: int) -> None:
        """Silence by intent: fill whole packet times up to `timestamp`; what is less than half of one is let go."""
        table, c = self._table, self._table.shared
        packet_ts = int(c.rx_ptime_ts[row])
        count = (timestamp - int(c.rx_next_ts[row]) + packet_ts // 2) // packet_ts
        rows = np.array([row], np.intp)
        table.lost_run[row] = SILENT_RUN
        packet_ns = packet_ts * 1_000_000_000 // int(table.clock_hz[row])
        for _ in range(min(count, FILLS_PER_TICK, int(table.credit_ns[row]) // packet_ns)):
            self._fill_one(rows, now_ns)
        c.rx_next_ts[row] = timestamp

    def _fill_one(self, rows: Rows, now_ns: int) -> None:
        """One frame that did not come, for each row."""
        if not len(rows):
            return
        table, c = self._table, self._table.shared
        durations = c.rx_ptime_ts[rows]
        self._spend(rows, durations, now_ns)
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

    def _spend(self, rows: Rows, durations: NDArray[np.int64], now_ns: int) -> NDArray[np.bool_]:
        """Take audio of these durations from the rows' credit; False where there is not enough."""
        table = self._table
        earned = (now_ns - table.shared.credit_at_ns[rows]) * CREDIT_RATE
        before = table.credit_ns[rows]
        # What a stall earned stays for the packets that waited, and fades when they have been read.
        extra = np.maximum(before - CREDIT_NS, 0) * np.exp(-earned / CREDIT_NS)
        credit = np.maximum(np.minimum(np.minimum(before, CREDIT_NS) + earned, CREDIT_NS), earned) + extra
        left = credit - durations * 1e9 / table.clock_hz[rows]
        enough: NDArray[np.bool_] = left >= 0
        table.credit_ns[rows] = np.where(enough, left, credit)
        table.shared.credit_at_ns[rows] = now_ns
        return enough

    def _set_deadlines(self, rows: Rows) -> None:
        c = self._table.shared
        media_ns = c.rx_next_ts[rows] * 1_000_000_000 // self._table.clock_hz[rows]
        base = c.rx_base_delay_ns[rows]
        unknown = np.isnan(base)
        if unknown.any():  # nothing but events so far: no schedule to go by, our own clock serves
            c.rx_deadline_ns[rows[unknown]] += self._table.ptime_ns[rows[unknown]]
            rows, media_ns, base = rows[~unknown], media_ns[~unknown], base[~unknown]
        c.rx_deadline_ns[rows] = media_ns + (base + c.rx_target_ns[rows]).astype(np.int64)

    def begin(self, row: int, now_ns: int) -> None:
        """The call is up: its timeline runs from now, with or without packets."""
        self._table.shared.rx_deadline_ns[row] = now_ns + int(self._table.ptime_ns[row])
        self._table.lost_run[row] = SILENT_RUN
        self._table.credit_ns[row], self._table.shared.credit_at_ns[row] = CREDIT_NS, now_ns

    def forget_held(self, row: int) -> None:
        """Drop what waits for a row: its source is gone, or the call is."""
        held = self._held.pop(row, None)
        if held:
            self._table.held[row] = 0
            self._drop(np.full(len(held), row, np.intp), Drop.LATE)

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
