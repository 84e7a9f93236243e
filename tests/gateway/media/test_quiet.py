# SPDX-License-Identifier: GPL-2.0-or-later
"""A caller's side that falls silent: the agent is told within 2 s, and when it is heard again."""

from __future__ import annotations

import dataclasses

import pytest

from support.virtual_engine import VirtualEngine
from support.virtual_network import Callers, Network, Traffic
from trunkline.gateway.media import control

QUIET_NETWORK = Network()


def told(rig: VirtualEngine) -> list[tuple[str, int]]:
    """State and idle_ms of every `network` message so far."""
    return [(str(m["state"]), int(m["idle_ms"])) for m in rig.agent.control if m["type"] == "network"]


def talking(speech_s: float = 5, **start: object) -> tuple[VirtualEngine, Traffic]:
    """A caller who has talked for so long and sends nothing from now on."""
    rig = VirtualEngine(1, tick_ms=10, **start)
    traffic = rig.traffic(1, Callers(1), QUIET_NETWORK)
    rig.run(speech_s, traffic)
    traffic.stopped = True
    rig.run(1.3, traffic)  # until the last packet, which was on the way
    return rig, traffic


def change(rig: VirtualEngine, **fields: bool) -> None:
    """A re-INVITE."""
    stream = rig.streams[0]
    rig.engine.update(stream, dataclasses.replace(stream.media, **fields), rig.now_ns)


def test_silence_is_told_within_two_seconds_and_once() -> None:
    """`idle_ms` is how long nothing has come; frames go on meanwhile."""
    rig, traffic = talking()
    heard_ns = int(rig.table.shared.rx_last_ns[0])
    frames = int(rig.agent.frames[0])
    while not told(rig):
        rig.run(0.01, traffic)
    assert 1_700 <= (rig.now_ns - heard_ns) / 1e6 <= 2_000
    (state, idle_ms) = told(rig)[0]
    assert state == "silent"
    assert abs(idle_ms - (rig.now_ns - heard_ns) / 1e6) < 1
    rig.run(20, traffic)
    assert len(told(rig)) == 1
    assert abs(int(rig.agent.frames[0]) - frames - 1090) < 15


def test_a_caller_who_is_heard_again_is_told_of() -> None:
    """With the time that the silence lasted, within 200 ms."""
    rig, traffic = talking()
    rig.run(10, traffic)
    traffic.stopped = False
    while len(told(rig)) < 2:
        rig.run(0.01, traffic)
    since_ms = (rig.now_ns - int(rig.table.shared.rx_last_ns[0])) / 1e6
    assert since_ms < 200
    state, idle_ms = told(rig)[1]
    assert state == "heard"
    assert 9_000 <= idle_ms <= 16_000
    traffic.stopped = True
    rig.run(12, traffic)
    assert [state for state, _ in told(rig)] == ["silent", "heard", "silent"]


def test_a_call_in_which_nothing_ever_came_is_silent() -> None:
    """Two seconds after it was answered."""
    rig = VirtualEngine(1)
    rig.run(1.7)
    assert told(rig) == []
    rig.run(0.3)
    assert [state for state, _ in told(rig)] == ["silent"]


@pytest.mark.parametrize(
    "hold", [{"receive": False, "send": False}, {"send": False}], ids=["inactive", "sendonly"]
)
def test_on_hold_silence_is_what_was_agreed_on(hold: dict[str, bool]) -> None:
    """Nothing is told on hold; after it the two seconds begin anew."""
    rig, traffic = talking()
    change(rig, **hold)
    rig.run(10, traffic)
    assert told(rig) == []
    change(rig, receive=True, send=True)
    rig.run(1.7, traffic)
    assert told(rig) == []
    rig.run(0.3, traffic)
    assert [state for state, _ in told(rig)] == ["silent"]


def test_the_gateway_process_hears_of_it_every_two_seconds() -> None:
    """So that it can hang up after `no_media_timeout_s`."""
    rig, traffic = talking()
    rig.run(11, traffic)
    idle = [message.idle_ms for message in rig.posted if isinstance(message, control.MediaSilent)]
    assert len(idle) == 5
    assert all(abs(ms - 2000 * (i + 1)) <= 120 * (i + 1) for i, ms in enumerate(idle))


def test_an_ended_call_is_forgotten() -> None:
    """Its row's next call begins as heard."""
    rig, traffic = talking()
    rig.run(3, traffic)
    assert len(told(rig)) == 1
    rig.engine.stop(rig.streams[0], "caller_hangup", rig.now_ns)
    rig.run(3, traffic)
    assert len(told(rig)) == 1
