# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiled: what was lost, overtaken or late, all the way to the agent in one call (`native/onward.c`, `catch_up.c`).

    packets that were not as expected -> admitted -> next in sequence now? -> heard   \
                                                                            (straight.py)  -> a message
    time has run out for frames -> made up (fills.py)                        /
                                -> what waits behind all these, round by round

Each of these steps has its own code, which does it for anybody.  Here they are one call where all is usual: rows of
one format, on one connection that takes messages now, whose frames are not changed on their way, and packets of one
frame each.  What is left says how far that went, and others go on from there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.wire import AudioMessage
from trunkline.codecs.compiled import Kernel
from trunkline.gateway.media import compiled
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.schedule import LACKS, Lacking, Schedule
from trunkline.gateway.media.table import Table

if TYPE_CHECKING:
    from trunkline.gateway.media.uplink import Uplink

MOST_FILLED = 256
"Frames that are made up for one message; in a stall of ours there may be more, which go step by step."
AHEAD_MS = 20
"Of what waits behind a gap: codecs/conceal.py."

Rows = NDArray[np.intp]

_NO_ROWS: Rows = np.zeros(0, np.intp)
_NO_PACKETS = np.zeros((0, 0), np.uint8)


@dataclasses.dataclass(frozen=True, slots=True)
class _Way:
    """Kernels for one format."""

    fmt: Format
    onward: Kernel
    catch_up: Kernel
    refill: Kernel


@dataclasses.dataclass(frozen=True, slots=True)
class _Open:
    """A way to one connection, and a message for it that is being written."""

    way: _Way
    link: int
    message: AudioMessage


