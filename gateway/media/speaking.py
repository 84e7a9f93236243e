# SPDX-License-Identifier: GPL-2.0-or-later
"""The short way for packets to callers: agents who speak or say nothing, begin and end (`native/speak.c`).

    rows that are due -> nothing but speech and silence? -> yes: packets in one pass, sent, counted
                      -> no: digits, sounds, pauses, agents that are waited for longer ...: Downlink

Of G.711 the kernel makes the whole packet, and `PacketRound` runs it with those before and behind it; of other
encodings, it makes what the encoder is given.  All ways leave the same behind; a property test compares them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.compiled import Kernel
from trunkline.codecs.level import FLOOR_DBOV
from trunkline.gateway.media import compiled
from trunkline.gateway.media.echo import DECAY_DB, EVERY, LOUD_DBOV
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.packets import PacketWriter, Sizes
from trunkline.gateway.media.prebuffer import CUSHION_NS
from trunkline.gateway.media.table import Table
from trunkline.rtp.packet import HEADER_BYTES

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]
Samples = NDArray[np.int64]
Mask = NDArray[np.bool_]

_COUNT = 0xFFFFF
"of what the kernel answers: packets that were made, then rows that are left, then packets that open a talkspurt"
FADE_SAMPLES = 80
"Length of the fade after the last sample: 5 ms at 16 kHz, too short to hear, long enough not to click."

_ONE_TAP = np.ones((1, 1), np.float32)
_NO_TABLE = np.zeros(0, np.uint8)
_NO_PCM = np.zeros((0, 0), np.int16)


class Speaking:
    """Makes and sends the packets of rows at which nothing special happens."""

    def __init__(
        self, table: Table, writer: PacketWriter, wait_ns: NDArray[np.int64], *, send_silence: bool
    ) -> None:
        """`wait_ns` is the column of `Prebuffer`."""
        n = table.capacity
        self._table = table
        self._writer = writer
        self._wait_ns = wait_ns
        self._send_silence = send_silence
        self._kernels: list[Kernel | None] = []
        "by format; None where its rates are no multiples of each other"
        self.count = compiled.bind(
            "spoken", table.shared.send, table.ptime_ts, table.ptime_ns, table.shared.worker.packets_sent
        )
        "counts packets that have left; None where nothing is compiled"
        self.apart = np.zeros(n, bool)
        "rows that its kernels leave; nobody, but for the time of a call"
        self._made, self._others = np.zeros(n, np.intp), np.zeros(n, np.intp)
        self._samples, self._opens = np.zeros(n, np.int64), np.zeros(n, bool)
        self.on_open: Callable[[Rows], None] = lambda rows: None
        "called (rows) when talkspurts open with packets that are made, before these leave,"
        self.on_sent: Callable[[Rows, int], None] = lambda rows, now_ns: None
        "(rows, now_ns) when all these packets have left and are counted,"
        self.on_some_refused: Callable[[Rows, Samples, Mask, Sizes, int], None] = _ignore
        "or (rows, samples, sent, payload_bytes, now_ns) if some did not or are of several lengths: nothing is counted"

    def send(self, rows: Rows, apart: set[int], now_ns: int) -> Rows:
        """Packets of those rows that it can; returns the others, and whoever is among `apart`."""
        if self.count is None:
            return rows
        formats = self._table.formats
        if apart:
            self.apart[list(apart)] = True
        left = []
        for fmt in formats.live:
            kernel = self.kernel(fmt)
            if kernel is None:
                left.append(rows[formats.of_row[rows] == fmt.index])
            elif others := self._send(fmt, kernel, rows, now_ns):
                left.append(self._others[:others].copy())
        if apart:
            self.apart[list(apart)] = False
        return np.concatenate(left) if left else rows[:0]

    def kernel(self, fmt: Format) -> Kernel | None:
        """`speak` for rows of this format; None where its rates are no multiples of each other."""
        for new in self._table.formats.list[len(self._kernels) :]:
            self._kernels.append(self._bind(new))
        return self._kernels[fmt.index]

    def _send(self, fmt: Format, kernel: Kernel, rows: Rows, now_ns: int) -> int:
        """The rows of one format among these; returns how many are left, in `_others`."""
        samples = fmt.line_samples
        coded = fmt.codec.encode_table is not None
        packets = self._writer.room(len(rows))
        line = _NO_PCM if coded else np.empty((len(rows), samples), np.int16)
        made = kernel(rows, now_ns, packets, line, self._made, self._samples, self._opens, self._others)
        if count := made & _COUNT:
            sizes: Sizes = samples
            spoke, said, opens = self._made[:count].copy(), self._samples[:count], self._opens[:count]
            if made >> 40:
                self.on_open(spoke[opens])
            if coded:
                sent = self._writer.send_made(spoke, packets[:count, : HEADER_BYTES + samples])
            else:
                sent, sizes = self._writer.send_line(fmt, spoke, line[:count], opens)
            self.note(spoke, said, sent, sizes, now_ns)
        return made >> 20 & _COUNT

    def note(self, rows: Rows, samples: Samples, sent: Mask, payload_bytes: Sizes, now_ns: int) -> None:
        """Packets are with the sockets, or were refused."""
        assert self.count is not None
        if not isinstance(payload_bytes, int) or self.count(rows, samples, sent, payload_bytes):
            self.on_some_refused(rows, samples, sent, payload_bytes, now_ns)
        else:
            self.on_sent(rows, now_ns)

    def _bind(self, fmt: Format) -> Kernel | None:
        table, c, down = self._table, self._table.shared, fmt.down
        if min(down.up, down.down) > 1:
            return None
        taps = _ONE_TAP if down.up == down.down else down.phases
        code = fmt.codec.encode_table
        return compiled.bind(
            "speak", *fmt.queue.arrays, taps, down.up, down.down, table.down_history,
            _NO_TABLE if code is None else code, EVERY, LOUD_DBOV, DECAY_DB, FLOOR_DBOV, FADE_SAMPLES,
            CUSHION_NS, fmt.index, table.formats.of_row, table.sending, self.apart, self._wait_ns, c.tx_talking,
            table.last_sample, table.echo_dbov, table.echo_loss_db, table.loud_ns, table.queued_since_ns,
            table.stopped_ns, table.noise_due_ns, c.frames_silence, c.send, table.send_pt, c.tx_ssrc,
            table.ptime_ts, table.ptime_ns, self._send_silence,
        )  # fmt: skip


def _ignore(rows: Rows, samples: Samples, sent: Mask, payload_bytes: Sizes, now_ns: int) -> None:
    """Until somebody counts."""
