# SPDX-License-Identifier: GPL-2.0-or-later
"""What resampling does to tones, from int16 to int16, for each pair of rates: a table, and a picture.

    make bench-resampling                          the table; the picture to .cache/resampling.png
    make bench-resampling ARGS="picture.svg"

80 tones of the pass band and 40 of the stop band (where the input has any), -1 dB of full scale.  An image or alias
is the loudest of all that comes out and is not the tone.
"""

from __future__ import annotations

import pathlib
import sys
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.tables import table
from trunkline.codecs.resample import Resampler, get_resampler, pass_edge

RATES = (8000, 16000, 24000, 44100, 48000)
PAIRS = [(a, b) for a in RATES for b in RATES if a != b]
PEAK = 29000.0
SECONDS = 0.5
GRID_HZ = 10
"tones are multiples, so that all products fall on bins of the spectrum, which covers 0.4 s"

Real = NDArray[np.float64]


class Response(NamedTuple):
    """Of one pair; arrays by tone."""

    share: Real
    "frequency of the tone, of the lower rate"
    level_db: Real
    "of what comes out at that frequency; nothing (-200) where the output has no such frequency"
    other_db: Real
    "of the loudest that comes out elsewhere"


def tones(hz: Real, rate_hz: int, samples: int) -> NDArray[np.int16]:
    """A row for each frequency."""
    return np.rint(PEAK * np.sin(2 * np.pi * hz[:, None] * np.arange(samples) / rate_hz)).astype(np.int16)


def spectrum_db(pcm: NDArray[np.int16]) -> Real:
    """Amplitude by frequency bin of each row, 0 dB for a tone of `PEAK`; Blackman-Harris: skirts are 92 dB down."""
    at = 2 * np.pi * np.arange(pcm.shape[1]) / pcm.shape[1]
    window = 0.35875 - 0.48829 * np.cos(at) + 0.14128 * np.cos(2 * at) - 0.01168 * np.cos(3 * at)
    return 20 * np.log10(2 * np.abs(np.fft.rfft(pcm * window)) / (window.sum() * PEAK) + 1e-10)


def respond(resampler: Resampler, shares: Real) -> Response:
    """What becomes of tones at these shares of the lower rate, each below half the input's rate."""
    lower = lower_rate(resampler)
    hz = np.rint(shares * lower / GRID_HZ) * GRID_HZ
    pcm = tones(hz, resampler.from_hz, round(resampler.from_hz * SECONDS))
    out, _ = resampler.process(resampler.new_history(len(pcm)), pcm)
    out = out[:, round(resampler.to_hz * 0.1) :]
    levels = spectrum_db(out)
    level, other = np.full(len(hz), -200.0), np.empty(len(hz))
    for i, bin_of_tone in enumerate(np.rint(hz * out.shape[1] / resampler.to_hz).astype(int)):
        if bin_of_tone < levels.shape[1]:
            level[i] = levels[i, bin_of_tone]
            levels[i, max(bin_of_tone - 4, 0) : bin_of_tone + 5] = -200
        other[i] = levels[i].max()
    return Response(hz / lower, level, other)


def delay_ms(resampler: Resampler) -> float:
    """By the phase of a tone of 100 Hz, whose period is longer than any delay here."""
    hz = 100
    pcm = tones(np.array([float(hz)]), resampler.from_hz, round(resampler.from_hz * SECONDS))
    out, _ = resampler.process(resampler.new_history(1), pcm)
    tail = out[0, round(resampler.to_hz * 0.1) :]  # 0.4 s: whole periods
    phase = np.angle(np.exp(-2j * np.pi * hz * np.arange(len(tail)) / resampler.to_hz) @ tail * 1j)
    return float(-phase / (2 * np.pi * hz) * 1000)


def lower_rate(resampler: Resampler) -> int:
    """Shares of frequency are of this."""
    return min(resampler.from_hz, resampler.to_hz)


def pass_band(resampler: Resampler) -> Real:
    """Tones that must pass unharmed."""
    return np.linspace(0.005, pass_edge(lower_rate(resampler)), 80)


def stop_band(resampler: Resampler) -> Real:
    """Tones that must not come out at all; none where the output can carry all that the input can."""
    first, last = 1 - pass_edge(lower_rate(resampler)), resampler.from_hz / 2 / resampler.to_hz - 0.005
    return np.linspace(first, last, 40) if first < last else np.empty(0)


def row(from_hz: int, to_hz: int) -> list[str]:
    """One line of the table."""
    resampler = get_resampler(from_hz, to_hz)
    passed, stopped = respond(resampler, pass_band(resampler)), respond(resampler, stop_band(resampler))
    return [
        f"{from_hz} to {to_hz}",
        str(round(pass_edge(lower_rate(resampler)) * lower_rate(resampler))),
        f"{np.ptp(passed.level_db):.3f}",
        f"{passed.other_db.max():.1f}",
        f"{max(stopped.other_db.max(), stopped.level_db.max()):.1f}" if len(stopped.share) else "-",
        f"{delay_ms(resampler):.2f}",
        str(resampler.history_samples),
    ]


def plot(path: pathlib.Path) -> None:
    """One panel a lower rate: level of the tone, and the loudest other, over the whole input."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(12, 8), sharey=True, layout="constrained")
    pairs = ((8000, 16000), (16000, 8000), (48000, 16000), (44100, 16000))
    for axis, (from_hz, to_hz) in zip(axes.flat, pairs, strict=True):
        resampler = get_resampler(from_hz, to_hz)
        edge, highest = pass_edge(lower_rate(resampler)), from_hz / 2 / lower_rate(resampler)
        seen = respond(resampler, np.linspace(0.005, highest - 0.005, 300))
        axis.plot(seen.share, np.maximum(seen.level_db, -110), label="the tone")
        axis.plot(seen.share, np.maximum(seen.other_db, -110), label="loudest image or alias")
        axis.axhline(-80, color="grey", linewidth=0.8, linestyle="--")
        axis.axvspan(edge, 1 - edge, color="grey", alpha=0.15, label="transition")
        axis.set(title=f"{from_hz} to {to_hz} Hz", xlabel="frequency of the tone, of the lower rate", ylim=(-110, 5))
        axis.grid(visible=True, alpha=0.3)
    axes[0, 0].set_ylabel("dB")
    axes[0, 0].legend(loc="lower left")
    figure.savefig(path, dpi=100)


def main(arguments: list[str]) -> None:
    """Measure, print, draw."""
    head = ["Hz", "pass band to", "ripple dB", "image or alias dB", "of the stop band dB", "delay ms", "history"]
    print(table("Tones, int16 to int16", head, [row(*pair) for pair in PAIRS]))
    path = pathlib.Path(arguments[0] if arguments else ".cache/resampling.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    plot(path)
    print(f"\npicture: {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
