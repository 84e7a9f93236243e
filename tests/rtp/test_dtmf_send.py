# SPDX-License-Identifier: GPL-2.0-or-later
"""Key presses sent: packets by hand, and through a bad network into the receiver."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.rtp.dtmf import DigitEvent, EventReceiver
from trunkline.rtp.dtmf_send import EventPacket, EventSender
from trunkline.rtp.telephone_event import DIGITS, TelephoneEvent

MS = 1_000_000


def send_all(sender: EventSender, start_ts: int, step_ts: int) -> list[EventPacket | None]:
    """What is sent in each packet time until the sender has no more to do."""
    out = []
    while sender.active:
        out.append(sender.next_packet(start_ts + step_ts * len(out)))
        assert len(out) < 100_000
    return out


def test_one_press_by_hand() -> None:
    """60 ms of '1' and 80 ms of gap: three updates, two more copies of the end, two packets of audio."""
    sender = EventSender(8000, 20)
    sender.queue("1", duration_ms=60, gap_ms=80)
    packets = send_all(sender, 4000, 160)
    assert [p and (p.payload.hex(), p.marker, p.timestamp) for p in packets] == [
        ("010a00a0", True, 4000),
        ("010a0140", False, 4000),
        ("018a01e0", False, 4000),
        ("018a01e0", False, 4000),
        ("018a01e0", False, 4000),
        None,
        None,
    ]


def test_presses_follow_each_other_after_the_gap() -> None:
    """Each press begins at the audio's timestamp of its moment, with a marker of its own."""
    sender = EventSender(8000, 20)
    sender.queue("5#", duration_ms=100, gap_ms=100)
    packets = send_all(sender, 0, 160)
    starts = [(k, p.timestamp) for k, p in enumerate(packets) if p is not None and p.marker]
    assert starts == [(0, 0), (10, 1600)]
    assert [TelephoneEvent.parse(packets[k].payload).code for k, _ in starts] == [5, 11]


def test_every_digit_has_its_code() -> None:
    """0 to 9, *, #, A to D are the events 0 to 15; small letters are taken too."""
    sender = EventSender(8000, 20)
    sender.queue("0123456789*#abcd", duration_ms=40, gap_ms=0)
    sent = [p for p in send_all(sender, 0, 160) if p is not None]
    codes = [TelephoneEvent.parse(p.payload).code for p in sent if p.marker]
    assert codes == list(range(16))


@pytest.mark.parametrize("digits", ["12x", "1 2", "½"])
def test_what_is_no_digit_is_refused_whole(digits: str) -> None:
    """A wrong character queues nothing, not even the digits before it."""
    sender = EventSender(8000, 20)
    with pytest.raises(ValueError, match="not a DTMF digit"):
        sender.queue(digits)
    assert not sender.active
    assert sender.next_packet(0) is None


def test_gap_is_kept_before_digits_that_come_later() -> None:
    """Digits queued during the gap of the last press wait for its end."""
    sender = EventSender(8000, 20)
    sender.queue("1", duration_ms=40, gap_ms=100)
    times = []
    for k in range(20):
        if k == 5:
            sender.queue("2", duration_ms=40, gap_ms=0)
        packet = sender.next_packet(160 * k)
        if packet is not None and packet.marker:
            times.append(k)
    assert times == [0, 7]


def test_shortest_press_is_two_packets() -> None:
    """Start and end never share one packet, and odd durations are rounded up."""
    sender = EventSender(8000, 20)
    sender.queue("1", duration_ms=1, gap_ms=0)
    events = [TelephoneEvent.parse(p.payload) for p in send_all(sender, 0, 160) if p]
    assert [(e.end, e.duration_ts) for e in events] == [(False, 160), (True, 320), (True, 320), (True, 320)]