class Onward:
    """The kernels of all formats."""

    def __init__(self, table: Table, uplink: Uplink, schedule: Schedule) -> None:
        self._table, self._uplink, self._schedule = table, uplink, schedule
        self._ways: list[_Way | None] = []
        "by index of the format, None where there is no kernel"
        self._row = -1
        "lacked a frame when others were on another way; below 0: none"
        n = table.capacity
        self._found: NDArray[np.int64] = np.zeros((3, n), np.int64)
        self._starts, self._level = np.zeros(n, np.int32), np.zeros(n, np.float32)
        self._flags, self._changed = np.zeros(n, np.uint16), np.zeros(n, np.intp)
        self._notes: NDArray[np.int64] = np.zeros(4, np.int64)
        "what `onward` fills in"
        self._quiet, self._ceased = np.zeros(n, np.bool_), np.zeros(n, np.intp)
        self._gap_ts, self._ends = np.zeros((2, n), np.int64)
        self._lacking: NDArray[np.int64] = np.zeros((LACKS, n), np.int64)
        self._tried = 0
        self._said: NDArray[np.int64] = np.zeros(6, np.int64)
        "what `catch_up` fills in"

    def _open(self, row: int, frames: int) -> _Open | None:
        """The way of this row and others, if they have one now, with room for so many frames."""
        uplink = self._uplink
        links = uplink.sink.index_of_row
        if links is None or not uplink.is_plain():
            return None
        ways, link = self._ways, int(links[row])
        if len(ways) < len(self._table.formats.list):
            ways += map(self._bind, self._table.formats.list[len(ways) :])
        way = ways[self._table.formats.of_row[row]]
        if way is None or link < 0:
            return None
        message = uplink.sink.message_to(link, frames, way.fmt.frame_samples)
        return None if message is None else _Open(way, link, message)

    def release(self, rows: Rows, now_ns: int) -> Rows:
        """Of these rows, what waits and is next; returns those that others are to look at."""
        to = self._open(int(rows[0]), self._most_waiting)
        if to is None:
            return rows
        self._run(to, now_ns, rows, _NO_ROWS, _NO_PACKETS, _NO_ROWS, _NO_ROWS)
        return self._done(to)[1]

    def hear(
        self, rows: Rows, places: Rows, packets: NDArray[np.uint8], start: NDArray[np.int64], size: NDArray[np.int64],
        now_ns: int,
    ) -> tuple[bool, Rows]:  # fmt: skip
        """Packets in these places, so many bytes of audio from `start` on, that have moved their rows' timelines.

        And what waits behind them.  Returns whether that was so, and rows that others are to look at.
        """
        to = self._open(int(rows[0]), len(rows) + self._most_waiting)
        if to is None:
            return False, _NO_ROWS
        self._run(to, now_ns, rows, places, packets, start, size)
        return self._done(to)

    @property
    def _most_waiting(self) -> int:
        """Room for so many packets that wait: a message keeps its memory for as long as its agent does not read it."""
        return min(self._schedule.held.waiting, MOST_FILLED)

    def _another(self, running: Rows) -> int:
        """A row that may have a way where one had none: each in turn, or a call without one stands in all others'."""
        links = self._uplink.sink.index_of_row
        able = running[:0] if links is None else running[links[running] >= 0]
        self._tried += 1
        return int(able[self._tried % len(able)]) if len(able) else -1

    def _run(self, to: _Open, now_ns: int, *what: NDArray[Any]) -> None:
        to.way.onward(
            *self._schedule.moment(now_ns), to.link, *self._uplink.drawn, *what, to.message.records
        )

    def catch_up(self, running: Rows, now_ns: int, *, hurried: bool) -> tuple[Lacking, bool, Rows] | None:
        """Frames of these rows whose time has run out, and what waits behind them.

        Returns them; whether their frames are made up; and rows whose packets behind them others are to look at.  None:
        nothing was done at all.
        """
        schedule = self._schedule
        row, self._row = self._row if self._row >= 0 else int(running[0]), -1
        to = self._open(row, min(len(running), MOST_FILLED) + self._most_waiting)
        if to is None:
            self._row = self._another(running)
            return None
        to.way.catch_up(
            *schedule.moment(now_ns), running, hurried, to.link, to.message.records, *self._uplink.drawn
        )
        filled, gaps, over, made, written, ceased = self._said.tolist()
        out = self._lacking
        # What waits behind them may fill more, into the same arrays.
        lacking = Lacking(out[:3, :filled].copy(), out[3:6, :gaps].copy(), out[6:, :over].copy())
        heard, rows = self._done(to, written, self._ceased[:ceased].tolist() if ceased else [])
        if not made:
            self._row = int(lacking.filled[0, 0])
            return lacking, False, lacking.over[0]
        self._row = row
        return lacking, True, rows if heard else lacking.over[0]

    def refill(self, rows: Rows, count: NDArray[np.int64], now_ns: int, *, hurried: bool) -> int:
        """So many frames that never came for each of these rows, as far as they are paid for.

        Returns for how many of the rounds, each of a frame for those rows that want more, that is done.
        """
        to = self._open(int(rows[0]), min(int(count.sum()), MOST_FILLED))
        if to is None:
            return 0
        to.way.refill(*self._schedule.moment(now_ns), rows, hurried, to.link, to.message.records, count)
        *_, rounds, written, ceased = self._said.tolist()
        to.message.done(written)
        if ceased:
            self._uplink.place_ceased(to.way.fmt, self._ceased[:ceased].tolist(), 0)
        return int(rounds)

    def _done(self, to: _Open, written: int = 0, ceased: Sequence[int] = ()) -> tuple[bool, Rows]:
        """The kernel has been called: whether it has done something, and rows that others are to look at."""
        more, rounds, changed, waiting = self._notes.tolist()
        to.message.done(written + more)
        if ceased:
            self._uplink.place_ceased(to.way.fmt, list(ceased), 0)  # the frames are on the agent's timeline already
        if changed:
            self._uplink.changed(to.way.fmt, self._changed[:changed])
        if rounds:
            self._uplink.draw(rounds)
        return rounds > 0, self._found[2, :waiting].copy() if waiting else _NO_ROWS

    def _bind(self, fmt: Format) -> _Way | None:
        table, uplink, samples = self._table, self._uplink, fmt.frame_samples * fmt.line_hz // fmt.key.agent_rate_hz
        straight, links = uplink.straight.way(fmt, samples), uplink.sink.index_of_row
        if straight is None or links is None:
            return None
        columns = self._schedule.columns()
        onward = compiled.bind(
            "onward", *columns, (straight.kernel,), table.formats.of_row, links, uplink.part_of_frame(fmt),
            uplink.voice.neural, fmt.index, samples, fmt.line_hz, *uplink.straight.times(fmt, samples), self._found,
            self._starts, *straight.pcm, self._level, self._flags, self._changed, self._notes,
        )  # fmt: skip
        records = None if fmt.codec.conceals else uplink.fills.records(fmt, samples)
        if onward is None or records is None:
            return None
        ahead = np.zeros(table.capacity * (fmt.line_hz * AHEAD_MS // 1000), np.uint8)
        lacks, schedule = (compiled.bind(name, *columns) for name in ("lacks", "schedule"))
        bound = (
            (lacks,), (records,), (onward,), (schedule,), self._quiet, self._gap_ts, self._ends, ahead, self._flags,
            self._ceased, self._lacking, self._said,
        )  # fmt: skip
        catch_up, refill = (compiled.bind(name, *bound) for name in ("catch_up", "refill"))
        return None if catch_up is None or refill is None else _Way(fmt, onward, catch_up, refill)
