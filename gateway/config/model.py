# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole configuration as types; the text under a field is its documentation.

README's reference is generated from it (`reference.py`), so what stands in
`sections.py` (tables that a file has once) and `peers.py` (those that repeat) is what
a user reads.  Attributes are plural where TOML repeats a table (`config.trunks` is
`[[trunk]]`), and `trunk.registration` is `[trunk.register]`.

A `Config` holds no secret: only the names of variables and files that do
(`secrets.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import Field, PrivateAttr

from trunkline.gateway.config.peers import Agent, Registration, Route, Trunk
from trunkline.gateway.config.sections import (
    REFUSAL_HEADROOM,
    Api,
    Limits,
    Logging,
    Media,
    Section,
    Sip,
    SipTransport,
    State,
)

__all__ = [
    "Agent", "Api", "Config", "Limits", "Logging", "Media", "Registration", "Route", "Section", "Sip",
    "SipTransport", "State", "Trunk",
]  # fmt: skip


class Config(Section):
    """A configuration file."""

    sip: Sip = Field(default_factory=Sip)
    media: Media = Field(default_factory=Media)
    limits: Limits = Field(default_factory=Limits)
    api: Api = Field(default_factory=Api)
    logging: Logging = Field(default_factory=Logging)
    state: State = Field(default_factory=State)
    trunks: list[Trunk] = Field(default_factory=list, alias="trunk")
    agents: list[Agent] = Field(default_factory=list, alias="agent")
    routes: list[Route] = Field(default_factory=list, alias="route")

    _source: Path | None = PrivateAttr(None)
    _warnings: tuple[str, ...] = PrivateAttr(())

    @property
    def source(self) -> Path | None:
        """File it was read from, or None."""
        return self._source

    @property
    def warnings(self) -> list[str]:
        """What is allowed but probably not meant, a sentence each."""
        return list(self._warnings)

    def read_from(self, source: Path | None, warnings: Iterable[str]) -> Config:
        """Note where this came from and what was doubtful about it (`loading`); returns itself."""
        self._source, self._warnings = source, tuple(warnings)
        return self

    @property
    def sip_call_slots(self) -> int:
        """Calls that PJSIP must have room for."""
        return self.sip.max_calls or 2 * self.limits.max_calls + REFUSAL_HEADROOM

    @property
    def tls(self) -> SipTransport | None:
        """The TLS transport, if there is one."""
        return next((one for one in self.sip.transports if one.protocol == "tls"), None)

    def resolve_path(self, text: str) -> Path:
        """A path of the configuration; relative ones start at the file's folder."""
        path = Path(text).expanduser()
        return path if self._source is None else self._source.parent / path

    def trunk(self, name: str) -> Trunk | None:
        """The trunk of that name."""
        return next((trunk for trunk in self.trunks if trunk.name == name), None)

    def agent(self, name: str) -> Agent | None:
        """The agent of that name."""
        return next((agent for agent in self.agents if agent.name == name), None)

    def route(self, name: str) -> Route | None:
        """The route of that name."""
        return next((route for route in self.routes if route.name == name), None)

    def trunk_limit(self, trunk: Trunk) -> int:
        """Calls at one time on `trunk`; 0 is unlimited."""
        return trunk.max_calls or self.limits.max_calls_per_trunk
