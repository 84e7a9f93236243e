# SPDX-License-Identifier: GPL-2.0-or-later
"""Watches for callers of whom nothing is heard, and tells the gateway process.

What to do about it (a call on hold is quiet by right, another is hung up after
`no_media_timeout_s`) is call control's decision.
"""

from __future__ import annotations

from trunkline.gateway.media import control
from trunkline.gateway.media.table import RUNNING, Stream, Table

QUIET_NS = 2_000_000_000
"The gateway hears of a silent caller after this long, and again each time it passes."
LOOK_NS = 100_000_000
"How often all rows are looked at."


class QuietWatch:
    """First packets and long silences."""

    def __init__(self, table: Table, post: control.Post) -> None:
        self._table = table
        self._post = post
        self._look_ns = 0

    def first_packet(self, stream: Stream) -> None:
        """The first proven packet of a call."""
        self._post(control.MediaStarted(stream.call_id, "{}:{}".format(*stream.remote)))

    def advance(self, now_ns: int) -> bool:
        """Tell of rows that should hear something and have not for two seconds; whether it was time to look."""
        if now_ns < self._look_ns:
            return False
        self._look_ns = now_ns + LOOK_NS
        table, c = self._table, self._table.shared
        rows = table.active[(c.state[table.active] == RUNNING) & table.receiving[table.active]]
        for row in rows[now_ns - c.rx_last_ns[rows] > QUIET_NS]:
            stream = table.streams[row]
            if stream is None or now_ns - stream.silence_told_ns < QUIET_NS:
                continue
            idle_ns = now_ns - max(int(c.rx_last_ns[row]), stream.receiving_since_ns)
            if idle_ns >= QUIET_NS:
                stream.silence_told_ns = now_ns
                self._post(control.MediaSilent(stream.call_id, idle_ns // 1_000_000))
        return True
