# SPDX-License-Identifier: GPL-2.0-or-later
"""The largest number of calls that a machine carries, by doubling and bisection; each step is a real run."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

from trunkline.gateway.bench import figures

FIRST_CALLS = 100
MAX_RUNS = 14
FINE = 0.05
"The search ends when the answer is known to five percent."


class Verdict(enum.Enum):
    """What a run says of a number of calls."""

    FITS = "fits"
    TOO_MANY = "too many"
    "frames were lost or late, and it was not the generator"
    UNCLEAR = "unclear"
    "the generator itself did not keep up, or others had the machine: it says nothing of the worker"


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One run of the search."""

    calls: int
    verdict: Verdict
    why: str
    figures: dict[str, Any] | None = None
    "None when the run could not be made to its end"


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """What the search has found."""

    calls: int
    "the largest number that fits; 0: not even the least that was tried"
    steps: tuple[Step, ...]
    bounded_by: str
    "why more do not fit, in words"

    @property
    def best(self) -> dict[str, Any] | None:
        """Figures of the run at the limit."""
        fits = [step for step in self.steps if step.verdict is Verdict.FITS and step.calls == self.calls]
        return fits[-1].figures if fits else None


def judge(one: dict[str, Any]) -> tuple[Verdict, str]:
    """Whether so many calls fit, and why not."""
    wrong = figures.faults(one) + figures.slow(one)
    if not wrong:
        return Verdict.FITS, ""
    if trouble := figures.generator_trouble(one) or figures.disturbance(one):
        return Verdict.UNCLEAR, f"{trouble}; {'; '.join(wrong)}"
    return Verdict.TOO_MANY, "; ".join(wrong)


def find_limit(
    measure: Callable[[int], Step], first: int = FIRST_CALLS, most: int = 9000, runs: int = MAX_RUNS
) -> Limit:
    """Search between 1 and `most` calls, beginning at `first`, with at most so many runs.

    A step that is unclear is made once more; if it is again, the machine's limit has been reached, not the
    worker's, and `bounded_by` says so.
    """
    steps: list[Step] = []

    def fits(calls: int) -> bool:
        step = measure(calls)
        steps.append(step)
        if step.verdict is Verdict.UNCLEAR and len(steps) < runs:
            step = measure(calls)
            steps.append(step)
        return step.verdict is Verdict.FITS

    low, high = 0, most + 1
    calls = min(first, most)
    while len(steps) < runs and high - low > max(1, round(low * FINE)):
        if fits(calls):
            low = calls
        else:
            high = calls
        calls = (low + high) // 2 if high <= most or low == most else min(low * 2, most)
    return Limit(low, tuple(steps), _why(steps, low, high, most))


def _why(steps: list[Step], low: int, high: int, most: int) -> str:
    if low == most:
        return f"{most} is the most that was to be tried"
    failed = next((step for step in reversed(steps) if step.calls == high), None)
    if failed is None:
        return "the search was ended by its number of runs"
    whose = "not the worker, as far as can be seen: " if failed.verdict is Verdict.UNCLEAR else ""
    return f"at {failed.calls} calls: {whose}{failed.why}"
