# SPDX-License-Identifier: GPL-2.0-or-later
"""Control channel: message boundaries, descriptors, queueing, the end."""

from __future__ import annotations

import gc
import os
import pathlib
import socket
from collections.abc import Iterator

import pytest

from trunkline.gateway.media import channel


@pytest.fixture
def ends() -> Iterator[tuple[channel.Channel, channel.Channel]]:
    ours, theirs = (channel.Channel(end) for end in channel.pair())
    yield ours, theirs
    ours.close()
    theirs.close()


def open_fds() -> int:
    return len(list(pathlib.Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("size", [1, 1000, channel.MAX_MESSAGE_BYTES])
def test_a_message_arrives_whole(ends: tuple[channel.Channel, channel.Channel], size: int) -> None:
    """SOCK_SEQPACKET keeps boundaries up to the largest message."""
    ends[0].send(b"a" * size)
    ends[0].send(b"b")
    assert ends[1].receive() == (b"a" * size, [])
    assert ends[1].receive() == (b"b", [])


def test_a_message_that_is_too_long_is_an_error_of_the_caller(
    ends: tuple[channel.Channel, channel.Channel],
) -> None:
    """It could never be sent, so it must not be queued for ever."""
    with pytest.raises(ValueError, match="65537 bytes"):
        ends[0].send(b"a" * (channel.MAX_MESSAGE_BYTES + 1))


def test_descriptors_arrive_as_duplicates_that_no_child_inherits(
    ends: tuple[channel.Channel, channel.Channel],
) -> None:
    """A socket that is passed is the same socket under another number, close-on-exec."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        ends[0].send(b"take this", [sock.fileno(), sock.fileno()])
        message, fds = ends[1].receive()
        assert message == b"take this"
        assert len(set(fds)) == 2
        assert not any(os.get_inheritable(fd) for fd in fds)
        with socket.socket(fileno=fds[0]) as copy:
            assert copy.getsockname() == sock.getsockname()
        os.close(fds[1])


def test_what_the_kernel_does_not_take_waits_in_order_with_its_descriptors(
    ends: tuple[channel.Channel, channel.Channel],
) -> None:
    """The caller may close its descriptors at once; order is kept; nothing leaks."""
    gc.collect()  # what earlier tests left would be closed in the middle of the count
    before = open_fds()
    count = 3000
    for number in range(count):
        read_end, write_end = os.pipe()
        os.close(write_end)
        with_fd = number % 100 == 0
        ends[0].send(number.to_bytes(4, "big") * 300, [read_end] if with_fd else [])
        os.close(read_end)
    assert ends[0].pending > 0
    got = []
    while len(got) < count:
        try:
            message, fds = ends[1].receive()
        except BlockingIOError:
            ends[0].flush()
            continue
        number = int.from_bytes(message[:4], "big")
        assert len(fds) == (number % 100 == 0)
        for fd in fds:
            os.close(fd)
        got.append(number)
    assert got == list(range(count))
    assert open_fds() == before


def test_an_idle_channel_blocks_nobody(ends: tuple[channel.Channel, channel.Channel]) -> None:
    """Receiving nothing is BlockingIOError, not a wait."""
    with pytest.raises(BlockingIOError):
        ends[1].receive()


@pytest.mark.parametrize("unread", [False, True])
def test_a_peer_that_is_gone_reads_as_the_empty_message(
    ends: tuple[channel.Channel, channel.Channel], unread: bool
) -> None:
    """Also when it died with messages of ours unread, which the kernel calls a reset."""
    if unread:
        ends[0].send(b"never read")
    ends[1].close()
    assert ends[0].receive() == (b"", [])
    with pytest.raises(OSError, match="pipe"):
        ends[0].send(b"x")


def test_closing_drops_the_queue_and_its_descriptors() -> None:
    """A worker that died leaves nothing of its queue in us."""
    before = open_fds()
    ours, theirs = (channel.Channel(end) for end in channel.pair())
    while not ours.pending:
        ours.send(b"x" * 1000, [0])
    ours.send(b"x", [0])
    ours.close()
    theirs.close()
    assert open_fds() == before
