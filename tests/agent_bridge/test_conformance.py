# SPDX-License-Identifier: MIT
"""The conformance check: it finds what is wrong with an agent, names the cure, and finds nothing where nothing is."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
from pathlib import Path

import pytest

import trunkline.agent_bridge
from support.flawed_agent import FLAWS, FlawedAgent
from trunkline.agent_bridge import Agent, Call, conformance_native, conformance_probe
from trunkline.agent_bridge.conformance import ADVICE, CASES, LEFT_OUT, PASSED, WRONG, Verdict, check
from trunkline.agent_bridge.dialect import LinkSettings

QUICK = [case.name for case in CASES if case.name not in ("keep-alive", "real time")]
WITH_TOKEN = LinkSettings(token="s3cret")


async def polite_echo(call: Call) -> None:
    """An echo that waits when it is asked to."""
    async for frame in call:
        if call._flow_ready:
            call.play(frame.pcm)


async def all_at_once(where, **options) -> dict[str, Verdict]:
    """Verdict by case: all cases side by side, since most of their time is waiting."""
    options.setdefault("settings", WITH_TOKEN)
    cases = options.pop("only", [case.name for case in CASES])
    reports = await asyncio.gather(*(check(where, only=[case], **options) for case in cases))
    return {verdict.case: verdict for report in reports for verdict in report.verdicts}


def outcomes(verdicts: dict[str, Verdict]) -> dict[str, str]:
    """By case."""
    return {case: verdict.outcome for case, verdict in verdicts.items()}


async def test_an_agent_of_the_sdk_passes_every_case(tmp_path):
    """All of them, over a Unix socket."""
    async with Agent(polite_echo, token="s3cret") as agent:
        found = await all_at_once(await agent.listen(f"unix:{tmp_path}/s"))
    assert [verdict for verdict in found.values() if verdict.outcome != PASSED] == []


async def test_an_agent_without_a_flaw_passes():
    """The one that the others are made of, so what they fail by is their flaw."""
    async with FlawedAgent(token="s3cret") as where:
        found = await all_at_once(where, only=QUICK)
    assert [verdict for verdict in found.values() if verdict.outcome != PASSED] == []


def test_there_is_a_flawed_agent_for_every_case():
    """100x needs none of its own: what is too slow for 20x is too slow for it."""
    assert set(FLAWS.values()) == {case.name for case in CASES} - {"100x"}


async def test_each_flaw_is_found_by_its_case_and_the_cure_is_named(monkeypatch):
    """In plain words; what merely could be better is advice."""
    monkeypatch.setattr(conformance_probe, "ANSWER_S", 0.6)
    monkeypatch.setattr(conformance_native, "HELLO_S", 0.5)
    monkeypatch.setattr(conformance_native, "SILENCE_S", 1.0)

    async def look(flaw: str) -> Verdict:
        async with FlawedAgent(flaw, token="s3cret") as where:
            report = await check(where, settings=WITH_TOKEN, only=[FLAWS[flaw]])
        assert report.passed is False
        assert report.verdicts[0].cure in report.text()
        return report.verdicts[0]

    found = dict(zip(FLAWS, await asyncio.gather(*map(look, FLAWS)), strict=True))
    advice = {"flow", "silent gateway", "keep-alive"}
    assert {flaw: verdict.outcome for flaw, verdict in found.items()} == {
        flaw: ADVICE if case in advice else WRONG for flaw, case in FLAWS.items()
    }
    assert all(len(v.problem) > 10 and len(v.cure) > 10 for v in found.values())
    assert "audio of a call before it has accepted it" in found["speaks too early"].problem
    assert "it stops reading" in found["writes between reads"].problem


async def test_audiosocket_is_checked_as_far_as_it_has_words():
    """The rest is left out by name."""
    async with Agent(polite_echo, dialect="audiosocket") as agent:
        where = await agent.listen("tcp:0")
        found = await all_at_once(where, dialect="audiosocket", settings=None)
    assert {name for name, outcome in outcomes(found).items() if outcome == PASSED} == {
        "connects", "takes calls", "real time", "20x", "100x", "news", "many calls", "stop", "slow gateway",
        "leftovers",
    }  # fmt: skip
    assert set(outcomes(found).values()) == {PASSED, LEFT_OUT}
    assert found["malformed"].problem == "audiosocket has no words for this"


async def test_nobody_there_is_said_once(tmp_path):
    """And nothing else is tried."""
    report = await check(f"unix:{tmp_path}/nobody")
    (verdict,) = report.verdicts
    assert (verdict.outcome, report.passed) == (WRONG, False)
    assert "nobody answers at unix:" in verdict.problem


async def test_agent_that_rejects_is_not_called_wrong():
    """But nothing was seen of it either, beyond the handshake."""
    async with Agent(polite_echo, on_offer=lambda call: call.reject(486, "Busy")) as agent:
        report = await check(await agent.listen("tcp:0"), only=["connects", "20x"])
    assert [v.outcome for v in report.verdicts] == [PASSED, LEFT_OUT]
    assert "it rejects the call (486 Busy)" in report.text()


@pytest.mark.parametrize("wrong", [{"only": ["no such case"]}, {"dialect": "smoke signals"}])
async def test_mistakes_of_whoever_checks_are_told_as_such(wrong):
    """ValueError, with what there is."""
    with pytest.raises(ValueError, match=r"connects|trunkline"):
        await check("tcp:127.0.0.1:9", **wrong)


async def test_nothing_is_wrong_with_the_small_agent_of_the_text():
    """What it could do better is what the text names: section 13 is one screen, not an SDK."""
    text = Path(trunkline.agent_bridge.__file__).with_name("PROTOCOL.md").read_text()
    names: dict = {}
    exec(re.findall(r"```python\n(.*?)```", text.split("\n## 13.")[1], re.DOTALL)[0], names)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(connection: socket.socket) -> None:
            with contextlib.suppress(OSError), connection:
                names["serve"](connection)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=server.accept()[:1], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        found = await all_at_once(f"tcp:127.0.0.1:{server.getsockname()[1]}", settings=None, only=QUICK)
        server.shutdown(socket.SHUT_RDWR)
    assert {name: found[name] for name, outcome in outcomes(found).items() if outcome == WRONG} == {}
    assert {name for name, outcome in outcomes(found).items() if outcome == ADVICE} == {"flow", "silent gateway"}


async def test_cases_do_not_wait_for_each_other_for_ever(monkeypatch):
    """A case that hangs is an answer, too."""
    from trunkline.agent_bridge import conformance

    monkeypatch.setattr(conformance, "CASE_TIMEOUT_S", 0.05)

    async def hang(target) -> None:
        await asyncio.sleep(100)

    monkeypatch.setattr(conformance, "CASES", (conformance.Case("hangs", "never ends", hang),))
    report = await check("tcp:127.0.0.1:9")
    assert report.verdicts[0].problem == "nothing came of it within 0.05 s"
