# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline replay`: mistakes are one line and an exit code."""

from __future__ import annotations

import pathlib

import pytest
from typer.testing import CliRunner

from trunkline.agent_bridge.dialect import StartInfo
from trunkline.gateway.cli.app import build_app
from trunkline.gateway.recording import pcapng, shadow


@pytest.mark.parametrize(
    ("file", "agent", "says"),
    [
        ("there is none.pcapng", "unix:/nope", "none.pcapng: No such file or directory"),
        ("gw.toml", "unix:/nope", "gw.toml: it does not begin like a pcapng file"),
        ("call.pcapng", "unix:/nope", "no agent at unix:/nope"),
        ("call.pcapng", "nonsense", "'nonsense' is not an agent's address"),
    ],
)
def test_mistakes_are_explained(tmp_path: pathlib.Path, file: str, agent: str, says: str) -> None:
    (tmp_path / "gw.toml").write_text("[media]\n")
    info = StartInfo("00000000-0000-4000-8000-000000000001", "inbound", "1", "2", "pbx", "all", {}, {}, 8000, 20)
    packets = [pcapng.packet(pcapng.BRIDGE, 0, pcapng.OUTBOUND, one) for one in shadow.GatewaySide(info).take()]
    (tmp_path / "call.pcapng").write_bytes(pcapng.section() + b"".join(packets))
    done = CliRunner().invoke(build_app(["replay"]), ["replay", str(tmp_path / file), "--agent", agent])
    assert done.exit_code == 1, done.output
    assert says in done.output and done.output.count("\n") == 1
    assert isinstance(done.exception, SystemExit)
