# SPDX-License-Identifier: GPL-2.0-or-later
"""The bad network is as bad as it is told to be, and the same each time."""

from __future__ import annotations

import socket
import time

from support.relay import MS, Impairment, Relay
from support.waiting import wait_for


def fates(impairment: Impairment, seed: int, count: int = 4000, way: str = "to_gateway") -> list[list[int]]:
    """What happens to the first packets."""
    return [impairment.fate(seed, way, number) for number in range(count)]


def test_fate_depends_on_seed_way_and_number_and_nothing_else() -> None:
    bad = Impairment(loss=0.1, duplicate=0.1, reorder=0.1, delay_ms=5, jitter_ms=3)
    assert fates(bad, 1) == fates(bad, 1)
    assert fates(bad, 1) != fates(bad, 2)
    assert fates(bad, 1) != fates(bad, 1, way="to_endpoint")
    assert bad.fate(1, "to_gateway", 77) == fates(bad, 1)[77]


def test_rates_are_those_that_were_asked_for() -> None:
    got = fates(Impairment(loss=0.05, duplicate=0.1), 7)
    assert 0.04 < sum(not copies for copies in got) / 4000 < 0.06
    assert 0.08 < sum(len(copies) == 2 for copies in got) / 4000 < 0.11
    late = fates(Impairment(reorder=0.2, reorder_ms=40), 7)
    assert 0.18 < sum(copies == [40 * MS] for copies in late) / 4000 < 0.22
    jitter = [copies[0] for copies in fates(Impairment(delay_ms=10, jitter_ms=4), 7)]
    assert min(jitter) >= 10 * MS and max(jitter) <= 30 * MS
    assert 3.5 * MS < sum(jitter) / 4000 - 10 * MS < 4.5 * MS


def test_more_of_one_evil_does_not_change_another() -> None:
    """So that a test can be varied: the same packets are lost with jitter as without."""
    plain, shaken = Impairment(loss=0.1), Impairment(loss=0.1, jitter_ms=5, duplicate=0.5)
    assert [not one for one in fates(plain, 3)] == [not one for one in fates(shaken, 3)]


def test_packets_that_are_named_are_lost() -> None:
    assert Impairment(drop=frozenset({3})).fate(1, "to_gateway", 3) == []
    assert Impairment(drop=frozenset({3})).fate(1, "to_gateway", 4) == [0]


def test_a_relay_carries_both_ways_and_keeps_the_books() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gateway,
    ):
        for sock in (phone, gateway):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(5)
        bad = Impairment(drop=frozenset({1}), delay_ms=30)
        with Relay(to_gateway=bad, seed=1) as relay:
            relay.gateway = gateway.getsockname()
            started = time.monotonic()
            for text in (b"one", b"two", b"three"):
                phone.sendto(text, ("127.0.0.1", relay.near_port))
            first, source = gateway.recvfrom(100)
            assert time.monotonic() - started >= 0.03 and source == ("127.0.0.1", relay.far_port)
            assert (first, gateway.recv(100)) == (b"one", b"three")
            gateway.sendto(b"back", source)
            assert phone.recvfrom(100) == (b"back", ("127.0.0.1", relay.near_port))
            wait_for(lambda: relay.counts["to_endpoint"].packets == 1, "counted")
            counts = relay.counts["to_gateway"]
            assert (counts.packets, counts.lost, counts.duplicated, counts.overtaken) == (3, 1, 0, 0)


def test_a_packet_that_is_held_back_is_overtaken() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gateway:
        gateway.bind(("127.0.0.1", 0))
        gateway.settimeout(5)
        impairment = Impairment(reorder=0.5, reorder_ms=60)
        seed = next(
            s
            for s in range(100)
            if [bool(impairment.fate(s, "to_gateway", n)[0]) for n in (0, 1)] == [True, False]
        )
        with Relay(to_gateway=impairment, seed=seed) as relay:
            relay.gateway = gateway.getsockname()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
                phone.sendto(b"first", ("127.0.0.1", relay.near_port))
                phone.sendto(b"second", ("127.0.0.1", relay.near_port))
                assert [gateway.recv(100), gateway.recv(100)] == [b"second", b"first"]
            wait_for(lambda: relay.counts["to_gateway"].overtaken == 1, "counted")
