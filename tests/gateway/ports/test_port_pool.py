# SPDX-License-Identifier: GPL-2.0-or-later
"""RTP port pairs: taken, skipped, given back, and what happens when there are no more."""

from __future__ import annotations

import os
import pathlib
import random
import resource
import socket
import threading

import pytest

from support.ports import free_block
from trunkline.gateway.media.ports import PortPair, PortPool, PortsExhausted

HOST = "127.0.0.1"
FIRST, *_, LAST = free_block(100)


def pool(first: int = FIRST, last: int = LAST) -> PortPool:
    return PortPool(HOST, first, last, rng=random.Random(1))


def open_fds() -> int:
    return len(list(pathlib.Path("/proc/self/fd").iterdir()))


def test_a_pair_is_an_even_port_and_the_next_both_bound_and_non_blocking() -> None:
    """RFC 3550 11: RTP even, RTCP one higher."""
    pair = pool().acquire()
    try:
        assert pair.rtp_port % 2 == 0
        assert pair.rtp.getsockname() == (HOST, pair.rtp_port)
        assert pair.rtcp.getsockname() == (HOST, pair.rtp_port + 1)
        assert not pair.rtp.getblocking()
        assert not pair.rtcp.getblocking()
    finally:
        pair.release()


@pytest.mark.parametrize(
    ("first", "last", "pairs"), [(1, 4, 1), (0, 3, 2), (0, 0, 0)]
)
def test_a_range_with_odd_edges_gives_only_whole_pairs(first: int, last: int, pairs: int) -> None:
    """An odd first port and an even last one have no partner in the range."""
    assert pool(FIRST + first, FIRST + last).capacity == pairs


def test_a_port_just_given_back_is_the_last_to_be_used_again() -> None:
    """Late packets of an ended call must not reach the next one."""
    ports = pool()
    first = ports.acquire()
    first.release()
    others = [ports.acquire() for _ in range(ports.capacity - 1)]
    assert first.rtp_port not in {pair.rtp_port for pair in others}
    again = ports.acquire()
    assert again.rtp_port == first.rtp_port
    for pair in [*others, again]:
        pair.release()


def test_the_order_of_ports_is_not_that_of_their_numbers() -> None:
    """An outsider who knows one port must not know the next."""
    ports = pool()
    pairs = [ports.acquire() for _ in range(10)]
    numbers = [pair.rtp_port for pair in pairs]
    for pair in pairs:
        pair.release()
    assert numbers != sorted(numbers)


@pytest.mark.parametrize("offset", [0, 1])
def test_ports_of_other_programs_are_skipped_and_counted(offset: int) -> None:
    """A stranger on either port of a pair spoils that pair only."""
    ports = pool(FIRST, FIRST + 3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind((HOST, FIRST + offset))
        pair = ports.acquire()
        assert pair.rtp_port == FIRST + 2
        with pytest.raises(PortsExhausted):
            ports.acquire()
        pair.release()
    assert ports.skipped > 0
    assert ports.in_use == 0


def test_an_exhausted_range_says_so_and_recovers() -> None:
    """After one release there is room for one call again."""
    ports = pool(FIRST, FIRST + 7)
    pairs = [ports.acquire() for _ in range(4)]
    with pytest.raises(PortsExhausted) as refusal:
        ports.acquire()
    assert refusal.value.cause == "range"
    pairs.pop().release()
    pairs.append(ports.acquire())
    for pair in pairs:
        pair.release()
    assert ports.in_use == 0


def test_a_process_out_of_descriptors_is_told_apart_from_a_full_range() -> None:
    """The cure is another one; and what was half opened is closed."""
    ports = pool()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = open_fds()
    held: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 16, hard))
    try:
        while True:
            try:
                held.append(os.dup(0))
            except OSError:
                break
        os.close(held.pop())  # room for the RTP socket, none for RTCP
        with pytest.raises(PortsExhausted) as refusal:
            ports.acquire()
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert refusal.value.cause == "descriptors"
    assert "descriptor" in str(refusal.value) or "open files" in str(refusal.value)
    assert ports.in_use == 0
    assert open_fds() == before


def test_releasing_twice_gives_the_port_back_once() -> None:
    """A port in the pool twice would be given to two calls."""
    ports = pool(FIRST, FIRST + 3)
    pair = ports.acquire()
    pair.release()
    pair.release()
    assert ports.in_use == 0
    taken = [ports.acquire(), ports.acquire()]
    assert {p.rtp_port for p in taken} == {FIRST, FIRST + 2}
    for p in taken:
        p.release()


def test_many_threads_never_get_the_same_port_and_leave_nothing_behind() -> None:
    """The SIP thread takes while the event loop gives back."""
    ports = pool()
    before, seen, problems = open_fds(), set[int](), list[str]()
    lock = threading.Lock()

    def work() -> None:
        for _ in range(60):
            pair: PortPair = ports.acquire()
            with lock:
                if pair.rtp_port in seen:
                    problems.append(f"{pair.rtp_port} twice")
                seen.add(pair.rtp_port)
            with lock:
                seen.discard(pair.rtp_port)
                pair.release()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert ports.in_use == 0
    assert open_fds() == before


def test_the_receive_buffer_holds_a_call_while_its_worker_is_replaced() -> None:
    """200 packets that nobody reads, 4 s at 20 ms, must all be there afterwards."""
    pair = pool().acquire()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            for number in range(200):
                peer.sendto(bytes(172 - 2) + number.to_bytes(2, "big"), (HOST, pair.rtp_port))
        got = [int.from_bytes(pair.rtp.recv(2000)[-2:], "big") for _ in range(200)]
        assert got == list(range(200))
    finally:
        pair.release()
