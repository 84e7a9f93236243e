# SPDX-License-Identifier: GPL-2.0-or-later
"""What there is only so much of: ports, descriptors, time. Each runs out with 503, and comes back."""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
import resource
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from support import processes
from support.agents import AgentHost, echo
from support.audio import encode_g711, speechlike
from support.gateway import TOKEN, GatewayProcess
from support.phone import Phone
from support.ports import free_block
from support.sipp import Sipp
from support.waiting import wait_for

SPEECH = encode_g711(speechlike(6.0), 0)


@contextlib.contextmanager
def gateway_with(folder: pathlib.Path, **settings: Any) -> Iterator[GatewayProcess]:
    """A gateway of one echo agent."""
    with (
        AgentHost(f"unix:{folder}/a.sock", echo) as agent,
        GatewayProcess(
            folder,
            agent=[{"name": "a", "address": agent.address, "sample_rate_hz": 8000}],
            route=[{"name": "all", "agent": "a"}],
            **settings,
        ) as gateway,
    ):
        yield gateway


def refused(gateway: GatewayProcess, cause: str) -> str:
    """A call gets 503 with Retry-After for this reason; the sentence in the log."""
    before = gateway.metric("trunkline_calls_refused_total", cause=cause)
    with Sipp("uac_refused", gateway.sip_port) as caller:
        caller.wait()
        answer = caller.received("SIP/2.0 503")[0]
        assert int(answer.header("Retry-After")) >= 1
        facts = gateway.wait_event("call.refused", cause=cause, source=f"{caller.source}:{caller.port}")
    assert gateway.metric("trunkline_calls_refused_total", cause=cause) == before + 1
    return str(facts["data"]["detail"])


def works(gateway: GatewayProcess) -> None:
    """A call with speech comes and goes."""
    with Phone(gateway, "uac_hangup", said=SPEECH) as phone:
        call_id = phone.wait_up()
        phone.rtp.wait_received(25)
        gateway.hang_up(call_id)
        assert phone.wait_end()["cause"] == "api_hangup"


def test_when_all_ports_are_in_use_calls_get_503_until_one_is_given_back(short_path: pathlib.Path) -> None:
    first = free_block(4).start
    with gateway_with(short_path, media={"bind": "127.0.0.1", "port_range": [first, first + 3]}) as gateway:
        with Phone(gateway, "uac_hangup") as one, Phone(gateway, "uac_hangup") as two:
            ids = [one.wait_up(), two.wait_up()]
            detail = refused(gateway, "no_ports")
            assert "media.port_range" in detail and "2 in use" in detail
            gateway.hang_up(ids[0])
            one.wait_end()
            works(gateway)
            gateway.hang_up(ids[1])
            two.wait_end()
        works(gateway)
        gateway.assert_idle()


def allow(pid: int, descriptors: int) -> None:
    """Limit a running process."""
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors, hard))


def test_a_gateway_out_of_descriptors_refuses_calls_and_goes_on_with_all_else(
    short_path: pathlib.Path,
) -> None:
    """Calls stop before the last descriptor: the API answers, and a worker that dies is replaced."""
    with gateway_with(short_path) as gateway, contextlib.ExitStack() as stack:
        wait_for(lambda: gateway.status()["workers"]["spare"], "a spare worker waits")
        pid, soft = gateway.process.pid, resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)[0]
        used = processes.usage(pid).descriptors
        allow(pid, math.ceil((used + 5) * 8 / 7))  # an eighth is kept for other things than calls
        phones = []
        while not gateway.metric("trunkline_calls_refused_total", cause="no_descriptors"):
            assert len(phones) < 12, "there is an end of it"
            phones.append(stack.enter_context(Phone(gateway, "uac_hangup")))
            wait_for(
                lambda: (
                    gateway.metric("trunkline_calls_refused_total", cause="no_descriptors")
                    or len(gateway.calls()) == len(phones)
                ),
                "the call is up or refused",
            )
        up = gateway.calls()
        assert 1 <= len(up) == len(phones) - 1
        phones[0].say(SPEECH)
        assert "ulimit -n" in refused(gateway, "no_descriptors")
        fresh = httpx.get(
            f"http://127.0.0.1:{gateway.api_port}/v1/status", headers={"Authorization": f"Bearer {TOKEN}"},
            trust_env=False,
        )  # fmt: skip
        assert fresh.status_code == 200
        os.kill(gateway.workers[0], signal.SIGKILL)
        wait_for(lambda: gateway.status()["workers"]["restarts"] == 1, "the worker is replaced")
        heard = len(phones[0].rtp.received)
        phones[0].rtp.wait_received(heard + 25)
        for call in up:
            gateway.hang_up(call["id"])
        for phone in phones[:-1]:
            assert phone.wait_end()["cause"] == "api_hangup"
        works(gateway)
        allow(pid, soft)
        gateway.assert_idle()


