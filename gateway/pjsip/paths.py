# SPDX-License-Identifier: GPL-2.0-or-later
"""Where sources, wheels, logs and build trees are kept: $XDG_CACHE_HOME/trunkline."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def cache_root() -> Path:
    """The cache folder; not created here."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says to ignore a relative path.
    base = Path(configured) if configured.startswith("/") else Path.home() / ".cache"
    return base / "trunkline"


def cache_folder(name: str) -> Path:
    """A folder of the cache, created when missing: sources, wheels, logs or build."""
    folder = cache_root() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def only_one_build() -> Iterator[None]:
    """Two builds at a time would write the same tree; the second waits, then finds the first one's wheel."""
    with (cache_folder("build") / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
