# SPDX-License-Identifier: GPL-2.0-or-later
"""Key presses received: each once, whatever happens to its packets."""

from __future__ import annotations

import struct

import pytest

from trunkline.rtp.dtmf import DigitEvent, EventReceiver
from trunkline.rtp.telephone_event import MAX_EVENTS, TelephoneEvent

MS = 1_000_000
Packet = tuple[int, bytes]


def press(code: int, start: int, packets: int = 5, ends: int = 3, step: int = 160) -> list[Packet]:
    """The packets of one press: `packets` updates, of which the last is the end, sent `ends` times."""
    out = [(start, struct.pack("!BBH", code, 10, step * k)) for k in range(1, packets)]
    return out + [(start, struct.pack("!BBH", code, 0x80 | 10, step * packets))] * ends


def feed(receiver: EventReceiver, packets: list[Packet], at_ms: int = 0) -> list[DigitEvent]:
    """Deliver packets 20 ms apart, with timeouts in between, as the worker does."""
    out = []
    for k, (timestamp, payload) in enumerate(packets):
        now_ns = (at_ms + 20 * k) * MS
        out += receiver.receive(timestamp, payload, now_ns)
        out += receiver.handle_timeout(now_ns + 10 * MS)
    return out


def digits(events: list[DigitEvent]) -> str:
    return "".join(event.digit for event in events)


def test_payload_by_hand() -> None:
    """RFC 4733 2.3: event, E, volume, duration; 911 as RFC 2833 sends it, caught at its third digit."""
    receiver = EventReceiver()
    nine, one, last = (bytes.fromhex(text) for text in ("09870640", "018a07d0", "01140190"))
    assert TelephoneEvent.parse(nine) == TelephoneEvent(9, True, 1600, 7)
    assert bytes(TelephoneEvent(1, False, 400, 20)) == last
    assert receiver.receive(0, nine, 200 * MS) == [DigitEvent("9", 200, 0, True)]
    assert receiver.receive(6400, one, 1050 * MS) == [DigitEvent("1", 250, 6400, True)]
    assert receiver.receive(11200, last, 1450 * MS) == []
    assert receiver.next_deadline_ns == 1600 * MS
    assert receiver.handle_timeout(1600 * MS) == [DigitEvent("1", 50, 11200, False)]
    assert receiver.next_deadline_ns is None


def test_each_digit_once_at_its_end() -> None:
    """All sixteen digits, reported with the first end packet and not again with the others."""
    receiver = EventReceiver()
    for code, digit in enumerate("0123456789*#ABCD"):
        start = 1000 + code * 2400
        events = [receiver.receive(*packet, code * 300 * MS) for packet in press(code, start)]
        assert events == [[], [], [], [], [DigitEvent(digit, 100, start, True)], [], []]


def test_lost_starts() -> None:
    """The end alone is enough, and so is any one of its three copies."""
    assert feed(EventReceiver(), press(5, 800)[-1:]) == [DigitEvent("5", 100, 800, True)]


def test_lost_ends_are_ended_by_silence() -> None:
    """Without an end the press is over three packet gaps after its last packet, and only then."""
    receiver = EventReceiver(packet_gap_ms=20)
    for timestamp, payload in press(3, 800, ends=0):
        assert receiver.receive(timestamp, payload, 100 * MS) == []
    assert receiver.handle_timeout(159 * MS) == []
    assert receiver.handle_timeout(160 * MS) == [DigitEvent("3", 80, 800, False)]
    assert receiver.handle_timeout(900 * MS) == []


def test_lost_ends_are_ended_by_the_next_press() -> None:
    """A new timestamp ends what was open, the same digit or another; order is kept."""
    stream = press(1, 0, ends=0) + press(1, 1600, ends=0) + press(2, 3200)
    events = feed(EventReceiver(), stream)
    assert [(e.digit, e.timestamp, e.complete) for e in events] == [
        ("1", 0, False),
        ("1", 1600, False),
        ("2", 3200, True),
    ]


