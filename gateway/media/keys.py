# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys that callers press: each press reaches agent and gateway exactly once.

    telephone-event  -> EventReceiver -+
    tones in audio   -> ToneWatch     -+-> Presses: known already? -> agent, gateway
    SIP INFO         -> InjectDtmf    -+

Presses are rare, so they are handled one by one: every stream has an
`EventReceiver` (RFC 4733), and only rows in the middle of a press are looked at
when time passes.
"""

from __future__ import annotations

from trunkline.gateway.media import control
from trunkline.gateway.media.presses import Presses
from trunkline.gateway.media.table import Stream, Table
from trunkline.gateway.media.telling import Telling
from trunkline.gateway.media.tone_watch import ToneWatch
from trunkline.rtp.dtmf import DigitEvent
from trunkline.rtp.outcomes import Drop

ECHO_NS = 600_000_000
"""A tone of ours comes back from a caller's line so much later at most: what is heard of the same key until then,
while we send tones ourselves, nobody has pressed."""


class Keys:
    """Digits from callers: by RTP event, by sound, or handed in by signalling."""

    def __init__(self, table: Table, telling: Telling, post: control.Post, tones: ToneWatch) -> None:
        self._table = table
        self._telling = telling
        self._post = post
        self._tones = tones
        self.pending: set[int] = set()
        "rows in the middle of a press"
        tones.pressed = self.pending
        self._presses: dict[int, Presses] = {}
        "by row"
        self._said: dict[int, dict[str, int]] = {}
        "by row, when we last sent the tone of each digit"

    def receive(self, stream: Stream, timestamp: int, payload: bytes, now_ns: int) -> None:
        """One telephone-event packet of a proven source."""
        overfull = stream.digits_in.overfull_packets
        self._pressed(stream, stream.digits_in.receive(timestamp, payload, now_ns), now_ns)
        if stream.digits_in.overfull_packets != overfull:
            self._drop(stream.row)
        self.pending.add(stream.row)

    def advance(self, now_ns: int) -> None:
        """Presses whose end was lost are ended by time; tones that have ended are told."""
        for row in list(self.pending):
            stream = self._table.streams[row]
            if stream is None or stream.digits_in.next_deadline_ns is None:
                self.pending.discard(row)
            elif stream.digits_in.next_deadline_ns <= now_ns:
                self._pressed(stream, stream.digits_in.handle_timeout(now_ns), now_ns)
        if self._tones.watching:
            self._note_said(now_ns)
        if self._tones.watching or self._tones.heard:  # of a call that is not watched any more
            self._tell_tones(now_ns)

    def end_source(self, stream: Stream, now_ns: int) -> None:
        """Nothing more of this source comes: a key that was down is told now."""
        self._pressed(stream, stream.digits_in.finish(), now_ns)

    def end(self, stream: Stream, now_ns: int) -> None:
        """The call is over: so are its presses."""
        self.end_source(stream, now_ns)
        self._tones.end(stream.row)
        self._tell_tones(now_ns)
        self._tones.forget(stream.row)
        self.pending.discard(stream.row)
        self._presses.pop(stream.row, None)
        self._said.pop(stream.row, None)

    def _pressed(self, stream: Stream, events: list[DigitEvent], now_ns: int) -> None:
        for event in events:
            self.press(stream, event.digit, event.duration_ms, "rfc4733", now_ns)

    def _tell_tones(self, now_ns: int) -> None:
        heard, self._tones.heard = self._tones.heard, []
        for tone in heard:
            stream = self._table.streams[tone.row]
            if stream is None or stream.digits_in.open_digit == tone.digit:
                continue  # the beginning of an RTP event that goes on: its end tells more
            if now_ns - self._said.get(tone.row, {}).get(tone.digit, -ECHO_NS) < ECHO_NS:
                continue
            self.press(stream, tone.digit, tone.duration_ms, "inband", now_ns)

    def _note_said(self, now_ns: int) -> None:
        """Which tones we send ourselves: a line may echo them."""
        for row in self._table.keying:
            stream = self._table.streams[row]
            if stream is not None and stream.tones_out is not None and stream.tones_out.active:
                self._said.setdefault(row, {})[stream.tones_out.digit] = now_ns

    def press(self, stream: Stream, digit: str, duration_ms: int, method: str, now_ns: int) -> None:
        """A key was pressed, however we learned of it; told on if it is the first that we hear of it, and no flood."""
        presses = self._presses.get(stream.row)
        if presses is None:
            presses = self._presses[stream.row] = Presses()
        if not presses.is_new(digit, duration_ms, method, now_ns):
            return
        if presses.may_tell(now_ns):
            self._telling.digit(stream, digit, duration_ms, method)
            self._post(control.CallerDtmf(stream.call_id, digit, duration_ms, method))
        else:
            self._drop(stream.row)

    def _drop(self, row: int) -> None:
        self._table.shared.drops[row, Drop.KEY_FLOOD] += 1
        self._table.shared.worker.drops[Drop.KEY_FLOOD] += 1
