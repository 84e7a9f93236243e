# SPDX-License-Identifier: GPL-2.0-or-later
"""What a digest of everything that leaves tells apart, and what it does not."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import numpy as np
import pytest

from support.virtual_agent import VirtualAgent
from support.virtual_engine import BLOCK_BYTES, UNREAD_BATCHES, Digests, RecordingSockets, Sum
from support.virtual_network import _order
from trunkline.agent_bridge import wire


class Sender:
    """Sends by hand."""

    def __init__(self) -> None:
        self.now_ns, self.digests = 0, Digests()
        self.sockets = RecordingSockets(4, self.digests, lambda: self.now_ns)

    def packets(self, *rows: int, sound: int = 1) -> None:
        packets = np.full((len(rows), 20), sound, np.uint8)
        packets[:, :12] = np.array(rows, np.uint8)[:, None] + np.arange(12, dtype=np.uint8)
        self.sockets.send(np.array(rows, np.intp), packets)

    def frames(self, *rows: int) -> None:
        self.digests.count_frames(len(rows))

    def mark(self) -> None:
        self.digests.others(wire.control_message("mark", name="x"))

    def report(self) -> None:
        self.sockets.send_reports(np.zeros(1, np.intp), np.full((1, 28), 7, np.uint8))

    def later(self) -> None:
        self.now_ns += 1

    def exact(self) -> str:
        self.sockets.read()
        return self.digests.exact_hexdigest()


Steps = list[Callable[[Sender], None]]


def digest(steps: Steps) -> str:
    sender = Sender()
    for step in steps:
        step(sender)
    return sender.exact()


def packets(*rows: int, sound: int = 1) -> Callable[[Sender], None]:
    return lambda sender: sender.packets(*rows, sound=sound)


def frames(*rows: int) -> Callable[[Sender], None]:
    return lambda sender: sender.frames(*rows)


@pytest.mark.parametrize("said", [Sender.mark, Sender.report])
@pytest.mark.parametrize("sent", [packets(1), frames(1)])
def test_a_message_before_is_not_one_behind(
    said: Callable[[Sender], None], sent: Callable[[Sender], None]
) -> None:
    assert digest([said, sent]) != digest([sent, said])


def test_a_message_knows_behind_which_packet_it_is() -> None:
    """Also within one moment, in which packets to others have no order."""
    assert digest([packets(1), Sender.mark, packets(2)]) != digest([packets(2), Sender.mark, packets(1)])


def test_packets_of_a_moment_are_the_same_in_any_batches() -> None:
    whole = digest([packets(0, 1, 2, 3), Sender.mark])
    assert digest([packets(0, 3), packets(1), packets(2, sound=9), Sender.mark]) == whole
    assert digest([packets(0, 3), Sender.later, packets(1, 2), Sender.mark]) != whole
    assert digest([packets(0, 1, 2, 2), Sender.mark]) != whole


def test_when_packets_are_looked_at_does_not_matter() -> None:
    """So many batches that they are, in the middle of a moment or not."""
    few: Steps = [packets(2, 3), packets(0, 1), Sender.later] * UNREAD_BATCHES
    many: Steps = [packets(0), packets(3), packets(2), packets(1), Sender.later] * UNREAD_BATCHES
    assert digest(few) == digest(many)


def test_ticks_that_are_too_long_to_sort_are_refused() -> None:
    one = np.ones(2, np.int64)
    with pytest.raises(AssertionError, match="too long"):
        _order(one, np.array([5, 4]), np.array([0, 70_000]))


@pytest.mark.parametrize("size", [0, 7, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BLOCK_BYTES + 5])
def test_a_sum_is_of_a_stream_in_whatever_pieces_it_comes(size: int) -> None:
    """And tells apart what differs in one bit, wherever that is, or in length."""
    rng = random.Random(size)
    data = rng.randbytes(size)
    whole = total(data)
    cuts = sorted(rng.randint(0, size) for _ in range(9))
    assert total(*(data[a:b] for a, b in itertools.pairwise([0, *cuts, size]))) == whole
    for place in {0, size // 2, size - 1} if size else ():
        other = bytearray(data)
        other[place] ^= 1
        assert total(bytes(other)) != whole
    assert total(data, b"\0") != whole


def total(*pieces: bytes) -> bytes:
    one = Sum()
    for piece in pieces:
        one.update(piece)
    return one.digest()


def test_frames_are_the_same_in_any_messages() -> None:
    """Which frames are in one message depends on what is done in one go; in which order they come does not."""
    whole = said([0, 1, 2, 3])
    assert said([0], [1, 2], [3]) == whole
    assert said([1, 0, 2, 3])[1] != whole[1]
    louder = said([0, 1], [2], [3], sound=9)
    assert louder[0] != whole[0] and louder[1] == whole[1]


def said(*messages: list[int], sound: int = 1) -> tuple[str, str]:
    """The digests of all bytes, and of those that are no samples, of messages with frames of these channels."""
    agent, digests = VirtualAgent(4), Digests()
    for channel in range(4):
        agent.take(wire.control_message("start", channel=channel))
    agent.on_records, agent.on_heads, agent.on_count = digests.samples, digests.frames, digests.count_frames
    for rows in messages:
        channels, nothing = np.array(rows, np.uint32), np.zeros(len(rows), np.int64)
        pcm = np.full((len(rows), 8), sound, np.int16)
        agent.socket.sendmsg(list(wire.audio_messages(channels, nothing, nothing.astype(np.uint16), pcm)))
    assert agent.frames.tolist() == [1, 1, 1, 1]
    return digests.hexdigest(), digests.exact_hexdigest()
