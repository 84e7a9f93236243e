# SPDX-License-Identifier: GPL-2.0-or-later
"""How busy a media worker is, from what it writes into its columns.

    load = (CPU time, or time by which ticks were more than 5 ms late if that is more) / time that passed

over the last second; and a worker for which the packets of many calls wait, and go on waiting,
is fully loaded at once: what it has is to be heard before it gets more.  The time on the wall
that a tick takes would say less: on a busy machine it is preempted, and is done in good time
all the same.  But a worker that gets no CPU because others have it is as late as one that has
too much to do, and counts the same.
"""

from __future__ import annotations

import dataclasses
from collections import deque

WINDOW_NS = 1_000_000_000
SILENT_NS = 600_000_000
"An idle worker ticks every 250 ms: one whose last tick is older is in a long one, or does not run."
BEHIND_NS = 250_000_000
"A stall of other programs' making is mostly made good within this."
RELIEF = 0.1
"An overloaded worker takes calls again when its load is so far below the limit, or a quarter of it."
STREAM_SHARE = 0.0007
"What a new stream is taken to add where nothing is known yet: 0.7 ms a second, G.711 at 1,000 calls."


@dataclasses.dataclass(slots=True)
class LoadMeter:
    """Of one worker; `sample` is called a few times a second."""

    limit: float
    "load from which it takes no new calls; 0: there is no limit"
    load: float = 0.0
    overloaded: bool = False
    streams: int = 0
    "how many it had at the last sample"
    _samples: deque[tuple[int, int]] = dataclasses.field(default_factory=deque)

    def sample(
        self, now_ns: int, busy_ns: int, heartbeat_ns: int, streams: int, behind_since_ns: int = 0
    ) -> bool:
        """Look at the worker; True when it has become overloaded, or has ceased to be."""
        samples = self._samples
        if samples and busy_ns < samples[-1][1]:
            samples.clear()
        samples.append((now_ns, busy_ns))
        while len(samples) > 2 and now_ns - samples[1][0] >= WINDOW_NS:
            samples.popleft()
        span_ns = now_ns - samples[0][0]
        silent = streams > 0 and now_ns - heartbeat_ns > SILENT_NS
        behind = 0 < behind_since_ns < now_ns - BEHIND_NS
        if silent or behind:
            self.load = 1.0
        elif span_ns:
            self.load = min((busy_ns - samples[0][1]) / span_ns, 1.0)
        self.streams = streams
        before = self.overloaded
        limit = self.limit - min(RELIEF, self.limit / 4) if before else self.limit
        # A moment says nothing: a worker that has just started has had its imports to do.
        known = before or silent or behind or span_ns >= WINDOW_NS
        self.overloaded = self.limit > 0 and known and self.load >= limit
        return self.overloaded != before

    def expected(self, streams: int) -> float:
        """Load with so many streams, to one tenth: differences below that are noise."""
        each = max(self.load / self.streams, STREAM_SHARE) if self.streams else STREAM_SHARE
        return round(self.load + (streams - self.streams) * each, 1)

    def forget(self) -> None:
        """Another process works there now: what is known of its predecessor says nothing."""
        self._samples.clear()
        self.load, self.overloaded = 0.0, False
