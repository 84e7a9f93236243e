# SPDX-License-Identifier: MIT
"""Cases of the conformance check that only our dialect can say (PROTOCOL.md)."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import struct
import uuid
from typing import Any

import numpy as np

from trunkline.agent_bridge import wire
from trunkline.agent_bridge.conformance_probe import ANSWER_S, HELLO_S, Probe
from trunkline.agent_bridge.conformance_target import Advice, CannotTell, Target, Wrong
from trunkline.agent_bridge.dialect import FLAG_REPLAY, FLAG_SPEECH

HANG_UP_S = 1.0
"An agent that cannot live with what it was told hangs up by then."
SILENCE_S = 6.5
"A gateway asks after an agent, and an agent after a gateway, when it has heard nothing for 5 s."


def _hello(target: Target, versions: list[int], token: str | None = None) -> bytes:
    token = token or target.settings.token
    secret = {} if token is None else {"token": token}
    return wire.control_message("hello", versions=versions, gateway="check", **secret)


def _start(target: Target, channel: int, call: dict[str, Any] | None = None, **more: Any) -> bytes:
    settings = target.settings
    audio = {
        "encoding": "s16le",
        "sample_rate_hz": settings.sample_rate_hz,
        "frame_ms": settings.frame_ms,
        "frame_samples": settings.sample_rate_hz * settings.frame_ms // 1000,
    }
    call = {"call_id": str(uuid.uuid4()), **(call or {})}
    return wire.control_message("start", channel=channel, call=call, audio=audio, **more)


def _audio(target: Target, channel: int, flags: int = 0) -> bytes:
    samples = target.settings.sample_rate_hz * target.settings.frame_ms // 1000
    one = np.array([channel])
    frame = np.ones((1, samples), np.int16)
    return b"".join(wire.audio_messages(one, one * 0, np.array([flags]), frame))


def _said(probe: Probe, kind: str, **fields: Any) -> bool:
    return any(m["type"] == kind and fields.items() <= m.items() for m in probe.control)


async def version(target: Target) -> None:
    """[1, 99] is a gateway of the future, [99] one that cannot be talked to."""
    async with Probe(target, say_hello=False) as probe:
        probe.raw(_hello(target, [1, 99]))
        await probe.wait(lambda: _said(probe, "hello"), HELLO_S)
        if not _said(probe, "hello", version=1):
            raise Wrong(
                "offered the versions 1 and 99, it does not choose 1",
                "Choose the highest version of the list that the agent speaks itself.",
            )
    async with Probe(target, say_hello=False) as probe:
        probe.raw(_hello(target, [99]))
        await probe.wait(lambda: probe.ended, HELLO_S)
        if _said(probe, "hello"):
            raise Wrong(
                "offered only version 99, it says hello all the same",
                'Send {"type":"error","code":"version"} and close when there is no common version.',
            )
        if not _said(probe, "error", code="version"):
            raise Advice(
                "offered only version 99, it does not say what is wrong",
                "Send `error` with code `version` before closing, so that the gateway's log names the cause.",
            )


async def token(target: Target) -> None:
    """A wrong one, and none."""
    right = target.settings.token or ""
    bare = dataclasses.replace(target, settings=dataclasses.replace(target.settings, token=None))
    for wrong, how in ((right + "x", "a wrong token"), (None, "no token")):
        async with Probe(target, say_hello=False) as probe:
            probe.raw(_hello(bare, [1], wrong))
            await probe.wait(lambda probe=probe: probe.ended or _said(probe, "hello"), HELLO_S)  # type: ignore[misc]
            if _said(probe, "hello"):
                raise Wrong(
                    f"it serves a gateway with {how}",
                    "Compare the token of `hello` with the one that the agent is configured with (in constant "
                    "time), and answer another with `error`, code `token`.",
                )
            if not _said(probe, "error", code="token"):
                raise Advice(f"it does not say what is wrong with {how}", "Send `error` with code `token` first.")


async def bare_start(target: Target) -> None:
    """Every field of `call` but the id is optional."""
    async with Probe(target) as probe:
        probe.raw(_start(target, 7))
        await _accepts(probe, 7, "a start that has no more than it must have")


async def _accepts(probe: Probe, channel: int, what: str) -> None:
    await probe.wait(lambda: _said(probe, "accept", channel=channel), ANSWER_S)
    problem = f"it does not accept a call after {what}"
    try:
        probe.alive(what)
    except Wrong as wrong:
        problem = wrong.problem
    if not _said(probe, "accept", channel=channel):
        raise Wrong(
            problem,
            "Take fields that are absent or null as their defaults, ignore those that are not known, and take bytes "
            "as a stream without boundaries: collect them until a message is whole, and handle all that are.",
        )


async def cut_up(target: Target) -> None:
    """Headers a byte at a time, the rest in pieces, and then several messages in one."""
    async with Probe(target, say_hello=False) as probe:
        for data in (_hello(target, [1]), _start(target, 1)):
            for start, end in itertools.pairwise([*range(9), *range(45, len(data), 37), len(data)]):
                probe.raw(data[start:end])
                await asyncio.sleep(0)  # each in a write of its own
            await probe.settle(0.05)
        await _accepts(probe, 1, "hello and start came in small pieces")
        probe.raw(_audio(target, 1) * 3 + _start(target, 2) + _audio(target, 1)[:11])
        await asyncio.sleep(0.02)
        probe.raw(_audio(target, 1)[11:] + wire.control_message("stop", channel=1, reason="check"))
        await _accepts(probe, 2, "several messages came in one piece, the last one cut")
        await probe.answers_ping("messages came in pieces")


async def long_messages(target: Target) -> None:
    """Headers and metadata are as long as a SIP message may be, and more."""
    async with Probe(target) as probe:
        headers = {f"X-Header-{i}": "x" * 1000 for i in range(300)}
        probe.raw(_start(target, 1, {"headers": headers}))
        await _accepts(probe, 1, "a start of 300 kB")
        marks = [f"mark {i}" for i in range(1000)]
        probe.message("cleared", channel=1, name="", played_ms=1, discarded_ms=2, marks=marks)
        await probe.answers_ping("a message with a thousand marks")


async def unknown(target: Target) -> None:
    """Types, fields, flags and channels that the agent has never heard of."""
    async with Probe(target) as probe:
        probe.raw(_start(target, 1, {"colour": "blue", "caller": None, "headers": None}, mood={"a": [1]}))
        await _accepts(probe, 1, "a start with unknown fields, and with null for optional ones")
        probe.message("later", channel=1, anything=[None])
        probe.message("later still")
        probe.message("dtmf", channel=1, digit="1", loudness=9)
        probe.raw(_audio(target, 1, 0xFFE0))
        await probe.answers_ping("messages, fields and flags came that version 1 does not have")
        for kind, content in (("stop", {"reason": "x"}), ("dtmf", {"digit": "1"}), ("hold", {"held": True})):
            probe.message(kind, channel=4242, **content)
        probe.raw(_audio(target, 4242))
        await probe.answers_ping("messages about a channel that is not known: they cross with the end of a call")


async def ping(target: Target) -> None:
    """Before a call, in it, and many at once."""
    async with Probe(target) as probe:
        await probe.answers_ping("the handshake", 1.0)
        channel = await probe.call()
        probe.audio([channel], 50)
        await probe.answers_ping("a second of audio", 1.0)
        before = probe._pongs
        for _ in range(20):
            probe.message("ping")
        if not await probe.wait(lambda: probe._pongs >= before + 20, 2.0):
            raise Advice("it answers fewer pongs than it gets pings", "Answer each `ping` with one `pong`.")


_MALFORMED = {
    "a header that is none": b"GET / HTTP/1.1\r\n\r\n",
    "a message type that does not exist": struct.pack("<IBBH", 0, 9, 0, 0),
    "JSON that is cut off": struct.pack("<IBBH", 8, 1, 0, 0) + b'{"type":',
    "JSON that is no object": struct.pack("<IBBH", 2, 1, 0, 0) + b"[]",
    "audio of a wrong size": struct.pack("<IBBHHHI", 9, 2, 0, 0, 160, 0, 1) + b"\0",
    "a call without an id": wire.control_message("start", channel=1, call={}, audio={}),
    "a second hello": wire.control_message("hello", versions=[1]),
}


async def malformed(target: Target) -> None:
    """The gateway is broken, or is none: better no connection than calls that are only half understood."""
    async with Probe(target) as other:
        channel = await other.call()
        silent = []
        for what, data in _MALFORMED.items():
            async with Probe(target) as probe:
                probe.raw(data)
                await probe.wait(lambda: False, 2.0, despite_failure=True)
                if not probe.ended:
                    raise Wrong(
                        f"it goes on after {what}",
                        "Send `error` with code `protocol` and close the connection when something comes that the "
                        "protocol does not allow: what follows cannot be trusted.",
                    )
                if not _said(probe, "error"):
                    silent.append(what)
        other.audio([channel], 5)
        await other.answers_ping("other connections had broken the protocol")
    if silent:
        raise Advice(
            f"it closes without a word after {silent[0]}",
            "Send `error` with code `protocol` and a text first, so that the gateway's log names the cause.",
        )


async def silent_gateway(target: Target) -> None:
    """A port scanner, say."""
    async with Probe(target, say_hello=False) as probe:
        if not await probe.wait(lambda: probe.ended, 2 * HELLO_S) and not probe.ended:
            raise Advice(
                f"it keeps a connection on which no hello has come for {2 * HELLO_S:g} s",
                "Close such a connection after 2 s: else each of them holds a socket for ever.",
            )


async def keep_alive(target: Target) -> None:
    """Five seconds of silence; a link would break it with a ping of its own."""
    async with Probe(target, say_hello=False) as probe:
        probe.raw(_hello(target, [1]))
        await probe.wait(lambda: _said(probe, "ping"), SILENCE_S)
        probe.alive(f"{SILENCE_S:g} s of silence; a gateway without calls is silent")
        if not _said(probe, "ping"):
            raise Advice(
                f"it does not ask after a gateway that has been silent for {SILENCE_S:g} s",
                "Send `ping` after 5 s of silence, and close 5 s later if nothing comes: else calls of a gateway "
                "that has lost its power are never over.",
            )


async def resumed(target: Target) -> None:
    """The gateway's media process is replaced: the same call comes again, on a new connection."""
    call_id = str(uuid.uuid4())
    async with Probe(target) as probe:
        probe.polite = False
        channel = await probe.call(call_id=call_id)
        probe.audio([channel], 25)
        await probe.settle(0.1)
    async with Probe(target) as probe:
        position = 25 * target.settings.sample_rate_hz * target.settings.frame_ms // 1000
        channel = await probe.call(call_id=call_id, resumed=True, position=position, gap_ms=200)
        probe.audio([channel], 25)
        await probe.answers_ping("its call went on over a new connection")


async def hand_over(target: Target) -> None:
    """With attempt, state and replay; an agent may ignore all of them."""
    async with Probe(target) as probe:
        rate = target.settings.sample_rate_hz
        channel = await probe.call(
            attempt=2, state=b"of another agent", played_ms=1200, replay_ms=400, position=rate,
            variables={"check": "yes"},
        )  # fmt: skip
        probe.audio([channel], 20, FLAG_REPLAY | FLAG_SPEECH)
        probe.audio([channel], 20)
        await probe.answers_ping("a call was handed over to it")
        await probe.wait(lambda: probe.hung_up(channel), HANG_UP_S)
        if not probe.hung_up(channel):
            return
        plain = await probe.call()
        await probe.wait(lambda: probe.hung_up(plain), HANG_UP_S)
        if probe.hung_up(plain):
            raise CannotTell("it hangs up within a second of every call")
        raise Wrong(
            "it hangs up at once when a call is handed over to it",
            "Take the call with the state of another agent as well: what cannot be read there is as if there were "
            "none. Look into the agent's log for an exception.",
        )
