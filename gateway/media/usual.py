# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiled: the usual packet from the socket's bytes to the agent's message, in one pass (`native/usual.c`).

    Batch -> as expected, G.711, straight on to its agent? -> yes: statistics, decoded, heard, a record   (here)
                                                           -> no:  step by step                          (express.py)

Nearly all packets of most workers are of one format, and their calls on one connection: such a format and connection
are a *way*.  A batch takes the way that the last one took, and those that are left others, while there are such.  What
has no way (its agent takes no messages of ours, or none now), or is not as others on it (its caller is muted, or
watched), is left as it came.

Both leave the same behind; a property test compares them.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from trunkline.agent_bridge.wire import AudioMessage
from trunkline.codecs.compiled import Kernel
from trunkline.gateway.media import compiled
from trunkline.gateway.media.batch import Batch
from trunkline.gateway.media.credit import CREDIT_NS, CREDIT_RATE
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.hearing import columns_of_records
from trunkline.gateway.media.lateness import Lateness
from trunkline.gateway.media.table import Table
from trunkline.gateway.media.uplink import Uplink

AHEAD_NS = 1_000_000
"""A packet that is so much faster than the fastest before it goes the long way, where audio that comes faster
than time passes may not be paid for (credit.py)."""
WAITED_NS = 10_000_000_000
"... unless it has waited for us, no longer than this."
MOST_WAYS = 16
"Ways that are tried for one batch."
MOST_FORMATS = 1 << 15
"`Formats.of_row` has no room for more."

_NOWHERE = -2
"A connection that no row has: the kernel takes nothing, and says where there is a way."
_REFUSED = 256
"Connections that take nothing now are remembered by their number modulo this, for as long as a batch lasts."
_NO_MESSAGE = np.empty(0, np.uint8)
_BITS = 15
_COUNT = (1 << _BITS) - 1
"Packets of a batch at most."