def test_same_digit_twice() -> None:
    """Two presses of one key are two, told apart by their timestamps alone."""
    assert digits(feed(EventReceiver(), press(7, 0) + press(7, 1600))) == "77"


def test_same_digit_twice_without_a_pause() -> None:
    """A press that begins where the last one ended, with E, is another press and not its next segment."""
    assert digits(feed(EventReceiver(), press(7, 0) + press(7, 800))) == "77"


def test_outage_while_a_key_is_held() -> None:
    """Updates of an unended press go on after seconds of nothing: reported once, by the timeout."""
    receiver = EventReceiver()
    packets = press(4, 0, packets=300)
    assert digits(feed(receiver, packets[:10])) == ""
    assert digits(receiver.handle_timeout(1000 * MS)) == "4"
    assert feed(receiver, packets[200:], at_ms=4000) == []


def test_end_that_comes_after_the_timeout() -> None:
    """A press that silence has ended is not reported again when the network recovers."""
    receiver = EventReceiver()
    packets = press(4, 0, packets=40)
    assert digits(feed(receiver, packets[:5])) == ""
    assert digits(receiver.handle_timeout(500 * MS)) == "4"
    assert feed(receiver, packets[25:], at_ms=500) == []


def test_overtaken_packets_of_a_finished_press() -> None:
    """Late updates and ends of a press that is over change nothing, also during the next one."""
    receiver = EventReceiver()
    first, second = press(1, 0), press(2, 1600)
    assert digits(feed(receiver, [*first[:3], first[-1], first[3]])) == "1"
    assert (
        digits(feed(receiver, [second[0], first[-1], second[1], first[2], second[-1], first[-1]], 200)) == "2"
    )


def test_overtaken_update_does_not_shorten() -> None:
    """The longest duration counts when updates arrive in the wrong order and the end is lost."""
    receiver = EventReceiver()
    packets = press(6, 0, ends=0)
    feed(receiver, [packets[k] for k in (0, 3, 1, 2)])
    assert receiver.handle_timeout(10**12) == [DigitEvent("6", 80, 0, False)]


def test_timestamp_wraps_during_a_press() -> None:
    """The start lies before the wrap of 32 bits, the next press after it, both on the wire."""
    stream = press(1, 0xFFFFFF00) + press(2, 1344)
    assert digits(feed(EventReceiver(), stream)) == "12"


