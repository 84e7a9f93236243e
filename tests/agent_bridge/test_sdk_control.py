# SPDX-License-Identifier: MIT
"""What an agent decides over a call: before the answer, hold, transfer, variables, and what the route forbids."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from trunkline.agent_bridge import (
    Agent,
    Call,
    CallEnded,
    CallState,
    CommandRefused,
    Refused,
    TransferProgress,
    Turn,
    Underrun,
)
from trunkline.agent_bridge import link_events as said
from trunkline.agent_bridge.testing import GatewayDouble


async def test_agent_rings_is_heard_early_and_answers(until):
    """Each step is told; answer() returns once the call is answered."""
    seen: list = []

    async def handler(call: Call) -> None:
        call.on_event(seen.append)
        seen.append(call.state)
        call.ring(**{"X-Queue": "3"})
        call.progress()
        await call.answer({"X-Done": "1"})
        seen.append(call.answered)
        await call.answer()  # is answered already: returns at once
        await call.ended()

    async with Agent(handler, answer=False) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        assert (await call.event(said.Answer)).headers == {"X-Done": "1"}
        assert (await call.event(said.Ring)).headers == {"X-Queue": "3"}
        await until(lambda: True in seen)
    assert seen == ["offered", CallState("ringing"), CallState("early"), CallState("answered"), True]


async def test_offer_hook_decides_whether_the_call_is_answered():
    """By call, where the agent as a whole answers at once."""

    def choose(call: Call) -> None:
        call.answer_at_once = call.caller != "slow"

    async def handler(call: Call) -> None:
        await call.ended()

    async with Agent(handler, on_offer=choose) as agent, GatewayDouble.of(agent) as gateway:
        assert (await gateway.call(caller="slow")).state == "offered"
        assert (await gateway.call(caller="fast")).state == "answered"


async def test_call_that_is_never_answered_is_hung_up_when_the_handler_returns():
    """No mark is waited for that nobody could hear."""

    async def handler(call: Call) -> None:
        call.ring()

    async with Agent(handler, answer=False) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(playback="manual")
        assert (await call.event(said.Hangup)).reason == "agent is done"


async def test_what_is_said_before_the_callee_answers_waits_for_him():
    """A handler that says its message and returns: the call is hung up once that was heard, not while it rings."""

    async def handler(call: Call) -> None:
        call.say(np.zeros(1600, np.int16))

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(direction="outbound", answered=False, playback="manual")
        await call.event(said.Mark, 2)
        await asyncio.sleep(0.05)
        assert not [e for e in call.said if isinstance(e, said.Hangup)]
        call.play_out(100)
        await call.event(said.Hangup)


async def test_transfer_is_told_step_by_step(until):
    """As an iteration, and as one result; a failed one leaves the call as it was."""
    seen: list = []

    async def handler(call: Call) -> None:
        transfer = call.transfer("+4930987654", headers={"X-Why": "complaint"})
        with pytest.raises(RuntimeError, match="under way"):
            call.transfer("1")
        seen.extend([step async for step in transfer])
        seen.append(await transfer)
        seen.append(await call.transfer(attended="other-call"))
        seen.append(call.stopped)

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        asked = await call.event(said.Transfer)
        assert (asked.target, asked.attended, asked.headers) == ("+4930987654", "", {"X-Why": "complaint"})
        call.transfer("trying", 100, "Trying")
        call.transfer("failed", 486, "Busy Here")
        assert (await call.event(said.Transfer, 2)).attended == "other-call"
        call.transfer("done", 200, "OK")
        await until(lambda: len(seen) >= 5)
    failed, done = TransferProgress("failed", 486, "Busy Here"), TransferProgress("done", 200, "OK")
    assert seen[:4] == [TransferProgress("trying", 100, "Trying"), failed, failed, done]
    assert (failed.done, failed.final, done.done) == (False, True, True)


async def test_what_the_route_forbids_is_refused(until):
    """A transfer fails, an answer that comes too late raises, anything else is an event."""
    seen: list = []

    async def handler(call: Call) -> None:
        call.on_event(lambda event: seen.append(event) if isinstance(event, Refused) else None)
        seen.append((await call.transfer("1")).reason)
        call.hold("jazz")
        call.state = "ringing"  # as if the news that it is answered were on its way
        with pytest.raises(CommandRefused, match="not_now") as refused:
            await call.answer()
        seen.append(refused.value.code)

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        await gateway.call(forbid=("transfer", "hold"))
        await until(lambda: "not_now" in seen)
    codes = [event.code for event in seen if isinstance(event, Refused)]
    assert codes == ["forbidden", "forbidden", "not_now"]
    assert "forbidden: this route does not let its agents transfer" in seen


async def test_hold_mute_pause_and_variables_reach_the_gateway():
    """And the agent sees at once what it has set."""

    async def handler(call: Call) -> None:
        call.hold("jazz")
        call.resume()
        call.mute(downlink=True)
        call.pause()
        call.pause(False)
        call.set(customer="4711", mood="bad")
        call.set({"mood": "", "x-y": "z"})
        assert call.variables == {"tenant": "acme", "customer": "4711", "x-y": "z"}
        for wrong in (call.mute, lambda: call.set(n=1), call.transfer):
            with pytest.raises((TypeError, ValueError)):
                wrong()
        call.send_dtmf("1")
        await call.ended()

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(variables={"tenant": "acme"})
        await call.event(said.Dtmf)
        assert [e for e in call.said if isinstance(e, said.HoldCall)] == [
            said.HoldCall(1, True, "jazz"),
            said.HoldCall(1, False),
        ]
        assert (call.on_hold, call.muted) == (False, {"uplink": False, "downlink": True})
        assert call.variables == {"tenant": "acme", "customer": "4711", "x-y": "z"}


async def test_status_is_answered_turns_and_underruns_are_told(until):
    """Figures by name."""
    seen: list = []

    async def handler(call: Call) -> None:
        call.on_event(seen.append)
        seen.append(await call.status())
        await call.ended()

    async with Agent(handler) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call()
        await until(lambda: seen)
        call.turn(agent_ms=640)
        call.underrun(60)
        await until(lambda: len(seen) >= 3)
    assert seen == [{"queued_ms": 0, "max_queue_ms": 60_000}, Turn({"agent_ms": 640}), Underrun(0, 60)]


async def test_whoever_waits_is_told_that_the_call_is_over(until):
    """answer and status raise, a transfer ends with the call; after the end nothing waits for ever."""
    seen: list = []

    async def handler(call: Call) -> None:
        waiting = [asyncio.ensure_future(c) for c in (call.answer(), call.status())]
        transfer = call.transfer("1")
        seen.append(await transfer)
        seen.extend(await asyncio.gather(*waiting, return_exceptions=True))
        for late in (call.answer, call.status):
            with pytest.raises(CallEnded):
                await late()
        seen.append((await call.transfer("1")).state)

    async with Agent(handler, answer=False) as agent, GatewayDouble.of(agent) as gateway:
        call = await gateway.call(forbid=())
        gateway._calls.clear()  # whatever the agent asks for is answered by nobody
        gateway._take = lambda events: None
        await asyncio.sleep(0.05)
        call.hang_up("gone")
        await until(lambda: len(seen) >= 4)
    assert seen[0] == TransferProgress("ended", 0, "gone")
    assert [type(e) for e in seen[1:3]] == [CallEnded, CallEnded]
    assert seen[3] == "ended"


async def test_audiosocket_refuses_what_it_has_no_word_for(until):
    """A handler written for more runs behind a plain Asterisk, and learns what does not work."""
    seen: list = []

    async def handler(call: Call) -> None:
        call.on_event(seen.append)
        call.save(b"x")
        call.set(a="b")
        await call.answer()
        seen.append((await call.transfer("1")).state)
        with pytest.raises(CommandRefused, match="unsupported"):
            await call.status()
        seen.append("done")

    async with (
        Agent(handler, dialect="audiosocket") as agent,
        GatewayDouble.of(agent, dialect="audiosocket", sample_rate_hz=8000) as gateway,
    ):
        await gateway.call(sample_rate_hz=8000)
        await until(lambda: "done" in seen)
    assert "failed" in seen
    assert [e.code for e in seen if isinstance(e, Refused)] == ["unsupported", "unsupported"]
