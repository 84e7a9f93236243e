# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys through the whole engine in virtual time: what the agent is told, what it hears, what callers get."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import speech
from support import spandsp
from support.audio import decode_g711, encode_g711
from support.media_rig import PEER, DownlinkRig, samples, start_message
from support.virtual_engine import VirtualEngine
from trunkline.agent_bridge.dialect import FLAG_SPEECH
from trunkline.codecs.tones import ToneSender
from trunkline.gateway.media import control
from trunkline.gateway.media.batch import PACKET_BYTES, Batch
from trunkline.gateway.media.presses import PRESSES_PER_SECOND
from trunkline.gateway.media.tone_watch import HOLD_MS
from trunkline.rtp.dtmf_send import EventSender
from trunkline.rtp.packet import Packet
from trunkline.rtp.telephone_event import MAX_EVENTS, TelephoneEvent

Pcm = NDArray[np.int16]
DEFAULT, ON, CUT = control.DigitParams(), control.DigitParams(detect="on"), control.DigitParams(cut=True)


class Caller:
    """One call whose caller sends a packet of mu-law, or an event in its place, every 20 ms."""

    def __init__(self, digits: control.DigitParams = DEFAULT, **media: object) -> None:
        self.rig = VirtualEngine(1, tick_ms=20, digits=digits, **media)
        self.heard: list[NDArray[np.int16]] = []
        self.flags: list[int] = []
        self.rig.agent.on_audio = self._hear
        self.seq, self.ts, self.ssrc, self.event_type = 100, 5000, 5, 101
        self.during: Callable[[int], None] = lambda packet: None

    def _hear(self, calls: NDArray[np.intp], records: NDArray[np.void]) -> None:
        self.heard.append(records["pcm"][0].astype(np.int16))
        self.flags.append(int(records["flags"][0]))

    def _packet(self, payload_type: int, ts: int, payload: bytes) -> Batch:
        data = bytes(Packet(payload_type, self.seq & 0xFFFF, ts & 0xFFFFFFFF, self.ssrc, payload))
        self.seq += 1
        buffer = np.zeros((1, PACKET_BYTES), np.uint8)
        buffer[0, : len(data)] = np.frombuffer(data, np.uint8)
        return Batch(np.zeros(1, np.intp), buffer, np.array([len(data)], np.int32), np.ones(1, bool), [PEER])

    def say(self, pcm: Pcm, events: EventSender | None = None, *, both: bool = False) -> None:
        """Audio to its end; events take the place of packets, or with `both` come besides."""
        for number, start in enumerate(range(0, len(pcm) - 159, 160)):
            self.during(number)
            batches = []
            event = events.next_packet(self.ts) if events is not None else None
            if event is not None:
                batches.append(self._packet(self.event_type, event.timestamp, event.payload))
            if event is None or both:
                batches.append(self._packet(0, self.ts, encode_g711(pcm[start : start + 160], 0)))
            self.ts += 160
            self.rig.step(batches)

    @property
    def told(self) -> list[tuple[str, str]]:
        """Digits and methods, as the agent was told."""
        return [(str(m["digit"]), str(m["method"])) for m in self.rig.agent.control if m["type"] == "dtmf"]

    @property
    def durations(self) -> list[int]:
        return [int(m["duration_ms"]) for m in self.rig.agent.control if m["type"] == "dtmf"]

    @property
    def audio(self) -> Pcm:
        """What the agent heard."""
        return np.concatenate(self.heard)


def keys(digits: str, ms: int = 80, gap_ms: int = 80) -> Pcm:
    """Tones with a second of silence before and after."""
    sender = ToneSender(8000)
    sender.queue(digits, ms, gap_ms)
    silence = np.zeros(8000, np.int16)
    return np.concatenate([silence, sender.next_frame(8 * (ms + gap_ms) * len(digits)), silence])


def ramp(count: int) -> Pcm:
    """Samples that mu-law leaves as they are, and that nobody takes for a key."""
    return decode_g711(bytes(i % 100 for i in range(count)), 0)


