# SPDX-License-Identifier: GPL-2.0-or-later
"""The packets that callers send: eight tones of different loudness, or, where a codec has a memory, speech.

A codec whose packets stand alone (G.711, L16) can say in each which one it is (`signal.py`).  G.722 and Opus
cannot: what a packet sounds like depends on those before it.  Their callers say the clip of the demonstration
over and over, each from another place on, encoded once as one stream; and because all know the stream, what the
agent must hear is known sample by sample: `expected`.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs import g711
from trunkline.codecs.registry import open_codec
from trunkline.codecs.resample import Resampler, get_resampler
from trunkline.gateway.bench import signal
from trunkline.gateway.bench.plan import Plan
from trunkline.gateway.demo import speech

ALIKE = 0.25
"Difference from what is expected that passes, as a share of it: a decoder that began elsewhere differs a little."
QUIET = 60.0
"And so much of any sound, RMS."

Pcm = NDArray[np.int16]
Ints = NDArray[np.int64]
_ROW = np.zeros(1, np.intp)


@dataclasses.dataclass(frozen=True, slots=True)
class Spoken:
    """Packet k of call i carries payload `pattern[(i * step + k) % len(pattern)]`."""

    pattern: NDArray[np.uint16]
    step: int
    payloads: NDArray[np.uint8]
    "[n, width]"
    lengths: NDArray[np.uint16]
    "[n] bytes of each that are payload"


def spoken(plan: Plan) -> Spoken:
    """What the callers of this run say."""
    if plan.stands_alone:
        payloads = signal.payloads(plan)
        lengths = np.full(len(payloads), payloads.shape[1], np.uint16)
        return Spoken(signal.pattern().astype(np.uint16), signal.PATTERN_STEP, payloads, lengths)
    return _stream(plan.codec, plan.ptime_ms)


@functools.cache
def _stream(codec_name: str, ptime_ms: int) -> Spoken:
    """The clip as packets of a codec with a memory; the end leads on to the beginning."""
    codec = open_codec(codec_name, 1)
    pcm = _resampled(get_resampler(speech.SAMPLE_RATE_HZ, codec.sample_rate_hz), _clip(), ptime_ms)
    payloads, lengths = [], []
    for turn in range(2):  # the second time it has a past, as it will when it is said over and over
        for frame in pcm:
            data, size = codec.encode(_ROW, frame[None])
            if turn:
                payloads.append(data[0])
                lengths.append(data.shape[1] if size is None else int(size[0]))
    table = np.zeros((len(payloads), max(lengths)), np.uint8)
    for row, data, length in zip(table, payloads, lengths, strict=True):
        row[:length] = data[:length]
    count = len(table)
    step = next(one for one in range(signal.PATTERN_STEP, 2 * signal.PATTERN_STEP) if np.gcd(one, count) == 1)
    return Spoken(np.arange(count, dtype=np.uint16), step, table, np.array(lengths, np.uint16))


def _clip() -> Pcm:
    """8 kHz."""
    return g711.decode_ulaw(speech.load_clip()[None])[0]


def _resampled(resampler: Resampler, pcm: Pcm, ptime_ms: int) -> Pcm:
    """[frames, samples] of a stream, at the other rate; twice over, and the second half, so that it has a past."""
    size = resampler.from_hz * ptime_ms // 1000
    frames = pcm[: len(pcm) // size * size].reshape(-1, size)
    history, out = resampler.new_history(1), []
    for frame in np.concatenate([frames, frames]):
        one, history = resampler.process(history, frame[None])
        out.append(one[0])
    return np.array(out[len(frames) :])


@functools.cache
def expected(codec_name: str, ptime_ms: int, agent_rate_hz: int) -> Pcm:
    """i16[packets, samples]: what each packet of the stream is at the agent, decoded as the worker does."""
    said = _stream(codec_name, ptime_ms)
    codec = open_codec(codec_name, 1, agent_rate_hz)
    samples = codec.sample_rate_hz * ptime_ms // 1000
    frames = []
    for data, length in [*zip(said.payloads, said.lengths, strict=True)] * 2:
        payload = np.ascontiguousarray(data[None, :length])
        if codec.variable:
            frames.append(codec.decode_variable(_ROW, payload, np.array([length], np.int32), samples)[0])
        else:
            frames.append(codec.decode(_ROW, payload)[0])
    pcm = np.array(frames[len(said.payloads) :])
    return _resampled(get_resampler(codec.sample_rate_hz, agent_rate_hz), pcm.reshape(-1), ptime_ms)


def alike(plan: Plan, window: Pcm, call: Ints, packet: Ints) -> NDArray[np.bool_]:
    """Whether windows [n, samples] of frames are what packet[n] of call[n] should be; of codecs with a memory."""
    said = spoken(plan)
    at = signal.window(plan.frame_samples, plan.agent_rate_hz)
    wanted = expected(plan.codec, plan.ptime_ms, plan.agent_rate_hz)[:, at].astype(np.float32)
    wanted = wanted[said.pattern[(call * said.step + packet) % len(said.pattern)]]
    off = np.sqrt(np.square(window - wanted).mean(axis=1))
    return off <= ALIKE * np.sqrt(np.square(wanted).mean(axis=1)) + QUIET
