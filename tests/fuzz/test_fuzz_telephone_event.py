# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile telephone-events: any sequence of packets gives digits within bounds, each after its time."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.rtp.dtmf import EventReceiver
from trunkline.rtp.telephone_event import DIGITS, MAX_EVENTS, TelephoneEvent

# Few timestamps and codes, so that packets often meet one another.
timestamps = st.sampled_from([0, 1, 160, 0xFFFF, 0x1FFFE, 0x7FFFFFFF, 0x80000000, 0xFFFFFF00, 0xFFFFFFFF])
events = st.builds(
    lambda code, end, duration: bytes(TelephoneEvent(code, end, duration)),
    st.integers(0, 17),
    st.booleans(),
    st.sampled_from([0, 1, 160, 0x7FFF, 0x8000, 0xFFFF]),
)
payloads = st.binary(max_size=6) | events | st.lists(events, min_size=2, max_size=8).map(b"".join)
clocks = st.sampled_from([(8000, 8000), (8000, 48000), (48000, 48000), (48000, 8000), (44100, 44100)])
steps = st.tuples(timestamps | st.integers(0, 0xFFFFFFFF), payloads, st.integers(0, 3_000_000_000))


@given(st.lists(steps, max_size=30), clocks)
@settings(deadline=None, max_examples=500)
def test_any_packets(sequence: list[tuple[int, bytes, int]], clock: tuple[int, int]) -> None:
    """No packet reports more presses than it can open and end, and no deadline is left behind."""
    receiver = EventReceiver(clock[0], timestamp_hz=clock[1])
    now_ns, reported, possible = 0, 0, 0
    for timestamp, payload, pause_ns in sequence:
        now_ns += pause_ns
        for event in receiver.handle_timeout(now_ns):
            assert not event.complete
            reported += 1
        deadline = receiver.next_deadline_ns
        assert deadline is None or deadline > now_ns
        ignored = receiver.ignored_packets
        events = receiver.receive(timestamp, payload, now_ns)
        possible += min(len(payload) // 4, MAX_EVENTS) if receiver.ignored_packets == ignored else 0
        assert len(events) <= 1 + min(len(payload) // 4, MAX_EVENTS)
        assert all(event.digit in DIGITS and event.duration_ms >= 0 for event in events)
        reported += len(events)
        assert reported <= possible
    deadline = receiver.next_deadline_ns
    if deadline is not None:
        assert len(receiver.handle_timeout(deadline)) == 1
    assert receiver.next_deadline_ns is None
