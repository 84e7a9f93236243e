# SPDX-License-Identifier: GPL-2.0-or-later
"""What to play in place of audio that did not come.

The last pitch period before the loss is repeated, and fades to silence: voiced
speech goes on at its pitch instead of buzzing at the frame rate.  The shape is
that of G.711 Appendix I (repeat, attenuate, give up), kept simple.

A concealed frame is a function of the good audio before the loss and of how far
into the loss it lies, nothing else.  So the caller keeps *good* samples in its
history, leaves them alone while frames are missing, and counts the frames.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

HOLD_MS = 20
"full level for so long: a single lost packet, by far the most frequent loss, keeps its loudness"
SILENT_MS = 240
"silence from here on: a sound held longer is taken for a fault of the line"

_SHORTEST_PITCH_MS = 2.5
_LONGEST_PITCH_MS = 15
"400 Hz to 67 Hz, from a child's voice to a low man's (as in G.711 Appendix I)"
_TEMPLATE_MS = 10
"the newest audio, whose like is looked for one period earlier"

_ROWS = 64
"rows at a time, for small temporaries: 3.6 to 4.8 us a row was measured, 6.8 with 200 at once"


def history_samples(sample_rate_hz: int = 8000) -> int:
    """Good samples before a loss that `conceal` makes use of: 25 ms."""
    return round((_LONGEST_PITCH_MS + _TEMPLATE_MS) * sample_rate_hz / 1000)


def conceal(
    history: NDArray[np.int16], samples: int, lost_count: NDArray[np.int32], sample_rate_hz: int = 8000
) -> NDArray[np.int16]:
    """The next missing frame of each row.

    `history` is i16[n, H], the last good samples before the loss, newest last
    (H at least `history_samples`; zeros where a call is younger than that), and
    `lost_count` i32[n], how many frames of `samples` have already been missing:
    0 for the first.  Returns i16[n, samples].
    """
    filled = np.empty((len(history), samples), dtype=np.int16)
    for first in range(0, len(history), _ROWS):
        part = slice(first, first + _ROWS)
        good, past = history[part], lost_count[part, None].astype(np.int64) * samples
        period = _pitch_periods(good, sample_rate_hz)[:, None]
        at = past + np.arange(samples)
        repeated = np.take_along_axis(good, good.shape[1] - period + at % period, axis=1)
        np.copyto(filled[part], np.rint(repeated * _gain(at, sample_rate_hz)), casting="unsafe")
    return filled


def conceal_row(history: list[int], samples: int, lost_count: int, sample_rate_hz: int = 8000) -> list[int]:
    """Scalar twin of `conceal` for one row."""
    row = np.array([history], dtype=np.int16)
    period = int(_pitch_periods(row, sample_rate_hz)[0])
    hold, silent = (sample_rate_hz * ms // 1000 for ms in (HOLD_MS, SILENT_MS))
    out = []
    for at in range(lost_count * samples, (lost_count + 1) * samples):
        gain = min(max((silent - at) / (silent - hold), 0.0), 1.0)
        out.append(round(history[at % period - period] * gain))
    return out


def _gain(at: NDArray[np.int64], sample_rate_hz: int) -> NDArray[np.float64]:
    """Level `at` so many samples into a loss: 1 up to HOLD_MS, straight down to 0 at SILENT_MS."""
    hold, silent = (sample_rate_hz * ms // 1000 for ms in (HOLD_MS, SILENT_MS))
    return np.clip((silent - at) / (silent - hold), 0.0, 1.0)


def _pitch_periods(history: NDArray[np.int16], sample_rate_hz: int) -> NDArray[np.int64]:
    """Samples after which each row resembles itself most; the longest where nothing does.

    Normalised cross-correlation of the newest 10 ms with what lies one candidate
    period earlier.  Of equally good candidates the longest wins, since repeating
    a short piece sounds more like a tone.
    """
    shortest = round(_SHORTEST_PITCH_MS * sample_rate_hz / 1000)
    longest = round(_LONGEST_PITCH_MS * sample_rate_hz / 1000)
    template_samples = round(_TEMPLATE_MS * sample_rate_hz / 1000)
    recent = history[:, -(longest + template_samples) :].astype(np.float32)
    template = recent[:, -template_samples:]
    # earlier[:, k] begins (longest - k) samples before the template.
    earlier = sliding_window_view(recent, template_samples, axis=1)[:, : longest - shortest + 1]
    likeness = np.einsum("nks,ns->nk", earlier, template)
    squares = np.zeros((len(recent), recent.shape[1] + 1))
    np.cumsum(recent * recent, axis=1, out=squares[:, 1:])
    energy = (squares[:, template_samples:] - squares[:, :-template_samples])[:, : longest - shortest + 1]
    score = likeness / np.sqrt(np.maximum(energy, 1.0))
    return np.asarray(longest - np.argmax(score, axis=1), dtype=np.int64)
