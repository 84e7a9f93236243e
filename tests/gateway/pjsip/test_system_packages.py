# SPDX-License-Identifier: GPL-2.0-or-later
""".ci/system-packages, with apt and dpkg played by scripts that keep the installed packages in a file."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from trunkline.gateway.pjsip import packages

SCRIPT = Path(__file__).resolve().parents[3] / ".ci/system-packages"

Machine = Callable[..., Path]


@pytest.fixture
def machine(tmp_path: Path, fake_program: Callable[[str, str], Path]) -> Machine:
    """A machine with these packages installed and these known to apt, before and after an update."""
    state, known = tmp_path / "installed", tmp_path / "known"

    def make(
        *, installed: str, knows: str, after_update: str = "", root: bool = True, sudo: bool = False
    ) -> Path:
        state.write_text("".join(f"{name}\n" for name in installed.split()))
        known.write_text("".join(f"{name}\n" for name in knows.split()))
        look = f'for word; do grep -qx -- "$word" {state} && echo "installed "; done; true'
        fake_program("dpkg-query", look)
        fake_program(
            "apt-cache", f'grep -qx -- "$2" {known} && echo "  Candidate: 1.0" || echo "  Candidate: (none)"'
        )
        fake_program("id", f"echo {0 if root else 1000}")
        fake_program(
            "apt-get",
            f"""
            echo "$@" >> {tmp_path}/apt-calls
            case "$*" in
            *update*) printf '%s\\n' {after_update or knows} > {known} ;;
            *install*) for word; do case "$word" in -*|DPkg*|install) continue ;; esac
                grep -qx -- "$word" {known} || {{ echo "E: Unable to locate package $word"; exit 100; }}
                echo "$word" >> {state}; done ;;
            esac""",
        )
        if sudo:
            fake_program("sudo", f'echo "$@" >> {tmp_path}/sudo-calls; exec "$@"')
        return state

    return make


def run(tmp_path: Path, listing: str) -> subprocess.CompletedProcess[str]:
    """The script on a list; PATH holds the played programs and the plain tools, but no sudo of the real machine."""
    (tmp_path / "list").write_text(listing)
    tools = tmp_path / "tools"
    tools.mkdir(exist_ok=True)
    for tool in ("sed", "grep", "tr", "mkdir", "dirname", "tail", "cat", "env", "sh"):
        (tools / tool).unlink(missing_ok=True)
        (tools / tool).symlink_to(f"/usr/bin/{tool}")
    command = ["/bin/sh", str(SCRIPT), str(tmp_path / "list"), str(tmp_path / "logs" / "apt.log")]
    path = f"{tmp_path / 'bin'}:{tools}"
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": path})


def apt_calls(tmp_path: Path) -> list[str]:
    """What apt-get was asked, without options."""
    calls = tmp_path / "apt-calls"
    lines = calls.read_text().splitlines() if calls.exists() else []
    return [line.removeprefix("-o DPkg::Lock::Timeout=120 -q ") for line in lines]


def test_nothing_missing_asks_apt_nothing(tmp_path: Path, machine: Machine) -> None:
    """The usual case, at each `make`; an alternative counts."""
    machine(installed="python3 swig4.0", knows="")
    result = run(tmp_path, "python python3  x\nbuild swig|swig4.0  y\n# call sipp\n")
    assert (result.returncode, result.stdout, apt_calls(tmp_path)) == (0, "", [])


def test_only_what_is_missing_is_installed_without_an_update(tmp_path: Path, machine: Machine) -> None:
    """apt knows the name, so its lists are good enough."""
    state = machine(installed="python3", knows="python3 sip-tester")
    result = run(tmp_path, "python python3 x\ncall sip-tester x\n")
    assert result.returncode == 0, result.stderr
    assert "install system packages: sip-tester" in result.stdout
    assert apt_calls(tmp_path) == ["install -y --no-install-recommends sip-tester"]
    assert "sip-tester" in state.read_text().split()


def test_empty_lists_are_fetched_and_an_alternative_found(tmp_path: Path, machine: Machine) -> None:
    """A container image has no lists, and a release may know only the other name."""
    state = machine(installed="python3", knows="", after_update="swig4.0")
    result = run(tmp_path, "python python3 x\nbuild swig|swig4.0 x\n")
    assert result.returncode == 0, result.stderr
    assert apt_calls(tmp_path) == ["update", "install -y --no-install-recommends swig4.0"]
    assert "swig4.0" in state.read_text().split()


def test_without_root_sudo_is_used(tmp_path: Path, machine: Machine) -> None:
    """For apt alone."""
    machine(installed="", knows="python3", root=False, sudo=True)
    assert run(tmp_path, "python python3 x\n").returncode == 0
    assert "apt-get" in (tmp_path / "sudo-calls").read_text()


def test_without_root_and_sudo_the_command_is_told(tmp_path: Path, machine: Machine) -> None:
    """And nothing is tried."""
    machine(installed="python3", knows="python3 sip-tester", root=False)
    result = run(tmp_path, "python python3 x\ncall sip-tester x\n")
    assert result.returncode == 1
    assert "apt-get install --no-install-recommends sip-tester" in result.stderr
    assert apt_calls(tmp_path) == []


def test_a_compiler_that_cannot_be_had_does_not_stop_the_setup(tmp_path: Path, machine: Machine) -> None:
    """There is the stop-gap PJSIP; without Python or SIPp there is nothing."""
    machine(installed="python3", knows="")
    result = run(tmp_path, "python python3 x\nbuild swig x\n")
    assert result.returncode == 0
    assert "needed only to build PJSIP" in result.stderr
    assert run(tmp_path, "python python3 x\ncall sip-tester x\n").returncode == 1


def test_the_list_is_read_by_the_program_too() -> None:
    """Doctor and the build name cures from the same file."""
    groups = {package.group for package in packages.listed()}
    assert groups == {"python", "build", "call", "test"}
    assert any(package.names == ("swig", "swig4.0") for package in packages.listed())
    assert all(package.purpose for package in packages.listed())
