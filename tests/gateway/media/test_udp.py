# SPDX-License-Identifier: GPL-2.0-or-later
"""Sockets of a worker over loopback: what comes, from whom, and what leaves; compiled and not, with the same result."""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.media_rig import MS, start_message
from trunkline.gateway.media import compiled, poller, source, udp
from trunkline.gateway.media.batch import PACKET_BYTES, Batch
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.poller import EpollPoller
from trunkline.gateway.media.sockaddr import Sources, pack, unpack
from trunkline.gateway.media.table import Stream, Table

LINES = 5
IP_RECVERR = 11
Seen = tuple[bytes, int, bool, tuple[str, int]]
"payload, length, named, address"


def _hosts() -> list[str]:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return ["127.0.0.1"]
    return ["127.0.0.1", "::1"]


HOSTS = _hosts()


def udp_socket(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.settimeout(5)
    return sock


def place(sock: socket.socket) -> tuple[str, int]:
    return sock.getsockname()[:2]


class Line:
    """A call's socket, its peer, and somebody else at the same host."""

    def __init__(self, wires: Wires, host: str) -> None:
        self.wires = wires
        self.ours, self.peer, self.stranger = (udp_socket(host) for _ in range(3))
        self.stream: Stream = wires.table.take(start_message(), self.ours, None)
        self.stream.remote = place(self.peer)
        wires.sockets.add(self.stream)
        wires.poller.watch_silently(self.ours.fileno())
        self.waiting: collections.deque[Seen] = collections.deque()
        "what has not been read, as it must be read"

    def say(self, data: bytes, *, stranger: bool = False) -> None:
        speaker = self.stranger if stranger else self.peer
        speaker.sendto(data, place(self.ours))
        named = self.stream.remote == place(speaker)
        self.waiting.append((data[:PACKET_BYTES], min(len(data), PACKET_BYTES), named, place(speaker)))

    def turn(self) -> None:
        """The other one is the peer from now on."""
        self.peer, self.stranger = self.stranger, self.peer
        self.stream.remote = place(self.peer)
        self.waiting = collections.deque(
            (data, size, address == self.stream.remote, address) for data, size, _, address in self.waiting
        )

    def renumber(self, least: int) -> int:
        """Our socket gets the first free descriptor from this one on."""
        self.wires.sockets.remove(self.stream)
        self.wires.poller.forget(self.ours.fileno())
        fd = fcntl.fcntl(self.ours.fileno(), fcntl.F_DUPFD, least)
        self.ours.close()
        self.ours = self.stream.rtp = socket.socket(fileno=fd)
        self.wires.table.rtp_fd[self.stream.row] = fd
        self.wires.sockets.add(self.stream)
        self.wires.poller.watch_silently(fd)
        return fd

    def end(self) -> None:
        """As a worker ends a call."""
        self.wires.table.release(self.stream)
        self.wires.sockets.remove(self.stream)
        self.wires.poller.forget(self.ours.fileno())
        for sock in (self.ours, self.peer, self.stranger):
            sock.close()


class Wires:
    """Sockets and poller of a worker, and who talks to them."""

    def __init__(self, *, kernels: bool, hosts: list[str]) -> None:
        with contextlib.ExitStack() as stack:
            if not kernels:
                stack.enter_context(mock.patch.object(compiled, "native", None))
            elif compiled.native is None:
                pytest.skip("nothing is compiled")
            self.table = Table(Columns(8))
            self.poller = EpollPoller()
            self.sockets = udp.UdpSockets(self.table)
        self.lines = [Line(self, host) for host in hosts]
        self._looked: list[Line] = []

    def line(self, row: int) -> Line:
        return next(line for line in self.lines if line.stream.row == row)

    def look(self, *, behind: bool = False) -> dict[int, Seen]:
        """What a look brings, by row."""
        batch, others = self.sockets.receive(self.poller.poll(0), behind=behind)
        assert others == []
        return {} if batch is None else by_row(batch)

    def expect(self, *, behind: bool = False) -> dict[int, Seen]:
        """What it must bring."""
        candidates = self._looked if behind else self.lines
        self._looked = [line for line in candidates if line.waiting]
        return {line.stream.row: line.waiting.popleft() for line in self._looked}

    def replace(self, i: int) -> None:
        """A call ends and another begins, whose sockets get descriptors of the old one."""
        host = place(self.lines[i].ours)[0]
        self.lines[i].end()
        self.lines[i] = Line(self, host)

    def close(self) -> None:
        for line in self.lines:
            line.end()
        self.poller.epoll.close()


def by_row(batch: Batch) -> dict[int, Seen]:
    assert len(set(batch.rows.tolist())) == len(batch.rows)
    return {
        int(row): (bytes(packet[:size]), int(size), bool(named), batch.addresses[i])
        for i, (row, packet, size, named) in enumerate(
            zip(batch.rows, batch.packets, batch.lengths, batch.named, strict=True)
        )
    }


@pytest.fixture(params=[True, False], ids=["compiled", "plain"])
def kernels(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def wires(kernels: bool) -> Iterator[Wires]:
    wires = Wires(kernels=kernels, hosts=[HOSTS[i % len(HOSTS)] for i in range(LINES)])
    yield wires
    wires.close()


numbers = st.integers(0, LINES - 1)
sizes = st.sampled_from([0, 1, 12, 172, 1472, PACKET_BYTES - 1, PACKET_BYTES, PACKET_BYTES + 1, 5000])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("say"), numbers, sizes, st.booleans()),
        st.tuples(st.just("say"), numbers, sizes, st.booleans()),
        st.tuples(st.just("look"), st.booleans()),
        st.tuples(st.just("turn"), numbers),
        st.tuples(st.just("replace"), numbers),
    ),
    max_size=40,
)


