# SPDX-License-Identifier: GPL-2.0-or-later
"""Datagrams of a handshake that somebody has changed: keys, or a reason why there are none, and nothing else."""

from __future__ import annotations

import datetime as dt
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.rtp.dtls import Handshake, HandshakeFailed
from trunkline.rtp.dtls_certificate import new_identity

OURS, THEIRS = new_identity(dt.datetime.now(dt.UTC)), new_identity(dt.datetime.now(dt.UTC))
CHANGES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1199), st.integers(0, 255)), min_size=1, max_size=6)


@settings(deadline=None, max_examples=150)
@given(CHANGES, st.booleans(), st.integers(0, 3))
def test_changed_flights_end_in_keys_or_a_reason(changes: list[tuple[int, int, int]], active: bool, cut: int) -> None:
    ours = Handshake(active=active, identity=OURS, fingerprints=[THEIRS.fingerprint])
    peer = Handshake(active=not active, identity=THEIRS, fingerprints=[OURS.fingerprint])
    to_us, to_peer, number = peer.start(time.monotonic_ns()), ours.start(time.monotonic_ns()), 0
    try:
        for _ in range(6):
            to_us += [out for data in to_peer for out in peer.receive(data, time.monotonic_ns())]
            to_peer = []
            for data in to_us:
                changed = bytearray(data)
                for index, place, value in changes:
                    if index == number and place < len(changed):
                        changed[place] = value
                number += 1
                to_peer += ours.receive(bytes(changed[: len(changed) - cut]), time.monotonic_ns())
            to_us = []
    except HandshakeFailed as failed:
        assert str(failed)
    if ours.keys is not None and peer.keys is not None:
        assert (ours.keys.send, ours.keys.receive) == (peer.keys.receive, peer.keys.send)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.binary(max_size=300), max_size=8), st.booleans())
def test_anything_at_all_is_survived(datagrams: list[bytes], active: bool) -> None:
    ours = Handshake(active=active, identity=OURS, fingerprints=[THEIRS.fingerprint])
    ours.start(time.monotonic_ns())
    try:
        for data in datagrams:
            ours.receive(data, time.monotonic_ns())
    except HandshakeFailed as failed:
        assert str(failed)
    assert ours.keys is None
