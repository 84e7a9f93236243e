# SPDX-License-Identifier: GPL-2.0-or-later
"""Lost packets: the copy in the next one where there is one, libopus's concealment where not."""

from __future__ import annotations

import numpy as np
import pytest

from support.opus_peer import ffmpeg_encode, rows_of
from support.opus_streams import heard, sent, speech
from trunkline.codecs.opus import RATES_HZ, OpusCodec

ROW = np.array([0])


def protected(rate_hz: int = 16000, percent: float = 10) -> list[bytes]:
    """Packets of 20 ms to a peer that has reported loss."""
    codec = OpusCodec(1, rate_hz)
    codec.configure(0, "useinbandfec=1")
    codec.note_loss(ROW, percent)
    return sent(codec, speech(rate_hz, 6))


def with_losses(packets: list[bytes], lost: np.ndarray, rate_hz: int = 16000, *, fec: bool) -> np.ndarray:
    """i16[packets, samples]: single losses, which see the packet behind them if `fec`."""
    codec, parts = OpusCodec(1, rate_hz), []
    for at, packet in enumerate(packets):
        behind = [packets[at + 1]] if fec and at + 1 < len(packets) else None
        parts.append(codec.conceal(ROW, rate_hz // 50, behind)[0] if lost[at] else heard(codec, [packet]))
    return np.stack(parts)


def tenth(count: int) -> np.ndarray:
    """One packet of ten is lost, never two in a row."""
    lost = np.random.default_rng(3).random(count) < 0.11
    lost[1:] &= ~lost[:-1]
    lost[0] = False
    return lost


def error_db(clean: np.ndarray, found: np.ndarray, where: np.ndarray) -> float:
    """What is wrong in those packets, against what should be there: 0 is as bad as silence."""
    said = clean[where].astype(np.float64)
    return 10 * float(np.log10(np.sum((said - found[where]) ** 2) / np.sum(said**2)))


def band_error_db(clean: np.ndarray, found: np.ndarray, where: np.ndarray) -> float:
    """How far the levels in bands of 250 Hz are off, in packets with speech: what is heard if the phase is lost."""
    levels = []
    for one in (clean[where], found[where]):
        power = np.abs(np.fft.rfft(one * np.hanning(one.shape[1]))) ** 2
        levels.append(10 * np.log10(np.add.reduceat(power[:, :80], np.arange(0, 80, 5), axis=1) + 1e5))
    spoken = np.abs(clean[where]).max(axis=1) > 1000
    return float(np.sqrt(np.mean((levels[0] - levels[1])[spoken] ** 2)))


def test_the_next_packet_has_a_copy_of_what_was_lost():
    """10 % loss: with FEC, what was lost is nearer to what was said by 4 dB, and what follows is too."""
    packets = protected()
    clean = heard(OpusCodec(1, 16000), packets).reshape(-1, 320)
    lost = tenth(len(packets))
    assert 0.06 < lost.mean() < 0.14
    with_fec, without = (with_losses(packets, lost, fec=fec) for fec in (True, False))
    assert error_db(clean, with_fec, lost) < -6
    assert error_db(clean, with_fec, lost) < error_db(clean, without, lost) - 4
    bands = [band_error_db(clean, found, lost) for found in (with_fec, without)]
    assert bands[0] < 0.7 * bands[1]
    after = np.roll(lost, 1)
    assert error_db(clean, with_fec, after) < error_db(clean, without, after)


def test_concealment_is_better_than_silence():
    """Speech goes on for 20 ms much as it was."""
    packets = protected(percent=0)
    clean = heard(OpusCodec(1, 16000), packets).reshape(-1, 320)
    lost = tenth(len(packets))
    found = with_losses(packets, lost, fec=False)
    assert band_error_db(clean, found, lost) < 0.4 * band_error_db(clean, np.zeros_like(clean), lost)


def test_a_next_packet_without_a_copy_is_no_worse_than_none():
    """No loss was reported, so none was sent: libopus conceals by itself."""
    packets = protected(percent=0)
    lost = tenth(len(packets))
    same = (with_losses(packets, lost, fec=fec) for fec in (True, False))
    assert np.array_equal(*same)


def test_in_a_long_gap_the_copy_is_of_its_end():
    """60 ms are missing: the last 20 come from the packet behind, whatever is asked for at once."""
    packets = protected()
    clean = heard(OpusCodec(1, 16000), packets).reshape(-1, 320)
    ends = [at for at in range(20, len(packets) - 1, 15) if np.abs(clean[at]).max() > 2000]
    errors = []
    for behind in (lambda at: [packets[at + 1]], lambda at: [b""]):
        found = clean.copy()
        for at in ends:
            codec = OpusCodec(1, 16000)
            heard(codec, packets[: at - 2])
            found[at] = codec.conceal(ROW, 960, behind(at))[0, 640:]
        errors.append(band_error_db(clean, found, np.isin(np.arange(len(packets)), ends)))
    assert len(ends) > 8
    assert errors[0] < 0.6 * errors[1]


def test_in_a_gap_of_many_packets_only_the_end_has_a_copy():
    """300 ms are 180 without a packet behind, and 120 with one."""
    packets = protected()
    one, other = OpusCodec(1, 16000), OpusCodec(1, 16000)
    for codec in (one, other):
        heard(codec, packets[:50])
    whole = one.conceal(ROW, 4800, [packets[65]])
    parts = [other.conceal(ROW, 2880, None), other.conceal(ROW, 1920, [packets[65]])]
    assert np.array_equal(whole, np.concatenate(parts, axis=1))


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_long_gaps_fade(rate_hz):
    """Two seconds without a packet, in one piece: quiet within half a second, and speech comes back after it."""
    codec = OpusCodec(1, rate_hz)
    packets = sent(OpusCodec(1, rate_hz), speech(rate_hz, 3))
    loud = heard(codec, packets[:60])
    gap = codec.conceal(ROW, 2 * rate_hz)[0].astype(np.float64)
    assert np.abs(gap[rate_hz // 2 :]).max() < 0.05 * np.abs(loud).max()
    again = heard(codec, packets[60:])
    assert np.corrcoef(again, heard(OpusCodec(1, rate_hz), packets)[-len(again) :])[0, 1] > 0.9


def test_gaps_of_any_length_are_filled():
    """Also of what is no multiple of 2.5 ms, which libopus would refuse."""
    codec = OpusCodec(1, 8000)
    heard(codec, sent(OpusCodec(1, 8000), speech(8000, 0.6)))
    for samples in (1, 19, 20, 21, 160, 959, 961, 1920, 2001):
        assert codec.conceal(ROW, samples, [b""]).shape == (1, samples)
    assert codec.conceal(ROW, 0).shape == (1, 0)


def test_an_empty_payload_is_a_lost_packet():
    """As for `conceal` without a packet behind."""
    packets = sent(OpusCodec(1, 16000), speech(16000, 0.6))
    one, other = OpusCodec(1, 16000), OpusCodec(1, 16000)
    heard(one, packets)
    heard(other, packets)
    assert np.array_equal(heard(one, [b""], samples=320), other.conceal(ROW, 320)[0])


def test_rows_are_concealed_each_with_its_own_packet_behind():
    """A batch is the same as one by one."""
    packets = protected()
    batch, single = OpusCodec(3, 16000), OpusCodec(3, 16000)
    behind = [packets[21], b"", b"\x0b\x00broken"]
    for codec in (batch, single):
        for row in range(3):
            heard(codec, packets[:20], row=row)
    together = batch.conceal(np.arange(3), 320, behind)
    for row in range(3):
        assert np.array_equal(together[row], single.conceal(np.array([row]), 320, behind[row : row + 1])[0])
    assert np.array_equal(together[1], together[2]), "a malformed packet is none"


def test_a_packet_behind_that_is_of_music_has_no_copy():
    """FEC is a part of SILK (RFC 6716 2.1.7); CELT has none, and none is looked for."""
    packets = ffmpeg_encode(speech(48000, 0.6), 48000, application="lowdelay", bit_rate=64000)
    assert all(packet[0] >> 3 >= 16 for packet in packets)
    one, other = OpusCodec(1, 48000), OpusCodec(1, 48000)
    for codec in (one, other):
        heard(codec, packets[:20])
    assert np.array_equal(one.conceal(ROW, 960, [packets[21]]), other.conceal(ROW, 960))


def test_a_packet_shorter_than_it_was_taken_for_is_filled_up():
    """The worker groups by duration; if a packet is of another one, its row is concealed to the end."""
    packets = sent(OpusCodec(1, 16000), speech(16000, 0.6), 10)
    payload, lengths = rows_of([packets[0], packets[0]])
    pcm = OpusCodec(2, 16000).decode_variable(np.arange(2), payload, lengths, 320)
    assert np.array_equal(pcm[0, :160], heard(OpusCodec(1, 16000), packets[:1]))
    assert np.array_equal(pcm[0], pcm[1])
    other = OpusCodec(1, 16000)
    heard(other, packets[:1])
    assert np.array_equal(pcm[0, 160:], other.conceal(ROW, 160)[0])


def test_a_malformed_packet_is_concealed():
    """Should it be decoded for all that it has no duration."""
    packets = sent(OpusCodec(1, 16000), speech(16000, 1.2))
    one, other = OpusCodec(1, 16000), OpusCodec(1, 16000)
    for codec in (one, other):
        heard(codec, packets[:50])
    found = heard(one, [packets[50][:1] + bytes(1300)], samples=320)
    assert found.any()
    assert np.array_equal(found, other.conceal(ROW, 320)[0])


def test_what_must_be_named_for_each_row_is():
    """A list that is too short is a mistake of the caller's, and not taken for silence."""
    with pytest.raises(ValueError, match="zip"):
        OpusCodec(2, 16000).conceal(np.arange(2), 320, [b""])
