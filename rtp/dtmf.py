# SPDX-License-Identifier: GPL-2.0-or-later
"""Key presses as RTP telephone-events (RFC 4733), received; `dtmf_send.py` is the other direction.

All packets of a press carry the timestamp of its start and a duration that grows.
So any one of them tells which press it belongs to, and the receiver needs neither the
marker bit of the first nor the E bit of the last: it lets a press be known by its
timestamp, and counts each once, whatever was lost, doubled or overtaken.
"""

from __future__ import annotations

import dataclasses

from trunkline.rtp.sequence import extend_one
from trunkline.rtp.telephone_event import DIGITS, MAX_DURATION_TS, MAX_EVENTS, TelephoneEvent

_LATE_NS = 2_000_000_000
"""No network delays a packet longer than this.  What comes later is a new press, even with
a timestamp that says otherwise: some senders restart theirs, or let it stand on hold."""
_LATE_S = 10
"How far an old packet's timestamp lies behind at most: a segment (8.2 s at 8 kHz), and some."


@dataclasses.dataclass(frozen=True, slots=True)
class DigitEvent:
    """A key was pressed and is released."""

    digit: str
    "one of `DIGITS`"
    duration_ms: int
    "as far as it was reported; a lost end makes it shorter than it was"
    timestamp: int
    "RTP timestamp at which it began, as given to `receive`"
    complete: bool
    "False if its end never came, and silence or the next press ended it"


@dataclasses.dataclass(slots=True)
class _Press:
    """The newest press; it stays after it was reported, to know its late packets by."""

    code: int
    start_ts: int
    segment_ts: int
    "start of the current segment (2.5.1.3); `start_ts` unless the press is very long"
    last_ns: int
    "arrival of its newest packet"
    before: int = 0
    "length of earlier segments, in ticks of the event clock"
    duration: int = 0
    "... and within the segment; may exceed 16 bits where a sender lets the field wrap"
    ended: bool = False
    "a packet with E has come"
    reported: bool = False
    former_codes: frozenset[int] = frozenset()
    "codes of earlier presses that a broken sender gave the same timestamp"


