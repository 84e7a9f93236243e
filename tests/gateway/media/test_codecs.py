# SPDX-License-Identifier: GPL-2.0-or-later
"""Each encoding through the whole engine, both ways, in virtual time: clocks, bytes, positions, sound."""

from __future__ import annotations

import dataclasses
import itertools
from unittest import mock

import numpy as np
import pytest
from numpy.typing import NDArray

from support.media_rig import cut
from support.virtual_engine import START_NS, VirtualEngine
from trunkline.agent_bridge.dialect import FLAG_SPEECH
from trunkline.codecs.registry import AudioCodec, open_codec
from trunkline.codecs.resample import get_resampler
from trunkline.gateway.media.batch import PACKET_BYTES, Batch
from trunkline.gateway.media.table import FILTER_HISTORY
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.packet import Packet
from trunkline.rtp.payload import AUDIO_FORMATS

ROW = np.zeros(1, np.intp)
TONE_HZ = 1000
ENCODINGS = list(AUDIO_FORMATS)
RATES = [8000, 16000, 24000, 48000]


def media_of(codec: str, ptime_ms: int = 20, pt: int = 96) -> dict[str, object]:
    clock = AUDIO_FORMATS[codec].clock_hz
    return {"codec": codec, "send_pt": pt, "receive_pt": pt, "ptime_ms": ptime_ms, "dtmf_clock_hz": clock}


