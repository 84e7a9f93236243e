# SPDX-License-Identifier: GPL-2.0-or-later
"""How much the recordings in a folder have together: counted in a thread now and then, and added to in between."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

SUFFIX = ".pcapng"


class Recorded:
    """Bytes by folder. `count` is for a thread, all else for the event loop."""

    def __init__(self) -> None:
        self._octets: dict[Path, int] = {}

    def count(self, folders: Iterable[Path]) -> None:
        """Look; a folder that cannot be read counts as it did before."""
        for folder in folders:
            try:
                with os.scandir(folder) as entries:
                    self._octets[folder] = sum(one.stat().st_size for one in entries if one.name.endswith(SUFFIX))
            except OSError:  # a file has gone meanwhile, or there is no such folder yet
                self._octets.setdefault(folder, 0)

    def add(self, path: Path, octets: int) -> None:
        """A recording is complete."""
        if path.parent in self._octets:
            self._octets[path.parent] += octets

    def octets(self, folder: Path) -> int:
        """As counted last, and what has come since."""
        return self._octets.get(folder, 0)