class EventReceiver:
    """The presses of one RTP source, each exactly once, reported when it ends.

    Make a new one when the source (SSRC) changes, and at no other time: it knows the late packets of the
    press before.  Timestamps may be extended or as on
    the wire: only their differences count, modulo 2**32.
    """

    def __init__(self, clock_hz: int = 8000, packet_gap_ms: int = 50, timestamp_hz: int = 0) -> None:
        """`packet_gap_ms` is the longest time between two packets of a press; 50 is the RFC's.

        Durations count in `clock_hz`, that of the event's a=rtpmap.  Timestamps should, too; but where a
        codec runs at another clock (telephone-event/8000 beside opus/48000), they are those of the audio
        with most senders: `timestamp_hz`.
        """
        self.ignored_packets = 0
        "too short, or an event that is not a digit"
        self.overfull_packets = 0
        "with more than `MAX_EVENTS` events, of which the rest was not looked at"
        self._clock_hz = clock_hz
        self._timestamp_hz = timestamp_hz or clock_hz
        self._timeout_ns = 3 * packet_gap_ms * 1_000_000
        self._press: _Press | None = None

    @property
    def clocks(self) -> tuple[int, int]:
        """What durations and timestamps count in, in Hz."""
        return self._clock_hz, self._timestamp_hz

    def set_clocks(self, clock_hz: int, timestamp_hz: int = 0) -> None:
        """Other clocks from the next packet on; a press under way goes on, and lasts as long as it did."""
        press = self._press
        if press is not None and clock_hz != self._clock_hz:
            press.before = press.before * clock_hz // self._clock_hz
            press.duration = press.duration * clock_hz // self._clock_hz
        self._clock_hz, self._timestamp_hz = clock_hz, timestamp_hz or clock_hz

    @property
    def next_deadline_ns(self) -> int | None:
        """When to call `handle_timeout`; None while no press is open."""
        press = self._press
        return None if press is None or press.reported else press.last_ns + self._timeout_ns

    def receive(self, timestamp: int, payload: bytes, now_ns: int) -> list[DigitEvent]:
        """Take one packet of the telephone-event payload type; return the presses it ends."""
        events = TelephoneEvent.parse_all(payload)
        done: list[DigitEvent] = []
        if not events or events[0].code >= len(DIGITS):
            self.ignored_packets += 1
            return done
        self.overfull_packets += len(events) > MAX_EVENTS
        for event in events[:MAX_EVENTS]:
            if event.code >= len(DIGITS):
                break
            done += self._receive(timestamp, event, now_ns)
            timestamp = (timestamp + event.duration_ts * self._timestamp_hz // self._clock_hz) & 0xFFFFFFFF
        return done

    def _receive(self, timestamp: int, event: TelephoneEvent, now_ns: int) -> list[DigitEvent]:
        done: list[DigitEvent] = []
        press = self._press
        if press is None or self._is_new(press, timestamp, event, now_ns):
            done += self._report()
            same_time = press is not None and press.segment_ts == timestamp
            former = press.former_codes | {press.code} if press is not None and same_time else frozenset()
            press = _Press(event.code, timestamp, timestamp, now_ns, former_codes=former)
            self._press = press
        if timestamp != press.segment_ts or event.code != press.code:
            return done  # a late packet of a former press
        press.last_ns = now_ns
        if press.duration == 0:
            press.duration = event.duration_ts
        # A shorter duration is an overtaken packet; one shorter by half the range has wrapped.
        press.duration = max(press.duration, extend_one(press.duration, event.duration_ts, 16))
        if event.end:
            press.ended = True
            done += self._report()
        return done

    def handle_timeout(self, now_ns: int) -> list[DigitEvent]:
        """Report the open press if no packet of it has come for three packet times (2.5.2.2)."""
        deadline = self.next_deadline_ns
        return self._report() if deadline is not None and now_ns >= deadline else []

    @property
    def open_digit(self) -> str:
        """The key that is down now; empty if none is."""
        press = self._press
        return "" if press is None or press.reported else DIGITS[press.code]

    def finish(self) -> list[DigitEvent]:
        """Report the open press: nothing more of its source will come."""
        return self._report()

    def _is_new(self, press: _Press, timestamp: int, event: TelephoneEvent, now_ns: int) -> bool:
        """Whether a packet opens a press; moves `press` on to its next segment if that is what came."""
        stale = press.reported and now_ns - press.last_ns >= _LATE_NS
        ahead = extend_one(0, (timestamp - press.segment_ts) & 0xFFFFFFFF, 32)
        if ahead == 0:
            known = event.code == press.code or event.code in press.former_codes
            return not known or (stale and press.ended)
        if -_LATE_S * self._timestamp_hz < ahead < 0:
            return stale
        if event.code == press.code and not press.ended:
            for ticks in (ahead, ahead * self._clock_hz // self._timestamp_hz):  # whichever clock it counts in
                if self._is_contiguous(press, ticks):
                    press.segment_ts, press.before, press.duration = timestamp, press.before + ticks, 0
                    return False
        return True

    def _is_contiguous(self, press: _Press, ahead: int) -> bool:
        """Whether a start that lies `ahead` of the current segment's continues it (2.5.1.3).

        It should lie exactly where the segment ended.  Some senders instead take the
        moment at which they noticed, so up to 100 ms more is let pass once the field is full.
        """
        beyond = ahead - press.duration
        return beyond == 0 or (ahead >= MAX_DURATION_TS and 0 < beyond <= self._clock_hz // 10)

    def _report(self) -> list[DigitEvent]:
        """The open press as an event, unless there is none or it has been reported."""
        press = self._press
        if press is None or press.reported:
            return []
        press.reported = True
        duration_ms = (press.before + press.duration) * 1000 // self._clock_hz
        return [DigitEvent(DIGITS[press.code], duration_ms, press.start_ts, press.ended)]
