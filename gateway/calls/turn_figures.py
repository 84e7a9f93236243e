# SPDX-License-Identifier: GPL-2.0-or-later
"""The turns of a call in a few figures: how long callers waited, and for whom."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping

KEPT = 1000
"Turns of a call over which medians are taken, the last ones: hours of talk."
SUMMED = ("agent_ms", "gateway_ms", "total_ms", "barge_in_ms")
"Figures of `TurnTaken` that are summed up."


class TurnFigures:
    """Medians and maxima of one call, as its turns come in."""

    def __init__(self) -> None:
        self.turns = 0
        self._last: dict[str, deque[float]] = {name: deque(maxlen=KEPT) for name in SUMMED}
        self._most: dict[str, float] = {}

    def add(self, turn: Mapping[str, float]) -> None:
        """One more turn, in ms by name."""
        self.turns += 1
        for name in SUMMED:
            if name in turn:
                self._last[name].append(turn[name])
                self._most[name] = max(turn[name], self._most.get(name, 0.0))

    def summary(self) -> dict[str, float]:
        """By name of `view.MediaView`; what there was none of is left out."""
        figures: dict[str, float] = {}
        for name, most in self._most.items():
            stem = name if name.startswith("barge") else f"turn_{name}"
            figures[f"{stem}_p50"] = round(statistics.median(self._last[name]), 1)
            figures[f"{stem}_max"] = most
        return figures
