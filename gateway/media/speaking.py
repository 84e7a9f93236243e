# SPDX-License-Identifier: GPL-2.0-or-later
"""The short way for packets to callers: agents who go on speaking, or go on saying nothing (`native/speak.c`).

    rows that are due -> in a talkspurt that goes on, or silent as before? -> yes: packets in one pass, sent, counted
                      -> no: speech that begins or ends, digits, sounds, pauses ...: Downlink

Of G.711 the kernel makes the whole packet; of other encodings, what the encoder is given.  Both ways leave
the same behind; a property test compares them.
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
from trunkline.gateway.media.table import Table
from trunkline.rtp.packet import HEADER_BYTES

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]
Samples = NDArray[np.int64]
Mask = NDArray[np.bool_]

_MADE = 0xFFFFFFFF
"of what the kernel answers, the packets that were made; above are rows that are left"
_ONE_TAP = np.ones((1, 1), np.float32)
_NO_TABLE = np.zeros(0, np.uint8)
_NO_PCM = np.zeros((0, 0), np.int16)


class Speaking:
    """Makes and sends the packets of rows that are as they were."""

    def __init__(self, table: Table, writer: PacketWriter, *, send_silence: bool) -> None:
        n = table.capacity
        self._table = table
        self._writer = writer
        self._send_silence = send_silence
        self._kernels: list[Kernel | None] = []
        "by format; None where its rates are no multiples of each other"
        self._count = compiled.bind(
            "spoken", table.shared.send, table.ptime_ts, table.ptime_ns, table.shared.worker.packets_sent
        )
        self._apart = np.zeros(n, bool)
        self._made, self._others = np.zeros(n, np.intp), np.zeros(n, np.intp)
        self._samples = np.zeros(n, np.int64)
        self.on_sent: Callable[[Rows, int], None] = lambda rows, now_ns: None
        "called (rows, now_ns) when all these packets have left and are counted,"
        self.on_some_refused: Callable[[Rows, Samples, Mask, Sizes, int], None] = _ignore
        "or (rows, samples, sent, payload_bytes, now_ns) if some did not or are of several lengths: nothing is counted"

    def send(self, rows: Rows, apart: set[int], now_ns: int) -> Rows:
        """Packets of those rows that are as they were; returns the others, and whoever is among `apart`."""
        if self._count is None:
            return rows
        formats = self._table.formats
        for fmt in formats.list[len(self._kernels) :]:
            self._kernels.append(self._bind(fmt))
        if apart:
            self._apart[list(apart)] = True
        left = []
        for fmt, kernel in zip(formats.list, self._kernels, strict=True):
            if kernel is None:
                left.append(rows[formats.of_row[rows] == fmt.index])
            elif others := self._send(fmt, kernel, rows, now_ns):
                left.append(self._others[:others].copy())
        if apart:
            self._apart[list(apart)] = False
        return np.concatenate(left) if left else rows[:0]

    def _send(self, fmt: Format, kernel: Kernel, rows: Rows, now_ns: int) -> int:
        """The rows of one format among these; returns how many are left, in `_others`."""
        samples = fmt.line_samples
        coded = fmt.codec.encode_table is not None
        packets = self._writer.room(len(rows))
        line = _NO_PCM if coded else np.empty((len(rows), samples), np.int16)
        made = kernel(rows, now_ns, packets, line, self._made, self._samples, self._others)
        if count := made & _MADE:
            sizes: Sizes = samples
            spoke, said = self._made[:count].copy(), self._samples[:count]
            if coded:
                sent = self._writer.send_made(spoke, packets[:count, : HEADER_BYTES + samples])
            else:
                sent, sizes = self._writer.send_line(fmt, spoke, line[:count], np.zeros(count, bool))
            self._note(spoke, said, sent, sizes, now_ns)
        return made >> 32

    def _note(self, rows: Rows, samples: Samples, sent: Mask, payload_bytes: Sizes, now_ns: int) -> None:
        assert self._count is not None
        if not isinstance(payload_bytes, int) or self._count(rows, samples, sent, payload_bytes):
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
            _NO_TABLE if code is None else code, EVERY, LOUD_DBOV, DECAY_DB, FLOOR_DBOV, fmt.index,
            table.formats.of_row, table.sending, self._apart, c.tx_talking, table.last_sample, table.echo_dbov,
            table.echo_loss_db, table.loud_ns, c.frames_silence, c.send, table.send_pt, c.tx_ssrc,
            table.ptime_ts, table.ptime_ns, self._send_silence,
        )  # fmt: skip


def _ignore(rows: Rows, samples: Samples, sent: Mask, payload_bytes: Sizes, now_ns: int) -> None:
    """Until somebody counts."""
