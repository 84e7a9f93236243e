# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline doctor`: lines, cures, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from support.ports import free_block
from trunkline.gateway.cli import doctor as command
from trunkline.gateway.doctor import Finding
from trunkline.gateway.doctor.finding import fail, ok, warn


def run(*words: str) -> Result:
    """The command with these arguments."""
    app = typer.Typer()
    command.register(app)
    return CliRunner().invoke(app, list(words))


def let_it_find(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    """A machine where this was found."""
    monkeypatch.setattr(command, "examine", lambda config: list(findings))


def test_warnings_leave_the_exit_code_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that calls work on is healthy enough for a script; the cure stands below its line."""
    let_it_find(monkeypatch, ok("PJSIP", "2.17"), warn("SIPp", "not found", "apt-get install sip-tester"))
    result = run()
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "ok   PJSIP  2.17"
    assert lines[1] == "warn SIPp   not found"
    assert lines[2].strip() == "cure: apt-get install sip-tester"
    assert lines[3] == "Calls can work; 1 warning."


def test_a_failure_makes_the_exit_code_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a set-up script stops."""
    let_it_find(monkeypatch, fail("PJSIP", "no pjsua2 is installed", "trunkline pjsip build"))
    result = run()
    assert result.exit_code == 1
    assert "A call could not work: 1 failure, no warnings." in result.output


def test_programs_get_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same findings, and the verdict."""
    let_it_find(monkeypatch, ok("PJSIP", "2.17"), fail("clock", "too coarse", "another kernel"))
    result = run("--json")
    assert result.exit_code == 1
    assert json.loads(result.output) == {
        "works": False,
        "findings": [
            {"name": "PJSIP", "level": "ok", "found": "2.17", "cure": ""},
            {"name": "clock", "level": "fail", "found": "too coarse", "cure": "another kernel"},
        ],
    }


def test_this_machine_is_examined_against_a_configuration(tmp_path: Path) -> None:
    """For real: every part is looked at, with the ports and the folder of the file."""
    state = tmp_path / "state"
    file = tmp_path / "trunkline.toml"
    rtp = free_block(10)
    file.write_text(
        f'[media]\nport_range = [{rtp[0]}, {rtp[-1]}]\n[limits]\nmax_calls = 4\n[state]\ndir = "{state}"\n'
        "[api]\nenabled = false\n"
    )
    report = json.loads(run("--config", str(file), "--json").output)
    found = {row["name"]: row for row in report["findings"]}
    assert set(found) >= {
        "configuration",
        "PJSIP",
        "libsrtp",
        "SIPp",
        "file descriptors",
        "clock",
        "RTP ports",
    }
    assert found["RTP ports"]["found"].startswith(f"{rtp[0]}-{rtp[-1]} ")
    assert found["state folder"]["found"].startswith(str(state))
    assert "API" not in found
    assert not state.exists()


def test_a_wrong_configuration_is_a_finding(tmp_path: Path) -> None:
    """The machine is examined all the same."""
    file = tmp_path / "trunkline.toml"
    file.write_text("[media]\nportrange = [1, 2]\n")
    result = run("--config", str(file), "--json")
    report = json.loads(result.output)
    assert result.exit_code == 1
    assert report["findings"][0]["level"] == "fail"
    assert "portrange" in report["findings"][0]["found"]
    assert report["findings"][0]["cure"] == f"trunkline check {file}"
    assert len(report["findings"]) > 5
