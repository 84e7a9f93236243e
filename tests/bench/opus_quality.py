# SPDX-License-Identifier: GPL-2.0-or-later
"""What Opus sounds like: PESQ (ITU-T P.862, narrow band) by complexity, and with packets lost.

    make bench-opus ARGS="--pesq"

The speech is narrow band, so what a sample rate above 8 kHz adds is not heard by this
measure; the bits that it takes are.  Packets of 20 ms are lost at random and in bursts as in
bench.concealment; `plc` is the decoder's own concealment, `fec` with the copy in the packet
behind the gap and the bit rate that `opus_sending` then chooses.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.loss import lost_packets
from bench.speech import RATE_HZ, clips
from bench.tables import table
from trunkline.codecs.opus import OpusCodec
from trunkline.codecs.opus_sending import OpusSettings
from trunkline.codecs.resample import get_resampler

Pcm = NDArray[np.int16]
Lost = NDArray[np.bool_]
COMPLEXITIES = (0, 2, 3, 4, 5, 6, 8, 10)
RATES_HZ = (8000, 16000)
LOSSES = (0.03, 0.10, 0.20)
SEEDS = 2


def through(
    pcm: Pcm, rate_hz: int, settings: OpusSettings, lost: Lost | None = None, *, fec: bool = False
) -> Pcm:
    """Said and heard again, lined up; `lost` is bool[packets]. With `fec` the peer has reported that loss."""
    codec, row, samples = OpusCodec(1, rate_hz, settings), np.zeros(1, np.intp), rate_hz // 50
    codec.configure(0, "useinbandfec=1" if fec else "")
    delay = codec.delay_samples
    frames = np.concatenate([pcm, np.zeros(samples + -len(pcm) % samples, np.int16)]).reshape(-1, 1, samples)
    lost = np.zeros(len(frames), bool) if lost is None else np.resize(np.append(lost, np.False_), len(frames))
    codec.note_loss(row, 100 * lost.mean())
    sent = [codec.encode(row, frame) for frame in frames]
    heard = []
    for at, (payload, lengths) in enumerate(sent):
        if lost[at]:
            there = fec and at + 1 < len(sent) and not lost[at + 1]
            heard.append(codec.conceal(row, samples, [sent[at + 1][0][0].tobytes()] if there else None))
        else:
            heard.append(codec.decode_variable(row, payload, lengths, samples))
    return np.concatenate(heard, axis=1)[0, delay : delay + len(pcm)]


def mos(
    clip: Pcm, rate_hz: int, settings: OpusSettings, lost: Lost | None = None, *, fec: bool = False
) -> float:
    """PESQ of one clip through Opus at that rate."""
    from pesq import pesq

    sound = through(_resampled(clip, RATE_HZ, rate_hz), rate_hz, settings, lost, fec=fec)
    return float(pesq(RATE_HZ, clip, _resampled(sound, rate_hz, RATE_HZ), "nb"))


def complexities() -> str:
    """Table: MOS of each complexity, without loss."""
    voices = clips(1)
    rows = [
        [complexity]
        + [
            float(np.mean([mos(clip, rate, OpusSettings(complexity)) for clip in voices]))
            for rate in RATES_HZ
        ]
        for complexity in COMPLEXITIES
    ]
    head = ["complexity", *(f"{rate} Hz" for rate in RATES_HZ)]
    return table("MOS (PESQ, narrow band), without loss", head, rows)


def losses() -> str:
    """Table: MOS over lossy networks, with FEC and without."""
    rows = []
    for rate, burst in ((rate, burst) for rate in LOSSES for burst in (False, True)):
        scores = np.array(
            [
                [
                    mos(clip, 16000, OpusSettings(), _lost(clip, rate, seed, burst=burst), fec=fec)
                    for fec in (False, True)
                ]
                for index, clip in enumerate(clips(1))
                for seed in range(10 * index, 10 * index + SEEDS)
            ]
        )
        plc, fec = scores.mean(axis=0).tolist()
        rows.append([f"{rate:.0%} {'bursts' if burst else 'random'}", plc, fec, fec - plc, len(scores)])
    return table("MOS (PESQ, narrow band), 16 kHz", ["loss", "plc", "fec", "gain", "runs"], rows)


def _lost(clip: Pcm, rate: float, seed: int, *, burst: bool) -> Lost:
    return lost_packets(-(-len(clip) // (RATE_HZ // 50)), rate, burst=burst, seed=seed)


def _resampled(pcm: Pcm, from_hz: int, to_hz: int) -> Pcm:
    """Without the delay of the filter."""
    resampler = get_resampler(from_hz, to_hz)
    tail = np.zeros(-(-(resampler.delay_samples + 1) // resampler.down) * resampler.down, np.int16)
    padded = np.concatenate([pcm, tail])[None, :]
    out = resampler.process(resampler.new_history(1), padded)[0][0]
    skip = resampler.delay_samples * to_hz // from_hz
    return out[skip : skip + len(pcm) * to_hz // from_hz]
