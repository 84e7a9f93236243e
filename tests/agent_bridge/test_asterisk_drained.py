# SPDX-License-Identifier: MIT
"""REPORT_QUEUE_DRAINED: told once, when nothing waits, however much is said meanwhile; at the cost of one mark."""

from __future__ import annotations

import pytest

from support.websocket_peer import Peer
from trunkline.agent_bridge.asterisk_websocket import AsteriskWebSocket
from trunkline.agent_bridge.link_events import Clear, LinkEvent, Mark


@pytest.fixture
def peer(info) -> Peer:
    """An application that has a call."""
    return Peer(AsteriskWebSocket, ["media"], sample_rate_hz=8000).up(info(sample_rate_hz=8000))


def marks(events: list[LinkEvent]) -> list[str]:
    return [event.name for event in events if isinstance(event, Mark)]


def say(peer: Peer, *words: str, frames: int = 0) -> list[LinkEvent]:
    for word in words:
        peer.server.send_text(word.encode())
    for _ in range(frames):
        peer.server.send_binary(b"\1\0" * 160)
    return peer.deliver()


def settle(peer: Peer, name: str, outcome: str = "played") -> list[LinkEvent]:
    """The mark is settled; what the dialect asks for then is due at once."""
    peer.link.send_mark(7, name, 0, outcome)
    deadline_ns = peer.link.next_deadline_ns
    assert deadline_ns is not None
    return list(peer.link.handle_timeout(peer.now_ns)) if deadline_ns <= peer.now_ns else []


def test_speech_behind_it_costs_no_mark_of_its_own(peer: Peer) -> None:
    """One waits at most; another follows it for as long as something was said."""
    first = marks(say(peer, "REPORT_QUEUE_DRAINED", "MARK_MEDIA mine", frames=1500))
    assert first == [first[0], "mine"], "one mark of ours, not one a message"
    assert settle(peer, first[0]) and peer.texts() == []


def test_it_is_told_once_when_all_is_played(peer: Peer) -> None:
    """Said behind the first mark, and behind the second."""
    (name,) = marks(say(peer, "REPORT_QUEUE_DRAINED", "REPORT_QUEUE_DRAINED", frames=3))
    (second,) = marks(settle(peer, name))
    say(peer, frames=2)
    (third,) = marks(settle(peer, second))
    assert peer.texts() == []
    assert settle(peer, third) == []
    (told,) = peer.texts()
    assert str(told).startswith("QUEUE_DRAINED")
    assert marks(say(peer, frames=3)) == []


def test_a_flush_drains_the_queue(peer: Peer) -> None:
    """Nothing waits any more."""
    (name,) = marks(say(peer, "REPORT_QUEUE_DRAINED", frames=3))
    assert isinstance(say(peer, "FLUSH_MEDIA")[0], Clear)
    peer.link.send_cleared(7, "FLUSH_MEDIA", 0, 60, [name])
    assert [str(text).split()[0] for text in peer.texts()] == ["QUEUE_DRAINED"]


def test_a_mark_that_gave_way_to_others_is_set_again(peer: Peer) -> None:
    """It was not played: something waits still."""
    (name,) = marks(say(peer, "REPORT_QUEUE_DRAINED"))
    (again,) = marks(settle(peer, name, "cleared"))
    assert peer.texts() == []
    settle(peer, again)
    assert len(peer.texts()) == 1
