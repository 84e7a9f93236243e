# SPDX-License-Identifier: GPL-2.0-or-later
"""Thousands of calls, ended in every way, leave nothing behind and cost little."""

from __future__ import annotations

import asyncio
import gc
import pathlib
import random
import time

from support.call_rig import Rig
from trunkline.gateway.calls.call import Call
from trunkline.gateway.calls.view import PlaceRequest
from trunkline.gateway.media import control
from trunkline.gateway.sip.events import CallState

CALLS = 2000
BUDGET_MS = 3.0
"CPU per call, call control with log line and metrics; generous for a busy machine, it is well below 1 ms."


def open_fds() -> int:
    return len(list(pathlib.Path("/proc/self/fd").iterdir()))


async def one_call(rig: Rig, rng: random.Random) -> None:
    """A call that ends in one of the ways that calls end, its last events in either order."""
    if rng.random() < 0.3:
        call_id = (await rig.service.place(PlaceRequest(to="600", agent="echo", trunk="pbx"))).id
    else:
        call_id = await rig.invite()
    if rng.random() < 0.1:
        rig.service.media_message(control.StreamFailed(call_id, "agent_unreachable", "down"))
    else:
        rig.ready(call_id)
        if rng.random() < 0.8:
            await rig.state(call_id, CallState.CONFIRMED, 200)
        if rng.random() < 0.5:
            await rig.service.hangup(call_id)
    last = [lambda: rig.ended(call_id, packets_received=1), lambda: rig.state(call_id, CallState.ENDED, 200)]
    if rng.random() < 0.5 and rig.service.calls[call_id].closing:
        last.reverse()
    else:
        await last.pop()()  # SIP first: the worker ends what it was told to end
    for step in last:
        result = step()
        if result is not None:
            await result


def test_calls_that_end_in_every_way_leave_nothing() -> None:
    """No port, descriptor, task, call record or timer of 2,000 calls is left."""

    async def scenario() -> None:
        rig, rng = Rig(), random.Random(7)
        rig.events.close()
        await one_call(rig, rng)
        gc.collect()
        fds, tasks = open_fds(), len(asyncio.all_tasks())
        started = time.process_time()
        for _ in range(CALLS):
            await one_call(rig, rng)
        cpu_ms = (time.process_time() - started) * 1000 / CALLS
        assert rig.holds_nothing()
        rig.commands.clear()
        gc.collect()
        assert open_fds() == fds
        assert len(asyncio.all_tasks()) == tasks
        assert not [thing for thing in gc.get_objects() if isinstance(thing, Call)]
        for direction in ("inbound", "outbound"):
            gauge = rig.metrics.registry.get_sample_value("trunkline_calls_active", {"direction": direction})
            assert gauge == 0
        assert cpu_ms < BUDGET_MS, f"{cpu_ms:.2f} ms of CPU per call"
        rig.service.stop()

    asyncio.run(scenario())
