# SPDX-License-Identifier: MIT
"""Cases of the conformance check (`conformance.py`) that every dialect can say; `conformance_native.py` has ours."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Awaitable, Callable

from trunkline.agent_bridge import conformance_native as native
from trunkline.agent_bridge.conformance_probe import Probe
from trunkline.agent_bridge.conformance_target import Advice, CannotTell, Target, Wrong
from trunkline.agent_bridge.dialect import FLAG_GAP, FLAG_SPEECH

MANY = 50
SEVERAL = 10
"Calls at the same time, on one connection, or on as many where each has its own."
MEASURED_S = 1.5
"Real time, in which speech is counted."
UNREAD_S = 500
"Of audio, both ways: more than kernels keep, which at worst are 10 MB for the agent's side of a TCP connection."


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One behaviour that is looked at."""

    name: str
    what: str
    run: Callable[[Target], Awaitable[None]]
    native: bool = False
    "only our dialect can say it"

    def left_out(self, target: Target) -> str:
        """Why it cannot be looked at with this agent; empty if it can."""
        if self.native and not target.native:
            return f"{target.dialect} has no words for this"
        if self.name == "token" and target.settings.token is None:
            return "no token was given: an agent that asks for one is checked with it"
        return ""


async def connects(target: Target) -> None:
    """Twice: one that serves a single connection and ends is no agent."""
    for _ in range(2):
        async with Probe(target) as probe:
            if not target.native:
                await probe.call()  # there, a connection is a call


async def takes_calls(target: Target) -> None:
    """Inbound and outbound."""
    for direction in ("inbound", "outbound"):
        async with Probe(target) as probe:
            channel = await probe.call(direction=direction)
            probe.audio([channel], 10)
            await probe.answers_ping("a call was taken and ten frames came")


def at_speed(speed: float, seconds: float) -> Callable[[Target], Awaitable[None]]:
    """Audio comes so much faster than time: after the gateway's process was replaced, or as replay."""

    async def run(target: Target) -> None:
        async with Probe(target) as probe:
            channel = await probe.call()
            await probe.paced_audio(channel, seconds, speed)
            await probe.answers_ping(f"{seconds:g} s of audio at {speed:g} times real time", 5.0)

    return run


async def real_time(target: Target) -> None:
    """As it comes from a caller; what is said meanwhile is measured, as wrong samples are twice as many."""
    async with Probe(target) as probe:
        channel = await probe.call()
        await probe.paced_audio(channel, 0.5, 1)
        before = probe.spoken[channel]
        await probe.paced_audio(channel, MEASURED_S, 1)
        await probe.answers_ping(f"{0.5 + MEASURED_S:g} s of audio at real time", 5.0)
        speed = (probe.spoken[channel] - before) / target.settings.sample_rate_hz / MEASURED_S
        if not target.native and 1.8 < speed < 2.4:
            raise Advice(
                f"it says {speed:.1f} s of speech a second: L16 in place of mu-law?",
                "Send samples in the encoding and at the rate of the call's start; an agent that means to speak ahead "
                "of time may.",
            )


async def news(target: Target) -> None:
    """All that a gateway may tell of a call, most of which an agent may ignore."""
    async with Probe(target) as probe:
        channel, link = await probe.call(), probe.link
        probe.audio([channel], 5, FLAG_SPEECH | FLAG_GAP)
        link.send_dtmf(channel, "5", 120, "rfc4733")
        link.send_mark(channel, "a mark that nobody has set", 0, "played")
        link.send_cleared(channel, "", 0, 0, [])
        link.send_flow(channel, False, 50_000)
        link.send_flow(channel, True, 0)
        link.send_hold(channel, True)
        link.send_hold(channel, False)
        link.send_quality(channel, {"mos": 4.1, "recent_mos": math.nan})
        link.send_network(channel, True, 2000)
        link.send_network(channel, False, 2500)
        link.send_speech(channel, True, 320, -20.5)
        link.send_speech(channel, False, 640, math.nan)
        link.send_turn(channel, {"agent_ms": 700})
        link.send_underrun(channel, 320, 40)
        for state in ("ringing", "early", "answered"):
            link.send_call_state(channel, state)
        link.send_transfer(channel, "failed", 486, "Busy Here")
        link.send_status(channel, {"queued_ms": 0, "max_queue_ms": 60_000})
        link.send_error(channel, "forbidden", "the route does not allow that")
        probe.flush()
        probe.audio([channel], 5)
        await probe.answers_ping("it was told of keys, hold, quality, speech, a transfer and the like")


async def many_calls(target: Target) -> None:
    """On one connection, audio of all in one message; or each on its own."""
    if not target.native:
        await _many_connections(target)
        return
    async with Probe(target) as probe:
        channels = [probe.start() for _ in range(MANY)]
        for channel in channels:
            await probe.accepted(channel)
        for _ in range(25):
            probe.audio([c for c in channels if not probe.hung_up(c)])
            await probe.drained(f"{MANY} calls were up on one connection")
        await probe.answers_ping(f"{MANY} calls were up on one connection")
        strange = set(probe.spoken) - set(channels)
        if strange:
            raise Wrong(
                f"it sends audio on channel {min(strange)}, which no call has",
                "Say each call's audio on the channel of its `start`.",
            )
        for channel in channels:
            probe.stop(channel)
        await probe.answers_ping(f"{MANY} calls had ended at once")


