# SPDX-License-Identifier: MIT
"""What the conformance check looks at, and what its cases find."""

from __future__ import annotations

import dataclasses
import ssl
import uuid
from typing import Any

from trunkline.agent_bridge.conformance_heard import Heard
from trunkline.agent_bridge.dialect import LinkSettings, StartInfo

NATIVE = "trunkline"


class Wrong(Exception):
    """The agent does something wrong: what, and the cure, in plain words."""

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(problem)
        self.problem, self.cure = problem, cure


class Advice(Wrong):
    """It works, and could be better."""


class CannotTell(Exception):
    """This agent does not do what the case is about; the text says what that is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """The agent under test."""

    address: str
    dialect: str = NATIVE
    settings: LinkSettings = dataclasses.field(default_factory=LinkSettings)
    tls: ssl.SSLContext | None = None
    "for wss; None: the system's authorities"
    heard: Heard = dataclasses.field(default_factory=Heard)
    "what came of what it said"

    @property
    def native(self) -> bool:
        """It speaks our dialect."""
        return self.dialect == NATIVE

    def info(self, **more: Any) -> StartInfo:
        """A call for it."""
        rate = self.settings.sample_rate_hz
        given: dict[str, Any] = {
            "call_id": str(uuid.uuid4()), "direction": "inbound", "caller": "+4930123456", "called": "600",
            "trunk": "check", "route": "check", "headers": {"X-Check": "1"}, "metadata": {"check": "yes"},
            "sample_rate_hz": rate, "frame_ms": self.settings.frame_ms,
        }  # fmt: skip
        return StartInfo(**(given | more))
