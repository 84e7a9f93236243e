# SPDX-License-Identifier: GPL-2.0-or-later
"""Agents that ask for more than they read, or say what means nothing: they lose their call, and cost no memory."""

from __future__ import annotations

import pathlib
import socket

import msgspec
import pytest

from support.agent_rig import AgentRig
from support.raw_websocket import PING, TEXT, answered, frame, text, websocket_rig
from trunkline.gateway.media import control
from trunkline.gateway.media.agent_asks import AgentFailed
from trunkline.gateway.media.agent_link import MOST_BACKLOGS


def say(rig: AgentRig, sock: socket.socket, data: bytes, ms: float = 0.1, trickle: int = 0) -> int:
    """Say it again and again, reading `trickle` bytes a tick, until the worker has had enough; the most that waited."""
    sock.setblocking(False)
    worst, left = 0, b""
    for _ in range(3000):
        try:
            left = left or data
            left = left[sock.send(left) :]
            if trickle:
                sock.recv(trickle)
        except (BlockingIOError, ConnectionError):
            pass
        (stream,) = (stream for stream in rig.table.streams if stream is not None)
        rig.tick(ms=ms)
        if stream.link is None:
            break
        worst = max(worst, stream.link.backlog_bytes)
    return worst


@pytest.mark.parametrize(
    ("dialect", "data"),
    [
        ("twilio", text({"event": "mark", "mark": {"name": "m" * 250}}) * 50),
        ("asterisk-websocket", text({"command": "SET_MEDIA_DIRECTION", "direction": "x" * 250}) * 50),
    ],
)
def test_answers_that_nobody_reads_are_bounded(short_path: pathlib.Path, dialect: str, data: bytes) -> None:
    """Frames are dropped from a backlog of 256 kB on; marks and errors are not, so they end the connection."""
    rig = websocket_rig(short_path, dialect)
    rig.agent = msgspec.structs.replace(rig.agent, flood_commands=1_000_000)
    stream, sock = answered(rig)
    assert stream.link is not None
    limit = MOST_BACKLOGS * stream.link.limit_bytes
    assert stream.link.limit_bytes < say(rig, sock, data) <= limit
    (failed,) = rig.of(AgentFailed)
    assert failed.reason == "agent_hung" and "kB wait for it" in failed.detail


def test_an_agent_that_reads_a_little_now_and_then_hangs(short_path: pathlib.Path) -> None:
    """100 bytes a second are no progress: a hundredth of the audio."""
    rig = websocket_rig(short_path, "twilio")
    rig.agent = msgspec.structs.replace(rig.agent, flood_commands=1_000_000)
    stream, sock = answered(rig)
    mark = text({"event": "mark", "mark": {"name": "m" * 250}}) * 20
    while stream.link is not None and not stream.link.backlog_bytes:
        sock.sendall(mark)
        rig.tick()
    begun_ns = rig.now_ns
    say(rig, sock, b"\x89\x00", ms=50, trickle=5)
    (failed,) = rig.of(AgentFailed)
    assert failed.reason == "agent_hung" and "5 s" in failed.detail
    assert 4.9e9 < rig.now_ns - begun_ns < 7e9


def test_frames_that_mean_nothing_count_as_commands(short_path: pathlib.Path) -> None:
    """AudioSocket's kinds that there are not."""
    rig = AgentRig(short_path, "audiosocket")
    rig.agent = msgspec.structs.replace(rig.agent, flood_commands=1000)
    rig.call()
    server = rig.accept().sock
    rig.tick(times=4)
    say(rig, server, b"\x77\0\0" * 50)
    (failed,) = rig.of(AgentFailed)
    assert failed.reason == "agent_flooded"


@pytest.mark.parametrize(
    "data",
    [frame(PING, b""), frame(TEXT, b'{"event":"x"}'), text({"event": "clear", "streamSid": "MZother"})],
    ids=["pings", "unknown", "of another stream"],
)
def test_what_means_nothing_counts_as_a_command(short_path: pathlib.Path, data: bytes) -> None:
    """More than `flood_commands` of them a second lose the call."""
    rig = websocket_rig(short_path, "twilio")
    rig.agent = msgspec.structs.replace(rig.agent, flood_commands=1000)
    _, sock = answered(rig)
    say(rig, sock, data * 50, trickle=65536)
    (failed,) = rig.of(AgentFailed)
    assert failed.reason == "agent_flooded" and rig.of(control.StreamFailed)
