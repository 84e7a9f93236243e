# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline pjsip build` on the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from trunkline.gateway.cli import pjsip as command
from trunkline.gateway.pjsip import build, provide
from trunkline.gateway.pjsip.errors import NoSource
from trunkline.gateway.pjsip.facts import PjsipFacts

STOPGAP = PjsipFacts(
    "2.15.1", "pjsua2-python 2.15.1", "stopgap", 4, ("PCMU",), ("room for more than 4 calls at once",)
)


def run(*words: str) -> Result:
    """The command with these arguments."""
    app = typer.Typer()
    command.register(app)
    return CliRunner().invoke(app, ["pjsip", "build", *words])


@pytest.fixture
def no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a mirror."""

    def refuse(named: Path | None) -> None:
        raise NoSource("no mirror here", "name a tarball")

    monkeypatch.setattr(command, "find_source", refuse)


def test_a_wheel_is_built_and_its_path_is_the_last_line(
    tarball: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal: one line a step, with its time."""
    monkeypatch.setattr(build, "check_tools", lambda: None)
    result = run("--source", str(tarball), "--no-install")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[-1].endswith("-py3-none-any.whl")
    assert Path(lines[-1]).exists()
    assert any(line.startswith("  compile pjsip ... ok (") for line in lines)


@pytest.mark.usefixtures("no_source")
def test_without_a_source_the_stopgap_is_installed_and_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A first call still works, and nobody takes it for the real thing."""
    monkeypatch.setattr(provide, "install_stopgap", lambda: STOPGAP)
    result = run()
    assert result.exit_code == 0
    assert "no mirror here" in result.output
    assert "name a tarball" in result.output
    assert "it lacks room for more than 4 calls" in result.output
    assert "not to run" in result.output


@pytest.mark.usefixtures("no_source")
@pytest.mark.parametrize("words", [("--no-stopgap",), ("--no-install",), ("--source", "/nowhere")])
def test_whoever_wants_a_build_gets_a_failure_instead(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A named source is never replaced by something else in silence."""
    monkeypatch.setattr(provide, "install_stopgap", lambda: pytest.fail("the stop-gap was installed"))
    result = run(*words)
    assert result.exit_code == 1
    assert "cure: name a tarball" in result.output


def test_a_wrong_source_is_named(tmp_path: Path) -> None:
    """The path stands in the message."""
    result = run("--source", str(tmp_path / "nothing"))
    assert result.exit_code == 1
    assert "nothing is not a pjproject source: there is no such file or folder" in result.output