def event_keys(digits: str, ms: int = 80, gap_ms: int = 80) -> EventSender:
    sender = EventSender(8000, 20)
    sender.queue(digits, ms, gap_ms)
    return sender


# -- which calls are listened to -------------------------------------------------------------


def test_tones_are_told_where_no_telephone_event_was_agreed_on() -> None:
    caller = Caller(receive_dtmf_pt=-1)
    caller.say(keys("19#D"))
    assert caller.told == [(digit, "inband") for digit in "19#D"]
    assert all(abs(ms - 80) <= 8 for ms in caller.durations)


def test_a_call_with_telephone_event_is_not_searched() -> None:
    """So that it costs nothing; unless the trunk says that its peers send tones all the same."""
    caller = Caller()
    caller.say(keys("19"))
    assert caller.told == []
    assert not caller.rig.engine.uplink.tones.watching
    caller = Caller(ON)
    caller.say(keys("19"))
    assert caller.told == [("1", "inband"), ("9", "inband")]
    caller = Caller(control.DigitParams(detect="off"), receive_dtmf_pt=-1)
    caller.say(keys("19"))
    assert caller.told == []


def test_a_reinvite_that_agrees_on_telephone_event_ends_the_search() -> None:
    caller = Caller(receive_dtmf_pt=-1)
    engine, stream = caller.rig.engine, caller.rig.streams[0]
    assert engine.uplink.tones.watching == 1
    engine.update(stream, start_message().media, caller.rig.now_ns)
    assert engine.uplink.tones.watching == 0
    engine.update(stream, start_message(receive_dtmf_pt=-1).media, caller.rig.now_ns)
    assert engine.uplink.tones.watching == 1
    engine.stop(stream, "bye", caller.rig.now_ns)
    assert engine.uplink.tones.watching == 0


@pytest.mark.parametrize("digits", [DEFAULT, CUT])
def test_a_tone_under_way_when_the_search_ends_is_told_at_once(digits: control.DigitParams) -> None:
    """A re-INVITE that agrees on telephone-event: what was heard so far, once; and with `cut`, no more of it."""
    caller = Caller(digits, receive_dtmf_pt=-1)
    engine, stream = caller.rig.engine, caller.rig.streams[0]
    tone = keys("5", 300)
    caller.say(tone[: 8000 + 1600])
    engine.update(stream, start_message().media, caller.rig.now_ns)
    caller.rig.turn()
    assert caller.told == [("5", "inband")] and 170 <= caller.durations[0] <= 200
    caller.say(tone[8000 + 1600 :])
    caller.say(np.zeros(8000, np.int16), event_keys("5", 100))
    assert caller.told == [("5", "inband"), ("5", "rfc4733")], "the next press"
    engine.update(stream, start_message(receive_dtmf_pt=-1).media, caller.rig.now_ns)
    caller.say(np.zeros(8000, np.int16))
    assert len(caller.told) == 2, "nothing is left of the tone"
    assert digits is not CUT or leak_ms(caller) == 0


def test_a_key_that_is_down_when_the_call_ends_is_told_before_the_end() -> None:
    for caller, events in ((Caller(receive_dtmf_pt=-1), None), (Caller(), event_keys("5", 1000))):
        audio = keys("5", 1000)[: 8000 + 3200] if events is None else np.zeros(3200, np.int16)
        caller.say(audio, events)
        assert caller.told == []
        caller.rig.engine.stop(caller.rig.streams[0], "bye", caller.rig.now_ns)
        caller.rig.turn()
        kinds = [str(m["type"]) for m in caller.rig.agent.control]
        assert kinds[-2:] == ["dtmf", "stop"]
        assert caller.told[0][0] == "5"


# -- once, by whatever methods -----------------------------------------------------------------


@pytest.mark.parametrize("digits", ["1950", "1111"])
def test_events_and_tones_at_once_are_one_digit_each(digits: str) -> None:
    caller = Caller(ON)
    caller.say(keys(digits)[7200:], event_keys(digits), both=True)
    assert [digit for digit, _ in caller.told] == list(digits)
    assert len({method for _, method in caller.told}) == 1


