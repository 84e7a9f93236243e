# SPDX-License-Identifier: GPL-2.0-or-later
"""What a digest of everything that leaves tells apart, and what it does not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from support.virtual_engine import UNREAD_BATCHES, Digests, RecordingSockets
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
        channels, nothing = np.array(rows, np.uint32), np.zeros(len(rows), np.int64)
        pcm = np.ones((len(rows), 8), np.int16)
        for message in wire.audio_messages(channels, nothing, nothing.astype(np.uint16), pcm):
            self.digests.message(bytes(message), True)

    def mark(self) -> None:
        self.digests.message(wire.control_message("mark", name="x"), False)

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