@pytest.mark.parametrize("compiled_too", [True, False], ids=["compiled", "plain"])
@settings(max_examples=60, deadline=None)
@given(hosts=st.lists(st.sampled_from(HOSTS), min_size=LINES, max_size=LINES), steps=steps, fill=st.integers(0, 255))
def test_a_look_brings_one_datagram_of_each_socket(
    compiled_too: bool, hosts: list[str], steps: list[tuple], fill: int
) -> None:
    """In order, whole up to the room for one, by whom it was sent; of an ended call nothing."""
    wires = Wires(kernels=compiled_too, hosts=hosts)
    try:
        within = False  # a tick: calls end only between two of them
        for number, (kind, *what) in enumerate([*steps, ("look", False), ("look", True), ("look", True)]):
            if kind == "look":
                behind = within and what[0]
                assert wires.look(behind=behind) == wires.expect(behind=behind)
                within = True
            elif kind == "say":
                data = bytes((fill + number + k) & 255 for k in range(what[1]))
                wires.lines[what[0]].say(data, stranger=what[2])
            elif kind == "turn":
                wires.lines[what[0]].turn()
            else:
                wires.replace(what[0])
                within = False
    finally:
        wires.close()


def test_what_comes_behind_others_is_for_the_next_tick(wires: Wires) -> None:
    """A later look of a tick reads what lies behind a packet of the one before, nothing else."""
    first, second = wires.lines[0], wires.lines[1]
    for text in (b"a", b"b"):
        first.say(text)
    assert set(wires.look()) == {first.stream.row}
    second.say(b"new")
    assert [seen[0] for seen in wires.look(behind=True).values()] == [b"b"]
    assert wires.look(behind=True) == {}
    first.say(b"c")
    assert wires.look(behind=True) == {}, "nothing was there in the last look"
    assert {seen[0] for seen in wires.look().values()} == {b"c", b"new"}


def test_more_than_a_batch_has_room_for_waits(kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "BATCH_PACKETS", 3)
    wires = Wires(kernels=kernels, hosts=["127.0.0.1"] * LINES)
    for i, line in enumerate(wires.lines):
        line.say(bytes([i]))
    looks = [wires.look(), wires.look(), wires.look()]
    assert [len(look) for look in looks] == [3, 2, 0]
    assert {row: seen[0] for look in looks for row, seen in look.items()} == {
        line.stream.row: bytes([i]) for i, line in enumerate(wires.lines)
    }
    wires.close()