class Phone:
    """The far end of one call: speaks a tone, listens to what comes."""

    def __init__(self, rig: VirtualEngine, codec: str, ptime_ms: int = 20, pt: int = 96) -> None:
        self.rig, self.seq, self.ts, self.bytes_sent, self.packets_sent = rig, 65_500, 2**32 - 3000, 0, 0
        self.heard: list[Packet] = []
        rig.sockets.on_packets = self._hear
        self.speak_in(codec, ptime_ms, pt)

    def speak_in(self, codec: str, ptime_ms: int = 20, pt: int = 96) -> None:
        """From now on."""
        self.encoding, self.ptime_ms, self.pt = AUDIO_FORMATS[codec], ptime_ms, pt
        self.codec: AudioCodec = open_codec(codec, 1)
        self.at = 0

    def _hear(self, rows: NDArray[np.intp], packets: NDArray[np.uint8]) -> None:
        self.heard += [Packet.parse(data) for data in cut(packets, self.rig.sockets.lengths)]

    def _payload(self) -> bytes:
        rate = self.codec.sample_rate_hz
        samples = self.at + np.arange(rate * self.ptime_ms // 1000)
        self.at = int(samples[-1]) + 1
        tone = (8000 * np.sin(2 * np.pi * TONE_HZ * samples / rate)).astype(np.int16)
        payload, lengths = self.codec.encode(ROW, tone[None])
        return payload[0, : None if lengths is None else int(lengths[0])].tobytes()

    def next(self) -> Batch:
        """The next packet."""
        packet = Packet(self.pt, self.seq & 0xFFFF, self.ts & 0xFFFFFFFF, 9, self._payload())
        self.seq, self.ts = self.seq + 1, self.ts + self.encoding.clock_hz * self.ptime_ms // 1000
        self.bytes_sent, self.packets_sent = self.bytes_sent + len(packet.payload), self.packets_sent + 1
        data = np.zeros((1, PACKET_BYTES), np.uint8)
        data[0, : len(bytes(packet))] = np.frombuffer(bytes(packet), np.uint8)
        remote = self.rig.streams[0].remote
        return Batch(ROW, data, np.array([len(bytes(packet))], np.int32), np.ones(1, bool), [remote])

    def talk(self, ms: int) -> None:
        """A packet each packet time, for so long."""
        step = self.rig.tick_ns // 1_000_000
        for passed in range(0, ms, step):
            self.rig.step([self.next()] if passed % self.ptime_ms == 0 else [])

    def sound(self, first: int = 0) -> NDArray[np.int16]:
        """What it has heard, decoded, from packet `first` on."""
        codec, out = open_codec(self.encoding.name, 1), []
        for packet in self.heard[first:]:
            payload = np.frombuffer(packet.payload, np.uint8)[None]
            lengths = np.array([payload.shape[1]], np.int32)
            if codec.variable:
                samples = int(codec.durations(payload, lengths)[0])
                out.append(codec.decode_variable(ROW, payload, lengths, samples)[0])
            else:
                out.append(codec.decode(ROW, payload)[0])
        return np.concatenate(out)


class Ear:
    """What the agent hears."""

    def __init__(self, rig: VirtualEngine) -> None:
        self.pcm: list[NDArray[np.int16]] = []
        self.flags: list[int] = []
        rig.agent.on_audio = self._hear

    def _hear(self, calls: NDArray[np.intp], records: NDArray[np.void]) -> None:
        self.pcm += [pcm.copy() for pcm in records["pcm"]]
        self.flags += records["flags"].tolist()

    def sound(self) -> NDArray[np.int16]:
        return np.concatenate(self.pcm)


def tone_share(sound: NDArray[np.int16], rate_hz: int) -> float:
    """Share of the power that is the tone."""
    t = np.arange(len(sound)) / rate_hz
    wave = np.exp(2j * np.pi * TONE_HZ * t)
    amplitude = 2 * abs(np.vdot(wave, sound.astype(float))) / len(sound)
    return float(amplitude**2 / 2 / np.mean(np.square(sound.astype(float))))


@pytest.mark.parametrize("codec", ENCODINGS)
@pytest.mark.parametrize("rate_hz", RATES)
def test_a_call_in_each_encoding(codec: str, rate_hz: int) -> None:
    """3 s, echoed: every frame and byte is accounted for, nothing is made up, and the tone comes back."""
    rig = VirtualEngine(rate_hz=rate_hz, echo=True, **media_of(codec))  # type: ignore[arg-type]
    ear, phone = Ear(rig), Phone(rig, codec)
    c, encoding = rig.table.shared, AUDIO_FORMATS[codec]
    before_ns, frames_before, octets_before = rig.now_ns, int(rig.agent.frames[0]), int(c.octets_sent[0])
    phone.talk(3000)
    assert not rig.drops()
    assert int(c.packets_received[0]) == phone.packets_sent == 150
    assert int(c.octets_received[0]) == phone.bytes_sent
    elapsed = (rig.now_ns - before_ns) // 20_000_000
    assert int(rig.agent.frames[0]) - frames_before == elapsed
    assert rig.agent.misplaced == 0 and int(c.up_position[0]) == int(rig.agent.frames[0]) * rate_hz // 50
    assert int(c.frames_concealed[0]) == 0
    # To the caller: by the clock of the encoding, and each byte is counted.
    assert int(rig.sockets.sent[0]) == (rig.now_ns - START_NS) // 20_000_000 + 1
    assert len(phone.heard) >= 150
    steps = {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in itertools.pairwise(phone.heard)}
    assert steps == {encoding.clock_hz // 50}
    assert int(c.packets_sent[0]) == int(rig.sockets.sent[0])
    assert int(c.octets_sent[0]) - octets_before == sum(len(packet.payload) for packet in phone.heard)
    assert float(c.rx_jitter_ts[0]) / encoding.clock_hz < 1e-3
    # The tone, at the agent and back at the caller.
    assert tone_share(ear.sound()[-rate_hz:], rate_hz) > 0.98
    assert tone_share(phone.sound()[-encoding.sample_rate_hz :], encoding.sample_rate_hz) > 0.98
    assert ear.flags[-1] & FLAG_SPEECH


@pytest.mark.parametrize(
    ("codec", "ptime_ms"),
    [(codec, ms) for codec in ENCODINGS for ms in (10, 20, 40) if (codec, ms) != ("L16/44100", 40)],
)
def test_nearly_all_packets_take_the_short_way(codec: str, ptime_ms: int) -> None:
    """Whatever encoding: header prediction serves it."""
    rig = VirtualEngine(rate_hz=16000, **media_of(codec, ptime_ms))  # type: ignore[arg-type]
    phone, long_way = Phone(rig, codec, ptime_ms), []
    receive = rig.engine.receiver.receive
    rig.engine.receiver.receive = lambda batch, now_ns: (
        long_way.append(len(batch.rows)),
        receive(batch, now_ns),
    )  # type: ignore[method-assign,assignment]
    phone.talk(2000)
    assert sum(long_way) <= 3
    assert int(rig.table.shared.packets_received[0]) == 2000 // ptime_ms


def test_packets_for_which_there_is_no_room_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="L16/44100 at 40 ms makes packets of 3528 bytes"):
        VirtualEngine(rate_hz=16000, **media_of("L16/44100", 40))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="OPUS has packets of 10, 20, 40, 60 ms, not of 30"):
        VirtualEngine(rate_hz=16000, **media_of("OPUS", 30))  # type: ignore[arg-type]