def columns_of_packets(table: Table) -> tuple[Any, ...]:
    """What kernels that take packets begin with (native/uplink.h)."""
    c = table.shared
    return (
        c.flow, table.step, table.tick_ns, c.rx_base_delay_ns, c.rx_jitter_ts, table.clock_hz, table.seen,
        table.formats.of_row, c.worker.packets_received,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class _Way:
    """Of one format, to any connection."""

    kernel: Kernel
    late: Kernel
    "the same for packets that may have waited for us"
    frame_samples: int


class Usual:
    """Takes the usual packets out of a batch."""

    def __init__(self, table: Table, uplink: Uplink, lateness: Lateness) -> None:
        self._table, self._uplink, self._lateness = table, uplink, lateness
        self._sink, self._voice, self._background = uplink.sink, uplink.voice, uplink.background
        self.places = np.zeros(table.capacity, np.int64)
        "of the packets that the last `take` has left"
        self._taken, self._unusual, self._changed = np.zeros((3, table.capacity), np.int64)
        self._relative_ns = np.zeros(table.capacity)
        self._elsewhere = np.zeros(3, np.int64)
        "format and connection of a packet that was left, and its place"
        self._ways: list[_Way | None] = []
        "by index of the format, None where it has no kernel"
        self._served = np.zeros(MOST_FORMATS, bool)
        "formats that have one"
        self._refused = np.zeros(_REFUSED, bool)
        "connections that take no message now; the kernel does not name them"
        self._nowhere: tuple[int, int] | None = None
        "a format that has a kernel, to look for a way with; None while none has"
        self._last: tuple[int, int] | None = None
        "format and connection of the first way that took something of the last batch"

    @property
    def way(self) -> tuple[Kernel, int, int] | None:
        """Of the last batch: its kernel, the connection, and samples of a frame there; None if it had none."""
        if self._last is None or (way := self._ways[self._last[0]]) is None:
            return None
        return way.kernel, self._last[1], way.frame_samples

    def take(self, batch: Batch, now_ns: int, *, waited: bool) -> int:
        """Deal with what is usual, which may have `waited` for us; returns how many packets are left."""
        if self._sink.index_of_row is None or len(batch.rows) > _COUNT:
            return len(batch.rows)
        if len(self._ways) < len(self._table.formats.list):
            self._bind()
        return len(batch.rows) if self._nowhere is None else self._take(batch, now_ns, waited)

    def take_rest(self, batch: Batch, now_ns: int, message: AudioMessage, said: int) -> int:
        """`take`, where the kernel of `way` has been run, and has `said` this of the message."""
        if len(self._ways) < len(self._table.formats.list):  # what is left may go another way from the next batch on
            self._bind()
        return self._take(batch, now_ns, False, message, said)

    def _take(
        self, batch: Batch, now_ns: int, waited: bool, message: AudioMessage | None = None, said: int = -1
    ) -> int:
        rows, lateness, sink = batch.rows, self._lateness, self._sink
        count = left = len(rows)
        assert self._nowhere is not None
        fmt, link = self._last or self._nowhere
        first, place, refused = None, -1, False
        for _ in range(MOST_WAYS):
            if said < 0:
                way = self._ways[fmt]
                assert way is not None  # else the kernel had not named it
                message = None if link < 0 else sink.message_to(link, left, way.frame_samples)
                if message is None and link >= 0:
                    self._refused[link % _REFUSED] = refused = True
                    link = _NOWHERE
                said = (way.late if waited else way.kernel)(
                    rows, batch.packets, batch.lengths, batch.named, now_ns, left, link, place, self._voice.turn,
                    self._background.turn, _NO_MESSAGE if message is None else message.whole,
                )  # fmt: skip
            if message is not None:
                message.done(said >> _BITS & _COUNT)
            if said >> 2 * _BITS:
                self._note_odd(fmt, said >> 2 * _BITS & _COUNT, said >> 3 * _BITS, now_ns)
            before, left, said = left, said & _COUNT, -1
            if first is None and left < before:
                first = fmt, link
            if not left:
                break
            fmt, link, place = self._elsewhere.tolist()
            if fmt < 0:
                break
        self._last = first
        if refused:
            self._refused[:] = False
        if lateness.turn and left < count:
            lateness.note_expected(self._taken[: count - left], self._relative_ns[: count - left], now_ns)
        return left

    def _note_odd(self, fmt: int, unusual: int, changed: int, now_ns: int) -> None:
        """So many packets of this format whose lateness cannot wait, or that may begin or end a speech."""
        if unusual and not self._lateness.turn:
            late = self._unusual[:unusual]
            self._lateness.note_expected(self._taken[late], self._relative_ns[late], now_ns)
        if changed:
            self._uplink.changed(self._table.formats.list[fmt], self._changed[:changed])

    def _bind(self) -> None:
        """There are new formats."""
        for fmt in self._table.formats.list[len(self._ways) :]:
            self._ways.append(self._way(fmt))
            self._served[fmt.index] = has_one = self._ways[-1] is not None
            if has_one and self._nowhere is None:
                self._nowhere = fmt.index, _NOWHERE

    def _way(self, fmt: Format) -> _Way | None:
        up = fmt.up
        samples = fmt.frame_samples * fmt.line_hz // fmt.key.agent_rate_hz
        if fmt.codec.decode_table is None or up.down > 1 or up.output_samples(samples) != fmt.frame_samples:
            return None
        kernel, late = (self._bound(fmt, samples, earliest_ns) for earliest_ns in (-AHEAD_NS, -WAITED_NS))
        return None if kernel is None or late is None else _Way(kernel, late, fmt.frame_samples)

    def _bound(self, fmt: Format, samples: int, earliest_ns: int) -> Kernel | None:
        table, c, uplink = self._table, self._table.shared, self._uplink
        constants = (
            CREDIT_NS, CREDIT_RATE - 1, earliest_ns, *self._lateness.ordinary_ns, *uplink.straight.times(fmt, samples),
        )  # fmt: skip
        return compiled.bind(
            "usual", *columns_of_records(table, fmt), *columns_of_packets(table), *uplink.voice.columns,
            table.muted_up_rows, table.behind_rows, uplink.tones.watched, uplink.voice.neural,
            uplink.withholding.on, uplink.withholding.open, c.speaking, uplink.part_of_frame(fmt),
            self._sink.index_of_row, fmt.codec.decode_table, fmt.index, samples, np.array(constants, np.float64),
            self.places, self._taken, self._relative_ns, self._unusual, self._changed, self._served, self._refused,
            self._elsewhere,
        )  # fmt: skip
