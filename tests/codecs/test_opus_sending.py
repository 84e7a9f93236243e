# SPDX-License-Identifier: GPL-2.0-or-later
"""How Opus is sent: the peer's parameters, the rule for loss, silence, and what libopus is told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.audio import compare
from support.opus_streams import heard, sent, speech
from trunkline.codecs import opus_native
from trunkline.codecs.opus import OpusCodec
from trunkline.codecs.opus_native import BANDWIDTHS, Get
from trunkline.codecs.opus_sending import Loss, OpusSettings, sending
from trunkline.rtp.opus_fmtp import OpusFmtp

ROW = np.array([0])
ABLE = "useinbandfec=1"


def told(codec: OpusCodec, row: int = 0) -> dict[Get, int]:
    """What the row's encoder itself says of its settings."""
    codec.encode(np.array([row]), np.zeros((1, codec.sample_rate_hz // 50), np.int16))
    return {what: opus_native.library().get(codec._encoders[row], what) for what in Get}


def kbps(packets: list[bytes], packet_ms: int = 20) -> float:
    """Mean bit rate."""
    return 8 * sum(map(len, packets)) / len(packets) / packet_ms


# --- the rule ------------------------------------------------------------------------------


def test_loss_is_believed_at_once_and_forgotten_slowly():
    """A good report after a bad one is not the end of it."""
    loss = Loss().after(8)
    assert loss == Loss(8, True)
    assert loss.after(0) == Loss(6, True)
    assert loss.after(0).after(9) == Loss(9, True)


def test_fec_goes_off_far_below_where_it_goes_on():
    """Loss around 1 % does not switch it with each report."""
    loss = Loss()
    assert not loss.after(0.9).fec
    loss = loss.after(1.1)
    reports = 0
    while loss.fec:
        loss, reports = loss.after(0), reports + 1
        assert loss.fec == (loss.percent >= 0.4)
    assert reports == 4
    assert not loss.after(0.9).fec


@given(st.lists(st.floats(allow_nan=False), max_size=20))
def test_loss_stays_within_0_and_100(reports):
    """Whatever a peer reports."""
    loss = Loss()
    for one in reports:
        loss = loss.after(one)
        assert 0 <= loss.percent <= 100


@pytest.mark.parametrize(
    ("percent", "fec", "bitrate_bps"),
    [(0, False, 24000), (0.5, False, 24000), (2, True, 36000), (10, True, 36000), (20, True, 27000)]
    + [(30, True, 18000), (80, True, 18000)],
)
def test_bit_rate_pays_for_fec_and_gives_way_to_congestion(percent, fec, bitrate_bps):
    """Up by half, and down from 10 % on."""
    chosen = sending(OpusSettings(), 16000, OpusFmtp(use_inband_fec=True), Loss().after(percent))
    assert (chosen.fec, chosen.bitrate_bps) == (fec, bitrate_bps)
    assert chosen.loss_percent == (percent if fec else 0)


def test_a_peer_without_fec_gets_none_and_no_bits_for_it():
    """Congestion counts for it all the same."""
    for percent, bitrate_bps in ((5, 24000), (20, 21000), (30, 18000)):
        chosen = sending(OpusSettings(), 16000, OpusFmtp(), Loss().after(percent))
        assert chosen[1:] == (bitrate_bps, True, False, False, 0)


@given(
    st.sampled_from([8000, 16000, 24000, 48000]),
    st.integers(6000, 510000),
    st.integers(8000, 48000),
    st.booleans(),
    st.floats(0, 100),
    st.just(0) | st.integers(6000, 510000),
)
def test_no_peer_gets_more_than_it_asked_for(rate_hz, limit, playback_hz, fec, percent, wanted):
    """Bit rate and bandwidth, whatever is configured and lost."""
    peer = OpusFmtp(max_playback_rate_hz=playback_hz, max_average_bitrate_bps=limit, use_inband_fec=fec)
    chosen = sending(OpusSettings(bitrate_bps=wanted), rate_hz, peer, Loss().after(percent))
    assert 6000 <= chosen.bitrate_bps <= limit
    assert chosen.bandwidth_hz <= min(rate_hz, max(playback_hz, 8000))
    assert fec or not chosen.fec


@pytest.mark.parametrize(
    "wrong", [{"complexity": 11}, {"complexity": -1}, {"bitrate_bps": 5999}, {"bitrate_bps": -1}]
)
def test_settings_out_of_range_are_refused(wrong):
    """With what is allowed and what was found."""
    (value,) = wrong.values()
    with pytest.raises(ValueError, match=rf"(0 to 10|6000 to 510000).*not {value}"):
        OpusSettings(**wrong)


# --- what libopus is told ------------------------------------------------------------------


@pytest.mark.parametrize("order", ["before", "after"])
def test_the_encoder_is_set_as_chosen(order):
    """Before its first frame or in mid-call."""
    codec = OpusCodec(2, 48000, OpusSettings(complexity=3))
    if order == "after":
        assert told(codec)[Get.DTX] == 0
    codec.configure(0, f"maxplaybackrate=16000;maxaveragebitrate=20000;cbr=1;usedtx=1;{ABLE}")
    codec.note_loss(ROW, [7.2])
    found = told(codec)
    assert found[Get.COMPLEXITY] == 3
    assert found[Get.MAX_BANDWIDTH] == BANDWIDTHS[16000]
    assert found[Get.BITRATE] == 20000
    assert found[Get.VBR] == 0
    assert found[Get.DTX] == 1
    assert (found[Get.INBAND_FEC], found[Get.PACKET_LOSS_PERCENT]) == (1, 8)
    assert told(codec, 1)[Get.VBR] == 1, "another row has another peer"


def test_a_new_offer_replaces_the_old_one():
    """What it does not name is as by default again; what RTCP told is kept."""
    codec = OpusCodec(1, 16000)
    codec.configure(0, "cbr=1;maxaveragebitrate=10000")
    codec.note_loss(ROW, 3)
    assert told(codec)[Get.BITRATE] == 10000
    codec.configure(0, ABLE)
    found = told(codec)
    assert (found[Get.VBR], found[Get.BITRATE], found[Get.PACKET_LOSS_PERCENT]) == (1, 36000, 3)


# --- what comes of it ----------------------------------------------------------------------


@pytest.mark.parametrize("limit", [8000, 12000, 16000, 24000])
def test_maxaveragebitrate_is_kept_on_average(limit):
    """With FEC at heavy loss, too. 2 % for what libopus's rate control leaves open."""
    codec = OpusCodec(1, 16000)
    codec.configure(0, f"maxaveragebitrate={limit};{ABLE}")
    codec.note_loss(ROW, 8)
    assert kbps(sent(codec, speech(16000, 6))) <= 1.02 * limit / 1000


@pytest.mark.parametrize("packet_ms", [20, 60])
def test_cbr_is_one_size(packet_ms):
    """RFC 7587 6.1 cbr; also while the peer loses packets."""
    codec = OpusCodec(1, 16000)
    codec.configure(0, f"cbr=1;{ABLE}")
    packets = sent(codec, speech(16000, 1.2), packet_ms)
    codec.note_loss(ROW, 25)
    packets += sent(codec, speech(16000, 1.2), packet_ms)
    assert {len(packet) for packet in packets} == {24000 * packet_ms // 8000}


@pytest.mark.parametrize(("playback_hz", "configurations"), [(8000, range(4)), (16000, range(8, 12))])
def test_maxplaybackrate_bounds_the_bandwidth(playback_hz, configurations):
    """The TOC says what is sent: narrow band or wide band, of an agent at 48 kHz."""
    codec = OpusCodec(1, 48000)
    codec.configure(0, f"maxplaybackrate={playback_hz}")
    assert {packet[0] >> 3 for packet in sent(codec, speech(48000, 1.2))} <= {*configurations}


def test_we_send_mono_to_who_asks_for_stereo():
    """stereo=1 is a preference (RFC 7587 6.1), and an agent has one voice."""
    codec = OpusCodec(1, 48000, OpusSettings(bitrate_bps=128000))
    codec.configure(0, "stereo=1")
    assert not any(packet[0] & 4 for packet in sent(codec, speech(48000, 1.2)))


def noise(seconds: float, rate_hz: int) -> np.ndarray:
    """What a quiet room is like: DTX is for that, digital silence would be too easy."""
    return np.random.default_rng(1).normal(0, 3, round(seconds * rate_hz)).astype(np.int16)


@pytest.mark.parametrize("packet_ms", [20, 60])
def test_dtx_sends_next_to_nothing_in_silence(packet_ms):
    """A packet now and then, by which the noise is kept up to date; speech is sent whole."""
    codec = OpusCodec(1, 16000)
    codec.configure(0, "usedtx=1")
    quiet = sent(codec, noise(6, 16000), packet_ms)[1200 // packet_ms :]  # it takes a second to be sure
    assert sum(map(bool, quiet)) / len(quiet) < 0.2
    assert any(quiet)
    said = speech(16000, 1.8)
    packets = sent(codec, said, packet_ms)
    listener = OpusCodec(1, 16000)
    assert compare(said[4800:], heard(listener, packets, samples=16 * packet_ms)[4800:]).correlation > 0.9


def test_without_dtx_every_packet_is_sent():
    """Also the silent ones."""
    assert all(sent(OpusCodec(1, 16000), noise(3, 16000)))
    assert all(sent(OpusCodec(1, 8000), np.zeros(24000, np.int16)))


def test_dtx_by_configuration():
    """For peers that say nothing about it."""
    packets = sent(OpusCodec(1, 8000, OpusSettings(dtx=True)), noise(3, 8000))
    assert packets.count(b"") > len(packets) / 2