def test_info_besides_events_is_one_digit() -> None:
    caller = Caller()
    stream, engine = caller.rig.streams[0], caller.rig.engine

    def info(packet: int) -> None:
        if packet in (2, 12):
            engine.keys.press(stream, "7", 160, "info", caller.rig.now_ns)

    caller.during = info
    caller.say(np.zeros(16000, np.int16), event_keys("77", 100, 100))
    assert [digit for digit, _ in caller.told] == ["7", "7"]


def test_a_tone_that_leaks_before_its_event_is_no_second_digit() -> None:
    """60 ms of tone, then the event of a key that stays down for two seconds: one digit, of its whole length."""
    caller = Caller(ON)
    caller.say(keys("5", 60, 0)[: 8000 + 480])
    caller.say(np.zeros(20000, np.int16), event_keys("5", 2000))
    assert caller.told == [("5", "rfc4733")]
    assert caller.durations == [2000]


def test_our_own_tones_that_a_line_echoes_are_nobodys_keys() -> None:
    caller = Caller(control.DigitParams(detect="on", inband=True), send_dtmf_pt=-1)
    caller.rig.engine.playback.send_digits(caller.rig.streams[0], "12", 100, 60)
    echo = (keys("12", 100, 60)[7360:] * 0.3).astype(np.int16)  # 80 ms later, 10 dB softer
    caller.say(echo)
    assert caller.told == []
    caller.say(keys("2"))
    assert caller.told == [("2", "inband")], "what comes later was pressed"


def test_a_flood_of_presses_is_told_at_a_pace() -> None:
    """A second of packets of 350 presses each: 20 digits and what was left out, not 17,500; then keys as before."""
    caller = Caller()
    caller.say(np.zeros(1600, np.int16))
    payload = b"".join(bytes(TelephoneEvent(i % 16, True, 1)) for i in range(350))
    for _ in range(49):
        caller.rig.step([caller._packet(101, caller.ts, payload)])
        caller.ts += 160
    assert len(caller.told) == PRESSES_PER_SECOND
    assert sum(isinstance(m, control.CallerDtmf) for m in caller.rig.posted) == PRESSES_PER_SECOND
    flood = caller.rig.drops()["KEY_FLOOD"]
    assert flood == 49 + 49 * MAX_EVENTS - PRESSES_PER_SECOND
    caller.rig.run(2)
    caller.ts += 160 * 100
    caller.say(np.zeros(8000, np.int16), event_keys("1950", 60, 40))
    assert caller.told[PRESSES_PER_SECOND:] == [(digit, "rfc4733") for digit in "1950"]
    assert caller.rig.drops()["KEY_FLOOD"] == flood


# -- sources and descriptions that change while a key is down --------------------------------------


def test_another_source_ends_a_press_and_the_same_one_goes_on_with_it() -> None:
    """A new SSRC from the peer: the key that was down is told. A jump in its numbers: still one press."""
    caller = Caller()
    caller.say(np.zeros(1600, np.int16))
    caller.say(np.zeros(800, np.int16), event_keys("5", 1000))
    caller.ssrc = 6
    caller.say(np.zeros(8000, np.int16))
    assert caller.told == [("5", "rfc4733")]
    caller = Caller()
    events = event_keys("5", 400)
    caller.say(np.zeros(1600, np.int16))
    caller.say(np.zeros(800, np.int16), events)
    caller.seq += 20_000
    caller.say(np.zeros(8000, np.int16), events)
    assert caller.told == [("5", "rfc4733")]


@pytest.mark.parametrize("packets", [3, 4, 5, 6, 7])
def test_a_jump_between_the_packets_of_a_press_is_still_one(packets: int) -> None:
    """Of five packets and two more ends: wherever the sender's numbers jump."""
    caller, events = Caller(), event_keys("5", 100)
    caller.say(np.zeros(1600, np.int16))
    caller.say(np.zeros(160 * packets, np.int16), events)
    caller.seq += 20_000
    caller.say(np.zeros(8000, np.int16), events)
    assert caller.told == [("5", "rfc4733")]


