# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys that callers press: each press reaches agent and gateway exactly once.

Presses are rare, so they are handled one by one: every stream has an
`EventReceiver` (RFC 4733), and only rows in the middle of a press are looked at
when time passes.
"""

from __future__ import annotations

from trunkline.gateway.media import control
from trunkline.gateway.media.agents import AgentLinks
from trunkline.gateway.media.table import Stream, Table
from trunkline.rtp.dtmf import DigitEvent


class Keys:
    """Digits from callers, by RTP event or handed in by signalling."""

    def __init__(self, table: Table, agents: AgentLinks, post: control.Post) -> None:
        self._table = table
        self._agents = agents
        self._post = post
        self._pending: set[int] = set()
        "rows in the middle of a press"

    def receive(self, stream: Stream, timestamp: int, payload: bytes, now_ns: int) -> None:
        """One telephone-event packet of a proven source."""
        self._pressed(stream, stream.digits_in.receive(timestamp, payload, now_ns))
        self._pending.add(stream.row)

    def advance(self, now_ns: int) -> None:
        """Presses whose end was lost are ended by time."""
        for row in list(self._pending):
            stream = self._table.streams[row]
            if stream is None or stream.digits_in.next_deadline_ns is None:
                self._pending.discard(row)
            elif stream.digits_in.next_deadline_ns <= now_ns:
                self._pressed(stream, stream.digits_in.handle_timeout(now_ns))

    def forget(self, row: int) -> None:
        """The call is over."""
        self._pending.discard(row)

    def _pressed(self, stream: Stream, events: list[DigitEvent]) -> None:
        for event in events:
            self.press(stream, event.digit, event.duration_ms, "rfc4733")

    def press(self, stream: Stream, digit: str, duration_ms: int, method: str) -> None:
        """A key was pressed, however we learned of it."""
        self._agents.digit(stream, digit, duration_ms, method)
        self._post(control.CallerDtmf(stream.call_id, digit, duration_ms, method))
