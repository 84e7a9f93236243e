# SPDX-License-Identifier: GPL-2.0-or-later
"""Sample-rate conversion of many streams at once, without a seam between frames.

**How.** A linear-phase low-pass runs at the lowest common multiple of both rates;
its polyphase form never computes the zeros that interpolation stuffs in.  Written
as one matrix (block Toeplitz) that turns a window of `history + block` inputs into
a block of outputs, the filter is a single matrix product over all windows of all
rows.  The product multiplies by many zeros, and is faster all the same: a frame of
20 ms from 8 to 16 kHz, in a batch of 200, took 0.8 us; one dot product per output
3.4 us, a loop over the taps 11.4 us.  Alone, a frame costs 10 us, most of it calls.

Where one rate is a whole multiple of the other, the filter is a Nyquist filter: every
`up`-th (or `down`-th) tap but the middle one is zero.  So going up, one output in `up`
is an input as it was; going down, one input in `down` matters to one output only.
Leaving those out of the product halves it at a ratio of 2: 0.45 us a frame for 0.65.

**Quality.** Flat within 0.01 dB up to the edge of the pass band (`pass_edge`: 3.4 kHz of
8 kHz, the telephone band; 7 kHz of 16 kHz, the band of G.722; 43.75 % of any rate above);
images and aliases of it, and whatever would fold into it, at least 80 dB down.  The
transition is centred on the Nyquist frequency: what lies between the edge and Nyquist is
weakened (6 dB at Nyquist), and has an image or alias mirrored at Nyquist that is less than
80 dB down, and as loud as itself at Nyquist.  It never falls into the pass band.

**Delay.** Constant for all frequencies, `delay_ms`: 2.2 ms where the lower rate is 8 kHz,
1.3 ms where it is 16 kHz, less above.

**44.1 kHz** meets the other rates each 10 ms (8 and 16 kHz) or 3.3 ms (24 and 48 kHz):
frames must be whole multiples of 441 or 147 samples.

State is the last `history_samples` inputs of each stream, int16, zeros at first;
it lives in the caller's table.  Sums are float32: how BLAS orders them depends
on the batch, so the same audio in another batch may differ by 1 in the last place.

**Compiled** (`native/resample.c`, for `process_rows`, where one rate is a whole multiple of the
other) a frame from 8 to 16 kHz took 0.18 us for 0.64 in a batch of 50, 0.24 without AVX-512,
and does not depend on the batch.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs import compiled

_ATTENUATION_DB = 82.0
"2 dB above what is promised, for the samples' own rounding"
_BLOCK_S = 0.002
"inputs per matrix row: shorter blocks mean more copying, longer ones more zeros; 16 outputs suit the vector unit"
_MOST_SAMPLES = 5760
"what the kernel takes, MOST_SAMPLES of native/samples.h: 120 ms at 48 kHz, the longest packet of any codec"
_ROWS = 100
"""Rows per matrix product.

