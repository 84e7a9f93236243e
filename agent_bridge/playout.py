# SPDX-License-Identifier: MIT
"""What a gateway does with an agent's speech, counted in samples: the queue, marks and clear.

A model for tests (PROTOCOL.md, section 8), with no audio in it: when is a mark reached,
and what does a clear find.
"""

from __future__ import annotations

from collections import deque


class Playout:
    """The downlink queue of one call."""

    def __init__(self, sample_rate_hz: int) -> None:
        """An empty queue."""
        self._rate_hz = sample_rate_hz
        self._end = 0
        "position of the last sample queued"
        self._marks: deque[tuple[int, str]] = deque()
        self.position = 0
        "samples played"
        self.paused = False
        "keeps what is queued"

    @property
    def queued_samples(self) -> int:
        """Samples that wait."""
        return self._end - self.position

    @property
    def queued_ms(self) -> int:
        """The same in time."""
        return self.queued_samples * 1000 // self._rate_hz

    def push(self, samples: int) -> None:
        """The agent said something."""
        self._end += samples

    def mark(self, name: str) -> None:
        """A mark after all that was pushed."""
        self._marks.append((self._end, name))

    def advance(self, samples: int) -> list[tuple[str, int]]:
        """Play so many samples, or all there are; returns (name, position) of the marks reached."""
        if self.paused:
            return []
        self.position = min(self._end, self.position + samples)
        reached = []
        while self._marks and self._marks[0][0] <= self.position:
            position, name = self._marks.popleft()
            reached.append((name, position))
        return reached

    def clear(self) -> tuple[int, int, list[str]]:
        """Empty the queue; returns played ms, discarded ms, and the marks that were cut."""
        discarded_ms = self.queued_ms
        self.paused = False
        marks = [name for _, name in self._marks]
        self._end = self.position
        self._marks.clear()
        return self.position * 1000 // self._rate_hz, discarded_ms, marks
