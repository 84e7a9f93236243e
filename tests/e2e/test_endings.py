# SPDX-License-Identifier: GPL-2.0-or-later
"""How calls end: by whom, with which words, and what nobody meant: agents, workers and callers that die."""

from __future__ import annotations

import itertools
import os
import pathlib
import signal
import time

import pytest

from support.agents import AgentHost, echo
from support.audio import encode_g711, speechlike
from support.echo_process import EchoProcess
from support.gateway import GatewayProcess
from support.phone import Phone
from support.sipp import Sipp
from support.stage import Stage
from support.waiting import wait_for

SPEECH = encode_g711(speechlike(6.0), 0)


def test_the_callers_bye_ends_the_call_and_its_reason_is_kept(stage: Stage) -> None:
    with Phone(
        stage.gateway, "uac_basic", hold_ms=200, keys={"reason": 'SIP;cause=200;text="Elsewhere"'}
    ) as phone:
        line = phone.wait_end()
    assert (line["cause"], line["sip_reason"]) == ("caller_hangup", "Elsewhere")
    ended = stage.echo.wait_call(phone.call_id)
    wait_for(lambda: ended.call.stopped, "the agent has been told")
    assert ended.call.stopped is not None and ended.call.stopped.reason == "caller_hangup"


def test_a_caller_who_gives_up_while_it_rings_is_no_call_for_the_agent(stage: Stage) -> None:
    stage.picky.offer_delay_s = 1.2
    with Phone(stage.gateway, "uac_cancel", hold_ms=200, keys={"called": "602"}) as phone:
        line = phone.wait_end()
    assert (line["cause"], line["sip_code"]) == ("caller_cancelled", 487)
    time.sleep(1.3)
    assert not stage.picky.calls, "the handler of a call that never was does not run"


def test_the_api_hangs_up_with_a_bye_that_says_why(stage: Stage) -> None:
    with Phone(stage.gateway, "uac_hangup") as phone:
        call_id = phone.wait_up()
        stage.gateway.hang_up(call_id, "enough")
        line = phone.wait_end()
        bye = phone.sipp.received("BYE")
    assert len(bye) == 1 and bye[0].header("Reason")
    assert (line["cause"], line["detail"]) == ("api_hangup", "enough")
    assert stage.gateway.call(call_id)["state"] == "ended"


def test_an_agent_that_is_killed_ends_its_calls_and_no_others(stage: Stage, short_path: pathlib.Path) -> None:
    routes = [
        {"name": "a", "called": "600", "agent": "echo"},
        {"name": "b", "called": "601", "agent": "other"},
    ]
    with (
        EchoProcess(f"unix:{short_path}/echo.sock") as doomed,
        AgentHost(f"unix:{short_path}/other.sock") as other,
        GatewayProcess(
            short_path,
            agent=[{"name": "echo", "address": doomed.address}, {"name": "other", "address": other.address}],
            route=routes,
        ) as gateway,
        Phone(gateway, "uac_hangup", said=SPEECH, keys={"called": "600"}) as victim,
        Phone(gateway, "uac_hangup", said=SPEECH, keys={"called": "601"}) as bystander,
    ):
        victim_id, bystander_id = victim.wait_up(), bystander.wait_up()
        victim.rtp.wait_received(20)
        doomed.kill()
        killed = time.monotonic()
        line = victim.wait_end()
        took_s = time.monotonic() - killed
        assert line["cause"] == "agent_lost" and line["call_id"] == victim_id
        assert took_s < 9, f"the caller was let go {took_s:.1f} s later"
        assert victim.sipp.received("BYE")[0].header("Reason")
        before = len(bystander.rtp.received)
        bystander.rtp.wait_received(before + 25)
        with Sipp("uac_refused", gateway.sip_port, keys={"called": "600"}) as next_one:
            next_one.wait()
            assert int(next_one.received("SIP/2.0 503")[0].header("Retry-After")) >= 1
        doomed.start()
        with Phone(gateway, "uac_basic", hold_ms=300, keys={"called": "600"}) as later:
            assert later.wait_end()["cause"] == "caller_hangup", "the agent is back, and so are its calls"
        gateway.hang_up(bystander_id)
        assert bystander.wait_end()["cause"] == "api_hangup"


def test_a_media_worker_that_is_killed_costs_a_gap_and_not_the_call(short_path: pathlib.Path) -> None:
    with (
        AgentHost(f"unix:{short_path}/a.sock", echo) as agent,
        GatewayProcess(
            short_path,
            agent=[{"name": "a", "address": agent.address, "sample_rate_hz": 8000}],
            route=[{"name": "all", "agent": "a"}],
        ) as gateway,
        Phone(gateway, "uac_hangup", said=SPEECH) as phone,
    ):
        call_id = phone.wait_up()
        phone.rtp.wait_received(50)
        (worker,) = gateway.workers
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: gateway.status()["workers"]["restarts"] == 1, "the worker is replaced")
        assert gateway.metric("trunkline_worker_restarts_total", worker="0") == 1
        count = len(phone.rtp.received)
        phone.rtp.wait_received(count + 75)
        wait_for(
            lambda: any("Resumed" in type(one).__name__ for one in agent.wait_call(call_id).events),
            "the agent is told",
        )
        gateway.hang_up(call_id)
        phone.wait_end()
        packets = phone.rtp.audio
        assert len({one.ssrc for one in packets}) == 1, "the caller sees one stream"
        steps = [(b.sequence - a.sequence) & 0xFFFF for a, b in itertools.pairwise(packets)]
        assert set(steps) <= {1, 2, 3}, "sequence numbers go on"
        gap_s = max(b.time_ns - a.time_ns for a, b in itertools.pairwise(packets)) / 1e9
        assert gap_s < 1, f"a gap of {gap_s:.2f} s"
        assert (
            not any(one.call.stopped for one in agent.calls if one.call.id != call_id)
            and len(agent.calls) == 1
        )
        late = b"".join(one.payload for one in packets[-40:])
        assert any(
            late[i : i + 160] in SPEECH and len(set(late[i : i + 160])) > 20 for i in range(0, len(late), 160)
        ), "the echo is back"
        died = gateway.log("worker.died")
        assert len(died) == 1 and died[0]["streams"] == 1 and gateway.log("worker.restarted")