def test_g722_counts_8000_ticks_of_16000_samples() -> None:
    """RFC 3551 4.5.2: the clock of 20 ms is 160, the agent at 16 kHz gets 320 samples, untouched by a resampler."""
    rig = VirtualEngine(rate_hz=16000, echo=True, **media_of("G722"))  # type: ignore[arg-type]
    rig.sockets.keep_rtcp = True
    ear, phone = Ear(rig), Phone(rig, "G722")
    phone.talk(6000)
    fmt = rig.table.formats.at(0)
    assert (fmt.line_hz, fmt.up.history_samples, fmt.down.history_samples) == (16000, 0, 0)
    assert {len(pcm) for pcm in ear.pcm} == {320} and {len(p.payload) for p in phone.heard} == {160}
    [first, *_] = [data for data in rig.sockets.rtcp if data[1] == 200]
    timestamp = int.from_bytes(first[16:20], "big")
    ahead = (timestamp - phone.heard[0].timestamp) & 0xFFFFFFFF
    assert ahead < 6 * 8000  # seconds since the first packet, in ticks of 8 kHz


@pytest.mark.parametrize("samples", [882, 441, 1000, 700])
def test_odd_packets_at_44100_lose_no_time(samples: int) -> None:
    """Whatever number of samples a packet has: in the end the agent has all of the time, to the sample."""
    rig = VirtualEngine(rate_hz=16000, tick_ms=1, **media_of("L16/44100"))  # type: ignore[arg-type]
    phone, start_ns, spoken = Phone(rig, "L16/44100"), rig.now_ns, 0
    phone.ts = 1000
    begun = int(rig.table.shared.up_position[0])
    while spoken < 44100 * 3:
        phone.ptime_ms = 0
        batch = _l16(phone, samples)
        spoken += samples
        while (rig.now_ns - start_ns) * 441 // 10_000_000 < spoken - samples:
            rig.step()
        rig.step([batch])
    c = rig.table.shared
    assert not rig.drops() and not c.frames_concealed[0]
    assert rig.agent.misplaced == 0
    waiting = sum(len(rest) for rest in rig.engine.uplink._odd._rest.values())
    cut = int(c.up_position[0]) - begun
    assert 0 <= (spoken - waiting) * 160 // 441 - cut < 320 + 320


def _l16(phone: Phone, samples: int) -> Batch:
    payload = np.full((1, samples), 1000, ">i2").view(np.uint8)
    packet = Packet(96, phone.seq & 0xFFFF, phone.ts & 0xFFFFFFFF, 9, payload.tobytes())
    phone.seq, phone.ts = phone.seq + 1, phone.ts + samples
    data = np.zeros((1, PACKET_BYTES), np.uint8)
    data[0, : len(bytes(packet))] = np.frombuffer(bytes(packet), np.uint8)
    lengths = np.array([len(bytes(packet))], np.int32)
    return Batch(ROW, data, lengths, np.ones(1, bool), [phone.rig.streams[0].remote])


