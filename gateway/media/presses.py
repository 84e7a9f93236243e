# SPDX-License-Identifier: GPL-2.0-or-later
"""One press, told by two methods, is one digit: the arbiter of a call.

Some peers send a key as RTP event and leave its tone in the audio, or send SIP INFO besides.
The method that tells of a press first is the one that counts.  What another method tells of
the same key near the same time is matched with the oldest press that this method has not told
of yet, so that keys pressed twice in a row stay two, in whatever order their reports come.
"""

from __future__ import annotations

import dataclasses
from collections import deque

NEAR_NS = 300_000_000
"""Between an RTP event and a tone: both come with the audio, but a tone is heard after its last sample, and up to
200 ms later where packets were lost."""
INFO_NEAR_NS = 2_000_000_000
"SIP INFO goes another way, is sent at the beginning or at the end of a press, and over UDP again after 0.5 and 1.5 s."
KEPT = 32
"Presses that are remembered: more than anybody presses in that time."
SECOND_NS = 1_000_000_000
PRESSES_PER_SECOND = 20
"""Of one call that are told: diallers make ten or twelve, and some may come late and together.  Agent, gateway and
event stream hear of each, and one call must not be what they are busy with."""


@dataclasses.dataclass(slots=True)
class _Press:
    digit: str
    begin_ns: int
    end_ns: int
    methods: set[str]
    "that have told of it"


class Presses:
    """What was pressed lately in one call."""

    def __init__(self) -> None:
        self._lately: deque[_Press] = deque(maxlen=KEPT)
        self._told_ns: deque[int] = deque(maxlen=PRESSES_PER_SECOND)
        self.doubled = 0
        "reports of presses that were known already"

    def is_new(self, digit: str, duration_ms: int, method: str, now_ns: int) -> bool:
        """Whether this report, of a press that has just ended, is the first of that press."""
        begin_ns = now_ns - duration_ms * 1_000_000
        for press in self._lately:
            if press.digit != digit or method in press.methods:
                continue
            by_info = method == "info" or press.methods == {"info"}
            near_ns = INFO_NEAR_NS if by_info else NEAR_NS
            if begin_ns - near_ns <= press.end_ns and press.begin_ns - near_ns <= now_ns:
                press.methods.add(method)
                self.doubled += 1
                return False
        self._lately.append(_Press(digit, begin_ns, now_ns, {method}))
        return True

    def may_tell(self, now_ns: int) -> bool:
        """Whether another press may be told within this second; counts it, if so."""
        if len(self._told_ns) == PRESSES_PER_SECOND and now_ns - self._told_ns[0] < SECOND_NS:
            return False
        self._told_ns.append(now_ns)
        return True