def test_a_caller_who_vanishes_is_given_up(short_path: pathlib.Path) -> None:
    with (
        AgentHost(f"unix:{short_path}/a.sock") as agent,
        GatewayProcess(
            short_path,
            media={"no_media_timeout_s": 2},
            agent=[{"name": "a", "address": agent.address}],
            route=[{"name": "all", "agent": "a"}],
        ) as gateway,
    ):
        with Phone(gateway, "uac_hangup", said=SPEECH) as phone:
            call_id = phone.wait_up()
            phone.rtp.wait_received(50)
        gone = time.monotonic()  # SIPp is killed, its sockets are closed
        gateway.wait_event("media.silent", call_id=call_id)
        heard = agent.wait_call(call_id)
        wait_for(lambda: heard.call.stopped, "the agent is told")
        took_s = time.monotonic() - gone
        assert heard.call.stopped is not None and heard.call.stopped.reason == "no_media"
        assert 1.5 < took_s < 8, f"after {took_s:.1f} s"
        heard.assert_timeline()
        assert gateway.call(call_id)["cause"] == "no_media"


def test_sigterm_lets_calls_end_and_takes_no_new_ones(short_path: pathlib.Path) -> None:
    with (
        AgentHost(f"unix:{short_path}/a.sock") as agent,
        GatewayProcess(
            short_path, agent=[{"name": "a", "address": agent.address}], route=[{"name": "all", "agent": "a"}]
        ) as gateway,
        Phone(gateway, "uac_basic", hold_ms=2500) as phone,
    ):
        phone.wait_up()
        gateway.process.send_signal(signal.SIGTERM)
        wait_for(lambda: gateway.status()["draining"], "draining")
        with Sipp("uac_refused", gateway.sip_port) as late:
            late.wait()
            assert late.received("SIP/2.0 503")
        assert phone.wait_end()["cause"] == "caller_hangup", "the call ended by itself"
        assert gateway.process.wait(10) == 0


def test_a_worker_may_die_while_the_gateway_drains_and_a_second_sigterm_ends_at_once(
    short_path: pathlib.Path,
) -> None:
    with (
        AgentHost(f"unix:{short_path}/a.sock", echo) as agent,
        GatewayProcess(
            short_path,
            arguments=["--drain-timeout", "60"],
            trunk=[{"name": "local", "match": ["127.0.0.0/8"], "host": "127.0.0.1:9"}],
            agent=[{"name": "a", "address": agent.address, "sample_rate_hz": 8000}],
            route=[{"name": "all", "agent": "a"}],
        ) as gateway,
        Phone(gateway, "uac_hangup", said=SPEECH) as phone,
    ):
        phone.wait_up()
        phone.rtp.wait_received(25)
        gateway.process.send_signal(signal.SIGTERM)
        wait_for(lambda: gateway.status()["draining"], "draining")
        assert gateway.wait_event("gateway.draining")["data"]["calls"] == 1
        placed = gateway.api.post("/v1/calls", json={"to": "sip:1@127.0.0.1", "agent": "a"})
        assert (placed.status_code, placed.json()["error"]) == (503, "draining"), placed.text
        os.kill(gateway.workers[0], signal.SIGKILL)
        wait_for(lambda: gateway.status()["workers"]["restarts"] == 1, "the worker is replaced")
        heard = len(phone.rtp.received)
        phone.rtp.wait_received(heard + 25)
        assert [call["state"] for call in gateway.calls()] == ["up"]
        asked = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        assert phone.wait_end()["cause"] == "shutdown"
        assert gateway.process.wait(10) == 0
        assert time.monotonic() - asked < 6, "not at the end of the 60 s"


@pytest.mark.parametrize("how", ["twice", "time out"])
def test_calls_that_do_not_end_are_hung_up(short_path: pathlib.Path, how: str) -> None:
    with (
        AgentHost(f"unix:{short_path}/a.sock") as agent,
        GatewayProcess(
            short_path,
            arguments=["--drain-timeout", "60" if how == "twice" else "0.5"],
            agent=[{"name": "a", "address": agent.address}],
            route=[{"name": "all", "agent": "a"}],
        ) as gateway,
        Phone(gateway, "uac_hangup") as phone,
    ):
        phone.wait_up()
        assert gateway.stop(signals=2 if how == "twice" else 1, timeout_s=15) == 0
        assert phone.wait_end()["cause"] == "shutdown"
        assert phone.sipp.received("BYE")[0].header("Reason")
