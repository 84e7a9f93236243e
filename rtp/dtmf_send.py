# SPDX-License-Identifier: GPL-2.0-or-later
"""Key presses as RTP telephone-events (RFC 4733), sent: what to put in the place of packets of audio."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import deque

from trunkline.rtp.telephone_event import DIGITS, MAX_DURATION_TS, TelephoneEvent

_END_PACKETS = 3
"2.5.1.4: the end is sent three times."


@dataclasses.dataclass(frozen=True, slots=True)
class EventPacket:
    """What to send instead of one packet of audio."""

    payload: bytes
    marker: bool
    timestamp: int
    "extended; the start of the press, while the audio's own timestamps go on"


class EventSender:
    """Digits to send, one packet for each call of `next_packet`.

    It is called once per packet time.  A packet that it returns takes the place and
    the sequence number of the audio packet of that moment.
    """

    def __init__(self, clock_hz: int, ptime_ms: int, timestamp_hz: int = 0) -> None:
        """`clock_hz` is the event's, `timestamp_hz` that of the audio's timestamps if it is another."""
        self._clock_hz = clock_hz
        self._timestamp_hz = timestamp_hz or clock_hz
        self._step_ts = clock_hz * ptime_ms // 1000
        self._waiting: deque[tuple[int, int, int]] = deque()  # code, duration and gap in ms
        self._code = -1  # -1: no press under way
        self._start_ts = 0
        self._segment_ts = 0  # offset of the current segment from the start
        self._elapsed_ts = 0
        self._total_ts = 0
        self._ends_left = 0
        self._gap_packets = 0  # still to pass without an event, after the end

    @property
    def active(self) -> bool:
        """Whether `next_packet` still has something to do, be it to keep a gap."""
        return bool(self._waiting) or self._code >= 0 or self._gap_packets > 0

    @property
    def waiting(self) -> int:
        """Presses that have not begun."""
        return len(self._waiting)

    def set_pace(self, clock_hz: int, ptime_ms: int, timestamp_hz: int = 0) -> None:
        """Another packet time or clock from the next packet on; a press under way goes on for as long as was asked."""
        if clock_hz != self._clock_hz:  # a segment begins anew with the new clock
            self._total_ts, self._elapsed_ts, self._segment_ts = (
                value * clock_hz // self._clock_hz for value in (self._total_ts, self._elapsed_ts, self._segment_ts)
            )
        self._clock_hz, self._timestamp_hz = clock_hz, timestamp_hz or clock_hz
        self._step_ts = clock_hz * ptime_ms // 1000

    def queue(self, digits: str, duration_ms: int = 160, gap_ms: int = 80) -> None:
        """Append presses; times are rounded up to packets as they begin.  ValueError if one is not in `DIGITS`."""
        codes = [DIGITS.find(digit) for digit in digits.upper()]
        if -1 in codes:
            raise ValueError(f"not a DTMF digit: {digits[codes.index(-1)]!r}; allowed are {DIGITS}")
        self._waiting.extend((code, duration_ms, gap_ms) for code in codes)

    def withdraw(self) -> list[tuple[str, int, int]]:
        """Take back what has not begun, as it was queued: digits, duration and gap in ms; alike ones together."""
        alike = itertools.groupby(self._waiting, key=lambda press: press[1:])
        presses = [("".join(DIGITS[code] for code, _, _ in same), *times) for times, same in alike]
        self._waiting.clear()
        return presses

    def next_packet(self, now_ts: int) -> EventPacket | None:
        """The event packet of this packet time, or None for audio; `now_ts` is the audio's timestamp."""
        marker = False
        if self._code < 0:
            if self._gap_packets > 0:
                self._gap_packets -= 1
                return None
            if not self._waiting:
                return None
            self._begin(now_ts)
            marker = True
        self._elapsed_ts = min(self._elapsed_ts + self._step_ts, self._total_ts)
        timestamp = self._start_ts + self._segment_ts * self._timestamp_hz // self._clock_hz
        duration = self._elapsed_ts - self._segment_ts
        end = self._elapsed_ts == self._total_ts
        if duration > MAX_DURATION_TS:
            # 2.5.1.3: report the maximum without E, and go on in a new segment.
            self._segment_ts += MAX_DURATION_TS
            duration, end = MAX_DURATION_TS, False
        payload = bytes(TelephoneEvent(self._code, end, duration))
        if end:
            self._ends_left -= 1
            if self._ends_left == 0:
                self._code = -1
        return EventPacket(payload, marker, timestamp)

    def _begin(self, now_ts: int) -> None:
        self._code, duration_ms, gap_ms = self._waiting.popleft()
        ptime_ms = self._step_ts * 1000 / self._clock_hz
        # Two at least: one packet would be start and end in one, and lost with one loss.
        packets = max(2, math.ceil(duration_ms / ptime_ms))
        gap = math.ceil(gap_ms / ptime_ms)
        self._start_ts, self._segment_ts, self._elapsed_ts = now_ts, 0, 0
        self._total_ts = packets * self._step_ts
        self._ends_left = _END_PACKETS
        # The tone is over with the first end: its repetitions are part of the gap.
        self._gap_packets = max(0, gap - (_END_PACKETS - 1))
