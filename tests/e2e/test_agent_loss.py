# SPDX-License-Identifier: GPL-2.0-or-later
"""Agents are killed and stopped, as real processes, under real calls: the calls go on with another one."""

from __future__ import annotations

import os
import pathlib
import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest

from support.audio import encode_g711, speechlike
from support.echo_process import EchoProcess
from support.gateway import GatewayProcess
from support.phone import Phone
from support.waiting import wait_for
from trunkline.codecs import g711

SPEECH = encode_g711(speechlike(12.0), 0)


@pytest.fixture
def agents(short_path: pathlib.Path) -> Iterator[tuple[EchoProcess, EchoProcess]]:
    with EchoProcess(f"unix:{short_path}/a.sock") as first, EchoProcess(f"unix:{short_path}/b.sock") as second:
        yield first, second


def gateway_of(folder: pathlib.Path, agents: tuple[EchoProcess, ...], **route: object) -> GatewayProcess:
    names = [f"{'ab'[i]}" for i in range(len(agents))]
    return GatewayProcess(
        folder,
        agent=[
            {"name": name, "address": agent.address, "sample_rate_hz": 8000, "hang_timeout_ms": 800}
            for name, agent in zip(names, agents, strict=True)
        ],
        route=[{"name": "all", "agents": names, **route}],
    )


def loud(phone: Phone, since_ns: int) -> float:
    """Milliseconds from then to the first packet that has sound in it."""
    for packet in phone.rtp.audio:
        if packet.time_ns > since_ns:
            level = np.abs(g711.decode_ulaw(np.frombuffer(packet.payload, np.uint8)).astype(int)).max()
            if level > 300:
                return (packet.time_ns - since_ns) / 1e6
    return float("inf")


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
def test_a_call_goes_on_with_the_next_agent(
    short_path: pathlib.Path, agents: tuple[EchoProcess, EchoProcess], how: str
) -> None:
    """Killed: within a fraction of a second. Stopped: when hang_timeout_ms is over. One line in the log tells it."""
    with gateway_of(short_path, agents) as gateway, Phone(gateway, "uac_hangup", said=SPEECH) as phone:
        call_id = phone.wait_up()
        phone.rtp.wait_received(50)
        os.kill(agents[0].pid, getattr(signal, how))
        try:
            changed = gateway.wait_event("agent.changed", call_id=call_id)["data"]
            assert (changed["before"], changed["to"], changed["attempt"]) == ("a", "b", 2)
            assert changed["why"] == ("agent_lost" if how == "SIGKILL" else "agent_hung")
            assert changed["took_ms"] < 500
            since_ns = phone.rtp.audio[-1].time_ns
            wait_for(lambda: loud(phone, since_ns) < 2000, "the echo is back")
            assert gateway.wait_event("agent.down")["data"]["agent"] == "a"
            assert gateway.status()["agents_down"] == {"a": changed["why"]}
            assert gateway.metric("trunkline_agent_up", agent="a") == 0
            with Phone(gateway, "uac_basic", hold_ms=200) as next_one:
                assert next_one.wait_end()["agent"] == "b", "the next call is not offered to it at all"
        finally:
            os.kill(agents[0].pid, signal.SIGCONT) if how == "SIGSTOP" else None
        gateway.hang_up(call_id)
        line = phone.wait_end()
        assert (line["cause"], line["agents"], line["attempts"]) == ("api_hangup", "a,b", 2)
        assert len({one.ssrc for one in phone.rtp.audio}) == 1


def test_an_agent_that_is_restarted_has_its_call_again_and_the_caller_hears_something_meanwhile(
    short_path: pathlib.Path, agents: tuple[EchoProcess, EchoProcess]
) -> None:
    """A list of one, killed for a second."""
    only = agents[0]
    with (
        gateway_of(short_path, (only,), rescue_ms=8000) as gateway,
        Phone(gateway, "uac_hangup", said=SPEECH[: 8000 * 2]) as phone,
    ):
        call_id = phone.wait_up()
        phone.rtp.wait_received(150)  # it has said all it has to say
        only.kill()
        silent_ns = time.time_ns()
        wait_for(lambda: loud(phone, silent_ns) < 1000, "the tone")
        assert loud(phone, silent_ns) < 500
        only.start()
        changed = gateway.wait_event("agent.changed", call_id=call_id)["data"]
        assert (changed["before"], changed["to"]) == ("a", "a")
        gateway.hang_up(call_id)
        assert phone.wait_end()["cause"] == "api_hangup"


def test_worker_and_agent_are_killed_together(
    short_path: pathlib.Path, agents: tuple[EchoProcess, EchoProcess]
) -> None:
    """The call is put on a new worker, which gives it to the other agent."""
    with gateway_of(short_path, agents) as gateway, Phone(gateway, "uac_hangup", said=SPEECH) as phone:
        call_id = phone.wait_up()
        phone.rtp.wait_received(50)
        (worker,) = gateway.workers
        os.kill(worker, signal.SIGKILL)
        agents[0].kill()
        changed = gateway.wait_event("agent.changed", call_id=call_id)["data"]
        assert (changed["to"], changed["attempt"]) == ("b", 2)
        count = len(phone.rtp.received)
        phone.rtp.wait_received(count + 50)
        gateway.hang_up(call_id)
        line = phone.wait_end()
        assert (line["cause"], line["agent"], line["attempts"]) == ("api_hangup", "b", 2)
        assert len({one.ssrc for one in phone.rtp.audio}) == 1


def test_when_all_are_down_callers_are_refused_and_calls_end_with_a_farewell(
    short_path: pathlib.Path, agents: tuple[EchoProcess, EchoProcess]
) -> None:
    """503 with Retry-After before the answer; afterwards the sound, then BYE."""
    with (
        gateway_of(short_path, agents, rescue_ms=500) as gateway,
        Phone(gateway, "uac_hangup", said=SPEECH) as phone,
    ):
        phone.wait_up()
        phone.rtp.wait_received(25)
        for agent in agents:
            agent.kill()
        line = phone.wait_end()
        assert (line["cause"], line["attempts"]) == ("agent_lost", 2)
        assert "no agent took the call over" in line["detail"]
        assert phone.sipp.received("BYE")[0].header("Reason")
        assert gateway.metric("trunkline_agent_changes_total", result="none") == 1
        with Phone(gateway, "uac_refused") as refused:
            refused.sipp.wait()
            assert refused.sipp.received("SIP/2.0 503")
