# SPDX-License-Identifier: GPL-2.0-or-later
"""Sounds in place of an agent's speech: files of any kind, and what becomes of speech, positions and marks."""

from __future__ import annotations

import itertools
import pathlib
import time
import wave
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from support.media_rig import DownlinkRig, samples
from trunkline.gateway.media import sound_files, sound_made, sounds, worker
from trunkline.gateway.media.sound_files import SoundError, at_rate, problem_of, read_wav

Pcm = NDArray[np.int16]


def write_wav(path: pathlib.Path, pcm: Pcm, rate_hz: int = 8000, channels: int = 1, width: int = 2) -> str:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(pcm.tobytes() if width == 2 else (pcm // 256 + 128).astype(np.uint8).tobytes())
    return str(path)


def sine(hz: float, seconds: float, rate_hz: int, peak: int = 8000) -> Pcm:
    return (peak * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.int16)


def strongest_hz(pcm: Pcm, rate_hz: int) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))) * rate_hz / len(pcm))


# --- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 44100, 48000])
def test_a_wav_file_sounds_the_same_at_the_rate_of_the_agent(tmp_path: pathlib.Path, rate_hz: int, width: int) -> None:
    """Pitch, length and loudness, whatever the rate and the width of its samples."""
    path = write_wav(tmp_path / "a.wav", sine(440, 2.5, rate_hz), rate_hz, width=width)
    pcm, found_hz = read_wav(path)
    assert found_hz == rate_hz
    out = at_rate(pcm, found_hz, 16000)
    assert len(out) == 40_000
    assert abs(strongest_hz(out, 16000) - 440) < 1
    middle = out[4000:-4000].astype(float)
    assert np.sqrt((middle**2).mean()) == pytest.approx(8000 / np.sqrt(2), rel=0.02)


def test_both_channels_of_a_stereo_file_are_heard(tmp_path: pathlib.Path) -> None:
    """Mixed to one, and no louder than either."""
    both = np.stack([np.full(800, 1000, np.int16), np.full(800, 3000, np.int16)], axis=1)
    pcm, _ = read_wav(write_wav(tmp_path / "a.wav", both, channels=2))
    assert pcm.tolist() == [2000] * 800


def test_a_file_that_cannot_be_played_says_what_would_do(tmp_path: pathlib.Path) -> None:
    """Missing, no WAV, empty, too wide, too many channels, too long, an odd rate: a sentence each, with its name."""
    (tmp_path / "text.wav").write_text("hello")
    (tmp_path / "short.wav").write_bytes(b"RIFF")
    some = np.zeros(1200, np.int16)
    write_wav(tmp_path / "empty.wav", some[:0])
    write_wav(tmp_path / "wide.wav", some, channels=1)
    with wave.open(str(tmp_path / "wide.wav"), "wb") as file:
        file.setparams((1, 3, 8000, 0, "NONE", ""))
        file.writeframes(bytes(2400))
    write_wav(tmp_path / "six.wav", some, channels=6)
    write_wav(tmp_path / "odd.wav", some, rate_hz=8001)
    write_wav(tmp_path / "long.wav", np.zeros(4000 * 601, np.int16), rate_hz=4000)
    said = {name: problem_of(tmp_path / f"{name}.wav") for name in
            ("missing", "text", "short", "empty", "wide", "six", "odd", "long")}  # fmt: skip
    for name, word in {
        "missing": "No such file", "text": "16-bit PCM", "short": "16-bit PCM", "empty": "no audio",
        "wide": "24 bits", "six": "6 channels", "odd": "8001 samples", "long": "601 s",
    }.items():  # fmt: skip
        assert word in said[name], said[name]
        assert f"{name}.wav" in said[name]
    with pytest.raises(SoundError):
        read_wav(tmp_path)


def test_a_file_that_was_cut_off_is_played_as_far_as_it_goes(tmp_path: pathlib.Path) -> None:
    """Half a sample at its end is no reason to refuse it."""
    path = pathlib.Path(write_wav(tmp_path / "a.wav", np.arange(1000, dtype=np.int16)))
    path.write_bytes(path.read_bytes()[:-801])
    pcm, _ = read_wav(path)
    assert pcm.tolist() == list(range(599))


