# SPDX-License-Identifier: GPL-2.0-or-later
"""All packets that are due, in one compiled pass where nothing special happens (`native/play.c`).

    who is due -> speak -> sockets -> clocks and counters -> delays -> who is due next

It is for encodings of which `Speaking` makes the whole packet.  Packets that somebody else wants to see
before they leave, a recorder or SRTP, stop behind `speak` and go by the sink; so do those of talkspurts that
begin, until these are noted.  Who is left is still due, and `Downlink` goes the long way with them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.compiled import Kernel
from trunkline.gateway.media import compiled
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.packet_clocks import PacketClocks
from trunkline.gateway.media.packets import PacketWriter
from trunkline.gateway.media.speaking import Speaking
from trunkline.gateway.media.table import Table
from trunkline.rtp.packet import HEADER_BYTES

Rows = NDArray[np.intp]
Times = NDArray[np.int64]

_MOST_FORMATS = 63
_DUE, _BEHIND, _OPENED, _MADE, _SENT, _REFUSED, _MADE_EACH = range(7)
"What the kernel notes; from `_MADE_EACH` on, the packets of each format."
_NOBODY = np.zeros(0, np.intp), np.zeros(0, np.int64)
_NO_LINE = np.zeros((0, 0), np.int16)


class PacketRound:
    """The kernels of the downlink as one."""

    def __init__(
        self, table: Table, clocks: PacketClocks, speaking: Speaking, writer: PacketWriter, *, monotonic: bool
    ) -> None:
        """`monotonic` says that `now_ns` is of time.monotonic_ns: then delays are counted here."""
        self._table, self._clocks, self._speaking, self._writer = table, clocks, speaking, writer
        self._monotonic = monotonic
        self.is_heeded: Callable[[], bool] = lambda: True
        "whether anybody wants to be told by `on_sent` that all packets have left"
        n = 2 * table.capacity  # each format wants room for all that are due, behind what others have made
        self._due, self._late_ns = np.zeros(n, np.intp), np.zeros(n, np.int64)
        self._made, self._others = np.zeros(n, np.intp), np.zeros(n, np.intp)
        self._samples = np.zeros(n, np.int64)
        self._opens, self._sent = np.zeros(n, bool), np.zeros(n, bool)
        self._packets = np.zeros((n, 0), np.uint8)
        self._notes = np.zeros(_MADE_EACH, np.int64)
        self._live: list[Format] = []
        "the formats that calls had when it was bound,"
        self._formats: list[Format] = []
        "and those of them that it is for"
        self._send: Kernel | None = None
        self._play: Kernel | None = None
        self._leave: Kernel | None = None
        self.uncounted: tuple[Rows, Times] = _NOBODY
        "rows that were due in the last round whose delays are still to be counted, and how long they had been"

    def go(self, apart: set[int], now_ns: int) -> int:
        """Once, without those `apart`; returns when a packet is due next. Now: somebody is left."""
        send = self._bound_sender()
        self.uncounted = _NOBODY
        if self._play is None:
            return now_ns
        with_apart = self._speaking.apart
        if apart:
            with_apart[list(apart)] = True
        next_ns = self._play(self._table.running, now_ns, send is not None, self._monotonic)
        if apart:
            with_apart[list(apart)] = False
        if next_ns < 0:
            return self._finish(send, now_ns)
        if not self._monotonic:
            due = int(self._notes[_DUE])
            self.uncounted = self._due[:due], self._late_ns[:due]
        if self.is_heeded() and (made := int(self._notes[_MADE])):
            self._speaking.on_sent(self._made[:made], now_ns)
        return next_ns

    def _bound_sender(self) -> Kernel | None:
        """What sends, if that is compiled; `play` is bound for it, and for the formats that calls have now."""
        send = self._writer.compiled_send
        if self._live is not self._table.formats.live or (send is not self._send and send is not None):
            self._bind(send)
        return send

    @property
    def kernel(self) -> Kernel | None:
        """`play`, to be called (running, now_ns, True, True), and then `go_on` if it says -1; None if it cannot be."""
        return self._play if self._bound_sender() is not None and self._monotonic else None

    def go_on(self, now_ns: int) -> int:
        """`go`, where the kernel has been run and has said -1."""
        self.uncounted = _NOBODY
        return self._finish(self._writer.compiled_send, now_ns)

    def _finish(self, send: Kernel | None, now_ns: int) -> int:
        """What the kernel has left to us of packets that it has made."""
        notes = self._notes.tolist()
        if notes[_BEHIND]:
            return now_ns
        made, is_counted, note = notes[_MADE], False, self._speaking.note
        if notes[_OPENED]:
            self._speaking.on_open(self._made[:made][self._opens[:made]])
        if not notes[_SENT] and send is not None:
            assert self._leave is not None
            is_counted = self._leave(self._table.running, now_ns, self._monotonic) >= 0 and self._monotonic
            notes = self._notes.tolist()
        if not is_counted:
            self.uncounted = self._due[: notes[_DUE]], self._late_ns[: notes[_DUE]]
        at = 0
        for place, (fmt, count) in enumerate(zip(self._formats, notes[_MADE_EACH:], strict=True)):
            which, at, size = slice(at, at + count), at + count, fmt.line_samples
            rows, samples, sent = self._made[which], self._samples[which], self._sent[which]
            if send is None:
                sent = self._writer.send_made(rows, self._packets[which, : HEADER_BYTES + size]) if count else sent
                note(rows, samples, sent, size, now_ns)
            elif notes[_REFUSED] >> place & 1:
                self._speaking.on_some_refused(rows, samples, sent, size, now_ns)
            elif count:
                self._speaking.on_sent(rows, now_ns)
        return self._clocks.earliest()

    def _bind(self, send: Kernel | None) -> None:
        """For the formats that calls have now."""
        formats, clocks = self._table.formats, self._clocks.kernels
        self._live, self._send, self._play = formats.live, send, None
        if clocks is None:
            return
        due, least, delays = clocks
        spoken = self._speaking.count
        kernels = [(fmt, self._speaking.kernel(fmt)) for fmt in self._live if fmt.codec.encode_table is not None]
        whole = [(fmt, kernel) for fmt, kernel in kernels if kernel is not None][:_MOST_FORMATS]
        if not whole:
            return
        self._formats = [fmt for fmt, _ in whole]
        sizes = np.array([HEADER_BYTES + fmt.line_samples for fmt in self._formats], np.int32)
        if self._packets.shape[1] < sizes.max():
            self._packets = np.zeros((len(self._due), sizes.max()), np.uint8)
        self._notes = np.zeros(_MADE_EACH + len(whole), np.int64)
        self._leave = compiled.bind(
            "leave", () if send is None else (send,), (spoken,), (least,), (delays,), self._packets, sizes,
            self._made, self._samples, self._sent, self._notes, self._due, self._late_ns,
        )  # fmt: skip
        self._play = compiled.bind(
            "play", (due,), tuple(kernel for _, kernel in whole), (self._leave,), self._packets, _NO_LINE,
            self._made, self._samples, self._opens, self._others, self._due, self._late_ns, self._notes,
        )  # fmt: skip
