# SPDX-License-Identifier: GPL-2.0-or-later
"""The system packages of packages.txt, which of them are missing, and the command that installs them."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

LIST = Path(__file__).with_name("packages.txt")


@dataclasses.dataclass(frozen=True, slots=True)
class SystemPackage:
    """One line of the list."""

    group: str
    "python, build or call"
    names: tuple[str, ...]
    "Debian's name and alternatives; any of them will do"
    purpose: str


@functools.cache
def listed() -> tuple[SystemPackage, ...]:
    """Every package of the list."""
    lines = (line.strip() for line in LIST.read_text(encoding="utf-8").splitlines())
    rows = (line.split(maxsplit=2) for line in lines if line and not line.startswith("#"))
    return tuple(SystemPackage(group, tuple(names.split("|")), purpose) for group, names, purpose in rows)


def missing(group: str) -> list[SystemPackage]:
    """Packages of a group that dpkg does not know as installed; none where there is no dpkg to ask."""
    if shutil.which("dpkg-query") is None:
        return []
    return [package for package in listed() if package.group == group and not _installed(package.names)]


def _installed(names: Iterable[str]) -> bool:
    query = ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ", *names]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    return "installed" in answer.stdout.split()


def install_command(packages: Iterable[SystemPackage]) -> str:
    """What to type to install them."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get install " + " ".join(package.names[0] for package in packages)
