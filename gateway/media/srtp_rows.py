# SPDX-License-Identifier: GPL-2.0-or-later
"""SRTP of every row that has keys: contexts of the library, and where their counters stand.

What must outlive a worker is in columns.  The rollover counter of what we send is `tx_seq` beyond 16 bits,
less `srtp_tx_base`; that of the peer is `rx_max_seq` likewise, less `srtp_rx_base`, which is known from the
first packet of a source on.  SRTCP indexes are counted as they are used.

A worker that dies may have sent a packet that it had not counted yet, and a number that is used twice under
one key gives away what both packets say.  So its successor leaves out `RESUME_SKIP` numbers: the peer takes
them for lost, and the timestamps tell it that no audio is missing.

Key changes (RFC 3711 8.1, 9.4).  The counters of a source go on: they are never set back.  Peers exist that do
set theirs back, so the new key is tried both ways until one has proved right; and for `OLD_KEY_NS` what was
protected with the old key is still taken, because the network may hold it back.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from trunkline.gateway.media.table import Stream, Table
from trunkline.rtp.negotiation import MediaDescription
from trunkline.rtp.sdes import CryptoKey
from trunkline.rtp.srtp import Receiver, Sender

RESUME_SKIP = 2
"Numbers left out by a successor; one packet of a row can have left uncounted (downlink.py)."
OLD_KEY_NS = 5_000_000_000
"After a change of key, so long packets under the old one are taken."
MAX_SOURCES = 64
"""SSRCs that a peer may use under one key. Each costs memory that holds its replay window, and to forget one would
let its old packets be played again; a call has one, and one more each time that a PBX connects it to somebody else."""
TX_KNOWN, RX_KNOWN = 1, 2
"Bits of column `srtp_known`: the base of that direction has been written."


@dataclasses.dataclass(slots=True)
class Spare:
    """A receiver that is tried when the row's own does not recognise a packet."""

    receiver: Receiver
    fresh: bool
    "has the row's own key, with all counters at zero; else it has the key before"
    until_ns: int