def test_more_than_a_look_names_is_for_the_next(kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel begins with the others then."""
    for module in (udp, poller):
        monkeypatch.setattr(module, "MOST_FOUND", 3)
    wires = Wires(kernels=kernels, hosts=["127.0.0.1"] * LINES)
    for line in wires.lines:
        line.say(b"first")
        line.say(b"second")
    looks = [wires.look(), wires.look()]
    assert [len(look) for look in looks] == [3, 3]
    assert len({row for look in looks for row in look}) == LINES
    wires.close()


def test_whoever_has_more_to_read_is_known(wires: Wires) -> None:
    """Rows whose sockets are ready; others that the poller names are none, and so is nobody."""
    assert wires.sockets.waiting(wires.poller.poll(0)).tolist() == []
    ours, theirs = socket.socketpair()
    wires.poller.watch(ours.fileno(), select.EPOLLIN, lambda events: None)
    theirs.send(b"agent")
    rows = {line.stream.row for line in wires.lines[1:3]}
    for line in wires.lines[1:3]:
        line.say(b"first")
    wires.lines[1].say(b"second")
    assert sorted(wires.sockets.waiting(wires.poller.poll(0)).tolist()) == sorted(rows)
    wires.poller.forget(ours.fileno())
    wires.look()
    assert wires.sockets.waiting(wires.poller.poll(0)).tolist() == [wires.lines[1].stream.row]
    wires.look()
    assert wires.sockets.waiting(wires.poller.poll(0)).tolist() == []
    ours.close()
    theirs.close()


def test_a_descriptor_that_is_used_again_is_not_of_the_old_row(wires: Wires) -> None:
    """By another call in another row; by something that is not RTP at all."""
    old = [wires.lines[0], wires.lines[1]]
    fds = [line.ours.fileno() for line in old]
    rows = [line.stream.row for line in old]
    for line in old:
        line.end()
    ours, theirs = socket.socketpair()
    assert ours.fileno() == fds[0]
    wires.poller.watch(ours.fileno(), select.EPOLLIN, lambda events: None)
    os.dup2(theirs.fileno(), fds[1])  # so that nothing else gets it
    wires.lines[:2] = [Line(wires, HOSTS[0]), Line(wires, HOSTS[0])]
    os.close(fds[1])
    assert wires.lines[0].renumber(fds[1]) == fds[1]
    assert [line.stream.row for line in wires.lines[:2]] == rows[::-1]
    theirs.send(b"agent")
    for i, line in enumerate(wires.lines):
        line.say(bytes([i]))
    batch, others = wires.sockets.receive(wires.poller.poll(0))
    assert batch is not None and by_row(batch) == wires.expect()
    assert [tuple(other) for other in others] == [(fds[0], select.EPOLLIN)]
    wires.poller.forget(ours.fileno())
    ours.close()
    theirs.close()


def test_a_descriptor_of_any_number_is_found(wires: Wires) -> None:
    """Tables by descriptor grow."""
    line = wires.lines[0]
    assert line.renumber(900) >= 900
    for each in wires.lines:
        each.say(b"here")
    assert wires.look() == wires.expect()
    assert wires.sockets.send(np.array([line.stream.row], np.intp), np.ones((1, 4), np.uint8)).all()
    assert line.peer.recv(10) == bytes([1] * 4)


def test_what_cannot_be_read_after_all_is_no_packet(wires: Wires) -> None:
    """A socket that somebody has emptied; one that has an error of the network to tell."""
    emptied, told, usual = wires.lines[0], wires.lines[2], wires.lines[4]
    for line in (emptied, usual):
        line.say(b"packet")
    told.ours.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    told.peer.close()
    told.ours.sendto(b"anybody?", told.stream.remote)
    ready = wires.poller.poll(0)
    assert len(ready) == 3
    emptied.ours.recv(100)
    batch, others = wires.sockets.receive(ready)
    assert batch is not None and set(by_row(batch)) == {usual.stream.row} and others == []
    assert wires.look() == {}


def test_the_first_packet_of_a_tick_is_timed(wires: Wires) -> None:
    """By the kernel's clock: how long it had waited."""
    wires.lines[3].say(b"long ago")
    time.sleep(0.02)
    wires.lines[1].say(b"now")
    wires.sockets.sampled_row = -1
    wires.look()
    assert wires.sockets.sampled_row == wires.lines[3].stream.row
    assert 20 * MS <= wires.sockets.sampled_age_ns < 1000 * MS
    wires.lines[1].say(b"behind")
    age_ns = wires.sockets.sampled_age_ns
    wires.look(behind=True)
    assert (wires.sockets.sampled_row, wires.sockets.sampled_age_ns) == (wires.lines[3].stream.row, age_ns)


def test_part_of_a_batch_keeps_its_addresses(wires: Wires) -> None:
    """Also after the next look has brought others."""
    for i, line in enumerate(wires.lines):
        line.say(b"packet", stranger=i % 2 == 1)
    batch, _ = wires.sockets.receive(wires.poller.poll(0))
    assert batch is not None
    seen = by_row(batch)
    part = batch.part(np.array([4, 1], np.intp))
    rows = part.rows.tolist()
    for line in wires.lines:
        line.say(b"other", stranger=True)
    assert set(wires.look()) == set(seen)
    assert by_row(part) == {row: seen[row] for row in rows}


@pytest.mark.parametrize("each", [False, True], ids=["alike", "each its length"])
def test_packets_go_where_their_rows_peers_are(wires: Wires, each: bool) -> None:
    """What lies behind a packet in its row of the array stays here."""
    rows = np.array([line.stream.row for line in wires.lines][::-1], np.intp)
    buffer = np.arange(LINES * 40, dtype=np.uint8).reshape(LINES, 40)
    lengths = np.array([12, 40, 1, 33, 0], np.int32) if each else None
    assert wires.sockets.send(rows, buffer[:, :40] if each else buffer[:, :17], lengths).all()
    for i, line in enumerate(reversed(wires.lines)):
        data, address = line.peer.recvfrom(100)
        size = 17 if lengths is None else int(lengths[i])
        assert (data, address[:2]) == (bytes(buffer[i, :size]), place(line.ours))


def test_reports_go_where_peers_want_their_rtcp(wires: Wires) -> None:
    """Port and socket of their own, or those of RTP (RFC 5761); what has no address goes nowhere."""
    for host, muxed in ((host, muxed) for host in HOSTS for muxed in (False, True)):
        with udp_socket(host) as rtp, udp_socket(host) as rtcp, udp_socket(host) as peer, udp_socket(host) as other:
            message = start_message(rtcp_mux=muxed, remote_rtcp_host=host, remote_rtcp_port=place(other)[1])
            stream = wires.table.take(message, rtp, rtcp)
            wires.table.apply(stream, stream.media)
            stream.remote = place(peer)
            rows = np.array([stream.row, wires.lines[0].stream.row], np.intp)
            wires.sockets.send_reports(rows, np.array([[1, 2, 3], [4, 5, 6]], np.uint8))
            data, address = (peer if muxed else other).recvfrom(100)
            assert (data, address[:2]) == (b"\1\2\3", place(rtp if muxed else rtcp))
            assert wires.lines[0].peer.recv(100) == b"\4\5\6"
            stream.remote_rtcp = stream.remote = ("nobody", 9)
            wires.sockets.send_reports(rows, np.array([[7], [8]], np.uint8))
            assert wires.lines[0].peer.recv(100) == b"\x08"
            wires.table.release(stream)
            assert wires.table.rtcp_fd[stream.row] == -1


def test_packets_follow_a_peer_that_moves(wires: Wires) -> None:
    line = wires.lines[0]
    one, data = np.array([line.stream.row], np.intp), np.full((1, 5), 7, np.uint8)
    source.take_over(wires.table, line.stream, place(line.stranger))
    wires.sockets.send(one, data)
    assert line.stranger.recv(10) == bytes([7] * 5)
    with udp_socket(HOSTS[0]) as other:
        source.move(wires.table, line.stream, place(other), 0)
        wires.sockets.send(one, data)
        assert other.recv(10) == bytes([7] * 5)
        other.sendto(b"me", place(line.ours))
        line.say(b"not me")
        assert wires.look()[line.stream.row][2:] == (True, place(other))
        assert wires.look()[line.stream.row][2:] == (False, place(line.peer))


def test_what_the_kernel_refuses_is_named_and_keeps_nobody_else_from_sending(wires: Wires) -> None:
    """No port, no address, another family, too long a datagram; a peer that is gone is no refusal, nor an empty row."""
    gone = wires.table.take(start_message(), wires.lines[0].ours, None)
    wires.table.release(gone)
    streams = [line.stream for line in wires.lines]
    wires.lines[4].peer.close()
    rows = np.array([*(stream.row for stream in streams), gone.row], np.intp)
    packets = np.ones((len(rows), 70_000), np.uint8)
    lengths = np.array([10, 10, 10, 70_000, 10, 10], np.int32)
    streams[1].remote = (HOSTS[0], 0)
    streams[2].remote = (HOSTS[0], 1 << 17)
    assert wires.sockets.send(rows, packets, lengths).tolist() == [True, False, False, False, True, True]
    for remote in (("::1", 9), ("nobody", 9), ("", 0), ("255.255.255.255", 9)):
        streams[0].remote = remote
        assert wires.sockets.send(rows[:1], packets[:1, :10]).tolist() == [False]
    assert wires.sockets.send(rows, packets).tolist() == [False] * 5 + [True]
    assert wires.lines[0].peer.recv(100) == bytes([1] * 10)


def test_waiting_lets_other_threads_work(wires: Wires) -> None:
    """... and ends when something comes, or when time is up."""
    begun = time.monotonic()
    assert len(wires.poller.poll(0.03)) == 0
    assert time.monotonic() - begun >= 0.03
    line = wires.lines[0]
    talker = threading.Timer(0.02, line.say, (b"packet",))
    talker.start()
    assert len(wires.poller.poll(30)) == 1
    assert time.monotonic() - begun < 20
    talker.join()


def test_a_signal_is_handled_while_waiting(wires: Wires) -> None:
    """What its handler raises ends the wait."""

    def handler(number: int, frame: object) -> None:
        raise InterruptedError("by the test")

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.03)
    try:
        with pytest.raises(InterruptedError, match="by the test"):
            wires.poller.poll(30)
    finally:
        signal.signal(signal.SIGALRM, before)


