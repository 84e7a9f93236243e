# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests must know of sound: make it, line it up with what came back, measure it.

Nothing here is shared with the code under test; even G.711 is written again, from the
formula of the Recommendation, because a mistake that both sides share would be invisible.
"""

from __future__ import annotations

import dataclasses
import pathlib
import wave

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.int16]
Real = NDArray[np.float64]

DTMF_ROWS_HZ = (697, 770, 852, 941)
DTMF_COLUMNS_HZ = (1209, 1336, 1477, 1633)
DTMF_KEYS = ("123A", "456B", "789C", "*0#D")
FINE = 8
"steps of one sample in which two signals are lined up"


# --- making sound --------------------------------------------------------------------------


def speechlike(seconds: float, rate_hz: int = 8000, seed: int = 1, peak: int = 8000) -> Pcm:
    """Noise of telephone band (300 to 3400 Hz) in syllables: loud, busy, and equal to itself at one place only."""
    rng = np.random.default_rng(seed)
    count = round(seconds * rate_hz)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    hz = np.fft.rfftfreq(count, 1 / rate_hz)
    # Gentle edges: a resampler's passband is flat there and its transition is not what is tested.
    spectrum *= np.clip((hz - 250) / 100, 0, 1) * np.clip((3300 - hz) / 200, 0, 1)
    noise = np.fft.irfft(spectrum, count)
    time = np.arange(count) / rate_hz
    noise *= 0.55 + 0.45 * np.sin(2 * np.pi * 3.1 * time + seed)
    return (noise * (peak / np.abs(noise).max())).astype(np.int16)


def tone(hz: float, seconds: float, rate_hz: int = 8000, peak: int = 8000) -> Pcm:
    """A sine."""
    return (peak * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.int16)


# --- G.711 ---------------------------------------------------------------------------------


def _ulaw_table() -> Pcm:
    code = np.arange(256) ^ 0xFF
    magnitude = (((code & 15) * 2 + 33) << (code >> 4 & 7)) - 33
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16) * 4


def _alaw_table() -> Pcm:
    code = np.arange(256) ^ 0x55
    exponent, mantissa = code >> 4 & 7, code & 15
    magnitude = np.where(exponent == 0, mantissa * 2 + 1, (mantissa * 2 + 33) << np.maximum(exponent - 1, 0))
    return (np.where(code & 0x80, magnitude, -magnitude) * 8).astype(np.int16)


TABLES = {0: _ulaw_table(), 8: _alaw_table()}
"""Sample of each code, by RTP payload type (ITU-T G.711 tables 1 and 2, scaled to 16 bits)"""


def decode_g711(payload: bytes, payload_type: int) -> Pcm:
    """Samples at 8 kHz."""
    return TABLES[payload_type][np.frombuffer(payload, np.uint8)]


def encode_g711(pcm: Pcm, payload_type: int) -> bytes:
    """The code whose sample is nearest: to make test signals of, which survive decoding and encoding as they are."""
    table = TABLES[payload_type].astype(np.int32)
    order = np.argsort(table, kind="stable")
    if payload_type == 0:
        order[order == 0x7F] = 0xFF  # mu-law has two zeros, and everybody sends the positive one
    middles = (table[order][1:] + table[order][:-1]) / 2
    return order[np.searchsorted(middles, pcm)].astype(np.uint8).tobytes()


# --- comparing -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Match:
    """How `heard` contains `said`."""

    offset: float
    "samples (in steps of 1/8) by which what was said begins later in what was heard"
    correlation: float
    "of the overlapping parts, lined up: 1 is the same sound at any volume"
    snr_db: float
    "said against the difference, volume and all; inf when equal"


def compare(said: Pcm, heard: Pcm) -> Match:
    """Find `said` within `heard` by cross-correlation, and measure how alike they are."""
    offset = int(_best_lag(said, heard))
    best = None
    for step in range(-FINE, FINE + 1):  # fractions of a sample: resamplers delay by such
        shifted = _shift(said.astype(np.float64), step / FINE)
        match = _measure(shifted, heard.astype(np.float64), offset, step / FINE)
        if best is None or match.correlation > best.correlation:
            best = match
    assert best is not None
    return best


def find(said: Pcm, heard: Pcm) -> int:
    """Whole samples by which `said` begins later in `heard`."""
    return int(_best_lag(said, heard))


def _best_lag(said: Pcm, heard: Pcm) -> int:
    size = 1 << (len(said) + len(heard)).bit_length()
    spectrum = np.fft.rfft(heard.astype(np.float64), size) * np.conj(
        np.fft.rfft(said.astype(np.float64), size)
    )
    lags = np.fft.irfft(spectrum, size)
    best = int(np.argmax(lags))
    return best - size if best > size // 2 else best


def _shift(samples: Real, by: float) -> Real:
    """Delay by a fraction of a sample."""
    if by == 0:
        return samples
    hz = np.fft.rfftfreq(len(samples))
    return np.fft.irfft(np.fft.rfft(samples) * np.exp(-2j * np.pi * hz * by), len(samples))


def _measure(said: Real, heard: Real, offset: int, fraction: float) -> Match:
    start = max(0, -offset)
    stop = min(len(said), len(heard) - offset)
    a, b = said[start:stop], heard[start + offset : stop + offset]
    if len(a) < 80:
        return Match(offset + fraction, 0.0, float("-inf"))
    norm = float(np.sqrt((a @ a) * (b @ b)))
    noise = float(np.sum((a - b) ** 2))
    snr = float("inf") if noise == 0 else 10 * float(np.log10(max(float(a @ a), 1e-9) / noise))
    return Match(offset + fraction, float(a @ b) / norm if norm else 0.0, snr)


# --- tones ---------------------------------------------------------------------------------


def frequency_hz(pcm: Pcm, rate_hz: int = 8000) -> float:
    """Frequency of the strongest tone, to a fraction of a bin."""
    windowed = pcm.astype(np.float64) * np.hanning(len(pcm))
    power = np.log(np.abs(np.fft.rfft(windowed)) + 1e-9)
    peak = int(np.clip(np.argmax(power), 1, len(power) - 2))
    left, middle, right = power[peak - 1 : peak + 2]
    return (peak + 0.5 * (left - right) / (left - 2 * middle + right)) * rate_hz / len(pcm)


def tone_share(pcm: Pcm, hz: float, rate_hz: int = 8000, width_hz: float = 30) -> float:
    """Share (0..1) of the power that lies within `width_hz` of a frequency."""
    power = np.abs(np.fft.rfft(pcm.astype(np.float64) * np.hanning(len(pcm)))) ** 2
    bins = np.fft.rfftfreq(len(pcm), 1 / rate_hz)
    return float(power[np.abs(bins - hz) <= width_hz].sum() / max(power.sum(), 1e-9))


def goertzel(pcm: Pcm, hz: float, rate_hz: int = 8000) -> float:
    """Power of one frequency, relative to the block's (1 for that very sine)."""
    time = np.arange(len(pcm)) / rate_hz
    samples = pcm.astype(np.float64)
    part = abs(np.exp(-2j * np.pi * hz * time) @ samples) ** 2
    return float(2 * part / max(float(samples @ samples) * len(pcm), 1e-9))


