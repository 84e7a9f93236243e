# SPDX-License-Identifier: GPL-2.0-or-later
"""Putting a pjsua2 into the running interpreter's environment: our wheel, or the stop-gap from PyPI."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

from trunkline.gateway.pjsip.errors import PjsipError
from trunkline.gateway.pjsip.paths import cache_folder

BUILT = "pjsua2"
"distribution name of what pjproject's own setup.py makes"
STOPGAP = "pjsua2-python"
"distribution name of a wheel on PyPI; imports as `pjsua2` too, so only one of the two may be installed"


def install_wheel(wheel: Path) -> None:
    """Install a built wheel in place of whatever pjsua2 there is; raises PjsipError."""
    _uninstall(STOPGAP)
    _pip("install", "--no-deps", "--force-reinstall", str(wheel))


def install_stopgap() -> None:
    """Install the PyPI wheel, binary only: its source distribution cannot build by itself."""
    _uninstall(BUILT)
    _pip("install", "--no-deps", "--only-binary=:all:", STOPGAP)


def _uninstall(name: str) -> None:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return
    _pip("uninstall", "--yes", name)


def _pip(*arguments: str) -> None:
    log = cache_folder("logs") / "pjsip-install.log"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    log.write_text(f"{' '.join(command)}\n{result.stdout}{result.stderr}", encoding="utf-8")
    if result.returncode != 0:
        complaints = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        why = complaints[-1].removeprefix("ERROR: ") if complaints else "pip gave no reason"
        raise PjsipError(
            f"pip {arguments[0]} failed: {why}", "check the network and pip's configuration", log
        )
