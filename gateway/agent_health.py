# SPDX-License-Identifier: GPL-2.0-or-later
"""How each agent is, from what the media workers tell: pure, with the time handed in.

    UP --failed--> DOWN, avoided for 1 s --failed--> avoided for 2 s, 4 s ... 60 s
     ^--took a call, or answered a probe--'

Down is what people are told; avoided is what the choice goes by.  An agent that takes a call is up.  It is no
longer avoided then either, unless it has failed `FLAPPING` times within a while: one that is restarted by its
supervisor only to die again would otherwise be given calls to lose for ever.  Failures are forgotten after a time
without any, ten times as long as it was last avoided for.

A rejection is an answer, not a failure, and an agent that floods one call may serve the others well; both are
counted and change nothing.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable

FIRST_S, LONGEST_S = 1.0, 60.0
FLAPPING = 3
FORGET_TIMES = 10
SAME_S = 0.5
"Failures within so long are one: a connection that breaks is told by every media worker."
ANSWERS = frozenset({"agent_rejected", "agent_flooded"})
"What says something of a call, not of the agent."


@dataclasses.dataclass(slots=True)
class Health:
    """One agent."""

    up: bool = True
    tried: bool = False
    "a call or a probe has found it up or down"
    since: float = 0.0
    "monotonic time of the last change"
    failures: int = 0
    "that are not forgotten"
    last_failure: float = -1e9
    avoided_until: float = 0.0
    penalty_s: float = 0.0
    reason: str = ""
    "of the last failure"
    detail: str = ""
    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    "failures ever, by reason, in calls"

    def failed(self, now: float, reason: str, detail: str, probed: bool = False) -> bool:
        """It could not be reached, or died; True if it was up until now. A probe is no call and is not counted."""
        self.tried = True
        if not probed:
            self.counts[reason] += 1
        if reason in ANSWERS:
            return False
        was_up, self.up = self.up, False
        self.reason, self.detail = reason, detail
        if was_up:
            self.since = now
        if now - self.last_failure >= SAME_S:
            if now - self.last_failure > self.penalty_s * FORGET_TIMES:
                self.failures = 0
            self.failures += 1
            self.penalty_s = min(FIRST_S * 2 ** (self.failures - 1), LONGEST_S)
            self.last_failure = now
        self.avoided_until = max(self.avoided_until, self.last_failure + self.penalty_s)
        return was_up

    def works(self, now: float) -> bool:
        """It took a call, or answered; True if it was down until now."""
        self.tried = True
        if self.failures < FLAPPING:
            self.avoided_until = now
        was_down, self.up = not self.up, True
        if was_down:
            self.since = now
        return was_down

    def avoided(self, now: float) -> bool:
        """Whether others are asked first."""
        return now < self.avoided_until


class HealthBook:
    """All agents of the configuration."""

    def __init__(self, names: Iterable[str], now: float) -> None:
        self.of = {name: Health(since=now) for name in names}

    def avoided(self, now: float) -> frozenset[str]:
        """Agents that come last."""
        return frozenset(name for name, health in self.of.items() if health.avoided(now))

    def to_probe(self, now: float) -> list[str]:
        """Agents that are down and have been left alone for long enough."""
        return [name for name, health in self.of.items() if not health.up and not health.avoided(now)]
