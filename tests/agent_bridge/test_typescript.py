# SPDX-License-Identifier: MIT
"""The SDK for Node: its examples as programs, called over the real wire."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

import trunkline.agent_bridge
from trunkline.agent_bridge import link_events as said
from trunkline.agent_bridge.conformance import ADVICE, CASES, PASSED, check
from trunkline.agent_bridge.testing import GatewayDouble

FOLDER = Path(trunkline.agent_bridge.__file__).with_name("typescript")
VOICE = np.random.default_rng(7).integers(-9000, 9000, 16000, np.int16)


@contextlib.asynccontextmanager
async def node(code: str | Path, where: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A program of Node's that says where it listens."""
    program = shutil.which("node") or pytest.fail("node is not installed: apt-get install nodejs")
    source = [str(code)] if isinstance(code, Path) else ["--input-type=module", "-e", code, "--"]
    process = await asyncio.create_subprocess_exec(
        program, *source, where, cwd=FOLDER, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process, (await process.stdout.readline()).decode().split()[-1]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_echo_returns_every_sample_and_keeps_to_the_protocol(tmp_path):
    """Two calls at once, and every case of the conformance check but what an echo does not care for."""
    async with node(FOLDER / "examples/echo.js", f"unix:{tmp_path}/s") as (_, where):
        async with GatewayDouble.to(where) as gateway:
            for call in [await gateway.call() for _ in range(2)]:
                call.say(VOICE)
                assert (await call.hear(len(VOICE)) == VOICE).all()
        reports = await asyncio.gather(*(check(where, only=[case.name]) for case in CASES))
    found = {report.verdicts[0].case: report.verdicts[0] for report in reports}
    assert found.pop("flow").outcome == ADVICE
    del found["token"]
    assert [verdict for verdict in found.values() if verdict.outcome != PASSED] == []


async def test_barge_in_knows_what_was_heard_and_hands_its_call_over(tmp_path):
    """240 ms of five seconds, whatever the route's policy; then SIGTERM, and another goes on counting."""
    async with node(FOLDER / "examples/barge_in.js", f"unix:{tmp_path}/s") as (process, where):
        async with GatewayDouble.to(where) as gateway:
            for policy in ("tell", "clear"):
                call = await gateway.call(playback="manual", barge_in=policy)
                await call.event(said.Mark, 2)
                call.play_out(240)
                call.speak(VOICE)
                assert await process.stdout.readline() == b"interrupted after 240 of 5000 ms, try 1\n"
            process.send_signal(signal.SIGTERM)
            await gateway.until(lambda: gateway.failure is not None, "the end")
        assert not [e for e in call.said if isinstance(e, said.Hangup)]
        assert call.saved == b"1"
        assert call.acknowledged > 0
        assert await process.wait() == 0
    async with node(FOLDER / "examples/barge_in.js", f"unix:{tmp_path}/s") as (process, where):  # noqa: SIM117
        async with GatewayDouble.to(where) as gateway:
            new = await call.hand_over(gateway)
            await new.event(said.Mark, 2)
            assert (await process.stdout.readline()).startswith(b"played after 5000 of 5000 ms, try 2")


CONTROL = """
import { Agent, CommandRefused } from "./trunkline.js";
const seen = [];
const agent = new Agent(async (call) => {
  call.on("event", ({ type, state, digit }) => seen.push(type, state ?? digit ?? null));
  seen.push(call.caller, { ...call.variables }, call.state);
  call.ring({ "X-Queue": "3" });
  call.progress();
  await call.answer();
  call.set({ customer: "4711" });
  call.mute({ downlink: true });
  call.hold("jazz");
  call.resume();
  call.sendDtmf("19#");
  seen.push(await call.status());
  seen.push((await call.transfer("+4930987654")).reason);
  const attended = call.transfer(undefined, { attended: "other" });
  seen.push(await attended.catch((error) => error instanceof CommandRefused && error.code));
  call.play(new Int16Array(1600));
  seen.push((await call.mark()).outcome);
  console.log(JSON.stringify(seen));
}, {
  answer: false,
  token: "s3cret",
  onOffer: ({ caller }) => (caller === "spam" ? { code: 603, reason: "no" } : undefined),
});
console.log(await agent.listen(process.argv[1]));
"""


async def test_everything_an_agent_may_do_has_a_method():
    """Before the answer, in the call, and refused."""
    async with node(CONTROL, "tcp:0") as (process, where):
        with pytest.raises(ConnectionError, match="token"):
            await GatewayDouble.to(where).__aenter__()
        async with GatewayDouble.to(where, token="s3cret") as gateway:
            with pytest.raises(Exception, match="603 no"):
                await gateway.call(caller="spam")
            call = await gateway.call(caller="+49", variables={"a": "b"})
            await call.event(said.Transfer)
            assert [type(e).__name__ for e in call.said] == [
                "Ring", "Progress", "Answer", "Variables", "Mute", "HoldCall", "HoldCall", "Dtmf", "AskStatus",
                "Transfer",
            ]  # fmt: skip
            call.press("7")
            call.transfer("failed", 486, "Busy Here")
            assert (await call.event(said.Transfer, 2)).attended == "other"
            call.refuse("forbidden", "no")
            await call.event(said.Hangup)
            assert (call.variables, call.muted["downlink"]) == ({"a": "b", "customer": "4711"}, True)
        seen = json.loads(await process.stdout.readline())
    assert seen == [
        "+49", {"a": "b"}, "offered",
        "call_state", "ringing", "call_state", "early", "call_state", "answered",
        {"queued_ms": 0, "max_queue_ms": 60000},
        "dtmf", "7", "transfer", "failed", "Busy Here", "error", None, "forbidden", "played",
    ]  # fmt: skip


LIVES = """
import { Agent } from "./trunkline.js";
const agent = new Agent(async (call) => {
  if (call.caller === "bug") throw new Error("broken handler");
  const positions = [];
  for await (const { position, gap } of call) positions.push(gap ? -position : position);
  console.log(JSON.stringify([...positions, call.stopped.reason]));
});
console.error = () => {};
console.log(await agent.listen(process.argv[1]));
"""


async def test_calls_live_on_over_a_new_connection_and_a_mistake_ends_its_own_only():
    """Resumed with a flagged gap; the failing handler's call is hung up, its neighbour's is not."""
    async with node(LIVES, "tcp:0") as (process, where):  # noqa: SIM117
        async with GatewayDouble.to(where) as first, GatewayDouble.to(where) as second:
            call = await first.call()
            bug = await first.call(caller="bug")
            assert (await bug.event(said.Hangup)).reason == "agent error"
            call.say(VOICE[:640])
            await call.event(said.Acknowledge)
            first.lose()
            new = await second.call(call_id=call.info.call_id, resumed=True, position=3200)
            new.say(VOICE[:640])
            new.hang_up("bye")
            assert json.loads(await process.stdout.readline()) == [0, 320, -3200, 3520, "bye"]


def test_the_types_have_every_method():
    """What the class has is declared, and the other way round: names of the public surface."""
    declared = (FOLDER / "trunkline.d.ts").read_text().split("export class Call ")[1].split("\n}")[0]
    code = (FOLDER / "call.js").read_text().split("export class Call ")[1]
    methods = set(re.findall(r"^  (?:async )?([a-zA-Z]\w*)\(.*\) \{", code, re.MULTILINE)) - {"constructor"}
    assert methods == set(re.findall(r"^  ([a-zA-Z]\w*)\(", declared, re.MULTILINE))


def test_the_package_needs_nothing_and_lists_its_files():
    """No dependency; what is imported is shipped."""
    package = json.loads((FOLDER / "package.json").read_text())
    assert not {"dependencies", "devDependencies"} & set(package)
    shipped = {path.name for path in FOLDER.glob("*.js")} | {"trunkline.d.ts", "LICENSE", "examples"}
    assert shipped == set(package["files"])
    for path in FOLDER.rglob("*.[jt]s"):
        assert path.read_text().startswith("// SPDX-License-Identifier: MIT\n"), path