def test_there_is_room_for_the_state_of_every_resampler() -> None:
    """Of all rates on lines to all rates of agents, and back."""
    lines = {encoding.sample_rate_hz for encoding in AUDIO_FORMATS.values()}
    pairs = [pair for line in lines for agent in RATES for pair in ((line, agent), (agent, line))]
    assert max(get_resampler(*pair).history_samples for pair in pairs) <= FILTER_HISTORY


def test_timestamps_of_long_calls_are_time_to_the_nanosecond() -> None:
    """At 48 kHz the product with 10**9 leaves 64 bits after less than four hours."""
    rig = VirtualEngine(2, rate_hz=16000, **media_of("OPUS"))  # type: ignore[arg-type]
    rows, late = np.arange(2), np.array([2**33 - 1, 2**33 + 48_000 * 3600 * 24], np.int64)
    assert rig.table.media_ns(rows, late).tolist() == [int(ts) * 10**9 // 48_000 for ts in late]


# -- change in mid-call ----------------------------------------------------------------------


def change(
    rig: VirtualEngine, phone: Phone, codec: str, ptime_ms: int, pt: int, *, peer_ptime_ms: int = 20
) -> None:
    """As a re-INVITE does it."""
    stream = rig.streams[0]
    media = dataclasses.replace(stream.media, **media_of(codec, ptime_ms, pt))  # type: ignore[arg-type]
    rig.engine.update(stream, media, rig.now_ns)
    phone.speak_in(codec, peer_ptime_ms, pt)


PAIRS = [
    ("PCMU", "OPUS"), ("OPUS", "PCMA"), ("PCMU", "G722"), ("G722", "L16/44100"), ("L16/44100", "OPUS"),
    ("OPUS", "G722"), ("L16/16000", "L16/8000"), ("L16/8000", "L16/44100"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize("stamps", ["go on", "anywhere", "behind"])
def test_another_codec_in_mid_call_leaves_no_seam(first: str, second: str, stamps: str) -> None:
    """Frames = elapsed time / packet time through the change and back; nothing made up, nothing lost."""
    rig = VirtualEngine(rate_hz=16000, echo=True, **media_of(first))  # type: ignore[arg-type]
    ear, phone = Ear(rig), Phone(rig, first)
    begun, start_ns = int(rig.agent.frames[0]), rig.now_ns
    phone.talk(1000)
    for codec, pt in ((second, 97), (first, 96)):
        change(rig, phone, codec, 20, pt)
        phone.ts += {"go on": 0, "anywhere": 123_456_789, "behind": -50_000}[stamps]
        phone.talk(1000)
    packets = [packet for packet in phone.heard if packet.payload_type == 97]
    same_clock = AUDIO_FORMATS[first].clock_hz == AUDIO_FORMATS[second].clock_hz
    frames = int(rig.agent.frames[0]) - begun
    if not (same_clock and stamps == "behind"):  # that looks like packets that are late, for 100 ms
        assert not rig.drops()
        assert int(rig.table.shared.frames_concealed[0]) == 0
        assert abs(frames - (rig.now_ns - start_ns) // 20_000_000) <= 1
        assert packets[0].marker and not any(packet.marker for packet in packets[1:])
    assert rig.agent.misplaced == 0
    assert int(rig.table.shared.up_position[0]) == int(rig.agent.frames[0]) * 320
    assert tone_share(ear.sound()[-8000:], 16000) > 0.98
    assert (rig.sockets.sent[0], rig.sockets.out_of_sequence) == (
        (rig.now_ns - START_NS) // 20_000_000 + 1,
        0,
    )
    assert len(packets) == 50


def test_other_packet_times_in_mid_call_both_ways() -> None:
    """Ours from 20 to 40 ms and to 10, the peer's from 20 to 30 and 60: the half frame that waits is not lost."""
    rig = VirtualEngine(rate_hz=16000, **media_of("PCMU"))  # type: ignore[arg-type]
    phone = Phone(rig, "PCMU")
    begun = int(rig.table.shared.up_position[0])
    phone.talk(600)
    change(rig, phone, "PCMU", 40, 96, peer_ptime_ms=30)
    phone.talk(630)
    change(rig, phone, "G722", 10, 97, peer_ptime_ms=60)
    phone.talk(1200)
    change(rig, phone, "G722", 20, 97, peer_ptime_ms=20)
    phone.talk(570)
    assert not rig.drops() and int(rig.table.shared.frames_concealed[0]) == 0
    waiting = sum(int(cutter.count[0]) for cutter in rig.engine.uplink._waiting.values())
    spoken_ms = 600 + 630 + 1200 + 580  # the last packet began at 560
    assert int(rig.table.shared.up_position[0]) - begun + waiting == spoken_ms * 16
    assert rig.agent.misplaced == 0


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_what_the_agent_has_said_is_played_to_the_end(first: str, second: str) -> None:
    """1 s waits in the queue while codec and packet time change: every sample of it leaves."""
    rig = VirtualEngine(rate_hz=16000, **media_of(first))  # type: ignore[arg-type]
    phone = Phone(rig, first)
    said = (8000 * np.sin(2 * np.pi * TONE_HZ * np.arange(16000) / 16000)).astype(np.int16)
    rig.agent.speak(ROW, said[None, :8000])
    rig.agent.speak(ROW, said[None, 8000:])
    phone.talk(300)
    change(rig, phone, second, 10, 97)
    phone.talk(1500)
    c = rig.table.shared
    assert int(c.down_position[0]) == 16000
    assert int(c.drops[0, Drop.AGENT_OVERFLOW]) == 0 and int(c.underruns[0]) == 0
    changed = next(i for i, packet in enumerate(phone.heard) if packet.payload_type == 97)
    sound, rate = phone.sound(changed), AUDIO_FORMATS[second].sample_rate_hz
    assert tone_share(sound[rate // 10 : rate // 2], rate) > 0.98


def test_a_clock_that_changes_in_the_middle_of_a_loss_and_a_hold() -> None:
    """Nothing comes for 300 ms, the codec changes, nothing comes for 300 ms more: time goes on by ours."""
    rig = VirtualEngine(rate_hz=16000, **media_of("PCMU"))  # type: ignore[arg-type]
    phone = Phone(rig, "PCMU")
    begun, start_ns = int(rig.agent.frames[0]), rig.now_ns
    phone.talk(500)
    rig.run(0.3)
    change(rig, phone, "OPUS", 20, 97)
    rig.run(0.3)
    phone.ts += 77
    phone.talk(500)
    change(rig, phone, "PCMU", 20, 96)
    rig.run(0.3)
    phone.talk(500)
    assert abs(int(rig.agent.frames[0]) - begun - (rig.now_ns - start_ns) // 20_000_000) <= 1
    assert rig.agent.misplaced == 0 and not rig.drops()


def test_packets_that_wait_in_the_old_encoding_are_not_decoded_in_the_new_one() -> None:
    """A gap is open when the codec changes: what waits behind it is dropped, and counted."""
    rig = VirtualEngine(rate_hz=16000, **media_of("PCMU"))  # type: ignore[arg-type]
    phone = Phone(rig, "PCMU")
    phone.talk(500)
    phone.next()
    rig.step([phone.next()])
    assert int(rig.table.held[0]) == 1
    change(rig, phone, "OPUS", 20, 97)
    assert rig.drops() == {"LATE": 1} and int(rig.table.held[0]) == 0
    phone.talk(500)
    assert rig.drops() == {"LATE": 1} and rig.agent.misplaced == 0


def test_a_description_that_cannot_be_carried_changes_nothing() -> None:
    """The worker answers StreamFailed; the call's table is as it was."""
    rig = VirtualEngine(rate_hz=16000, **media_of("PCMU"))  # type: ignore[arg-type]
    phone = Phone(rig, "PCMU")
    phone.talk(200)
    media = dataclasses.replace(rig.streams[0].media, **media_of("OPUS", 30, 97))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not of 30"):
        rig.engine.update(rig.streams[0], media, rig.now_ns)
    phone.talk(200)
    assert rig.streams[0].media.codec == "PCMU" and not rig.drops()


# -- a worker's death ------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["OPUS", "G722"])
def test_a_successor_goes_on_with_decoders_of_its_own(codec: str) -> None:
    """The row is in shared memory, the codec's state is not: it starts anew, and the call goes on."""
    rig = VirtualEngine(rate_hz=16000, echo=True, **media_of(codec))  # type: ignore[arg-type]
    phone = Phone(rig, codec)
    phone.talk(1000)
    shared = rig.table.shared
    position, ssrc, seq = int(shared.up_position[0]), int(shared.tx_ssrc[0]), int(shared.tx_seq[0])
    successor = rig.successor(echo=True)
    ear = Ear(successor)
    phone.rig = successor
    phone.heard.clear()
    successor.sockets.on_packets = phone._hear
    phone.talk(1000)
    assert successor.streams[0].resumed and not successor.drops()
    assert (int(shared.tx_ssrc[0]), int(shared.tx_seq[0])) == (ssrc, seq + len(phone.heard))
    assert int(shared.up_position[0]) - position == 50 * 320
    assert successor.table.formats.at(0).codec is not rig.table.formats.at(0).codec
    assert tone_share(ear.sound()[-8000:], 16000) > 0.98
    rate = AUDIO_FORMATS[codec].sample_rate_hz
    assert tone_share(phone.sound()[-rate // 2 :], rate) > 0.98


@pytest.mark.parametrize(("first", "second"), [("PCMU", "OPUS"), ("OPUS", "PCMU")])
def test_a_clock_that_changes_while_the_worker_is_dead(first: str, second: str) -> None:
    """What the row counts in is in the row: the successor's timeline goes on in its own clock."""
    rig = VirtualEngine(rate_hz=16000, **media_of(first))  # type: ignore[arg-type]
    phone = Phone(rig, first)
    phone.talk(1000)
    stream = rig.streams[0]
    stream.media = dataclasses.replace(stream.media, **media_of(second, 20, 97))  # type: ignore[arg-type]
    begun, position = rig.now_ns, int(rig.table.shared.up_position[0])
    phone.rig = successor = rig.successor()
    successor.sockets.on_packets = phone._hear
    phone.speak_in(second, 20, 97)
    phone.ts += 12_345_678
    successor.run(0.1)
    phone.talk(1000)
    frames = (int(successor.table.shared.up_position[0]) - position) / 320
    assert abs(frames - (successor.now_ns - begun) / 20e6) <= 5
    assert not successor.drops()


def test_rows_of_any_length_are_looked_for_only_while_there_are_any() -> None:
    rig = VirtualEngine(**media_of("OPUS"))  # type: ignore[arg-type]
    assert rig.table.any_variable
    change(rig, Phone(rig, "OPUS"), "PCMU", 20, 0)
    assert not rig.table.any_variable
    change(rig, Phone(rig, "PCMU"), "OPUS", 20, 97)
    assert rig.table.any_variable
    rig.engine.stop(rig.streams[0], "bye", rig.now_ns)
    assert not rig.table.any_variable


@pytest.mark.parametrize("ptime_ms", [10, 30])
def test_what_a_change_leaves_over_is_counted_in_the_packets_of_the_peer(ptime_ms: int) -> None:
    rig = VirtualEngine(rate_hz=16000, **media_of("PCMU"))  # type: ignore[arg-type]
    phone = Phone(rig, "PCMU", ptime_ms)
    phone.talk(300)
    rig.table.slip[0] = 0
    with mock.patch.object(rig.engine.uplink._odd, "forget", return_value=40):
        rig.engine.uplink.change(0, rig.table.formats.at(0))
    assert rig.table.slip[0] == pytest.approx(5 / ptime_ms)