async def _many_connections(target: Target) -> None:
    probes = [Probe(target) for _ in range(SEVERAL)]
    try:
        await asyncio.gather(*(probe.__aenter__() for probe in probes))
        channels = await asyncio.gather(*(probe.call() for probe in probes))
        for probe, channel in zip(probes, channels, strict=True):
            probe.audio([channel], 25)
        for probe in probes:
            await probe.answers_ping(f"{SEVERAL} calls were up at once, each on its connection")
    finally:
        for probe in probes:
            if probe._tasks:
                await probe.__aexit__()


async def stop_ends_it(target: Target) -> None:
    """After the end of a call nothing more is said of it, and the connection stays."""
    async with Probe(target) as probe:
        channel = await probe.call()
        probe.audio([channel], 25)
        await probe.settle(0.2)
        probe.stop(channel)
        if not target.native:
            if not await probe.wait(lambda: probe.ended, 5.0) and not probe.ended:
                raise Advice("it keeps the connection open after the end of its call", "Close it: it is of no use.")
            return
        await probe.settle(1.0)
        probe.alive("the end of a call")
        before = probe.spoken[channel]
        await probe.settle(1.0)
        if probe.spoken[channel] > before:
            raise Wrong(
                "it goes on speaking a second after `stop`",
                "End what belongs to a call when its `stop` comes; else it costs you, and others, for ever.",
            )
        await probe.answers_ping("the end of a call")
        await probe.call()


async def reads_while_unread(target: Target) -> None:
    """The gateway does not read for a while, which must not keep the agent from reading."""
    async with Probe(target) as probe:
        channel = await probe.call()
        probe.reading(False)
        try:
            for _ in range(UNREAD_S):
                probe.audio([channel], 50)
                await probe.drained("the gateway did not read what the agent said")
        except Wrong as wrong:
            probe.polite = False
            if target.native:
                raise
            raise Advice(wrong.problem, "Write in another task than the one that reads.") from None
        probe.reading(True)
        await probe.answers_ping("the gateway had not read for a while", 5.0)


async def pauses(target: Target) -> None:
    """`flow` asks for a pause."""
    async with Probe(target) as probe:
        if not probe.link.supports_flow_control:
            raise CannotTell(f"{target.dialect} cannot ask an agent for a pause")
        channel = await probe.call()
        await probe.paced_audio(channel, 1.0, 2.0)
        if not await probe.wait(lambda: probe.spoken[channel], 2.0):
            probe.alive("two seconds of audio")
            raise CannotTell("it did not speak, so whether it would pause cannot be seen")
        probe.link.send_flow(channel, False, 50_000)
        await probe.paced_audio(channel, 1.0, 2.0)
        before = probe.spoken[channel]
        await probe.paced_audio(channel, 2.0, 2.0)
        if probe.spoken[channel] > before:
            raise Advice(
                "it goes on sending speech when `flow` says pause",
                "Wait for `flow` with state resume: what does not fit into the queue is thrown away.",
            )


async def leftovers(target: Target) -> None:
    """A connection breaks in the middle of a message, with calls up; the next one finds an agent as new."""
    async with Probe(target) as probe:
        probe.polite = False
        for _ in range(SEVERAL if target.native else 1):
            probe.audio([await probe.call()], 5)
        if target.native:
            probe.raw(b"\x28\x00\x00\x00\x01")
        await probe.settle(0.1)
    async with Probe(target) as probe:
        channel = await probe.call()
        probe.audio([channel], 5)
        await probe.answers_ping("another connection had broken with calls up")


CASES = (
    Case("connects", "takes connections, one after the other", connects),
    Case("takes calls", "takes an inbound and an outbound call in time", takes_calls),
    Case("version", "chooses a version that both speak, and refuses others", native.version, native=True),
    Case("token", "sends away who does not know the token", native.token, native=True),
    Case("bare start", "takes a call of which only the id is known", native.bare_start, native=True),
    Case("cut up", "understands messages however the bytes come", native.cut_up, native=True),
    Case("long messages", "takes control messages of 300 kB", native.long_messages, native=True),
    Case("unknown", "ignores what it does not know", native.unknown, native=True),
    Case("ping", "answers ping at once, in the middle of a call too", native.ping, native=True),
    Case("real time", "takes audio as it comes from a caller", real_time),
    Case("20x", "takes audio at 20 times real time", at_speed(20, 10)),
    Case("100x", "takes audio at 100 times real time", at_speed(100, 30)),
    Case("news", "is told all there is to tell, and goes on", news),
    Case("many calls", "carries many calls at once", many_calls),
    Case("stop", "says no more of a call that has ended", stop_ends_it),
    Case("slow gateway", "reads also while what it says is not read", reads_while_unread),
    Case("flow", "pauses when it is asked to", pauses),
    Case("malformed", "ends a connection that breaks the protocol, and no other", native.malformed, native=True),
    Case("silent gateway", "gives up a gateway that says no hello", native.silent_gateway, native=True),
    Case("keep-alive", "asks after a gateway that has fallen silent", native.keep_alive, native=True),
    Case("leftovers", "is as new after a connection has broken", leftovers),
    Case("resumed", "goes on with its call over a new connection", native.resumed, native=True),
    Case("hand-over", "takes a call that another agent has lost", native.hand_over, native=True),
)