@pytest.mark.parametrize("name", list(sound_made.BUILT_IN))
def test_built_in_sounds_are_short_soft_and_loop_without_a_click(name: str) -> None:
    """Under ten seconds, well below speech, and no step at the seam or anywhere else."""
    pcm = sound_made.BUILT_IN[name]().astype(int)
    assert 1 <= len(pcm) / sound_made.MADE_HZ < 10
    assert 500 < np.abs(pcm).max() < 8000
    assert np.abs(np.diff(np.append(pcm, pcm[0]))).max() < 2500


def test_memory_stays_small_while_a_long_file_is_brought_to_another_rate() -> None:
    """In pieces that join on to each other: the same as in one piece."""
    pcm = sine(300, 3.7, 8000)
    whole = at_rate(pcm, 8000, 16000)
    assert np.abs(whole[200:-200] - sine(300, 3.7, 16000)[200:-200]).max() <= 3
    assert sound_files.LONGEST_S == 600


# --- in the packets -------------------------------------------------------------------------


def heard(rig: DownlinkRig) -> Pcm:
    return np.concatenate([samples(packet) for _, packet in rig.sent]) if rig.sent else np.zeros(0, np.int16)


def close(found: Pcm, wanted: Pcm) -> bool:
    """But for what G.711 does to them."""
    return bool(np.abs(found.astype(int) - wanted).max() < 400)


def test_speech_waits_for_the_end_of_a_sound_and_no_mark_comes_before_it_was_heard(tmp_path: pathlib.Path) -> None:
    """Neither position nor mark moves by what was not the agent's."""
    rig = DownlinkRig()
    sound, said = sine(500, 0.2, 8000), sine(300, 0.1, 8000)
    sounds = rig.downlink.sounds
    sounds.play(rig.stream, write_wav(tmp_path / "a.wav", sound), False, rig.now_ns)
    rig.speak(said)
    rig.playback.mark(rig.stream, "end")
    rig.run(190)
    assert int(rig.table.shared.down_position[0]) == 0
    assert not rig.link.said
    rig.run(300)
    assert int(rig.table.shared.down_position[0]) == len(said)
    assert [(one.kind, one.data[0], one.data[2]) for one in rig.link.said] == [("mark", "end", "played")]
    out = heard(rig)
    assert close(out[100 : len(sound)], sound[100:])
    assert close(out[len(sound) : len(sound) + len(said)], said)
    assert not sounds.playing


def test_a_loop_goes_round_until_it_is_stopped_and_then_fades(tmp_path: pathlib.Path) -> None:
    """And sequence numbers and timestamps go on as if nothing had happened."""
    rig = DownlinkRig()
    loop = sine(400, 0.05, 8000)  # 2.5 packets
    rig.downlink.sounds.play(rig.stream, write_wav(tmp_path / "a.wav", loop), True, rig.now_ns)
    rig.run(400)
    count = len(rig.sent)
    assert close(heard(rig)[400 : 8 * 400], np.tile(loop, 7))
    rig.downlink.sounds.stop(rig.stream)
    rig.run(100)
    rest = heard(rig)[count * 160 :].astype(int)
    assert np.abs(rest[80:]).max() < 20
    steps = {(b.timestamp - a.timestamp, b.sequence - a.sequence) for (_, a), (_, b) in itertools.pairwise(rig.sent)}
    assert steps == {(160, 1)}


def test_a_sound_under_speech_is_heard_when_the_speech_has_run_out(tmp_path: pathlib.Path) -> None:
    """What a lost agent has said is said to its end, half a packet too, and the sound follows."""
    rig = DownlinkRig()
    said, sound = np.full(160 * 5 + 60, 5000, np.int16), np.full(8000, -5000, np.int16)
    rig.speak(said)
    rig.downlink.sounds.play(rig.stream, write_wav(tmp_path / "a.wav", sound), True, rig.now_ns, under=True)
    rig.run(300)
    out = heard(rig).astype(int)
    up = np.flatnonzero(out > 4500)
    down = np.flatnonzero(out < -4500)
    assert len(up) >= len(said) - 80 and len(down) > 800
    assert up.max() < down.min()
    assert int(rig.table.shared.down_position[0]) == len(said)


