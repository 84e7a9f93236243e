# SPDX-License-Identifier: GPL-2.0-or-later
"""How what was heard compares with what was said: alignment, delay of each frame, likeness.

    said   |----speech----|            sample s of the clip left in packet s // 160
    heard      |----speech----|        sample h of the echo came in the packet that holds it
           <-->  lag: heard[h] is said[h - lag]

The lag is found by cross-correlation, over all of the call and then again for each
half second, so that a slip in the middle (audio inserted or skipped) is seen as a
slip and not as noise.  A frame's delay is real time, not media time: from the moment
the packet with its middle sample was sent to the moment the packet with the same
sound came back.
"""

from __future__ import annotations

import dataclasses
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.g711 import decode_ulaw
from trunkline.gateway.demo.recording import Recording
from trunkline.gateway.demo.speech import FRAME_SAMPLES, SAMPLE_RATE_HZ

Signal = NDArray[np.float64]

SEGMENT_SAMPLES = SAMPLE_RATE_HZ // 2
SEARCH_SAMPLES = SAMPLE_RATE_HZ // 10
"Half a second is looked for 100 ms around where the whole call says it is."
SPEECH_RMS = 300.0
"About -41 dBov; a quieter segment is a pause, and has nothing to be found by."
GOOD_CORRELATION = 0.9
"Below, it was not the same speech. An echo at 16 kHz and back through mu-law has 0.99 and more."


@dataclasses.dataclass(frozen=True, slots=True)
class Analysis:
    """One call, as its caller experienced it."""

    said: NDArray[np.int16]
    heard: NDArray[np.int16]
    heard_at_s: float
    "when the first sample of `heard` came; the clock starts when the first of `said` left"
    lag_samples: int
    "position in `heard` of the first sample of `said`"
    correlation: float
    "of the aligned speech, -1 to 1"
    slips: int
    "how often the lag changed within the call"
    frame_at_s: Signal
    "[k] when each echoed frame came"
    delay_ms: Signal
    "[k] how old its sound was"
    spacing_ms: Signal
    "[m - 1] between packets that came"
    sent: int
    received: int
    lost: int

    @property
    def audible(self) -> bool:
        """Whether the caller heard the own voice."""
        return self.correlation >= GOOD_CORRELATION and len(self.delay_ms) > 0

    def delay(self, percent: float) -> float:
        """Percentile of the frames' delay; nan when nothing came back."""
        return float(np.percentile(self.delay_ms, percent)) if len(self.delay_ms) else float("nan")

    def write_wav(self, path: Path) -> None:
        """What the caller heard, 16-bit mono."""
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE_HZ)
            file.writeframes(self.heard.astype("<i2").tobytes())


def analyse(record: Recording) -> Analysis:
    """Compare both directions of a recorded call."""
    said, heard = decode_ulaw(record.said), decode_ulaw(record.heard())
    start_ns = int(record.sent_ns[0]) if len(record.sent_ns) else 0
    empty = np.zeros(0)
    if not len(record.received_ns) or not len(said):
        return Analysis(said, heard, 0.0, 0, 0.0, 0, empty, empty, empty, len(record.sent_ns), 0, 0)
    lag = find_lag(said.astype(float), heard.astype(float))
    lags, likeness = follow_lag(said.astype(float), heard.astype(float), lag)
    frame_ns, delay_ns = frame_delays(record, lags)
    positions = record.positions()
    return Analysis(
        said=said,
        heard=heard,
        heard_at_s=float(record.received_ns[np.argmin(positions)] - start_ns) / 1e9,
        lag_samples=lag,
        correlation=likeness,
        slips=int(np.count_nonzero(np.abs(np.diff(lags)) > 1)),
        frame_at_s=(frame_ns - start_ns) / 1e9,
        delay_ms=delay_ns / 1e6,
        spacing_ms=np.diff(np.sort(record.received_ns).astype(float)) / 1e6,
        sent=len(record.sent_ns),
        received=len(record.received_ns),
        lost=record.lost,
    )


def find_lag(said: Signal, heard: Signal) -> int:
    """Where in `heard` the start of `said` is, in samples; may be negative."""
    size = 1 << (len(said) + len(heard) - 1).bit_length()
    product = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(said, size))
    peak = int(np.argmax(np.fft.irfft(product, size)))
    return peak if peak < len(heard) else peak - size


def follow_lag(said: Signal, heard: Signal, lag: int) -> tuple[NDArray[np.int64], float]:
    """Lag of each half second of `heard`, and the correlation of all speech so aligned.

    A pause takes the lag of the speech before it.
    """
    count = -(-len(heard) // SEGMENT_SAMPLES)
    lags = np.full(count, lag, np.int64)
    pairs: list[tuple[Signal, Signal]] = []
    padded = np.concatenate(
        [np.zeros(len(heard) + SEARCH_SAMPLES), said, np.zeros(len(heard) + SEARCH_SAMPLES)]
    )
    origin = len(heard) + SEARCH_SAMPLES
    for index in range(count):
        begin = index * SEGMENT_SAMPLES
        piece = heard[begin : begin + SEGMENT_SAMPLES]
        here = lags[index - 1] if index else lag
        first = origin + begin - lag - SEARCH_SAMPLES
        around = padded[max(0, first) : first + len(piece) + 2 * SEARCH_SAMPLES]
        if rms(piece) >= SPEECH_RMS and len(around) == len(piece) + 2 * SEARCH_SAMPLES:
            here = lag + SEARCH_SAMPLES - best_match(around, piece)
        lags[index] = here
        start = origin + begin - int(here)
        if start >= 0 and start + len(piece) <= len(padded):
            pairs.append((padded[start : start + len(piece)], piece))
    if not pairs:
        return lags, 0.0
    left, right = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return lags, correlation(left, right)


def best_match(around: Signal, piece: Signal) -> int:
    """Offset in `around` at which it resembles `piece` most, by normalised correlation."""
    products = np.correlate(around, piece, "valid")
    squares = np.concatenate(([0.0], np.cumsum(around**2)))
    energy = squares[len(piece) :] - squares[: -len(piece)]
    return int(np.argmax(products / np.sqrt(np.maximum(energy, 1.0))))


def frame_delays(record: Recording, lags: NDArray[np.int64]) -> tuple[Signal, Signal]:
    """Arrival and age of each received frame whose sound was said: two columns of ns."""
    middle = record.positions() + FRAME_SAMPLES // 2
    source = middle - lags[middle // SEGMENT_SAMPLES]
    known = (source >= 0) & (source < len(record.sent_ns) * FRAME_SAMPLES)
    arrival = record.received_ns[known]
    delay = arrival - record.sent_ns[source[known] // FRAME_SAMPLES]
    return arrival.astype(float), delay.astype(float)


def rms(signal: Signal) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(signal**2))) if len(signal) else 0.0


def correlation(left: Signal, right: Signal) -> float:
    """Normalised, 1 for the same up to volume; 0 when either is silent."""
    scale = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return float((left * right).sum()) / scale if scale else 0.0