def test_a_worker_out_of_descriptors_refuses_the_call_and_keeps_those_that_it_has(
    short_path: pathlib.Path,
) -> None:
    with gateway_with(short_path) as gateway, Phone(gateway, "uac_hangup", said=SPEECH) as phone:
        call_id = phone.wait_up()
        (worker,) = gateway.workers
        soft = resource.prlimit(worker, resource.RLIMIT_NOFILE)[0]
        allow(worker, processes.usage(worker).descriptors)
        with Phone(gateway, "uac_refused") as late:
            line = late.wait_end()
            assert int(late.sipp.received("SIP/2.0 503")[0].header("Retry-After")) >= 1
        assert line["cause"] == "no_descriptors" and "ulimit -n" in str(line["detail"])
        heard = len(phone.rtp.received)
        phone.rtp.wait_received(heard + 25)
        allow(worker, soft)
        works(gateway)
        gateway.hang_up(call_id)
        assert phone.wait_end()["cause"] == "api_hangup"
        assert gateway.workers == gateway.status()["workers"]["pids"], "it has not been replaced"
        gateway.assert_idle()


def test_without_a_single_descriptor_nothing_dies_or_spins(short_path: pathlib.Path) -> None:
    """API clients knock in vain for a while; then they are heard."""
    with gateway_with(short_path) as gateway, Phone(gateway, "uac_hangup", said=SPEECH) as phone:
        call_id = phone.wait_up()
        pid, soft = gateway.process.pid, resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)[0]
        allow(pid, 3)
        with contextlib.ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(socket.create_connection(("127.0.0.1", gateway.api_port), 5))
            before, heard = processes.usage(pid).cpu_s, len(phone.rtp.received)
            time.sleep(2)
            assert processes.usage(pid).cpu_s - before < 1.0, "it waits, and does not try again and again"
            assert len(phone.rtp.received) > heard + 50, "the call goes on"
        allow(pid, soft)
        time.sleep(1.1)  # asyncio listens again a second after it ran out
        works(gateway)
        (told,) = gateway.log("limits.descriptors_exhausted")
        assert "ulimit -n" in told["cure"]
        gateway.hang_up(call_id)
        phone.wait_end()


@pytest.mark.parametrize("limit", [0.015, 0])
def test_a_worker_above_its_limit_gets_no_new_calls_and_keeps_the_old(
    short_path: pathlib.Path, limit: float
) -> None:
    """A call costs a worker more than 1.5 % of a core; 0 switches the limit off."""
    with (
        gateway_with(short_path, limits={"max_worker_load": limit}) as gateway,
        Phone(gateway, "uac_hangup", said=SPEECH) as phone,
    ):
        call_id = phone.wait_up()
        name = "trunkline_worker_overloaded" if limit else "trunkline_worker_load_ratio"
        wait_for(lambda: gateway.metric(name, worker="0") > 0.015, "it is seen to work", 20)
        if limit:
            assert "limits.max_worker_load" in refused(gateway, "overloaded")
            assert gateway.metric("trunkline_worker_overloaded", worker="0") == 1
            gateway.wait_event("worker.overloaded")
            assert gateway.calls()[0]["state"] == "up"
        else:
            assert gateway.metric("trunkline_worker_overloaded", worker="0") == 0
            works(gateway)
        gateway.hang_up(call_id)
        assert phone.wait_end()["cause"] == "api_hangup"
        if limit:
            wait_for(
                lambda: not gateway.metric("trunkline_worker_overloaded", worker="0"), "it has recovered", 15
            )
            works(gateway)
            overloaded = [line for line in gateway.log("worker.overloaded") if line["worker"] == 0]
            relieved = gateway.log("worker.relieved")
            assert 1 <= len(overloaded) <= len(relieved) + 1, "one line for each change"