def dtmf_keys(pcm: Pcm, rate_hz: int = 8000, block_ms: int = 20) -> str:
    """Keys heard as tones in the audio, each press once."""
    size = rate_hz * block_ms // 1000
    heard, last = "", ""
    for start in range(0, len(pcm) - size + 1, size):
        key = _dtmf_key(pcm[start : start + size], rate_hz)
        if key and key != last:
            heard += key
        last = key
    return heard


def _dtmf_key(block: Pcm, rate_hz: int) -> str:
    if np.abs(block).max(initial=0) < 300:
        return ""
    rows = [goertzel(block, hz, rate_hz) for hz in DTMF_ROWS_HZ]
    columns = [goertzel(block, hz, rate_hz) for hz in DTMF_COLUMNS_HZ]
    if max(rows) < 0.2 or max(columns) < 0.2 or max(rows) + max(columns) < 0.75:
        return ""
    return DTMF_KEYS[int(np.argmax(rows))][int(np.argmax(columns))]


# --- files ---------------------------------------------------------------------------------


def write_wav(path: pathlib.Path, pcm: Pcm, rate_hz: int = 8000) -> None:
    """Mono, 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm.astype("<i2").tobytes())


def read_wav(path: pathlib.Path) -> tuple[Pcm, int]:
    """Samples and rate of a mono file of 16 bits."""
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2), f"{path} is not 16-bit mono"
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16), file.getframerate()