def test_another_source_is_heard_whatever_the_one_before_pressed() -> None:
    """The same key at the same timestamp, by another SSRC: another press."""
    caller = Caller()
    caller.say(np.zeros(1600, np.int16))
    begin = caller.ts
    caller.say(np.zeros(3200, np.int16), event_keys("5", 100))
    caller.ssrc, caller.ts = 6, begin - 320
    caller.say(np.zeros(320, np.int16))
    caller.say(np.zeros(3200, np.int16), event_keys("5", 100))
    assert caller.told == [("5", "rfc4733")] * 2


@pytest.mark.parametrize(("ms", "packets"), [(100, 3), (100, 5), (100, 6), (100, 7), (1000, 10), (1000, 45)])
@pytest.mark.parametrize("change", [{"codec": "OPUS"}, {"codec": "OPUS", "dtmf_clock_hz": 48000}])
def test_a_clock_that_changes_between_the_packets_of_a_press_is_still_one(
    ms: int, packets: int, change: dict[str, object]
) -> None:
    """While the key is down, or between its end packets; its length is what it was, whatever it counts in."""
    caller, events = Caller(), event_keys("5", ms)
    caller.say(np.zeros(800, np.int16))
    caller.say(np.zeros(160 * packets, np.int16), events)
    stream = caller.rig.streams[0]
    caller.rig.engine.update(stream, dataclasses.replace(stream.media, **change), caller.rig.now_ns)  # type: ignore[arg-type]
    media = stream.media
    events.set_pace(media.dtmf_clock_hz, 20, 48000)
    for _ in range(ms // 20 + 20):
        event = events.next_packet(caller.ts)
        caller.rig.step([caller._packet(101, event.timestamp, event.payload)] if event is not None else [])
    assert caller.told == [("5", "rfc4733")]
    assert caller.durations == [ms]


def test_a_key_that_is_let_go_while_its_clock_changes_is_told() -> None:
    """Nothing of it comes any more: its time runs out."""
    caller = Caller()
    caller.say(np.zeros(800, np.int16), event_keys("5", 1000))
    media = start_message(dtmf_clock_hz=16000).media
    caller.rig.engine.update(caller.rig.streams[0], media, caller.rig.now_ns)
    caller.rig.turn()
    assert caller.told == []
    caller.rig.run(0.2)
    assert (caller.told, caller.durations) == ([("5", "rfc4733")], [100])


def test_another_payload_type_in_the_middle_of_a_press_is_still_one() -> None:
    """The peer uses the old number until it has our answer: those packets are dropped, and the press is whole."""
    caller, events = Caller(), event_keys("5", 400)
    caller.say(np.zeros(800, np.int16), events)
    media = start_message(receive_dtmf_pt=96).media
    caller.rig.engine.update(caller.rig.streams[0], media, caller.rig.now_ns)
    caller.say(np.zeros(480, np.int16), events)
    caller.event_type = 96
    caller.say(np.zeros(8000, np.int16), events)
    assert caller.told == [("5", "rfc4733")]
    assert caller.durations == [400]


def test_an_event_with_a_clock_of_its_own_teaches_nothing() -> None:
    """Timestamps far ahead of the audio's: the press counts, and the audio goes on the short way as before."""
    caller = Caller()
    caller.say(np.zeros(8000, np.int16))
    caller.ts += 1 << 29
    caller.say(np.zeros(960, np.int16), event_keys("5"))
    caller.ts -= 1 << 29
    caller.say(np.zeros(8000, np.int16))
    assert caller.told == [("5", "rfc4733")]
    assert int(caller.rig.table.shared.expected_bytes[0]) > 0, "header prediction works"
    assert len(caller.heard) >= 100


# -- what the agent hears ------------------------------------------------------------------------


def leak_ms(caller: Caller) -> float:
    """Audio that is not silent, in ms."""
    return float((np.abs(caller.audio.astype(int)) > 8).sum() / 8)


def test_a_tone_is_cut_from_its_first_sample_to_its_last() -> None:
    """Wherever it begins within a packet: nothing of it leaks."""
    for shift in range(0, 160, 13):
        caller = Caller(CUT, receive_dtmf_pt=-1)
        caller.say(np.concatenate([np.zeros(shift, np.int16), keys("5", 60)]))
        assert caller.told == [("5", "inband")]
        assert leak_ms(caller) == 0, shift


def test_speech_beside_the_keys_stays_as_it_is() -> None:
    """Cut is what holds a tone, and 40 ms beside it; the rest is late by the hold, and otherwise the same."""
    voice = speech.clips(1)[0][:32000]
    mixed = voice.copy()
    press = keys("5", 100, 0)[8000:8800]
    mixed[16000:16800] = press
    caller = Caller(CUT, receive_dtmf_pt=-1)
    caller.say(mixed)
    assert caller.told == [("5", "inband")]
    hold = 8 * HOLD_MS
    expected, heard = decode_g711(encode_g711(mixed, 0), 0), caller.audio
    places = [at + hold for at in range(0, 8000, 20)]
    first = next(at for at in places if np.array_equal(heard[at : at + 8000], expected[:8000]))
    heard = heard[first:]
    changed = np.flatnonzero(heard != expected[: len(heard)])
    assert changed.min() >= 16000 - 20 * 8 and changed.max() < 16800 + 45 * 8
    assert not heard[16000:16800].any()


def test_frames_that_are_cut_are_not_flagged_as_speech() -> None:
    caller = Caller(CUT, receive_dtmf_pt=-1)
    caller.say(keys("5", 400))
    assert not any(flags & FLAG_SPEECH for flags, pcm in zip(caller.flags, caller.heard, strict=True) if not pcm.any())
    kept = Caller(receive_dtmf_pt=-1)
    kept.say(keys("5", 400))
    tones = [flags for flags, pcm in zip(kept.flags, kept.heard, strict=True) if pcm.any()]
    assert len(tones) >= 18 and not any(flags & FLAG_SPEECH for flags in tones[2:])  # known after two packets


@pytest.mark.parametrize("lead_ms", [20, 40, 80])
def test_tones_that_peers_leave_beside_their_events_are_cut(lead_ms: int) -> None:
    """Before the event, until its sender had noticed the key, and besides it."""
    caller = Caller(CUT)
    press = keys("5", lead_ms + 200, 0)
    begin = 8000 + 8 * lead_ms
    caller.say(press[:begin])
    caller.say(press[begin:], event_keys("5", 200, 100), both=True)
    assert caller.told == [("5", "rfc4733")]
    assert leak_ms(caller) == 0


def test_without_cutting_the_audio_is_what_it_was() -> None:
    """Searched or not: not a sample differs, and none is late."""
    searched, plain = Caller(ON), Caller()
    for caller in (searched, plain):
        caller.say(keys("5"))
    assert np.array_equal(searched.audio, plain.audio)


# -- keys that go out as tones -------------------------------------------------------------------


def test_keys_go_out_as_tones_in_place_of_speech_which_waits() -> None:
    rig = DownlinkRig(send_dtmf_pt=-1, digits=control.DigitParams(inband=True))
    rig.speak(ramp(1600))
    rig.playback.send_digits(rig.stream, "19#", 100, 60)
    assert rig.posted == [control.DtmfQueued(rig.stream.call_id, 3, "inband")]
    rig.run(1200)
    assert {packet.payload_type for _, packet in rig.sent} == {0}
    assert np.all(np.diff([packet.sequence for _, packet in rig.sent]) == 1)
    assert np.all(np.diff([packet.timestamp for _, packet in rig.sent]) == 160)
    audio = np.concatenate([samples(packet) for _, packet in rig.sent])
    assert spandsp.heard(audio) == "19#"
    assert np.array_equal(audio[480 * 8 : 480 * 8 + 1600], ramp(1600)), "speech goes on after the last gap"


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 48000])
@pytest.mark.parametrize("ptime_ms", [10, 20, 60])
def test_tones_at_every_rate_of_agents_and_every_packet_time(rate_hz: int, ptime_ms: int) -> None:
    rig = DownlinkRig(send_dtmf_pt=-1, rate_hz=rate_hz, ptime_ms=ptime_ms, digits=control.DigitParams(inband=True))
    rig.playback.send_digits(rig.stream, "0D1", 50, 50)
    rig.run(600)
    assert spandsp.heard(np.concatenate([samples(packet) for _, packet in rig.sent])) == "0D1"


