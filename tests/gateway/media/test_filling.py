# SPDX-License-Identifier: GPL-2.0-or-later
"""What an agent hears where nothing came: concealment, and the background noise of the caller."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from support import kernels
from support.media_rig import MS, UplinkRig, running, start_message, talk
from support.virtual_engine import VirtualEngine
from trunkline.agent_bridge.dialect import FLAG_COMFORT_NOISE, FLAG_CONCEALED, FLAG_GAP, FLAG_SPEECH
from trunkline.codecs import g711
from trunkline.codecs.comfort_noise import white_spectra
from trunkline.codecs.level import level_dbov
from trunkline.gateway.media.background import LOUDEST_DBOV
from trunkline.gateway.media.batch import PACKET_BYTES, Batch
from trunkline.rtp.comfort_noise import ComfortNoise
from trunkline.rtp.jitter import TargetParams
from trunkline.rtp.packet import Packet

SEQ = 100

needs_kernels = pytest.mark.skipif(not kernels.there, reason="no kernels were built")


def tone(frames: int, hz: float = 150, peak: float = 8000) -> np.ndarray:
    """A voice, more or less: i16[frames, 160]."""
    t = np.arange(frames * 160) / 8000
    sound = sum(peak / k * np.sin(2 * np.pi * k * hz * t) for k in (1, 2, 3))
    return np.asarray(sound, np.int16).reshape(frames, 160)


def noise(frames: int, dbov: float, seed: int = 1) -> np.ndarray:
    """White noise: i16[frames, 160]."""
    sound = np.random.default_rng(seed).normal(0, 32768 * 10 ** (dbov / 20), (frames, 160))
    return sound.astype(np.int16)


def say(rig: UplinkRig, pcm: np.ndarray, first: int = 0, lost: set[int] | None = None, row: int = 0) -> None:
    """One packet every 20 ms, but those that are lost."""
    for i, frame in enumerate(pcm):
        if first + i not in (lost or set()):
            rig.packet(packet(first + i, g711.encode_ulaw(frame).tobytes()), row=row)
        rig.run(20)


def packet(number: int, payload: bytes, pt: int = 0) -> Packet:
    return Packet(pt, SEQ + number, number * 160, 5, payload)


def heard(rig: UplinkRig, row: int = 0) -> np.ndarray:
    return np.stack([frame.pcm for frame in rig.frames[row]])


def decoded(pcm: np.ndarray) -> np.ndarray:
    return g711.decode_ulaw(g711.encode_ulaw(pcm))


def test_a_hole_in_a_voice_is_closed_from_both_sides() -> None:
    """The packet behind the gap is there when it is filled: the voice goes through, and is not altered behind it."""
    rig, said = UplinkRig(), tone(20)
    say(rig, said, lost={10})
    rig.run(60)
    assert rig.heard[10].flags == FLAG_CONCEALED
    assert np.corrcoef(rig.heard[10].pcm, said[10])[0, 1] > 0.97
    assert np.array_equal(heard(rig)[11:20], decoded(said[11:]))


def test_a_loss_of_two_knows_its_end_from_the_beginning() -> None:
    """With the shortest wait of a worker, 45 ms, both frames lead over to what follows."""
    rig, said = (
        UplinkRig(jitter=TargetParams(min_ns=45 * MS)),
        np.concatenate([tone(10), tone(10, peak=1000)]),
    )
    say(rig, said, lost={9, 10})
    rig.run(60)
    assert [bool(frame.flags & FLAG_CONCEALED) for frame in rig.heard[8:12]] == [False, True, True, False]
    level = level_dbov(heard(rig))
    assert level[8] > level[9] > level[10] > level[11] - 1
    assert np.array_equal(heard(rig)[11:20], decoded(said[11:]))


def test_where_the_end_was_not_known_the_first_good_frame_begins_with_a_fade() -> None:
    """5 ms, not more; and without it there would be a step."""
    rig, said = UplinkRig(jitter=TargetParams(min_ns=10 * MS, margin_ns=0)), tone(20)
    say(rig, np.concatenate([said[:11], -said[11:]]), lost={10})
    rig.run(60)
    good = decoded(-said[11])
    assert not np.array_equal(rig.heard[11].pcm[:40], good[:40])
    assert np.array_equal(rig.heard[11].pcm[40:], good[40:])
    step = abs(int(rig.heard[11].pcm[0]) - int(rig.heard[10].pcm[-1]))
    assert step < abs(int(good[0]) - int(rig.heard[10].pcm[-1]))


def test_rows_are_concealed_together_as_they_are_alone() -> None:
    """A loss in several calls at once gives each what it would have had alone."""
    voices = [tone(15, 100), tone(15, 230), noise(15, -30)]
    together = UplinkRig(calls=3)
    for i in range(15):
        for row in range(3):
            if i != 10 or row == 1:
                data = g711.encode_ulaw(voices[row][i]).tobytes()
                together.packet(packet(i, data), row=row)
        together.run(20)
    together.run(60)
    for row, voice in enumerate(voices):
        alone = UplinkRig()
        say(alone, voice, lost=set() if row == 1 else {10})
        alone.run(60)
        assert np.array_equal(heard(together, row)[:15], heard(alone)[:15])


def test_a_long_loss_ends_in_the_callers_own_background() -> None:
    """The voice is gone after 240 ms, and what stays is as loud as the pauses were, flagged as a gap."""
    rig = UplinkRig()
    say(rig, np.concatenate([noise(50, -55), tone(20) + noise(20, -55), noise(50, -55, seed=2)]))
    say(rig, tone(10) + noise(10, -55), first=120)
    before = len(rig.heard)
    rig.run(1000)
    made_up = rig.heard[before:]
    assert {frame.flags for frame in made_up[:11]} == {FLAG_CONCEALED}
    assert {frame.flags for frame in made_up[13:]} == {FLAG_GAP}
    levels = level_dbov(np.stack([frame.pcm for frame in made_up]))
    assert np.mean(levels[13:]) == pytest.approx(-55, abs=3)
    assert levels[1] > -25 > levels[9] > levels[13] - 2


def test_background_is_never_made_up_louder_than_background_is() -> None:
    """A caller who has only shouted so far is not followed by a roar."""
    rig = UplinkRig()
    say(rig, noise(30, -12))
    rig.run(800)
    assert level_dbov(rig.heard[-1].pcm[None])[0] < LOUDEST_DBOV + 2


def test_digital_silence_stays_digital_silence() -> None:
    """A peer that sends zeros in its pauses gets no noise in its gaps."""
    rig = UplinkRig()
    say(rig, np.concatenate([np.zeros((20, 160), np.int16), tone(10)]))
    rig.run(800)
    assert not rig.heard[-1].pcm.any() and rig.heard[-1].flags == FLAG_GAP


def test_comfort_noise_of_the_peer_fills_its_pause() -> None:
    """RFC 3389: as loud as it said, flagged so, from the packet on until it speaks."""
    rig = UplinkRig()
    say(rig, tone(10))
    rig.packet(packet(10, bytes(ComfortNoise(-50, (-0.8,))), pt=13))
    rig.run(500)
    pause = rig.heard[10:]
    assert len(pause) >= 22 and {frame.flags for frame in pause} == {FLAG_COMFORT_NOISE}
    sound = np.concatenate([frame.pcm for frame in pause]).astype(float)
    assert level_dbov(sound.astype(np.int16)[None])[0] == pytest.approx(-50, abs=1.5)
    assert np.corrcoef(sound[1:], sound[:-1])[0, 1] == pytest.approx(0.8, abs=0.07)
    assert rig.table.shared.frames_comfort_noise[0] == len(pause)
    rig.packet(Packet(0, SEQ + 11, 35 * 160, 5, g711.encode_ulaw(tone(1)[0]).tobytes()))
    assert rig.heard[-1].flags == FLAG_SPEECH
    rig.run(400)
    assert rig.heard[-1].flags == FLAG_GAP


def paused(calls: int) -> VirtualEngine:
    """They have spoken, at any moment of 20 ms, over background noise; every other one has said what that is like."""
    rig = VirtualEngine(calls, tick_ms=4)
    sound = g711.encode_ulaw(noise(30, -55))
    for tick in range(30 * 5):
        number, phase = divmod(tick, 5)
        rows = np.arange(phase, calls, 5)
        sent = [packet(number, sound[number].tobytes())] * len(rows)
        if number == 29:
            sent = [
                packet(number, bytes([50]), pt=13) if row % 2 else one
                for row, one in zip(rows, sent, strict=True)
            ]
        data = np.zeros((len(rows), PACKET_BYTES), np.uint8)
        for line, one in zip(data, sent, strict=True):
            line[: len(bytes(one))] = np.frombuffer(bytes(one), np.uint8)
        lengths = np.array([len(bytes(one)) for one in sent], np.int32)
        peers = [rig.streams[row].remote for row in rows]
        rig.step([Batch(rows, data, lengths, np.ones(len(rows), bool), peers)])
    return rig


@pytest.mark.parametrize("by_kernels", [pytest.param(True, marks=needs_kernels), False])
def test_very_many_that_pause_at_once_have_noise_in_every_frame(by_kernels: bool) -> None:
    """What one hears does not hang on how many others pause: neither noise it asked for nor its own background."""
    with contextlib.nullcontext() if by_kernels else kernels.without_kernels():
        rig = paused(500)
        rig.run(0.5)
        found: list[np.ndarray] = []
        rig.agent.on_audio = lambda calls, records: found.append(records.copy())
        rig.run(0.5)
        rig.agent.read()
    records = np.concatenate(found)
    for flag in (FLAG_COMFORT_NOISE, FLAG_GAP):
        of_kind = records["pcm"][records["flags"] == flag]
        assert len(of_kind) > 250 * 20 and of_kind.any(axis=1).all()
    assert set(records["flags"].tolist()) == {FLAG_COMFORT_NOISE, FLAG_GAP}


def test_a_refresh_changes_the_noise_and_moves_nothing_else() -> None:
    """Louder from the next frame on; no frame is added or lost."""
    rig = UplinkRig()
    say(rig, tone(10))
    rig.packet(packet(10, bytes(ComfortNoise(-60)), pt=13))
    rig.run(400)
    rig.packet(Packet(13, SEQ + 11, 30 * 160, 5, bytes(ComfortNoise(-40))))
    rig.run(400)
    assert level_dbov(heard(rig)[[20, -1]]) == pytest.approx([-60, -40], abs=1.5)
    assert [frame.position for frame in rig.heard] == [160 * i for i in range(len(rig.heard))]
    assert not rig.drops()


def test_a_dynamic_number_that_was_agreed_on_is_comfort_noise() -> None:
    """Whatever number the offer gave it."""
    rig = UplinkRig(receive_cn_pt=100, send_cn_pt=100)
    say(rig, tone(5))
    rig.packet(packet(5, bytes([50]), pt=100))
    rig.run(200)
    assert not rig.drops() and rig.heard[-1].flags == FLAG_COMFORT_NOISE


def test_callers_with_packets_of_many_lengths_share_their_noise() -> None:
    """40 callers, each with a length of its own: what is made for a length is made for few of them."""
    rig, rng = UplinkRig(40), np.random.default_rng(2)
    for number in range(12):
        for row, size in enumerate(range(161, 201)):
            sound = g711.encode_ulaw(rng.normal(0, 120, size).astype(np.int16))
            rig.packet(Packet(0, SEQ + number, number * size, 5, sound.tobytes()), row=row)
        rig.run(20)
    made = white_spectra.cache_info().misses
    rig.run(1000)
    assert white_spectra.cache_info().misses - made <= 1
    for frames in rig.frames.values():
        assert len(frames) > 55 and frames[-1].flags == FLAG_GAP and frames[-1].pcm.any()


@pytest.mark.parametrize("payload", [b"", bytes([255]), bytes(range(200)), bytes([10] + [255] * 30)])
def test_no_payload_of_comfort_noise_does_harm(payload: bytes) -> None:
    """Empty, reserved values, too many coefficients: time goes on, and the noise is finite."""
    rig = UplinkRig()
    say(rig, tone(5))
    rig.packet(packet(5, payload, pt=13))
    rig.run(300)
    assert len(rig.heard) >= 18 and not rig.drops()


def test_a_row_used_again_remembers_nothing() -> None:
    """The next call in the same row starts in silence, with no noise of its predecessor's."""
    rig = UplinkRig()
    say(rig, noise(20, -45))
    rig.packet(packet(20, bytes([45]), pt=13))
    rig.uplink.forget(rig.streams[0].row)
    rig.table.release(rig.streams[0])
    rig.frames.clear()
    stream = running(rig.table, start_message(), rig.now_ns)
    rig.timeline.begin(stream.row, rig.now_ns)
    rig.run(500)
    frames = rig.frames[stream.row]
    assert stream.row == rig.streams[0].row and len(frames) == 25
    assert all(frame.flags == FLAG_GAP and not frame.pcm.any() for frame in frames)


def test_a_worker_that_is_behind_fills_with_silence() -> None:
    """What is missing then only waits at its sockets, and to make it up would cost more than to read it."""
    rig = UplinkRig()
    talk(rig, range(10))
    rig.uplink.hurried = True
    rig.run(200)
    filled = rig.heard[10:]
    assert len(filled) >= 5
    assert all(frame.flags == FLAG_GAP and not frame.pcm.any() for frame in filled)
    rig.uplink.hurried = False
    talk(rig, range(10, 40))
    assert rig.heard[-1].flags & FLAG_SPEECH


def test_what_waited_behind_a_gap_that_was_filled_in_a_hurry_is_forgotten() -> None:
    rig = UplinkRig()
    talk(rig, range(10))
    rig.uplink.hurried = True
    talk(rig, range(11, 20))
    assert any(frame.flags == FLAG_GAP for frame in rig.heard)
    assert not rig.uplink._filler._ahead
