# SPDX-License-Identifier: GPL-2.0-or-later
"""SRTP and SRTCP that come in: proven and decrypted in place, before anybody looks at them.

    sockets -> here -> headers, addresses, statistics ...

What is not proven ends here, counted as SRTP_AUTH or SRTP_REPLAY, and has changed nothing: no address, no
source, no window, no counter but that of its drop.  A call is never ended by it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.batch import Batch
from trunkline.gateway.media.srtp_rows import MAX_SOURCES, Spare, SrtpRows
from trunkline.gateway.media.table import Stream, Table
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.packet import is_rtcp
from trunkline.rtp.sdes import SUITES
from trunkline.rtp.srtp import Receiver, drop_reason, unprotect


class SrtpIn:
    """Takes batches and datagrams from the sockets, hands on what is good."""

    def __init__(self, table: Table, rows: SrtpRows) -> None:
        self._table, self._rows = table, rows

    def open(self, batch: Batch, now_ns: int) -> Batch | None:
        """The batch without what is not proven, its secured packets decrypted; None if nothing is left.

        RTCP that shares the port is left as it is, for `open_report`.
        """
        rows, secured = batch.rows, self._table.secure[batch.rows]
        if not secured.any():
            return batch
        muxed = self._table.rtcp_mux[rows]
        if muxed.any():
            secured &= ~(muxed & is_rtcp(batch.packets))
        ssrc = batch.packets[:, 8:12].view(">u4")[:, 0]
        usual = secured & (ssrc == self._table.shared.rx_ssrc[rows])
        if self._rows.spares:
            usual &= ~self._rows.odd[rows]
        all_usual = bool(usual.all())
        drop = self._open_usual(batch, None if all_usual else np.flatnonzero(usual))
        if not all_usual:
            drop = np.zeros(len(rows), np.uint8) if drop is None else drop
            for i in np.flatnonzero(secured & ~usual):
                drop[i] = self._open_one(int(i), batch, int(ssrc[i]), now_ns)
        if drop is None or not drop.any():
            return batch
        bad = drop != Drop.NONE
        np.add.at(self._table.shared.drops, (rows[bad], drop[bad]), 1)
        np.add.at(self._table.shared.worker.drops, drop[bad], 1)
        return None if bad.all() else batch.part(np.flatnonzero(~bad))

    def _open_usual(self, batch: Batch, which: NDArray[np.intp] | None) -> NDArray[np.uint8] | None:
        """Packets of known sources, all or some; why each was dropped, None if all are good."""
        rows = batch.rows if which is None else batch.rows[which]
        handles, mkis = self._rows.receive_handle[rows], self._rows.receive_mki[rows]
        statuses = unprotect(handles, mkis, batch.packets, batch.lengths, which)
        if not any(statuses):
            return None
        drop = np.zeros(len(batch.rows), np.uint8)
        places = range(len(statuses)) if which is None else which.tolist()
        for place, status in zip(places, statuses, strict=True):
            if status:
                drop[place] = drop_reason(status)
        return drop

    def _open_one(self, i: int, batch: Batch, ssrc: int, now_ns: int) -> Drop:
        """A packet of a source that is not the row's, or while the key changes."""
        row = int(batch.rows[i])
        if self._too_many(row, ssrc):
            return Drop.SSRC
        length = int(batch.lengths[i])
        before = batch.packets[i, :length].copy()  # a wrong key may leave something else behind
        reason, spare, verdict = Drop.SRTP_AUTH, None, Drop.SRTP_AUTH
        for receiver, spare in self._candidates(row, now_ns):
            if verdict is Drop.SRTP_REPLAY and not (spare and spare.fresh):
                continue
            batch.packets[i, :length], batch.lengths[i] = before, length
            handle, mki = np.array([receiver.handle]), np.array([receiver.mki])
            (status,) = unprotect(handle, mki, batch.packets, batch.lengths, np.array([i]))
            reason = drop_reason(status) if status else Drop.NONE
            if reason is Drop.SRTP_REPLAY:  # one it is, whatever other keys would say, unless the peer
                verdict = reason  # has begun anew with this one: nothing of it has been taken yet
            elif reason is Drop.NONE:
                self._good(row, ssrc, spare, now_ns)
                return reason
        return verdict

    def open_report(self, stream: Stream, data: bytes, now_ns: int) -> bytes | None:
        """An RTCP datagram of a row that has keys; None if it is not proven."""
        row = stream.row
        ssrc = int.from_bytes(data[4:8], "big")
        reason = Drop.SSRC if self._too_many(row, ssrc) else Drop.SRTP_AUTH
        for receiver, spare in self._candidates(row, now_ns) if reason is Drop.SRTP_AUTH else ():
            number = _report_index(data, receiver) + 1
            of_old = spare is None and ssrc == self._rows.report_ssrc[row]
            if of_old and number <= self._rows.report_floor[row]:
                reason = Drop.SRTP_REPLAY
                break
            opened = receiver.unprotect_rtcp(data)
            if isinstance(opened, bytes):
                self._good(row, ssrc, spare, now_ns)
                if spare is None:
                    self._rows.report_proved(row, ssrc, number)
                return opened
            reason = opened
            if reason is not Drop.SRTP_AUTH:
                break
        self._table.shared.drops[row, reason] += 1
        self._table.shared.worker.drops[reason] += 1
        return None

    def _candidates(self, row: int, now_ns: int) -> list[tuple[Receiver, Spare | None]]:
        """The row's receiver, then the spares whose time is not over."""
        out: list[tuple[Receiver, Spare | None]] = [(self._rows.receivers[row], None)]
        out += [(s.receiver, s) for s in self._rows.spares.get(row, ()) if now_ns <= s.until_ns]
        return out

    def _too_many(self, row: int, ssrc: int) -> bool:
        known = self._rows.sources[row]
        return len(known) >= MAX_SOURCES and ssrc not in known

    def _good(self, row: int, ssrc: int, spare: Spare | None, now_ns: int) -> None:
        self._rows.sources[row].add(ssrc)
        if self._rows.odd[row]:
            self._rows.proved(row, spare, now_ns)


def _report_index(data: bytes, receiver: Receiver) -> int:
    """Index of an SRTCP packet: ahead of MKI and tag (RFC 3711 3.4), with AEAD ahead of the MKI (RFC 7714 9)."""
    suite = SUITES[receiver.key.suite]
    end = len(data) - receiver.key.mki_bytes - (0 if suite.aead else suite.rtcp_tag_bytes)
    return int.from_bytes(data[max(0, end - 4) : max(0, end)], "big") & 0x7FFFFFFF
