# SPDX-License-Identifier: GPL-2.0-or-later
"""Watches for callers of whom nothing is heard, and tells agents and the gateway process.

The agent is told once when the network falls silent, and once when it is heard again,
but not while the call is on hold.  The gateway process is told every two seconds:
what to do about it (a call on hold is quiet by right, another is hung up after
`no_media_timeout_s`) is call control's decision.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media import compiled, control
from trunkline.gateway.media.deadlines import next_point
from trunkline.gateway.media.table import Stream, Table

QUIET_NS = 2_000_000_000
"The gateway hears of a silent caller after this long, and again each time it passes."
LOOK_NS = 100_000_000
"How often all rows are looked at."
AGENT_QUIET_NS = QUIET_NS - 2 * LOOK_NS
"An agent is told a little sooner, so that with the look it is told within 2 s."

TellAgent = Callable[[Stream, bool, int], None]
"(stream, silent, for how many ms)"


class QuietWatch:
    """First packets and long silences."""

    def __init__(self, table: Table, tell_agent: TellAgent, post: control.Post) -> None:
        self._table = table
        self._tell_agent = tell_agent
        self._post = post
        self.next_ns = 0
        "when `advance` has something to do"
        self._silent: dict[int, tuple[Stream, int]] = {}
        "rows whose agent was told that the network is silent -> stream, since when it is"
        self._found = np.zeros(table.capacity, np.int64)
        self._kernel = compiled.bind("due_by", table.shared.rx_last_ns)

    def first_packet(self, stream: Stream) -> None:
        """The first proven packet of a call."""
        form = "[{}]:{}" if ":" in stream.remote[0] else "{}:{}"
        self._post(control.MediaStarted(stream.call_id, form.format(*stream.remote)))

    def advance(self, now_ns: int) -> bool:
        """Tell of rows that should hear something and do not, and of those that are heard again.

        Returns whether it was time to look.
        """
        if now_ns < self.next_ns:
            return False
        self.next_ns = next_point(now_ns, LOOK_NS)
        table, c = self._table, self._table.shared
        for row, (stream, since_ns) in list(self._silent.items()):
            heard_ns = int(c.rx_last_ns[row])
            if heard_ns > since_ns:
                del self._silent[row]
                self._tell_agent(stream, False, (heard_ns - since_ns) // 1_000_000)
        for row in self._unheard_since(now_ns - AGENT_QUIET_NS).tolist():
            stream = table.streams[row]
            if stream is None or not table.receiving[row]:
                continue
            since_ns = max(int(c.rx_last_ns[row]), stream.receiving_since_ns)
            if now_ns - since_ns >= AGENT_QUIET_NS and row not in self._silent and not stream.on_hold:
                self._silent[row] = stream, since_ns
                self._tell_agent(stream, True, (now_ns - since_ns) // 1_000_000)
            if now_ns - since_ns >= QUIET_NS and now_ns - stream.silence_told_ns >= QUIET_NS:
                stream.silence_told_ns = now_ns
                self._post(control.MediaSilent(stream.call_id, (now_ns - since_ns) // 1_000_000))
        return True

    def _unheard_since(self, then_ns: int) -> NDArray[np.intp]:
        """Calls that are up, whose last packet came then or before."""
        rows = self._table.running
        if self._kernel is not None:
            return self._found[: self._kernel(rows, then_ns, self._found)]
        return rows[self._table.shared.rx_last_ns[rows] <= then_ns]

    def forget(self, stream: Stream) -> None:
        """The call is over."""
        self._silent.pop(stream.row, None)
