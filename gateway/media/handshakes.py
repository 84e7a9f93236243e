# SPDX-License-Identifier: GPL-2.0-or-later
"""DTLS of the rows whose SRTP keys come by a handshake (RFC 5763, RFC 5764).

    description with terms, no keys -> put() -> the same, silent     ... into force
    datagrams of 20..63 on the RTP port <-> Handshake (rtp/dtls.py)
    keys                            -> on_keys() -> the description with them, by the usual way

Until the keys are there nothing goes out and nothing is heard, and what the agent says waits in its queue.
Where keys are in force already, and a new offer makes a new association, media goes on under the old ones meanwhile:
it is as secret as before, and a handshake takes several round trips.

There is one handshake, on the RTP port.  So RTCP has keys only where it shares that port (rtcp-mux); else none is
sent, and none is heard.

The gateway keeps the keys (`KeysAgreed`), as a successor of this worker cannot shake hands again: for the peer the
association goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from trunkline.gateway.media import control
from trunkline.gateway.media.batch import Address, Batch
from trunkline.gateway.media.deadlines import NEVER_NS
from trunkline.gateway.media.table import Stream, Table
from trunkline.rtp.dtls import FIRST_BYTE, LAST_BYTE, Handshake, HandshakeFailed, Keys
from trunkline.rtp.media_description import DtlsTerms, MediaDescription
from trunkline.rtp.outcomes import Drop

LIMIT_NS = 30_000_000_000
"So long a handshake may take."
FIRST_REPEATS_NS = (50_000_000, 150_000_000, 350_000_000)
"""The first flight again, while nothing has come back: it leaves with our 200, and a peer that gets it first cannot
know it. DTLS itself would repeat it after a second."""
KEEP_NS = 15_000_000_000
"""So long after its end a handshake still answers a peer that repeats its last flight (RFC 6347 4.2.4): after 1, 3, 7
and 15 s. Each that is kept costs 80 KB."""
NOWHERE = ("0.0.0.0", "::")
"A call that begins on hold: its peer will say later where it is."


@dataclasses.dataclass(slots=True)
class _Association:
    """The terms of a row and what has become of them."""

    stream: Stream
    terms: DtlsTerms
    wanted: MediaDescription
    "what holds as soon as there are keys"
    keys: Keys | None = None
    handshake: Handshake | None = None
    "None: not begun, failed, a predecessor's, or over for long"
    begun_ns: int = 0
    "0: not begun"
    ended_ns: int = 0
    first: Sequence[bytes] = ()
    "our first flight, until something comes back"
    repeats: int = 0

    @property
    def deadline_ns(self) -> int:
        """When `advance` has something to do."""
        if self.handshake is None:
            return NEVER_NS
        if self.keys is not None:
            return self.ended_ns + KEEP_NS
        deadlines = [self.begun_ns + LIMIT_NS, self.handshake.next_deadline_ns or NEVER_NS]
        if self.first and self.repeats < len(FIRST_REPEATS_NS):
            deadlines.append(self.begun_ns + FIRST_REPEATS_NS[self.repeats])
        return min(deadlines)


class Handshakes:
    """Handshakes of all rows of a worker."""

    def __init__(self, table: Table, send: Callable[[Stream, bytes], bool], post: control.Post) -> None:
        """`send` sends a datagram as it is to where signalling says that the peer is."""
        self._table, self._send, self._post = table, send, post
        self._associations: dict[int, _Association] = {}
        self._has = np.zeros(table.capacity, bool)
        "rows that have one"
        self._silent = np.zeros(table.capacity, bool)
        "... and no keys of whatever kind"
        self.on_keys: Callable[[Stream, MediaDescription, int], None] = lambda stream, media, now_ns: None
        "called (stream, description with keys, now_ns); ValueError when they make no sense"
        self.next_deadline_ns = NEVER_NS
        self.count = 0
        "rows with DTLS: without any, nobody looks further"

    # -- descriptions -----------------------------------------------------------------------

    def put(self, stream: Stream, media: MediaDescription) -> MediaDescription:
        """A description that was agreed on; returns what can be put into force now."""
        row, terms = stream.row, media.dtls
        if terms is None:
            self.forget(row)
            return media
        if not media.rtcp_mux:
            media = dataclasses.replace(media, remote_rtcp_port=0)
        association = self._associations.get(row)
        if association is None or association.terms != terms:
            association = self._associations[row] = _Association(stream, terms, media)
            self._has[row], self.count = True, len(self._associations)
            if media.send_key is not None and media.receive_key is not None:
                association.keys = Keys(media.send_key, media.receive_key)
        association.wanted = media
        self._silent[row] = association.keys is None and not self._table.secure[row]
        if association.keys is not None:
            return _with_keys(media, association.keys)
        if self._table.secure[row]:
            before = stream.media
            return dataclasses.replace(media, send_key=before.send_key, receive_key=before.receive_key)
        return dataclasses.replace(media, send=False, receive=False, remote_rtcp_port=0)

    def wanted(self, stream: Stream) -> MediaDescription:
        """The description that was agreed on last, whether it is in force or waits."""
        association = self._associations.get(stream.row)
        return stream.media if association is None else association.wanted

    def run(self, stream: Stream, now_ns: int) -> None:
        """The row's sockets are read: begin what has not begun."""
        association = self._associations.get(stream.row)
        if association is None or association.keys is not None or association.begun_ns:
            return
        if association.wanted.remote_host in NOWHERE:
            return
        terms = association.terms
        association.begun_ns = now_ns
        association.handshake = Handshake(
            active=terms.active, identity=terms.identity, fingerprints=terms.fingerprints
        )
        association.first = association.handshake.start(now_ns)
        self._answer(association, association.first)
        self._schedule()

    def forget(self, row: int) -> None:
        """The row has no DTLS any more."""
        if self._associations.pop(row, None) is not None:
            self._has[row] = self._silent[row] = False
            self.count = len(self._associations)
            self._schedule()

    def deaf(self, stream: Stream) -> bool:
        """RTCP that comes has no keys."""
        row = stream.row
        return bool(self._has[row]) and not (self._table.secure[row] and stream.media.rtcp_mux)

    # -- datagrams --------------------------------------------------------------------------

    def take(self, batch: Batch, now_ns: int) -> Batch | None:
        """The batch without DTLS, and without what comes before its keys; None if nothing is left."""
        mine = self._has[batch.rows]
        if not mine.any():
            return batch
        first = batch.packets[:, 0]
        dtls = mine & (first >= FIRST_BYTE) & (first <= LAST_BYTE) & (batch.lengths > 0)
        for i in np.flatnonzero(dtls).tolist():
            data = batch.packets[i, : batch.lengths[i]].tobytes()
            self._receive(self._associations[int(batch.rows[i])], data, batch.addresses[i], now_ns)
        early = ~dtls & self._silent[batch.rows]
        for i in np.flatnonzero(early).tolist():
            self._drop(int(batch.rows[i]), Drop.SRTP_AUTH)
        rest = ~(dtls | early)
        if rest.all():
            return batch
        return batch.part(np.flatnonzero(rest)) if rest.any() else None

    def _receive(self, association: _Association, data: bytes, address: Address, now_ns: int) -> None:
        if address != association.stream.named:
            self._drop(association.stream.row, Drop.SOURCE)
            return
        handshake = association.handshake
        if handshake is None:
            return
        association.first = ()
        try:
            self._answer(association, handshake.receive(data, now_ns))
            if handshake.keys is not None and association.keys is None:
                self._agreed(association, handshake.keys, now_ns)
        except (HandshakeFailed, ValueError) as error:
            self._fail(association, str(error))
        self._schedule()

    def _agreed(self, association: _Association, keys: Keys, now_ns: int) -> None:
        stream, terms = association.stream, association.terms
        self.on_keys(stream, _with_keys(association.wanted, keys), now_ns)
        association.keys, association.ended_ns = keys, now_ns
        self._silent[stream.row] = False
        self._post(
            control.KeysAgreed(stream.call_id, terms.active, terms.fingerprints, keys.send, keys.receive)
        )

    def _answer(self, association: _Association, datagrams: Sequence[bytes]) -> None:
        for datagram in datagrams:
            self._send(association.stream, datagram)

    def _drop(self, row: int, reason: Drop) -> None:
        self._table.shared.drops[row, reason] += 1
        self._table.shared.worker.drops[reason] += 1

    def _fail(self, association: _Association, detail: str) -> None:
        """No keys will come; the row stays as it is until the gateway ends the call."""
        association.handshake = None
        self._post(control.StreamFailed(association.stream.call_id, "dtls_failed", detail))

    # -- time -------------------------------------------------------------------------------

    def advance(self, now_ns: int) -> None:
        """Repeat what was lost, give up what takes too long."""
        if now_ns < self.next_deadline_ns:
            return
        for association in list(self._associations.values()):
            if association.deadline_ns <= now_ns:
                self._advance_one(association, now_ns)
        self._schedule()

    def _advance_one(self, association: _Association, now_ns: int) -> None:
        handshake = association.handshake
        assert handshake is not None
        if association.keys is not None:
            association.handshake = None
            return
        if now_ns >= association.begun_ns + LIMIT_NS:
            self._fail(association, f"no DTLS handshake came about within {LIMIT_NS // 1_000_000_000} s")
            return
        if association.first and association.repeats < len(FIRST_REPEATS_NS):
            if now_ns >= association.begun_ns + FIRST_REPEATS_NS[association.repeats]:
                association.repeats += 1
                self._answer(association, association.first)
        try:
            self._answer(association, handshake.handle_timeout(now_ns))
        except HandshakeFailed as error:
            self._fail(association, str(error))

    def _schedule(self) -> None:
        self.next_deadline_ns = min((a.deadline_ns for a in self._associations.values()), default=NEVER_NS)


def _with_keys(media: MediaDescription, keys: Keys) -> MediaDescription:
    return dataclasses.replace(media, send_key=keys.send, receive_key=keys.receive)
