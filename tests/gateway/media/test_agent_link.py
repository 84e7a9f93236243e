# SPDX-License-Identifier: GPL-2.0-or-later
"""One connection to an agent: connecting, a slow reader, the end; with real sockets and a virtual clock."""

from __future__ import annotations

import contextlib
import pathlib
import select
import socket

import msgspec
import numpy as np
import pytest

from support.agent_rig import AgentRig
from trunkline.agent_bridge import wire
from trunkline.gateway.media import agent_link, control
from trunkline.gateway.media.outbox import Outbox


def test_a_full_queue_of_connections_is_waited_for(short_path: pathlib.Path) -> None:
    """A Unix listener that is behind with accept() gets its connections a little later."""
    rig = AgentRig(short_path, "audiosocket", backlog=1)
    streams = [rig.call() for _ in range(6)]
    rig.tick(ms=100)
    assert not rig.of(control.StreamFailed)
    accepted = []
    for _ in streams:
        accepted.append(rig.accept())
        rig.tick(ms=25, times=3)
    assert all(stream.link is not None and stream.link.connected for stream in streams)
    assert rig.posted == []


def test_a_queue_of_connections_that_stays_full_is_a_sentence(short_path: pathlib.Path) -> None:
    """After connect_timeout the call fails, and the reason names what was full."""
    rig = AgentRig(short_path, "audiosocket", backlog=0)
    for _ in range(4):
        rig.call()
    rig.tick(ms=rig.agent.connect_timeout_ms)
    failures = rig.of(control.StreamFailed)
    assert failures
    assert {f.reason for f in failures} == {"agent_unreachable"}
    assert "did not accept within 2000 ms: its queue of connections is full" in failures[0].detail


def test_nobody_listens(short_path: pathlib.Path) -> None:
    """A socket file without a listener fails at once."""
    rig = AgentRig(short_path)
    rig.listener.close()
    rig.call()
    (failed,) = rig.of(control.StreamFailed)
    assert failed.reason == "agent_unreachable"
    assert "ECONNREFUSED" in failed.detail


def stall(rig: AgentRig, rows: list[int]) -> None:
    """Send frames until the agent's socket takes no more."""
    nothing = np.zeros(1, np.int64)
    for row in rows:
        stream = rig.table.streams[row]
        assert stream is not None
        assert stream.link is not None
        while not stream.link.backlog_bytes:
            for _ in range(50):
                rig.links.deliver(
                    np.array([row]), nothing, nothing.astype(np.uint16), np.zeros((1, 160), np.int16)
                )
            rig.links.flush()


def test_an_agent_that_reads_nothing_is_lost_after_five_seconds(short_path: pathlib.Path) -> None:
    """Counted from the last progress: from when something began to wait, not from the call's start."""
    rig = AgentRig(short_path)
    _, (stream,) = rig.up()
    rig.now_ns += 3 * agent_link.STALL_NS  # quiet until now, which is nobody's fault
    stall(rig, [stream.row])
    assert stream.link is not None
    assert stream.link._out.waiting_since_ns == rig.now_ns
    stream.link.handle_timeout(rig.now_ns + agent_link.STALL_NS - 1)
    assert not rig.of(control.StreamFailed)
    stream.link.handle_timeout(rig.now_ns + agent_link.STALL_NS)
    (failed,) = rig.of(control.StreamFailed)
    assert failed.reason == "agent_lost"


def test_a_server_on_tcp_that_reads_nothing_is_noticed_in_seconds(short_path: pathlib.Path) -> None:
    """Of its audio the kernels keep a few seconds, not minutes."""
    rig = AgentRig(short_path, "audiosocket")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
        rig.agent = msgspec.structs.replace(rig.agent, address=address)
        stream = rig.call()
        rig.tick()
        server, _ = listener.accept()
        rig.tick(times=3)
        frame, rows = np.ones((1, 160), np.int16), np.array([stream.row])
        began_ns = rig.now_ns
        while not rig.posted and rig.now_ns - began_ns < 120e9:
            rig.links.deliver(rows, np.zeros(1, np.int64), np.zeros(1, np.uint16), frame)
            rig.tick(ms=20)
        server.close()
    (failed,) = rig.of(control.StreamFailed)
    assert "has read next to nothing for 5 s" in failed.detail
    assert rig.now_ns - began_ns < 30e9


def test_a_stalled_server_keeps_no_descriptor_after_its_call(short_path: pathlib.Path) -> None:
    """An AudioSocket connection whose call is over is closed in 5 s, written or not."""
    rig = AgentRig(short_path, "audiosocket")
    stream = rig.call()
    server = rig.accept()
    rig.tick(times=3)
    stall(rig, [stream.row])
    link = stream.link
    assert link is not None
    rig.links.stop(stream, "caller_hangup", {})
    rig.tick(ms=100)
    assert link.open
    assert rig.links.next_deadline_ns is not None
    rig.tick(ms=agent_link.STALL_NS / 1e6)
    assert link._socket is None
    assert rig.links.next_deadline_ns is None
    server.sock.close()


