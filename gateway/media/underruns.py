# SPDX-License-Identifier: GPL-2.0-or-later
"""Speech that ran dry and goes on: told to the agent whose it is, and to people.

An agent that sends its every packet too late runs dry with each of them; it is told ten
times a second, with all that was missing since it was told last.
"""

from __future__ import annotations

import dataclasses

from trunkline.gateway.media.agent_events import AgentEvents
from trunkline.gateway.media.table import Stream
from trunkline.gateway.media.telling import Telling

TELL_NS = 100_000_000


@dataclasses.dataclass(slots=True)
class _Untold:
    """Of one call."""

    told_ns: int = -TELL_NS
    missing_ns: int = 0


class Underruns:
    """Tells of underruns, no more often than anybody can use."""

    def __init__(self, telling: Telling, events: AgentEvents) -> None:
        self._telling = telling
        self._events = events
        self._calls: dict[int, _Untold] = {}
        "by row"

    def note(self, stream: Stream, position: int, missing_ns: int, now_ns: int) -> None:
        """Speech goes on at this position of the agent's samples, so long after it had run dry."""
        call = self._calls.setdefault(stream.row, _Untold())
        call.missing_ns += missing_ns
        if now_ns - call.told_ns < TELL_NS:
            return
        missing_ms = round(call.missing_ns / 1e6)
        call.told_ns, call.missing_ns = now_ns, 0
        self._telling.underrun(stream, position, missing_ms)
        self._events.tell(stream, "underrun", {"position": position, "missing_ms": missing_ms}, now_ns)

    def forget(self, stream: Stream) -> None:
        """The call is over."""
        self._calls.pop(stream.row, None)