def test_a_sound_may_begin_a_moment_later_and_tells_of_its_end(tmp_path: pathlib.Path) -> None:
    """Once; a loop never does."""
    rig = DownlinkRig()
    ended: list[object] = []
    rig.downlink.sounds.on_end = ended.append
    path = write_wav(tmp_path / "a.wav", np.full(800, 9000, np.int16))
    rig.downlink.sounds.play(rig.stream, path, False, rig.now_ns, after_ms=200)
    rig.run(190)
    assert np.abs(heard(rig)).max() < 100
    rig.run(250)
    assert (heard(rig) > 8000).sum() > 700
    assert ended == [rig.stream]


def test_a_file_that_is_gone_is_replaced_by_music() -> None:
    """It was there when the gateway started; a caller is not to hear a dead line for it."""
    rig = DownlinkRig()
    rig.downlink.sounds.play(rig.stream, "/nowhere/a.wav", True, rig.now_ns)
    rig.run(500)
    assert np.abs(heard(rig)).max() > 1000


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 700), st.booleans()), min_size=1, max_size=4))
def test_frames_of_many_rows_are_what_each_row_alone_would_get(rows: list[tuple[int, int, bool]]) -> None:
    """Clips of several lengths, anywhere in them, looped or not: sample by sample."""
    rig = DownlinkRig()
    sounds = rig.downlink.sounds
    clips = [np.arange(1, length + 1, dtype=np.int16) for length in (30, 160, 500)]
    for index, clip in enumerate(clips):
        sounds._keep(str(index), 8000, clip)
    for row, (index, at, loop) in enumerate(rows):
        sounds._clip[row], sounds._at[row], sounds._loop[row] = index, at, loop
    pcm = sounds._frames(np.arange(len(rows)), 160)
    for row, (index, at, loop) in enumerate(rows):
        n = len(clips[index])
        wanted = [int(clips[index][(at + i) % n]) if loop or at + i < n else 0 for i in range(160)]
        assert pcm[row].tolist() == wanted


def test_five_hundred_calls_that_begin_to_hear_a_sound_at_once_cost_less_than_a_tick() -> None:
    """One gather for all rows of a sound: 10 ms for 500 packets, encoding included, on a slow machine."""
    rig = DownlinkRig()
    sounds, row = rig.downlink.sounds, np.zeros(500, np.intp)
    sounds.play(rig.stream, "", True, rig.now_ns)
    fmt = rig.table.formats.at(0)
    sounds._frames(row, fmt.packet_samples)
    begin = time.process_time()
    for _ in range(10):
        sounds._frames(row, fmt.packet_samples)
    assert (time.process_time() - begin) / 10 < 0.01


def test_a_spare_worker_loads_its_sounds_before_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files that cannot be read are told, and keep nobody from starting."""
    path, order = tmp_path / "music.wav", list[str]()
    write_wav(path, np.arange(16000, dtype=np.int16) % 100, 16000)

    def loaded(wanted: Sequence[str]) -> tuple[sounds.Clips, list[str]]:
        order.append("sounds")
        clips, problems = sounds.load_clips(wanted)
        assert {key: len(clip) for key, clip in clips.items()} == {(str(path), 8000): 8000}
        return clips, problems

    monkeypatch.setattr(worker, "load_clips", loaded)
    monkeypatch.setattr(worker, "warm_up", str)
    monkeypatch.setattr(worker, "_adopted", lambda options: bool(order.append("adopted")))
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    worker.main(
        ["--control-fd", "0", "--spare", "--sound", f"8000:{path}", "--sound", f"8000:{tmp_path}/gone.wav"]
    )
    assert order == ["sounds", "adopted"] and "gone.wav cannot be read" in capsys.readouterr().out