def test_a_connection_of_one_call_closes_once_its_last_words_are_written(short_path: pathlib.Path) -> None:
    """The hang-up frame still reaches a server that was a little behind."""
    rig = AgentRig(short_path, "audiosocket")
    stream = rig.call()
    server = rig.accept()
    rig.tick(times=3)
    stall(rig, [stream.row])
    link = stream.link
    assert link is not None
    rig.links.stop(stream, "caller_hangup", {})
    received = b""
    for _ in range(2000):
        rig.tick(ms=0.1)
        try:
            received += server.sock.recv(1 << 16)
        except BlockingIOError:
            continue
        if not link.open and received.endswith(b"\x00\x00\x00"):
            break
    assert not link.open
    assert received.endswith(b"\x00\x00\x00")


def test_a_connection_at_rest_is_left_alone_and_wakes_up_by_itself(
    short_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing to write a flush does nothing; a backlog is written when there is room, though nobody adds to it."""
    rig = AgentRig(short_path)
    agent, (stream,) = rig.up()
    watched: list[int] = []
    watch = rig.poller.watch
    monkeypatch.setattr(rig.poller, "watch", lambda fd, mask, call: (watched.append(mask), watch(fd, mask, call)))
    rig.links.flush()
    assert watched == []
    stall(rig, [stream.row])
    assert stream.link is not None
    assert watched[-1] & select.EPOLLOUT
    for _ in range(1000):
        agent.heard()
        rig.tick()
        if not stream.link.backlog_bytes:
            break
    assert not stream.link.backlog_bytes
    assert watched[-1] == select.EPOLLIN
    del watched[:]
    rig.links.flush()
    assert watched == []


def test_what_the_kernel_does_not_take_at_once_waits_in_its_order(short_path: pathlib.Path) -> None:
    """A write of many pieces ends in the middle of one: nothing is lost, doubled or out of order."""
    rig = AgentRig(short_path, "audiosocket")
    stream = rig.call()
    server = rig.accept()
    rig.tick(times=3)
    link = stream.link
    assert link is not None and link.at_rest
    frames = np.arange(400 * 1000, dtype=np.int16).reshape(400, 1000)
    for frame in frames:
        link.speak().send_frame(stream.channel, 0, 0, frame)
    rig.links.flush()
    assert 0 < link.backlog_bytes < frames.nbytes and not link.at_rest
    heard = b""
    for _ in range(1000):
        with contextlib.suppress(BlockingIOError):
            heard += server.sock.recv(10_001)
        rig.tick(ms=0.1)
        if len(heard) == 19 + frames.nbytes + 3 * len(frames):
            break
    assert heard[19:] == b"".join(b"\x10" + (2000).to_bytes(2, "big") + frame.tobytes() for frame in frames)
    assert link.at_rest and not link.backlog_bytes


@pytest.mark.parametrize("piece", [3, 17, 200, 352, 353, 1000, 5000])
def test_speech_and_commands_keep_their_order_however_they_are_cut(short_path: pathlib.Path, piece: int) -> None:
    """Frames, a mark behind each second one, a clear before the last: in one read or in many."""
    rig = AgentRig(short_path)
    agent, (stream,) = rig.up()
    data, zero = b"", np.zeros(1, np.int64)
    for number in range(10):
        pcm = np.full((1, 160), number + 1, np.int16)
        if number == 9:
            data += wire.control_message("clear", channel=stream.channel)
        data += b"".join(wire.audio_messages(np.array([stream.channel], np.uint32), zero, zero.astype(np.uint16), pcm))
        if number % 2:
            data += wire.control_message("mark", channel=stream.channel, name=f"{number}")
    for at in range(0, len(data), piece):
        agent.sock.sendall(data[at : at + piece])
        rig.tick()
    assert [position for position, _ in stream.marks] == [160]
    assert rig.table.formats.at(stream.row).queue.take_all(stream.row).tolist() == [10] * 160
    (cleared,) = (message for message in agent.heard() if message["type"] == "cleared")
    assert cleared["marks"] == ["1", "3", "5", "7"]
    assert cleared["discarded_ms"] == 180


def test_who_only_speaks_is_not_pinged(short_path: pathlib.Path) -> None:
    """Speech that goes straight to its queue is a sign of life too; without it a ping comes in time."""
    rig = AgentRig(short_path)
    agent, (stream,) = rig.up()
    for _ in range(8):
        agent.speak([stream.channel], np.zeros((1, 160), np.int16))
        rig.tick(ms=1000)
        assert agent.heard() == []
    rig.tick(ms=2400)
    assert agent.heard() == []
    rig.tick(ms=200)
    assert [message["type"] for message in agent.heard()] == ["ping"]


def test_the_outbox_keeps_order_and_counts_bytes() -> None:
    """Whatever the socket takes at a time, what comes out is what was put in."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        outbox = Outbox()
        pieces = [bytes([i]) * 4000 for i in range(200)]
        outbox.put(pieces[:100], 5)
        outbox.put(pieces[100:], 6)
        assert outbox.waiting_since_ns == 5
        assert outbox.size_bytes == 800_000
        received = b""
        while outbox or len(received) < 800_000:
            outbox.write(ours, 7)
            received += theirs.recv(1 << 16)
        assert received == b"".join(pieces)
        assert outbox.size_bytes == 0
        assert outbox.waiting_since_ns == 7