def test_tones_of_a_call_that_sends_no_silence_open_a_talkspurt() -> None:
    """With silence suppressed, packets of tones are sent, the first with the marker, and no others."""
    rig = DownlinkRig(send_silence=False, send_dtmf_pt=-1, digits=control.DigitParams(inband=True))
    rig.run(100)
    before = len(rig.sent)
    rig.playback.send_digits(rig.stream, "5", 100, 60)
    rig.run(400)
    spurt = [packet for _, packet in rig.sent[before:]]
    assert len(spurt) == 8 and spurt[0].marker


def test_a_hold_lets_tones_wait() -> None:
    rig = DownlinkRig(send_dtmf_pt=-1, digits=control.DigitParams(inband=True))
    rig.table.sending[rig.stream.row] = False
    rig.playback.send_digits(rig.stream, "5", 100, 60)
    rig.run(300)
    assert not rig.sent
    rig.table.sending[rig.stream.row] = True
    rig.run(300)
    assert spandsp.heard(np.concatenate([samples(packet) for _, packet in rig.sent])) == "5"


def test_digits_that_wait_when_events_are_dropped_go_another_way() -> None:
    """A re-INVITE without telephone-event: the gateway is asked about the rest, or it goes out as tones."""
    rig = VirtualEngine(1, tick_ms=20)
    stream = rig.streams[0]
    rig.engine.playback.send_digits(stream, "123", 200, 100)
    rig.engine.playback.send_digits(stream, "45", 80, 40)
    rig.run(0.1)
    media = dataclasses.replace(stream.media, send_dtmf_pt=-1)
    rig.engine.update(stream, media, rig.now_ns)
    asked = [message for message in rig.posted if isinstance(message, control.AgentDtmf)]
    assert asked == [
        control.AgentDtmf(stream.call_id, "23", 200, 100),
        control.AgentDtmf(stream.call_id, "45", 80, 40),
    ], "the first had begun"
    rig.engine.update(stream, dataclasses.replace(media, ptime_ms=30), rig.now_ns)
    rig.run(1)
    assert sum(isinstance(message, control.AgentDtmf) for message in rig.posted) == 2 and not rig.table.keying
    sent: list[NDArray[np.int16]] = []
    rig = VirtualEngine(1, tick_ms=20, digits=control.DigitParams(inband=True))
    stream = rig.streams[0]
    rig.engine.playback.send_digits(stream, "19#", 100, 60)
    rig.run(0.1)
    assert not any(isinstance(message, control.AgentDtmf) for message in rig.posted)
    rig.sockets.on_packets = lambda _rows, packets: sent.append(decode_g711(packets[0, 12:].tobytes(), 0))
    rig.engine.update(stream, dataclasses.replace(stream.media, send_dtmf_pt=-1), rig.now_ns)
    rig.run(1)
    assert spandsp.heard(np.concatenate(sent)) == "9#"


def test_events_come_before_tones_where_the_peer_takes_them() -> None:
    """A re-INVITE may bring telephone-event to a call that had to use tones."""
    rig = DownlinkRig()
    rig.playback.use_tones(rig.stream)
    rig.playback.send_digits(rig.stream, "5", 100, 60)
    rig.run(300)
    assert rig.posted == [control.DtmfQueued(rig.stream.call_id, 1, "rfc4733")]
    assert {packet.payload_type for _, packet in rig.sent} >= {101}


def test_an_agent_is_told_that_its_digits_could_not_be_sent() -> None:
    caller = Caller(send_dtmf_pt=-1)
    caller.rig.engine.agents.telling.refused(caller.rig.streams[0], "dtmf_not_sent", "415 Unsupported Media Type")
    caller.rig.turn()
    (error,) = [m for m in caller.rig.agent.control if m["type"] == "error"]
    assert (error["code"], error["text"]) == ("dtmf_not_sent", "415 Unsupported Media Type")
