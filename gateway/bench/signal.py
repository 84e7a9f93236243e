# SPDX-License-Identifier: GPL-2.0-or-later
"""What the callers say: a tone whose loudness tells which packet it is.

Packet k of call i has the loudness `pattern()[(i * PATTERN_STEP + k) % PATTERN_LENGTH]`, one of
eight, each half as loud again as the one below.  Neighbours in the pattern differ, so a frame
that repeats the one before (concealment) is told from the one that was sent, and a mapping
that is off by any number of packets, or by a call, agrees with one frame in seven.

The tone is 1 kHz: a period is a whole number of samples at all our rates, each packet holds
whole periods, and every speech codec passes it.  Only one period of each frame is looked at, at
three quarters of it, where resampling (2.2 ms of delay each way) has left the packet before behind.
"""

from __future__ import annotations

import functools
import random

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.bench.plan import Plan

LEVELS = 8
TONE_HZ = 1000
LOUDEST = 20000.0
STEP = 1.5
PATTERN_LENGTH = 65521
"A prime: 310 calls follow each other in it without meeting, and those that meet are far apart."
PATTERN_STEP = 211
"Packets between the places where two calls begin; beyond `matching.LAST_LAG`, or a call could pass for the next."

Levels = NDArray[np.int8]


@functools.cache
def pattern() -> Levels:
    """Loudness of successive packets, 0..7, the same in every run."""
    rng = random.Random(5)
    levels = [0]
    while len(levels) < PATTERN_LENGTH:
        near = levels[-2:] + (levels[:2] if len(levels) >= PATTERN_LENGTH - 2 else [])
        levels.append(rng.choice([level for level in range(LEVELS) if level not in near]))
    return np.array(levels, np.int8)


def said(call: NDArray[np.int64] | int, packet: NDArray[np.int64]) -> Levels:
    """Loudness of packet[n] of call[n], or of packets of one call."""
    return pattern()[(call * PATTERN_STEP + packet) % PATTERN_LENGTH]


def amplitudes() -> NDArray[np.float64]:
    """Of the eight."""
    return np.asarray(LOUDEST / STEP ** np.arange(LEVELS - 1, -1, -1), np.float64)


def payloads(plan: Plan) -> NDArray[np.uint8]:
    """The eight packets, u8[8, bytes]."""
    codec = plan.audio_codec
    samples = np.arange(codec.sample_rate_hz * plan.ptime_ms // 1000)
    tone = np.sin(2 * np.pi * TONE_HZ * samples / codec.sample_rate_hz)
    return codec.encode(np.arange(LEVELS), (amplitudes()[:, None] * tone).astype(np.int16))[0]


def window(samples: int, rate_hz: int) -> slice:
    """Which samples of a frame are looked at: one period."""
    begin = samples * 3 // 4
    return slice(begin, begin + rate_hz // TONE_HZ)


def window_bytes(plan: Plan) -> slice | None:
    """Which bytes of a payload are one period; None where packets do not stand alone or hold no whole periods."""
    codec = plan.audio_codec
    rate = codec.sample_rate_hz
    if not plan.stands_alone or rate % TONE_HZ:
        return None
    samples = rate * plan.ptime_ms // 1000
    size = len(payloads(plan)[0]) // samples
    at = window(samples, rate)
    return slice(at.start * size, at.stop * size)


def heard(periods: NDArray[np.int16]) -> Levels:
    """Loudness of periods [n, samples]: 0..7, or -1 for silence and what is no loudness of ours."""
    power = np.square(periods.astype(np.float32)).mean(axis=1) * 2
    with np.errstate(divide="ignore"):
        exact = np.log(power / LOUDEST**2) / (2 * np.log(STEP)) + LEVELS - 1
    exact[power == 0] = -9
    level = np.rint(exact)
    return np.where((level >= 0) & (level < LEVELS), level, -1).astype(np.int8)
