# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo's measurements, on recordings whose truth is known."""

from __future__ import annotations

import dataclasses
import wave

import numpy as np
import pytest

from trunkline.codecs.g711 import decode_ulaw, encode_ulaw
from trunkline.gateway.calls.view import CallView, MediaView
from trunkline.gateway.demo.analysis import analyse, find_lag
from trunkline.gateway.demo.figures import details, figures
from trunkline.gateway.demo.recording import Recording, unwrapped
from trunkline.gateway.demo.speech import FRAME_SAMPLES, load_clip, repeat_for

START_NS = 1_700_000_000_000_000_000
FRAME_NS = 20_000_000
SILENCE = 0xFF


def record(heard: np.ndarray, first_ns: int = 0, late_ns: np.ndarray | int = 0) -> Recording:
    """The clip said; `heard` (codes) in packets that begin `first_ns` after the first word, counters about to wrap."""
    said = load_clip()
    frames = heard[: len(heard) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    index = np.arange(len(frames))
    return Recording(
        sent_ns=START_NS + np.arange(len(said) // FRAME_SAMPLES) * FRAME_NS,
        said=said,
        received_ns=START_NS + first_ns + index * FRAME_NS + late_ns,
        sequence=(65_500 + index) % 65_536,
        timestamp=(2**32 - 1000 + index * FRAME_SAMPLES) % 2**32,
        payload=frames,
    )


def without(whole: Recording, gone: list[int]) -> Recording:
    """The same call without some of the packets that came."""
    kept = np.delete(np.arange(len(whole.received_ns)), gone)
    fields = ("received_ns", "sequence", "timestamp", "payload")
    return dataclasses.replace(whole, **{name: getattr(whole, name)[kept] for name in fields})


@pytest.mark.parametrize("lag", [0, 160, 230, 1601])
def test_lag_and_delay_of_a_perfect_echo(lag):
    """The lag is found to the sample; a frame is as old as its packet's way, to the nanosecond."""
    heard = np.concatenate([np.full(lag, SILENCE, np.uint8), load_clip()])
    result = analyse(record(heard, first_ns=3_000_000))
    assert result.lag_samples == lag and result.correlation > 0.9999 and result.slips == 0
    # The middle of a frame was said round((lag - 80) / 160) packets before, and came 3 ms late.
    packets = -((80 - lag) // FRAME_SAMPLES)
    assert result.delay(50) == pytest.approx(packets * 20 + 3, abs=1e-6)
    assert result.audible and result.heard_at_s == pytest.approx(0.003)


def test_a_late_packet_is_late_in_the_picture():
    """One frame that came 50 ms late is the most that the summary shows, and the hole that it left is seen."""
    late = np.zeros(len(load_clip()) // FRAME_SAMPLES, np.int64)
    late[100] = 50_000_000
    result = analyse(record(load_clip(), late_ns=late))
    assert result.delay_ms.max() == pytest.approx(50) and result.delay(50) == 0
    assert result.spacing_ms.max() == pytest.approx(40)


def test_a_lost_packet_is_counted_and_is_silence_in_what_was_heard():
    """The rest stays where it belongs."""
    whole = record(load_clip())
    result = analyse(without(whole, [50, 51, 200]))
    assert result.lost == 3 and result.received == len(whole.received_ns) - 3
    assert len(result.heard) == len(result.said)
    assert not result.heard[50 * FRAME_SAMPLES : 52 * FRAME_SAMPLES].any()
    assert np.array_equal(result.heard[: 50 * FRAME_SAMPLES], result.said[: 50 * FRAME_SAMPLES])


def test_order_of_arrival_does_not_matter_to_what_was_heard():
    """Packets are put where their timestamps say."""
    whole = record(load_clip())
    order = np.arange(len(whole.received_ns))
    order[[10, 11]] = [11, 10]
    fields = ("received_ns", "sequence", "timestamp", "payload")
    swapped = dataclasses.replace(whole, **{name: getattr(whole, name)[order] for name in fields})
    assert np.array_equal(swapped.heard(), load_clip()) and swapped.lost == 0


def test_a_slip_in_the_middle_is_seen_as_one_and_not_as_noise():
    """60 ms of silence pushed in after 4.5 s: still the same speech, at two lags."""
    said = load_clip()
    heard = np.concatenate([said[:36_000], np.full(480, SILENCE, np.uint8), said[36_000:]])
    result = analyse(record(heard))
    assert result.slips == 1 and result.correlation > 0.95


def test_noise_is_no_echo():
    """Something loud that is not the caller's voice does not pass."""
    noise = np.random.default_rng(1).normal(0, 3000, len(load_clip())).astype(np.int16)
    result = analyse(record(encode_ulaw(noise)))
    assert not result.audible and result.correlation < 0.3


def test_silence_and_nothing_at_all_are_no_echo():
    """Neither a silent stream nor no packet is an error; both are told."""
    silent = analyse(record(np.full(16_000, SILENCE, np.uint8)))
    nothing = analyse(without(record(load_clip()), list(range(len(load_clip()) // FRAME_SAMPLES))))
    assert not silent.audible and not nothing.audible and nothing.received == 0
    assert any("nothing came back" in value for _, value in details(nothing, None)[0][1])
    assert not figures(nothing, None)[0].good


def test_find_lag_may_be_negative():
    """What is heard may begin in the middle of what was said."""
    said = decode_ulaw(load_clip()).astype(float)
    assert find_lag(said, said[4000:40_000]) == -4000


def test_counters_go_the_short_way_round():
    """Across the wrap, forwards and backwards."""
    assert unwrapped(np.array([65_534, 65_535, 1, 0, 2]), 16).tolist() == [0, 1, 3, 2, 4]
    assert unwrapped(np.array([], np.int64), 32).tolist() == []


def test_a_recording_survives_its_file(tmp_path):
    """The talker writes it, the demo reads it."""
    whole = record(load_clip())
    whole.save(tmp_path / "r.npz")
    read = Recording.load(tmp_path / "r.npz")
    for field in dataclasses.fields(Recording):
        assert np.array_equal(getattr(read, field.name), getattr(whole, field.name)), field.name


def test_the_wav_is_what_was_heard(tmp_path):
    """8 kHz, 16 bit, mono, sample by sample."""
    result = analyse(record(load_clip()))
    result.write_wav(tmp_path / "h.wav")
    with wave.open(str(tmp_path / "h.wav")) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (8000, 2, 1)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert np.array_equal(samples, result.heard)


def test_the_clip_is_speech_and_repeats_to_length():
    """About nine seconds, not clipped, whole frames; longer calls hear it again."""
    clip = load_clip()
    assert 8 * 8000 < len(clip) < 10 * 8000 and len(clip) % FRAME_SAMPLES == 0
    pcm = decode_ulaw(clip).astype(float)
    assert 1000 < np.sqrt((pcm**2).mean()) < 8000 and np.abs(pcm).max() < 32_000
    longer = repeat_for(clip, 20)
    assert len(longer) == 160_000 and np.array_equal(longer[len(clip) : 2 * len(clip)], clip)
    assert repeat_for(clip, None) is clip and len(repeat_for(clip, 2)) == 16_000


def test_the_picture_is_drawn_for_a_good_call_and_for_none(tmp_path):
    """Even when nothing came back there is something to look at."""
    pytest.importorskip("matplotlib")
    from trunkline.gateway.demo.picture import draw

    media = MediaView(codec="PCMU", remote="", local="", ptime_ms=20, uplink_ms_p99=0.3, downlink_ms_p99=1.0)
    view = CallView(
        id="x", direction="inbound", state="ended", caller="1001", called="600", trunk="t", route="r", agent="echo",
        created=0, answered=1, ended=9, cause="caller_hangup", media=media,
    )  # fmt: skip
    nothing = without(record(load_clip()), list(range(len(load_clip()) // FRAME_SAMPLES)))
    for name, recording, shown in (("good", record(load_clip()), view), ("none", nothing, None)):
        draw(tmp_path / f"{name}.png", analyse(recording), shown)
        data = (tmp_path / f"{name}.png").read_bytes()
        assert data.startswith(b"\x89PNG") and len(data) > 20_000
    assert [figure.value for figure in figures(analyse(record(load_clip())), view)][3:] == [
        "≤ 0.3 ms",
        "≤ 1 ms",
    ]