2000 rows at once took 0.7 us a row when the allocator had warm memory for the
temporaries, and up to 3 us when it had to map fresh pages; in parts it was 0.7 to 1.1 us.
"""


class Resampler:
    """Converts int16 rows from one rate to another; immutable, shared by all streams."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        divisor = math.gcd(from_hz, to_hz)
        self.from_hz = from_hz
        self.to_hz = to_hz
        self.up = to_hz // divisor
        self.down = from_hz // divisor
        "a frame must be a multiple of `down` samples; it becomes `up` for each `down`"
        if from_hz == to_hz:
            self.history_samples = 0
            self.delay_samples = 0
            return
        taps = _low_pass(from_hz, to_hz, self.up, self.down)
        self.delay_samples = (len(taps) - 1) // 2 // self.up
        "group delay in input samples"
        self.history_samples = -(-(len(taps) - 1) // self.up)
        "inputs before a frame that its outputs need"
        self._block = max(round(from_hz * _BLOCK_S / self.down), 1) * self.down
        matrix = _toeplitz(taps, self.up, self.down, self._block, self.history_samples)
        self._nyquist = min(self.up, self.down) == 1
        if self._nyquist:  # without the outputs (up) or inputs (down) that need no filter
            needless = (np.s_[:: self.up], 1) if self.down == 1 else (np.s_[:: self.down], 0)
            matrix = np.delete(matrix, *needless)
        self._matrix = np.ascontiguousarray(matrix)
        self.phases = _phases(taps, self.up, self.down, self.history_samples)
        "f32[up, history_samples + 1]: what a window of inputs is multiplied by, for each output of an input"
        self._kernel = compiled.bind("resample", self.phases, self.up, self.down) if self._nyquist else None

    @property
    def delay_ms(self) -> float:
        """Time by which the output lags the input."""
        return 1000 * self.delay_samples / self.from_hz

    def takes(self, samples: int) -> bool:
        """Whether a frame of so many inputs becomes a whole number of outputs; ask before a peer decides it."""
        return samples % self.down == 0

    def output_samples(self, samples: int) -> int:
        """Outputs for a frame of so many inputs; ValueError if that is not a whole number."""
        blocks, rest = divmod(samples, self.down)
        if rest:
            raise ValueError(
                f"{samples} samples at {self.from_hz} Hz are no whole number at {self.to_hz} Hz: "
                f"need a multiple of {self.down}"
            )
        return blocks * self.up

    def new_history(self, rows: int) -> NDArray[np.int16]:
        """State of streams that have heard nothing: zeros[rows, history_samples]."""
        return np.zeros((rows, self.history_samples), dtype=np.int16)

    def process(
        self, history: NDArray[np.int16], pcm: NDArray[np.int16]
    ) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """One frame of each stream.

        `history` is i16[n, history_samples] as the last call returned it and
        `pcm` i16[n, samples]; frames may change length from call to call.
        Returns i16[n, samples * to / from] and the new history.
        """
        if self.from_hz == self.to_hz:
            return pcm, history
        rows, samples = pcm.shape
        out = np.empty((rows, self.output_samples(samples)), dtype=np.int16)
        new_history = np.empty((rows, self.history_samples), dtype=np.int16)
        for first in range(0, rows, _ROWS):
            part = slice(first, first + _ROWS)
            self._process_part(history[part], pcm[part], out[part], new_history[part])
        return out, new_history

    def process_rows(
        self, histories: NDArray[np.int16], rows: NDArray[np.intp], pcm: NDArray[np.int16]
    ) -> NDArray[np.int16]:
        """The same for streams whose state is in these rows of a table, where it is brought up to date.

        `histories` is i16[capacity, at least history_samples]; no row comes twice.
        """
        if self.from_hz == self.to_hz:
            return pcm
        if self._kernel is None or pcm.shape[1] > _MOST_SAMPLES:
            width = self.history_samples
            out, histories[rows, :width] = self.process(histories[rows, :width], pcm)
            return out
        out = np.empty((len(rows), self.output_samples(pcm.shape[1])), np.int16)
        self._kernel(histories, rows, pcm, out)
        return out

    def _process_part(
        self,
        history: NDArray[np.int16],
        pcm: NDArray[np.int16],
        out: NDArray[np.int16],
        new_history: NDArray[np.int16],
    ) -> None:
        """`process` for a few rows, into arrays that exist."""
        rows, samples = pcm.shape
        blocks = -(-samples // self._block)
        kept = self.history_samples
        line = np.empty((rows, kept + blocks * self._block), dtype=np.float32)
        line[:, :kept] = history
        line[:, kept : kept + samples] = pcm
        line[:, kept + samples :] = 0  # fills the last block; what comes of it is cut off below
        new_history[:] = line[:, samples : samples + kept] if samples < kept else pcm[:, samples - kept :]
        product = (self._windows(line, blocks) @ self._matrix).reshape(rows, -1)
        middle = line[:, kept - self.delay_samples :][:, : samples : self.down]
        if self._nyquist and self.up > 1:
            of_input = out.reshape(rows, samples, self.up)
            np.copyto(of_input[:, :, 0], middle, casting="unsafe")
            out, product = of_input[:, :, 1:], product.reshape(rows, -1, self.up - 1)[:, :samples]
        else:
            product = product[:, : out.shape[1]]
            if self._nyquist:
                product += middle * np.float32(1 / self.down)
        np.rint(product, out=product)
        # Overshoot at steep edges may leave int16; a cast would wrap it into a loud click.
        np.clip(product, -32768, 32767, out=product)
        np.copyto(out, product, casting="unsafe")

    def _windows(self, line: NDArray[np.float32], blocks: int) -> NDArray[np.float32]:
        """What each block of outputs is made of: f32[rows * blocks, inputs]."""
        rows, step, inputs = len(line), self._block, self.history_samples + self._block
        if self._nyquist and self.down > 1:
            parts = line.reshape(rows, -1, self.down)[:, :, 1:]
            line = np.ascontiguousarray(parts).reshape(rows, -1)
            step, inputs = step // self.down * (self.down - 1), inputs // self.down * (self.down - 1)
        by_row, by_sample = line.strides
        # as_strided does the same and takes 4 us longer.
        view = np.ndarray((rows, blocks, inputs), np.float32, line, 0, (by_row, step * by_sample, by_sample))
        return view.reshape(rows * blocks, inputs)


@functools.cache
def get_resampler(from_hz: int, to_hz: int) -> Resampler:
    """The one resampler of these rates; its matrix is designed at the first request."""
    return Resampler(from_hz, to_hz)


def resample_row(resampler: Resampler, pcm: list[int]) -> list[int]:
    """Scalar twin: one whole recording from silence, by the definition of the filter.

    Output m is the sum over inputs i of `taps[m * down - i * up] * pcm[i]`, scaled
    by `up` for the zeros between inputs.
    """
    up, down = resampler.up, resampler.down
    if up == down:
        return pcm
    taps = [up * float(tap) for tap in _low_pass(resampler.from_hz, resampler.to_hz, up, down)]
    out = []
    for m in range(len(pcm) * up // down):
        first = max(-(-(m * down - len(taps) + 1) // up), 0)
        last = min(m * down // up, len(pcm) - 1)
        total = math.fsum(taps[m * down - i * up] * pcm[i] for i in range(first, last + 1))
        out.append(min(max(round(total), -32768), 32767))
    return out


def pass_edge(lower_hz: int) -> float:
    """Where the pass band ends, as a share of the lower rate.

    The stop band begins at its mirror, 1 less this.  What lies between Nyquist and there folds back
    above the pass band; a stop band from Nyquist on would double the delay.
    """
    return 0.425 if lower_hz <= 8000 else 0.4375


def _low_pass(from_hz: int, to_hz: int, up: int, down: int) -> NDArray[np.float64]:
    """Taps at the common rate, odd in number, unit gain (Kaiser's window method).

    The half length is a multiple of `up` and of `down`, so that the delay is a whole
    number of samples at both ends; only of `up` where that would make it long (44.1 kHz).
    """
    common_hz = from_hz * up
    lower_hz = min(from_hz, to_hz)
    transition = 2 * math.pi * (1 - 2 * pass_edge(lower_hz)) * lower_hz / common_hz
    half = math.ceil((_ATTENUATION_DB - 7.95) / (2.285 * transition) / 2)
    step = math.lcm(up, down) if max(up, down) <= 6 else up
    half = -(-half // step) * step
    cutoff = 0.5 * lower_hz / common_hz
    at = np.arange(-half, half + 1)
    taps: NDArray[np.float64] = np.sinc(2 * cutoff * at) * np.kaiser(
        2 * half + 1, 0.1102 * (_ATTENUATION_DB - 8.7)
    )
    ratio = max(up, down)
    if min(up, down) == 1:  # a Nyquist filter, to the last bit
        middle, taps[half % ratio :: ratio] = half, 0
        taps *= (1 - 1 / ratio) / taps.sum()
        taps[middle] = 1 / ratio
        return taps
    taps /= taps.sum()
    return taps


def _phases(taps: NDArray[np.float64], up: int, down: int, history: int) -> NDArray[np.float32]:
    """Taps by output of an input, f32[up, history + 1], in the order of the inputs: the newest has the last one.

    Only where `up` or `down` is 1.
    """
    tap = np.arange(up)[:, None] + (history - np.arange(history + 1)) * up
    inside = tap < len(taps)
    return np.where(inside, up * taps[np.where(inside, tap, 0)], 0).astype(np.float32)


def _toeplitz(taps: NDArray[np.float64], up: int, down: int, block: int, history: int) -> NDArray[np.float32]:
    """Matrix[history + block, block * up / down]: window of inputs to block of outputs."""
    inputs = np.arange(-history, block)[:, None]
    outputs = np.arange(block * up // down)[None, :]
    tap = outputs * down - inputs * up
    inside = (tap >= 0) & (tap < len(taps))
    matrix = np.where(inside, up * taps[np.clip(tap, 0, len(taps) - 1)], 0)
    return np.ascontiguousarray(matrix, dtype=np.float32)
