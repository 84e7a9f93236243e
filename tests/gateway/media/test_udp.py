# SPDX-License-Identifier: GPL-2.0-or-later
"""RTP sockets of a worker, on loopback: connected while the source speaks, open to all when it does not."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest

from support.media_rig import MS, start_message
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.table import Stream, Table
from trunkline.gateway.media.udp import UdpSockets

NOW_NS = 5_000_000_000


def bound(port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", port))
    sock.settimeout(1)
    return sock


def bound_by_number() -> socket.socket:
    """As the gateway binds them: a port that the kernel chose would be lost when the socket is opened again."""
    with bound() as probe:
        port = probe.getsockname()[1]
    return bound(port)


class Call:
    """One call's RTP socket at the worker, its peer, and a stranger on the peer's host."""

    def __init__(self) -> None:
        self.peer, self.stranger, self.ours = bound(), bound(), bound_by_number()
        host, port = self.peer.getsockname()
        self.table = Table(Columns(4))
        message = start_message(remote_host=host, remote_port=port)
        self.stream: Stream = self.table.take(message, self.ours, None)
        self.table.apply(self.stream, self.stream.media)
        self.table.run(self.stream.row)
        self.sockets = UdpSockets(self.table)
        self.sockets.add(self.stream)

    def speaks(self, ago_ms: int = 20) -> None:
        """The peer was heard so long ago; the worker looks."""
        c, row = self.table.shared, self.stream.row
        c.rx_proven[row], c.rx_last_ns[row] = 1, NOW_NS - ago_ms * MS
        self.sockets.look(NOW_NS)

    def say(self, sock: socket.socket, data: bytes) -> None:
        try:
            sock.sendto(data, self.ours.getsockname())
        except ConnectionRefusedError:  # an earlier one was not wanted
            sock.sendto(data, self.ours.getsockname())

    def hear(self) -> list[tuple[bytes, bool]]:
        """What the worker gets: data, and whether it is from where it was expected."""
        out = []
        for _ in range(10):
            batch, others = self.sockets.receive([(self.ours.fileno(), 1), (99_999, 1)])
            assert others == [(99_999, 1)]
            if batch is None:
                time.sleep(0.005)
                continue
            out.append((batch.packets[0, : batch.lengths[0]].tobytes(), bool(batch.named[0])))
        return out

    def send(self, data: bytes) -> bool:
        rows = np.array([self.stream.row], np.intp)
        return bool(self.sockets.send(rows, np.frombuffer(data, np.uint8)[None])[0])

    def close(self) -> None:
        for sock in (self.peer, self.stranger, self.ours):
            sock.close()


@pytest.fixture
def call() -> Iterator[Call]:
    made = Call()
    yield made
    made.close()


def test_before_anybody_has_spoken_all_are_heard(call: Call) -> None:
    call.say(call.peer, b"peer")
    call.say(call.stranger, b"stranger")
    assert sorted(call.hear()) == [(b"peer", True), (b"stranger", False)]
    assert call.send(b"hello") and call.peer.recv(99) == b"hello"


def test_while_the_source_speaks_nobody_else_gets_through(call: Call) -> None:
    """The kernel turns strangers away; both directions go on."""
    call.speaks()
    call.say(call.stranger, b"stranger")
    call.say(call.peer, b"peer")
    assert call.hear() == [(b"peer", True)]
    assert call.send(b"hello") and call.peer.recv(99) == b"hello"


def test_when_the_source_falls_silent_others_may_be_heard_again(call: Call) -> None:
    call.speaks()
    call.speaks(ago_ms=250)
    call.say(call.stranger, b"stranger")
    assert call.hear() == [(b"stranger", False)]
    assert call.send(b"hello") and call.peer.recv(99) == b"hello"


def test_where_another_port_is_followed_the_named_one_keeps_its_rights(call: Call) -> None:
    """Such a socket is not connected: what signalling named may speak again."""
    call.stream.remote = call.stranger.getsockname()
    call.table.shared.rx_followed_port[call.stream.row] = call.stream.remote[1]
    call.speaks()
    call.say(call.peer, b"peer")
    assert call.hear() == [(b"peer", False)]


def test_a_peer_that_is_gone_for_a_moment_costs_no_packet_afterwards(call: Call) -> None:
    """An ICMP error is told of at the next packet, which must leave all the same."""
    call.speaks()
    port = call.peer.getsockname()[1]
    call.peer.close()
    assert call.send(b"into the void")
    time.sleep(0.02)
    call.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    call.peer.bind(("127.0.0.1", port))
    call.peer.settimeout(1)
    assert call.send(b"hello") and call.peer.recv(99) == b"hello"


def test_moved_media_opens_the_socket(call: Call) -> None:
    """`open` is what an UpdateStream does: the new address is heard, and sent to, at once."""
    call.speaks()
    call.sockets.open(call.stream)
    call.stream.remote = call.stream.named = call.stranger.getsockname()
    call.say(call.stranger, b"moved")
    assert call.hear() == [(b"moved", True)]
    assert call.send(b"hello") and call.stranger.recv(99) == b"hello"


def test_a_successor_opens_what_was_connected(call: Call) -> None:
    """A worker that takes a call over gets the socket as its predecessor left it."""
    call.speaks()
    call.stream.resumed = True
    successor = UdpSockets(call.table)
    successor.add(call.stream)
    call.sockets = successor
    call.say(call.stranger, b"stranger")
    assert call.hear() == [(b"stranger", False)]