@pytest.mark.parametrize(
    ("clock_hz", "ptime_ms", "duration_ms"), [(8000, 20, 20_000), (8000, 20, 8_200), (48000, 60, 3_000)]
)
def test_a_long_press_is_sent_in_segments(clock_hz: int, ptime_ms: int, duration_ms: int) -> None:
    """2.5.1.3: a full field without E, then a new timestamp without marker; the receiver sees one press."""
    sender, receiver = EventSender(clock_hz, ptime_ms), EventReceiver(clock_hz, ptime_ms)
    sender.queue("9", duration_ms, gap_ms=0)
    received = []
    timestamps, markers = set(), 0
    for k, packet in enumerate(send_all(sender, 0, clock_hz * ptime_ms // 1000)):
        assert packet is not None
        markers += packet.marker
        timestamps.add(packet.timestamp)
        received += receiver.receive(packet.timestamp, packet.payload, k * ptime_ms * MS)
        received += receiver.handle_timeout(k * ptime_ms * MS)
    assert received == [DigitEvent("9", duration_ms, 0, True)]
    assert markers == 1
    assert timestamps == {0xFFFF * k for k in range(duration_ms * clock_hz // 1000 // 0xFFFF + 1)}


@given(
    digits=st.text(st.sampled_from(DIGITS), min_size=1, max_size=6),
    duration_ms=st.integers(40, 400),
    start_ts=st.integers(0, (1 << 32) - 1),
    seed=st.randoms(use_true_random=False),
    loss=st.floats(0, 0.6),
)
@settings(deadline=None, max_examples=150)
def test_through_a_bad_network(
    digits: str, duration_ms: int, start_ts: int, seed: random.Random, loss: float
) -> None:
    """Lost, doubled and overtaken packets: every press of which one packet arrives is reported once.

    Delays stay below the gap between presses, so no press overtakes another.
    """
    sender = EventSender(8000, 20)
    sender.queue(digits, duration_ms, gap_ms=100)
    arrivals = []
    expected: dict[int, str] = {}
    for k, packet in enumerate(send_all(sender, start_ts, 160)):
        if packet is None or seed.random() < loss:
            continue
        expected[packet.timestamp] = DIGITS[packet.payload[0]]
        copies = 1 + (seed.random() < 0.3)
        arrivals.extend((k * 20 + seed.choice([0, 0, 5, 30, 55]), packet) for _ in range(copies))
    arrivals.sort(key=lambda arrival: arrival[0])

    receiver = EventReceiver()
    events = []
    for at_ms, packet in arrivals:
        events += receiver.handle_timeout(at_ms * MS)
        events += receiver.receive(packet.timestamp & 0xFFFFFFFF, packet.payload, at_ms * MS)
    events += receiver.handle_timeout(10**15)
    assert [e.digit for e in events] == list(expected.values())
    assert [e.timestamp for e in events] == [timestamp & 0xFFFFFFFF for timestamp in expected]


def test_events_of_8_khz_beside_audio_of_48_khz() -> None:
    """Durations count in the event's clock, timestamps in the audio's, also from segment to segment."""
    sender, receiver = EventSender(8000, 20, timestamp_hz=48000), EventReceiver(8000, timestamp_hz=48000)
    sender.queue("4", 10_000, gap_ms=0)
    packets = [packet for packet in send_all(sender, 7, 960) if packet]
    assert {packet.timestamp for packet in packets} == {7, 7 + 6 * 0xFFFF}
    received = []
    for k, packet in enumerate(packets):
        received += receiver.receive(packet.timestamp, packet.payload, k * 20 * MS)
    assert received == [DigitEvent("4", 10_000, 7, True)]


def test_another_clock_in_the_middle_of_a_press() -> None:
    """A re-INVITE to a codec with another clock: the press lasts as long as was asked, by the new clock."""
    sender = EventSender(8000, 20)
    sender.queue("4", 200, gap_ms=0)
    before = [sender.next_packet(0) for _ in range(5)]
    sender.set_pace(48000, 20, 48000)
    after = [sender.next_packet(0) for _ in range(7)]
    events = [TelephoneEvent.parse(packet.payload) for packet in [*before, *after] if packet]
    rising = [160 * k for k in range(1, 6)] + [960 * k for k in range(6, 11)]
    assert [one.duration_ts for one in events] == [*rising, 9600, 9600]
    assert [one.end for one in events] == [False] * 9 + [True] * 3
    assert not sender.active


def test_digits_that_wait_last_as_long_in_packets_of_another_length() -> None:
    sender = EventSender(8000, 20)
    sender.queue("12", 120, gap_ms=60)
    send_all(sender, 0, 160)
    sender.queue("3", 120, gap_ms=60)
    sender.set_pace(8000, 40)
    events = [TelephoneEvent.parse(packet.payload) for packet in send_all(sender, 0, 320) if packet]
    assert [one.duration_ts for one in events] == [320, 640, 960, 960, 960]


def test_what_has_not_begun_can_be_taken_back() -> None:
    """As it was queued; the press under way goes on to its end, and nothing comes after it."""
    sender = EventSender(8000, 20)
    sender.queue("12#", 100, 60)
    sender.queue("A", 100, 60)
    sender.queue("0", 40, 60)
    first = sender.next_packet(0)
    assert first is not None and first.marker
    assert sender.withdraw() == [("2#A", 100, 60), ("0", 40, 60)]
    assert sender.waiting == 0 and sender.withdraw() == []
    rest = [packet for _ in range(50) if (packet := sender.next_packet(0)) is not None]
    assert {packet.payload[0] for packet in rest} == {1} and len(rest) == 6 and not sender.active
