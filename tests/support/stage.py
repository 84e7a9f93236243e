# SPDX-License-Identifier: GPL-2.0-or-later
"""The gateway that most end-to-end tests share, and its agents."""

from __future__ import annotations

import dataclasses

from support.agents import AgentHost
from support.gateway import GatewayProcess


@dataclasses.dataclass
class Stage:
    """The shared gateway and its agents."""

    gateway: GatewayProcess
    echo: AgentHost
    "16 kHz"
    echo8: AgentHost
    "8 kHz: no resampling, so G.711 comes back code by code"
    scripted: AgentHost
    "16 kHz; says what `.script` is set to"
    picky: AgentHost
    "16 kHz echo that takes its time, or refuses, as the test says"

    @property
    def agents(self) -> list[AgentHost]:
        """All of them."""
        return [self.echo, self.echo8, self.scripted, self.picky]
