# SPDX-License-Identifier: GPL-2.0-or-later
"""A gateway, an agent and, if wanted, an Asterisk, in which cells are called; several at once.

    127.0.0.4  SIPp in the clear       127.0.0.5  SIPp by SRTP       Asterisk: a port for either
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from matrix import pbx
from matrix.agents import CellAgent
from matrix.cells import SUITES, Cell, misheard
from support.asterisk import Asterisk
from support.gateway import GatewayProcess
from support.line_codecs import ENCODINGS
from support.voice import Likeness
from trunkline.gateway.config.peers import Trunk
from trunkline.rtp.payload import AUDIO_FORMATS

CLEAR_HOST, SECURE_HOST = "127.0.0.4", "127.0.0.5"
HAS_SRTP = "srtp" in Trunk.model_fields


@dataclasses.dataclass
class Outcome:
    """What became of a cell."""

    cell: Cell
    up: Likeness | None = None
    "the caller's side to the agent"
    down: Likeness | None = None
    problems: list[str] = dataclasses.field(default_factory=list)
    earlier: list[str] = dataclasses.field(default_factory=list)
    "what went wrong in attempts before this one"

    def judge(self, way: str, found: Likeness) -> None:
        """Note what was heard, and what is wrong with it."""
        setattr(self, way, found)
        if wrong := misheard(self.cell, way, found):
            self.problems.append(wrong)

    def expect(self, what: str, found: object, wanted: object) -> None:
        """Note a difference."""
        if found != wanted:
            self.problems.append(f"{what}: {found}, not {wanted}")


@dataclasses.dataclass
class Rig:
    """What cells are called in."""

    gateway: GatewayProcess
    agent: CellAgent
    asterisk: Asterisk | None
    secure_port: int = 0
    "where Asterisk wants SRTP"


def trunk_name(cell: Cell) -> str:
    """Of calls that we place: one suite a trunk, so that each is used."""
    return f"{cell.peer}{f'-{cell.suite}' if cell.suite else ''}"


def _trunks(asterisk: Asterisk | None, secure_port: int) -> list[dict[str, Any]]:
    codecs = {"codecs": [name for name in ENCODINGS if name in AUDIO_FORMATS]}
    peers = [("sipp", CLEAR_HOST, SECURE_HOST)]
    if asterisk is not None:
        peers.append(("asterisk", f"127.0.0.1:{asterisk.sip_port}", f"127.0.0.1:{secure_port}"))
    found: list[dict[str, Any]] = []
    for name, clear, secure in peers:
        found.append({"name": name, "match": [clear], "host": clear, **codecs})
        srtp = {**codecs, "srtp": "required", "srtp_without_tls": True}
        if HAS_SRTP:
            found.append({"name": f"{name}-srtp", "match": [secure], "host": secure, **srtp})
            found += [
                {"name": f"{name}-{suite}", "host": secure, "srtp_suites": [suite], **srtp} for suite in SUITES
            ]
    return found


@contextlib.contextmanager
def started(cells: Sequence[Cell]) -> Iterator[Rig]:
    """Everything that these cells need."""
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tl-")))
        agent = stack.enter_context(CellAgent(f"unix:{folder}/agent.sock"))
        asterisk, secure_port = None, 0
        if any(one.peer == "asterisk" for one in cells):
            asterisk, secure_port = pbx.configured()
            stack.callback(asterisk.clear)
            stack.callback(asterisk.stop)
            asterisk.start()
        gateway = GatewayProcess(
            folder,
            trunk=_trunks(asterisk, secure_port),
            agent=[{"name": "agent", "address": agent.address}],
            route=[{"name": "all", "agent": "agent"}],
            logging={"level": "info"},
        )
        yield Rig(stack.enter_context(gateway), agent, asterisk, secure_port)
        gateway.assert_idle()
