# SPDX-License-Identifier: MIT
"""Does an agent keep to its protocol?  Plays the gateway's part against it, and says what is wrong and the cure.

    report = await check("unix:/run/agent.sock")
    assert report.passed, report.text()

A connection and a call or more for each case, over the real wire.  What a dialect has no words for is left out
by name, and what an agent does not do (one that never speaks, say) cannot be told.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
import time
from collections.abc import Callable, Collection

from trunkline.agent_bridge.conformance_cases import CASES, Case
from trunkline.agent_bridge.conformance_probe import Probe
from trunkline.agent_bridge.conformance_target import NATIVE, Advice, CannotTell, Target, Wrong
from trunkline.agent_bridge.dialect import LinkSettings
from trunkline.agent_bridge.links import DEFAULT_RATES_HZ, check_address

CASE_TIMEOUT_S = 60.0
PASSED, WRONG, ADVICE, LEFT_OUT = "passed", "wrong", "advice", "left out"

__all__ = ["CASES", "Case", "Report", "Verdict", "check"]


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What one case found."""

    case: str
    what: str
    "the behaviour that is looked at, in a sentence"
    outcome: str
    "`passed`, `wrong`, `advice` (it works, and could be better), `left out`"
    problem: str = ""
    "wrong, advice: what the agent does; left out: why"
    cure: str = ""
    took_s: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """All of them."""

    address: str
    dialect: str
    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """Nothing is wrong, and something was looked at."""
        outcomes = {verdict.outcome for verdict in self.verdicts}
        return WRONG not in outcomes and PASSED in outcomes

    def text(self) -> str:
        """For people: a line a case, with problem and cure below."""
        return "\n".join(line for verdict in self.verdicts for line in lines(verdict))


def lines(verdict: Verdict) -> list[str]:
    """One verdict for people."""
    sign = {PASSED: "ok", WRONG: "WRONG", ADVICE: "advice", LEFT_OUT: "-"}[verdict.outcome]
    found = [f"{sign:6} {verdict.case:18} {verdict.what}"]
    if verdict.problem:
        found.append(f"{'':26}{verdict.problem}")
    if verdict.cure:
        found.append(f"{'':26}-> {verdict.cure}")
    return found


async def check(
    address: str,
    *,
    dialect: str = NATIVE,
    settings: LinkSettings | None = None,
    tls: ssl.SSLContext | None = None,
    only: Collection[str] = (),
    on_verdict: Callable[[Verdict], None] = lambda verdict: None,
) -> Report:
    """Run all cases, or `only` those named, one after the other. Raises ValueError for a name or dialect unknown.

    `settings` has rate, frame length, token and the like, as a gateway's configuration would. When nobody answers
    at all, the report ends with the first case.
    """
    unknown = set(only) - {case.name for case in CASES}
    if unknown:
        known = ", ".join(case.name for case in CASES)
        raise ValueError(f"no case {', '.join(sorted(unknown))}: there are {known}")
    web = address.startswith(("ws://", "wss://"))
    check_address(dialect, address)
    given = settings or LinkSettings(sample_rate_hz=DEFAULT_RATES_HZ.get(dialect, 16000))
    target = Target(address, dialect, dataclasses.replace(given, url=address if web else given.url), tls)
    Probe(target)  # a dialect that is not known is the caller's mistake, not the agent's
    verdicts: list[Verdict] = []
    for case in CASES:
        if only and case.name not in only:
            continue
        verdict = await _judge(case, target)
        verdicts.append(verdict)
        on_verdict(verdict)
        if case.name == "connects" and verdict.outcome == WRONG:
            break
    if not only and not target.heard.anything and any(verdict.outcome == PASSED for verdict in verdicts):
        verdicts.append(_SILENT)
        on_verdict(_SILENT)
    return Report(address, dialect, tuple(verdicts))


_SILENT = Verdict(
    "heard", "says something", ADVICE, "nothing was heard of this agent, no speech and no command",
    "The caller here is noise, which an agent may well wait through; otherwise see its log.",
)  # fmt: skip


async def _run(case: Case, target: Target) -> None:
    target.heard.begin()
    await case.run(target)
    if problem := target.heard.wrong():
        raise Wrong(*problem)
    if problem := target.heard.advice():
        raise Advice(*problem)


async def _judge(case: Case, target: Target) -> Verdict:
    began = time.monotonic()

    def verdict(outcome: str, problem: str = "", cure: str = "") -> Verdict:
        return Verdict(case.name, case.what, outcome, problem, cure, round(time.monotonic() - began, 3))

    why_not = case.left_out(target)
    if why_not:
        return verdict(LEFT_OUT, why_not)
    try:
        async with asyncio.timeout(CASE_TIMEOUT_S):
            await _run(case, target)
    except Advice as advice:
        return verdict(ADVICE, advice.problem, advice.cure)
    except Wrong as wrong:
        return verdict(WRONG, wrong.problem, wrong.cure)
    except CannotTell as reason:
        return verdict(LEFT_OUT, str(reason))
    except TimeoutError:
        return verdict(WRONG, f"nothing came of it within {CASE_TIMEOUT_S:g} s", "Look into the agent's log.")
    return verdict(PASSED)