def test_a_press_longer_than_its_field() -> None:
    """2.5.1.3: segments that follow each other are one press, of their whole length."""
    first = [(100, struct.pack("!BBH", 8, 10, 0xFFFF))] * 3
    second = press(8, 100 + 0xFFFF, packets=50)
    assert feed(EventReceiver(), first + second) == [DigitEvent("8", (0xFFFF + 8000) // 8, 100, True)]


def test_a_segment_that_begins_late() -> None:
    """Some senders begin the next segment where they notice: still one press."""
    first = [(0, struct.pack("!BBH", 8, 10, 65440)), (0, struct.pack("!BBH", 8, 10, 0xFFFF))]
    assert digits(feed(EventReceiver(), first + press(8, 65600))) == "8"


def test_a_late_packet_of_an_earlier_segment() -> None:
    """A copy of the first segment after the second has begun opens no new press."""
    first = [(0, struct.pack("!BBH", 8, 10, 0xFFFF))] * 2
    second = press(8, 0xFFFF)
    assert digits(feed(EventReceiver(), [first[0], second[0], first[1], *second[1:]])) == "8"


def test_a_segment_after_the_timeout() -> None:
    """A long press that was already reported during an outage goes on silently."""
    receiver = EventReceiver()
    update = struct.pack("!BBH", 8, 10, 65000)
    assert receiver.receive(0, update, 0) == []
    assert digits(receiver.handle_timeout(200 * MS)) == "8"
    assert feed(receiver, press(8, 0xFFFF), at_ms=210) == []


def test_same_digit_again_after_the_length_of_a_segment() -> None:
    """Two finished presses exactly 0xFFFF ticks apart are two, not segments of one."""
    receiver = EventReceiver()
    assert digits(feed(receiver, press(8, 0))) == "8"
    assert digits(feed(receiver, press(8, 0xFFFF), at_ms=8192)) == "8"


def test_duration_that_wraps() -> None:
    """A sender that lets the 16-bit field wrap, against the RFC, has still made one press."""
    updates = [(0, struct.pack("!BBH", 2, 10, (160 * k) & 0xFFFF)) for k in range(1, 500)]
    end = [(0, struct.pack("!BBH", 2, 0x8A, (160 * 500) & 0xFFFF))] * 3
    assert feed(EventReceiver(), updates + end) == [DigitEvent("2", 10_000, 0, True)]


def test_end_of_a_very_long_press_alone() -> None:
    """A first packet with a duration over half its range is not taken for a wrapped one."""
    assert feed(EventReceiver(), [(0, bytes.fromhex("058aff00"))]) == [DigitEvent("5", 0xFF00 // 8, 0, True)]


def test_timestamp_that_stands_still() -> None:
    """Different digits under one timestamp, from a sender whose clock stops: both, each once and whole."""
    first, second = press(1, 500), press(2, 500, packets=10)
    events = feed(EventReceiver(), [*first, second[0], first[-1], *second[1:], first[-1]])
    assert events == [DigitEvent("1", 100, 500, True), DigitEvent("2", 200, 500, True)]


@pytest.mark.parametrize("start", [80_000, 79_000])
def test_timestamp_that_restarts(start: int) -> None:
    """Seconds after a press ended, one under the same or an older timestamp is a new press."""
    receiver = EventReceiver()
    assert digits(feed(receiver, press(1, 80_000))) == "1"
    assert digits(feed(receiver, press(1, start), at_ms=5000)) == "1"


def test_other_clock() -> None:
    """Durations are in ticks of the stream's own clock."""
    assert feed(EventReceiver(clock_hz=48000), press(1, 0, step=960)) == [DigitEvent("1", 100, 0, True)]


@pytest.mark.parametrize(
    "payload", [b"", b"\x01\x8a\x03", bytes.fromhex("108a0320"), bytes.fromhex("ff8a0320")]
)
def test_what_is_no_digit_is_counted(payload: bytes) -> None:
    """Truncated payloads, hook flash and line signals are ignored, and leave an open press alone."""
    receiver = EventReceiver()
    packets = press(1, 0)
    assert receiver.receive(*packets[0], 0) == []
    assert receiver.receive(320, payload, 0) == []
    assert receiver.ignored_packets == 1
    assert digits(receiver.receive(*packets[-1], 0)) == "1"


def test_events_that_share_a_packet() -> None:
    """2.5.1.5: short presses that followed one another, in one payload, three times for safety: each once."""
    packets = [(100, bytes.fromhex("018a0320 02 8a 0320 03 0a 00a0"))] * 3
    third = [(1700, struct.pack("!BBH", 3, 0x8A, 800))] * 3
    events = feed(EventReceiver(), packets + third)
    assert [(one.digit, one.duration_ms, one.timestamp) for one in events] == [
        ("1", 100, 100),
        ("2", 100, 900),
        ("3", 100, 1700),
    ]


def test_more_events_than_a_packet_can_have_are_not_looked_at() -> None:
    """350 presses in one packet: the first four count, and the rest is noted, not read."""
    events = [TelephoneEvent(code % 16, True, 400) for code in range(350)]
    payload = b"".join(bytes(event) for event in events)
    assert TelephoneEvent.parse_all(payload) == events[: MAX_EVENTS + 1]
    receiver = EventReceiver()
    assert digits(receiver.receive(0, payload[: 4 * MAX_EVENTS], 0)) == "0123"
    assert receiver.overfull_packets == 0
    assert digits(receiver.receive(100_000, payload, 0)) == "0123"
    assert receiver.overfull_packets == 1


@pytest.mark.parametrize("tail", ["00000000", "028a0000", "02", "108a0320", "000000000000000000000000"])
def test_padding_behind_an_event_is_no_digit(tail: str) -> None:
    """What lasts no time, or is no digit, is not one that was pressed."""
    assert digits(feed(EventReceiver(), [(0, bytes.fromhex("018a0320" + tail))])) == "1"


def test_nothing_follows_on_a_press_that_goes_on() -> None:
    """Behind an event without its end there can be no other one."""
    packets = [(0, bytes.fromhex("010a0320 02 8a 0320")), (0, bytes.fromhex("018a0640"))]
    assert digits(feed(EventReceiver(), packets)) == "1"


@pytest.mark.parametrize("clock_hz", [8000, 16000, 44100, 48000])
def test_every_clock(clock_hz: int) -> None:
    step = clock_hz // 50
    stream = press(1, 0, step=step) + press(2, 20 * step, step=step)
    assert [(one.digit, one.duration_ms) for one in feed(EventReceiver(clock_hz), stream)] == [("1", 100), ("2", 100)]


@pytest.mark.parametrize("segment", [0xFFFF, 0xFFFF * 6])
def test_events_of_8_khz_beside_audio_of_48_khz(segment: int) -> None:
    """telephone-event/8000 beside Opus: durations in 8 kHz, timestamps of the audio; long presses by either clock."""
    receiver = EventReceiver(8000, timestamp_hz=48000)
    first = [(1000, struct.pack("!BBH", 8, 10, 0xFFFF))] * 3
    events = feed(receiver, first + press(8, 1000 + segment))
    assert events == [DigitEvent("8", (0xFFFF + 800) // 8, 1000, True)]
    late = [(1000 + 48000 * 9, struct.pack("!BBH", 9, 0x8A, 800)), (1000, first[0][1])]
    assert digits(feed(receiver, late, at_ms=500)) == "9"


def test_the_payload_type_changes_during_a_press() -> None:
    """Packets under the old number are lost until the peer has our answer: the press is known all the same."""
    receiver = EventReceiver()
    packets = press(7, 500, packets=12)
    assert digits(feed(receiver, packets[:3] + packets[8:])) == "7"


def test_a_source_that_ends_in_the_middle_of_a_press() -> None:
    """Hang-up, another source, another clock: the key was pressed."""
    receiver = EventReceiver()
    feed(receiver, press(5, 0, ends=0))
    assert receiver.open_digit == "5"
    assert receiver.finish() == [DigitEvent("5", 80, 0, False)]
    assert receiver.open_digit == "" and receiver.finish() == []


@pytest.mark.parametrize("clock_hz", [16000, 44100, 48000])
def test_a_clock_that_changes_in_the_middle_of_a_press(clock_hz: int) -> None:
    """What was counted is counted anew: one press, of its whole length; and its late ends are still known."""
    receiver = EventReceiver()
    first = [(0, struct.pack("!BBH", 8, 10, 0xFFFF)), *press(8, 0xFFFF, packets=25)[:20]]
    assert feed(receiver, first) == []
    receiver.set_clocks(clock_hz)
    end = (0xFFFF, struct.pack("!BBH", 8, 0x8A, clock_hz // 2))
    assert feed(receiver, [end], at_ms=420) == [DigitEvent("8", 8191 + 500, 0, True)]
    receiver.set_clocks(8000, 48000)
    assert feed(receiver, [end, (0xFFFF, struct.pack("!BBH", 8, 0x8A, 4000))], at_ms=440) == []
    assert receiver.clocks == (8000, 48000)
