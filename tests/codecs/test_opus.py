# SPDX-License-Identifier: GPL-2.0-or-later
"""Opus: heard as it was said, also by and from FFmpeg; rows know nothing of each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.audio import compare, tone
from support.opus_peer import ffmpeg_decode, ffmpeg_encode, rows_of
from support.opus_streams import heard, one, resampled, sent, speech
from trunkline.codecs.opus import PACKET_TIMES_MS, RATES_HZ, OpusCodec
from trunkline.codecs.opus_sending import OpusSettings

ROW = np.array([0])


@pytest.mark.parametrize("packet_ms", PACKET_TIMES_MS)
@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_speech_is_heard_as_it_was_said(rate_hz, packet_ms):
    """At each rate and packet time, behind the delay that is stated."""
    codec, said = OpusCodec(1, rate_hz, OpusSettings(bitrate_bps=64000)), speech(rate_hz, 1.8)
    packets = sent(codec, said, packet_ms)
    assert codec.durations(*rows_of(packets)).tolist() == [rate_hz * packet_ms // 1000] * len(packets)
    match = compare(said, heard(codec, packets))
    assert (
        abs(match.offset - codec.delay_samples) < rate_hz / 1000
    )  # filters of either side may shift it a little
    assert match.correlation > 0.97


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_ffmpegs_own_decoder_hears_the_same(rate_hz):
    """What we send, decoded by two implementations."""
    packets = sent(OpusCodec(1, rate_hz), speech(rate_hz))
    ours, theirs = heard(OpusCodec(1, rate_hz), packets), resampled(ffmpeg_decode(packets), 48000, rate_hz)
    assert len(ours) == len(theirs)
    match = compare(theirs, ours)
    assert abs(match.offset) < rate_hz / 1000
    assert match.snr_db > 30


@pytest.mark.parametrize("packet_ms", [2.5, 5, 10, 20, 40, 60, 80, 100, 120])
@pytest.mark.parametrize("channels", [1, 2])
def test_all_that_libopus_can_send_is_heard(packet_ms, channels):
    """Mono and stereo, one frame to many in a packet; stereo is mixed."""
    said = speech(48000, 1.8)
    both = np.stack([said, said // 2], axis=1) if channels == 2 else said
    packets = ffmpeg_encode(both, 48000, channels=channels, packet_ms=packet_ms, bit_rate=96000)
    assert {packet[0] >> 2 & 1 for packet in packets} == {channels - 1}
    codec = OpusCodec(1, 16000)
    found = codec.durations(*rows_of(packets))
    assert found.tolist() == [16 * packet_ms] * len(packets)
    match = compare(speech(16000, 1.8), heard(codec, packets))
    assert match.correlation > 0.97


def test_both_sides_of_a_stereo_stream_are_heard():
    """A caller who sits on the right is not lost."""
    left, right = tone(400, 2, 48000, 6000), tone(1000, 2, 48000, 6000)
    packets = ffmpeg_encode(np.stack([left, right], axis=1), 48000, channels=2, bit_rate=128000)
    spectrum = np.abs(np.fft.rfft(heard(OpusCodec(1, 16000), packets)[16000:32000].astype(np.float64)))
    assert sorted(np.argsort(spectrum)[-2:].tolist()) == [400, 1000]
    assert 0.7 < spectrum[400] / spectrum[1000] < 1.4


def test_packets_may_change_their_length_in_mid_call():
    """As callers do when the network changes; nothing starts anew."""
    codec, said = OpusCodec(1, 16000, OpusSettings(bitrate_bps=32000)), speech(16000, 2.4)
    parts = np.split(said, 4)
    packets = [
        packet for part, ms in zip(parts, (20, 60, 10, 40), strict=True) for packet in sent(codec, part, ms)
    ]
    assert compare(said, heard(codec, packets)).correlation > 0.95


def streams(count: int, rate_hz: int = 16000) -> np.ndarray:
    """i16[count, samples]: the voice at different times."""
    return np.stack([speech(rate_hz, 0.6, 0.25 * index) for index in range(count)])


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(5)), st.sampled_from(PACKET_TIMES_MS), st.sampled_from(RATES_HZ))
def test_a_batch_is_the_same_as_one_by_one(order, packet_ms, rate_hz):
    """Both ways, to the last bit, whatever the order of the rows."""
    batch, single = OpusCodec(7, rate_hz), OpusCodec(7, rate_hz)
    rows, step = np.array(order) + 1, rate_hz * packet_ms // 1000
    said = streams(5, rate_hz)
    for at in range(0, said.shape[1], step):
        payload, lengths = batch.encode(rows, said[:, at : at + step])
        pcm = batch.decode_variable(rows, payload, lengths, step)
        for index, row in enumerate(order):
            alone = single.encode(np.array([row + 1]), said[index : index + 1, at : at + step])
            assert one(*alone) == payload[index, : lengths[index]].tobytes()
            assert np.array_equal(single.decode_variable(np.array([row + 1]), *alone, step)[0], pcm[index])


def test_rows_know_nothing_of_each_other():
    """A row sounds the same beside a neighbour that hears noise, loses packets and ends."""
    alone, among = OpusCodec(3, 16000), OpusCodec(3, 16000)
    packets = sent(OpusCodec(1, 16000), speech(16000, 1.2))
    rng = np.random.default_rng(5)
    for number, packet in enumerate(packets):
        noise = bytes([packet[0]]) + rng.bytes(40)
        payload, lengths = rows_of([noise if number % 3 else b"", packet])
        pcm = among.decode_variable(np.array([2, 1]), payload, lengths, 320)
        assert np.array_equal(pcm[1], heard(alone, [packet], row=1))
        if number % 7 == 0:
            among.forget(2)


def test_memory_may_lie_anywhere():
    """Views into wider arrays are read where they are, and columns that are no such view are copied."""
    codec, plain = OpusCodec(2, 8000), OpusCodec(2, 8000)
    said = streams(2, 8000)[:, :160]
    wide = np.zeros((2, 400), np.int16)
    wide[:, 100:260] = said
    expected, lengths = plain.encode(np.arange(2), said)
    payload, _ = codec.encode(np.arange(2), wide[:, 100:260])
    assert np.array_equal(payload[0, : lengths[0]], expected[0, : lengths[0]])
    packets = np.zeros((2, 1500), np.uint8)
    packets[:, 12 : 12 + payload.shape[1]] = payload
    pcm = plain.decode_variable(np.arange(2), payload, lengths, 160)
    assert np.array_equal(codec.decode_variable(np.arange(2), packets[:, 12:], lengths, 160), pcm)
    crosswise = np.asfortranarray(payload)
    again = OpusCodec(2, 8000).decode_variable(np.arange(2), crosswise, lengths, 160)
    assert np.array_equal(again, pcm)


def test_what_does_not_fit_its_rows_is_refused():
    """Addresses go to libopus as they are, so a mistake must not get that far."""
    codec = OpusCodec(3, 8000)
    with pytest.raises(ValueError, match="1 packets or frames for 2 rows"):
        codec.encode(np.arange(2), np.zeros((1, 160), np.int16))
    with pytest.raises(ValueError, match="1 packets or frames for 3 rows"):
        codec.decode_variable(np.arange(3), np.zeros((1, 9), np.uint8), np.array([9], np.int32), 160)
    said = streams(2, 8000)[:, :160]
    same = [OpusCodec(2, 8000).encode(np.arange(2), pcm) for pcm in (said, said.astype(np.int64))]
    assert one(*same[0]) == one(*same[1])


def test_no_rows_are_no_work():
    """A tick in which nothing came."""
    codec, nobody = OpusCodec(1, 8000), np.zeros(0, np.intp)
    payload, lengths = codec.encode(nobody, np.zeros((0, 160), np.int16))
    assert payload.shape == (0, 0) and lengths.shape == (0,)
    assert codec.decode_variable(nobody, payload, lengths, 160).shape == (0, 160)
    assert codec.conceal(nobody, 160, []).shape == (0, 160)
    assert codec.durations(payload, lengths).shape == (0,)


def test_looking_ahead_moves_nothing():
    """It is what will be heard next, and all that follows is as if nobody had looked."""
    packets = sent(OpusCodec(1, 16000), speech(16000, 1.2))
    codec, other = OpusCodec(1, 16000), OpusCodec(1, 16000)
    for packet in packets:
        payload, lengths = rows_of([packet])
        seen = codec.look_ahead(ROW, payload, lengths)
        pcm = heard(codec, [packet])
        assert np.array_equal(seen[0], pcm)
        assert np.array_equal(pcm, heard(other, [packet]))


def test_a_row_that_was_forgotten_begins_anew():
    """The next call in a row hears nothing of the last one, and its peer's wishes are its own."""
    codec, fresh = OpusCodec(1, 16000), OpusCodec(1, 16000)
    said = speech(16000, 0.6)
    codec.configure(0, "maxaveragebitrate=8000;usedtx=1")
    heard(codec, sent(codec, said))
    codec.forget(0)
    assert codec.sending(0) == fresh.sending(0)
    packets = sent(fresh, said)
    assert sent(codec, said) == packets
    assert np.array_equal(heard(codec, packets), heard(fresh, packets))
    codec.forget(0)
    codec.forget(0)  # nobody must keep account


def test_states_are_made_when_they_are_needed_and_go_with_their_rows():
    """A worker's table has room for thousands; 60 kB for each would be dear."""
    codec = OpusCodec(1000, 8000)
    assert codec.state_bytes == 0
    codec.encode(np.array([7, 9]), np.zeros((2, 160), np.int16))
    one_way = codec.state_bytes
    assert one_way > 0
    codec.conceal(np.array([7]), 160)
    assert codec.state_bytes > one_way
    for row in (7, 9):
        codec.forget(row)
    assert codec.state_bytes == 0


@pytest.mark.parametrize("rate_hz", [0, 12000, 44100, 96000])
def test_other_rates_are_refused(rate_hz):
    """The message names those that there are."""
    with pytest.raises(ValueError, match=f"8000, 16000, 24000, 48000 Hz, not of {rate_hz}"):
        OpusCodec(1, rate_hz)


def test_packet_times_that_no_frame_has_are_refused():
    """30 ms would be three frames, whose modes may differ; negotiation chooses among those that there are."""
    with pytest.raises(ValueError, match="10, 20, 40, 60 ms, not of 30"):
        OpusCodec(1, 8000).encode(ROW, np.zeros((1, 240), np.int16))
