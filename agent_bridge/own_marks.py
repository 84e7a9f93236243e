# SPDX-License-Identifier: MIT
"""Marks that a dialect sets for itself: to answer, once all before them is played, in words that are no mark's.

Playback settles each mark exactly once, so none stays here while the call goes on.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class OwnMarks(Generic[T]):
    """Names given out, and what each stands for."""

    def __init__(self, purpose: str) -> None:
        """`purpose` is what people see in events, before a number."""
        self._purpose = purpose
        self._given = 0
        self._meaning: dict[str, T] = {}

    def __len__(self) -> int:
        return len(self._meaning)

    def name(self, meaning: T) -> str:
        """A new mark's name."""
        self._given += 1
        name = f"{self._purpose} {self._given}"
        self._meaning[name] = meaning
        return name

    def settled(self, name: str) -> T | None:
        """What it stood for; None if the mark is the agent's own."""
        return self._meaning.pop(name, None)
