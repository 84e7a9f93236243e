# SPDX-License-Identifier: GPL-2.0-or-later
"""An agent that hangs up closes its connection as well, before the gateway has ended the call: that is no failure."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from support.agent_rig import AgentRig
from support.raw_websocket import answered, close, text, websocket_rig
from trunkline.agent_bridge.links import MESSAGE_DIALECTS
from trunkline.gateway.media import control
from trunkline.gateway.media.agent_asks import AgentFailed
from trunkline.gateway.media.table import Stream

RESCUE = control.RescueParams(within_ms=2000, replay_ms=0)
WORDS = {"jambonz": {"type": "disconnect"}, "asterisk-websocket": "HANGUP"}


def assert_nobody_is_sought(rig: AgentRig, stream: Stream) -> None:
    """The gateway was told of a hang-up, once, and of no failure; no agent is asked, until the stop comes."""
    for n in range(40):
        rig.links.deliver(
            np.array([stream.row]), np.array([n * 160]), np.zeros(1, np.uint16), np.zeros((1, 160), np.int16)
        )
        rig.tick(ms=5)
    assert len(rig.of(control.AgentHangup)) == 1
    assert not rig.of(AgentFailed) and not rig.of(control.StreamFailed)
    assert not [e for e in rig.of(control.AgentEvent) if e.event == "lost"]
    rig.listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        rig.listener.accept()
    rig.links.stop(stream, "agent_hangup", {})
    rig.tick(times=5)


@pytest.mark.parametrize(
    ("dialect", "by"), [*((name, "close") for name in MESSAGE_DIALECTS), *((name, "word") for name in WORDS)]
)
def test_a_websocket_agent_that_hangs_up_and_goes(short_path: pathlib.Path, dialect: str, by: str) -> None:
    """By the dialect's word or by a close frame; then the socket is closed."""
    rig = websocket_rig(short_path, dialect)
    stream, sock = answered(rig, rescue=RESCUE)
    sock.sendall(text(WORDS[dialect]) if by == "word" else close(1000))
    rig.tick(times=2)
    if by == "word":
        sock.sendall(close(1000))
    sock.close()
    assert_nobody_is_sought(rig, stream)


def test_a_websocket_agent_that_dies_is_sought_all_the_same(short_path: pathlib.Path) -> None:
    """Without a close frame nobody has hung up."""
    rig = websocket_rig(short_path, "twilio")
    _, sock = answered(rig, rescue=RESCUE)
    sock.close()
    rig.tick(ms=5, times=40)
    assert rig.of(AgentFailed) and not rig.of(control.AgentHangup)
    rig.listener.accept()


def test_an_audiosocket_server_that_hangs_up_and_goes(short_path: pathlib.Path) -> None:
    """0x00, then the end of the connection."""
    rig = AgentRig(short_path, "audiosocket")
    stream = rig.call(rescue=RESCUE)
    server = rig.accept().sock
    rig.tick(times=4)
    server.sendall(b"\0\0\0")
    rig.tick(times=2)
    server.close()
    assert_nobody_is_sought(rig, stream)


def test_an_agent_of_ours_that_hangs_up_and_goes(short_path: pathlib.Path) -> None:
    """The connection, which may carry other calls, has failed; the call that it ended goes to nobody else."""
    rig = AgentRig(short_path)
    stream = rig.call(rescue=RESCUE)
    agent = rig.accept()
    rig.tick(times=2)
    agent.say("hello", version=1, agent="test")
    rig.tick(times=3)
    agent.say("accept", channel=stream.channel)
    rig.tick(times=3)
    agent.say("hangup", channel=stream.channel)
    agent.say("hangup", channel=stream.channel, reason="again")
    rig.tick(times=2)
    agent.sock.close()
    rig.tick(ms=5, times=4)
    assert len(rig.of(AgentFailed)) == 1
    rig.posted = [message for message in rig.posted if not isinstance(message, AgentFailed)]
    assert_nobody_is_sought(rig, stream)