class SrtpRows:
    """Contexts by row, and what the batch stages gather from."""

    def __init__(self, table: Table) -> None:
        self._table = table
        n = table.capacity
        self.count = 0
        "rows that have keys: without any, nobody looks further"
        self.send_handle, self.send_mki = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self.receive_handle, self.receive_mki = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self.odd = np.zeros(n, bool)
        "rows that have spares"
        self.senders: dict[int, Sender] = {}
        self.receivers: dict[int, Receiver] = {}
        self.spares: dict[int, list[Spare]] = {}
        self.sources: dict[int, set[int]] = {}
        "SSRCs that have proved to have the row's key"
        self.report_floor = np.zeros(n, np.int64)
        "SRTCP indexes (plus one) that a predecessor has seen"
        self.report_ssrc = np.zeros(n, np.int64)
        "of the source that it and column `srtp_rx_report` tell of"
        self.unsettled: set[int] = set()
        "rows whose `srtp_rx_base` is to be found out"

    def apply(self, stream: Stream, media: MediaDescription, now_ns: int) -> None:
        """Put the keys of a description into force; ValueError when they make no sense."""
        row, send, receive = stream.row, media.send_key, media.receive_key
        if send is None and receive is None:
            self.forget(row)
            self._table.shared.srtp_known[row] = self._table.shared.srtp_rx_report[row] = 0
            return
        if send is None or receive is None:
            raise ValueError("SRTP needs a key for each direction")
        before = self.receivers.get(row)
        made = []
        if before is None or before.key != receive:  # all that can fail comes before anything is kept
            made = [Receiver(receive) for _ in range(1 if before is None else 2)]
        self._apply_send(row, send)
        if made:
            self._apply_receive(row, made, now_ns)
        self._table.secure[row] = True
        self.count = len(self.senders)

    def begin_anew(self, row: int) -> None:
        """The next keys are those of a new DTLS association, in which our counters begin at zero."""
        self._table.shared.srtp_known[row] &= ~TX_KNOWN & 0xFF

    def forget(self, row: int) -> None:
        """The row has no keys any more."""
        for contexts in (self.senders, self.receivers):
            context = contexts.pop(row, None)
            if context is not None:
                context.close()
        self._drop_spares(row)
        self.sources.pop(row, None)
        self.unsettled.discard(row)
        self._table.secure[row] = False
        self.count = len(self.senders)

    def _apply_send(self, row: int, key: CryptoKey) -> None:
        c, before = self._table.shared, self.senders.get(row)
        if before is not None and before.key == key:
            return
        if not c.srtp_known[row] & TX_KNOWN:
            c.srtp_tx_base[row], c.srtp_tx_reports[row] = c.tx_seq[row] >> 16, 0
            c.srtp_known[row] |= TX_KNOWN
        elif before is None:  # a predecessor's
            c.tx_seq[row] += RESUME_SKIP
            c.srtp_tx_reports[row] += RESUME_SKIP
        sender = Sender(key, int(c.tx_ssrc[row]), int(c.tx_seq[row] >> 16) - int(c.srtp_tx_base[row]))
        sender.skip_rtcp(int(c.srtp_tx_reports[row]))
        self.senders[row] = sender
        self.send_handle[row], self.send_mki[row] = sender.handle, sender.mki
        if before is not None:
            before.close()

    def _apply_receive(self, row: int, made: list[Receiver], now_ns: int) -> None:
        c, before, receiver = self._table.shared, self.receivers.get(row), made[0]
        known = bool(c.srtp_known[row] & RX_KNOWN) and bool(c.rx_proven[row])
        ssrc = int(c.rx_ssrc[row])
        if known:
            roc = int(c.rx_max_seq[row] >> 16) - int(c.srtp_rx_base[row])
            receiver.resume(ssrc, roc << 16 | int(c.rx_max_seq[row]) & 0xFFFF)
        else:
            self.unsettled.add(row)
        if before is not None:
            c.srtp_rx_report[row] = 0
        self.report_floor[row], self.report_ssrc[row] = c.srtp_rx_report[row], ssrc
        self._take(row, receiver)
        self.sources[row] = {ssrc} if known else set()
        if before is not None:
            older = [spare for spare in self.spares.get(row, []) if not spare.fresh]
            self.spares[row] = [Spare(before, False, now_ns + OLD_KEY_NS), *older[:1]]
            for spare in older[1:]:
                spare.receiver.close()
            if known:
                self.spares[row].insert(0, Spare(made[1], True, 1 << 62))
            self.odd[row] = True

    def _take(self, row: int, receiver: Receiver) -> None:
        self.receivers[row] = receiver
        self.receive_handle[row], self.receive_mki[row] = receiver.handle, receiver.mki

    # -- what packets tell ------------------------------------------------------------------

    def proved(self, row: int, spare: Spare | None, now_ns: int) -> None:
        """A packet was good: by the row's own receiver, or by a spare. Spares whose time is over go."""
        kept = []
        for other in self.spares.get(row, ()):
            if spare is other and other.fresh:  # the peer has begun its counters anew
                self.receivers[row].close()
                self._take(row, other.receiver)
                self._table.shared.srtp_known[row] &= ~RX_KNOWN & 0xFF
                self.unsettled.add(row)
            elif other.until_ns < now_ns or (other.fresh and spare is None):
                other.receiver.close()
            else:
                kept.append(other)
        if kept:
            self.spares[row] = kept
        else:
            self.spares.pop(row, None)
        self.odd[row] = bool(kept)

    def settle(self) -> None:
        """Find the base of rows whose source has begun: from the counter that the library has for it."""
        c = self._table.shared
        for row in list(self.unsettled):
            roc = self.receivers[row].roc(int(c.rx_ssrc[row])) if c.rx_proven[row] else None
            if roc is not None:
                c.srtp_rx_base[row] = (int(c.rx_max_seq[row]) >> 16) - roc
                c.srtp_known[row] |= RX_KNOWN
                self.unsettled.discard(row)

    def source_begins(self, row: int) -> None:
        """The row's extended sequence numbers have begun anew."""
        if row in self.receivers:
            self._table.shared.srtp_known[row] &= ~RX_KNOWN & 0xFF
            self.unsettled.add(row)
            self._count_reports_of(row, int(self._table.shared.rx_ssrc[row]))

    def report_proved(self, row: int, ssrc: int, number: int) -> None:
        """An SRTCP packet with this index (plus one) was good."""
        seen = self._table.shared.srtp_rx_report
        if ssrc == self._table.shared.rx_ssrc[row]:
            self._count_reports_of(row, ssrc)
            seen[row] = max(int(seen[row]), number)

    def _count_reports_of(self, row: int, ssrc: int) -> None:
        if self.report_ssrc[row] != ssrc:
            self.report_ssrc[row], self.report_floor[row] = ssrc, 0
            self._table.shared.srtp_rx_report[row] = 0

    def _drop_spares(self, row: int) -> None:
        for spare in self.spares.pop(row, ()):
            spare.receiver.close()
        self.odd[row] = False