@given(address=st.ip_addresses(), port=st.integers(0, 65535))
def test_addresses_as_the_kernel_has_them(address: IPv4Address | IPv6Address, port: int) -> None:
    host, number = unpack(pack((str(address), port)).tobytes())
    assert (ip_address(host), number) == (address, port)


@pytest.mark.parametrize(
    "address", [("", 0), ("pbx.example.com", 5), ("::1%eth0", 5), ("127.0.0.1", 1 << 16), ("::1", -1)]
)
def test_what_is_no_address_is_packed_as_none(address: tuple[str, int]) -> None:
    assert not pack(address).any()
    assert Sources(pack(address)[None])[np.intp(0)] == ("", 0)


def test_nobody_reads_or_writes_beyond_what_there_is() -> None:
    """Events that are not there, rows that have no place."""
    waiting = compiled.bind("waiting", np.zeros(4, np.int32), np.zeros(2, np.intp))
    if waiting is None:
        pytest.skip("nothing is compiled")
    events = np.zeros((8, poller.EVENT_BYTES), np.uint8)
    assert waiting(events, 2) == 2, "two events of descriptor 0"
    for count in (3, 9, -1):
        with pytest.raises(ValueError, match="no room"):
            waiting(events, count)
    events[:] = 0xFF  # descriptor -1
    assert waiting(events, 2) == 0
