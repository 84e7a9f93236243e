# SPDX-License-Identifier: GPL-2.0-or-later
"""What agents do, told to people: AgentEvents, no more of them than anybody can read.

An agent may set and clear marks thousands of times a second, and nobody but the
agent itself must pay for it: the control channel is shared by all calls of a worker.
"""

from __future__ import annotations

import dataclasses

from trunkline.gateway.media import control
from trunkline.gateway.media.table import Stream

SECOND_NS = 1_000_000_000
EVENTS_PER_SECOND = 20
"Of one call; an agent that marks every word it says makes three or four."

Data = dict[str, str | int | float]


@dataclasses.dataclass(slots=True)
class _Pace:
    """What a call has told."""

    since_ns: int
    told: int = 0
    left_out: int = 0
    overflow_ns: int = -SECOND_NS
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)


class AgentEvents:
    """Posts `mark`, `clear`, `underrun` and `overflow` of every call, at a pace."""

    def __init__(self, post: control.Post) -> None:
        self._post = post
        self._paces: dict[str, _Pace] = {}

    def tell(self, stream: Stream, event: str, data: Data, now_ns: int) -> None:
        """Post an event, or count it for the next one's `left_out`."""
        pace = self._paces.setdefault(stream.call_id, _Pace(now_ns))
        if now_ns - pace.since_ns >= SECOND_NS:
            pace.since_ns, pace.told = now_ns, 0
        if pace.told >= EVENTS_PER_SECOND:
            pace.left_out += 1
            return
        pace.told += 1
        if pace.left_out:
            data, pace.left_out = data | {"left_out": pace.left_out}, 0
        self._post(control.AgentEvent(stream.call_id, event, data))

    def overflow(self, stream: Stream, kind: str, count: int, now_ns: int) -> None:
        """A queue of the call is full: once a second, with all that was refused since the last time.

        `kind` names what was refused, as a field of the event: `dropped_ms`, `marks` or `digits`.
        """
        pace = self._paces.setdefault(stream.call_id, _Pace(now_ns))
        pace.dropped[kind] = pace.dropped.get(kind, 0) + count
        if now_ns - pace.overflow_ns >= SECOND_NS:
            data: Data = dict(pace.dropped)
            pace.overflow_ns, pace.dropped = now_ns, {}
            self._post(control.AgentEvent(stream.call_id, "overflow", data))

    def forget(self, stream: Stream) -> None:
        """The call is over."""
        self._paces.pop(stream.call_id, None)
