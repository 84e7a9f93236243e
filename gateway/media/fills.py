# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiled: a frame that never came, from what is known of its row to what its agent gets (`native/fill.c`).

    -> concealed (filling.py), noise (background.py) -> counted -> no voice (voice.py) -> resampled
      -> frames of a connection's own dialect, as bytes
      -> frames
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.wire import AudioMessage
from trunkline.codecs.comfort_noise import length_of_piece, white_spectra, window
from trunkline.codecs.compiled import Kernel
from trunkline.codecs.fourier import MOST_POINTS, turns
from trunkline.gateway.media import compiled
from trunkline.gateway.media.filling import Ahead
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.hearing import columns_of_heads, filter_of
from trunkline.gateway.media.table import BACKGROUND_SAMPLES, Table

LONGEST_MS = 120
"Frames that there are kernels for: longer ones are few, and their noise is large."

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]
Flags = NDArray[np.uint16]
Mask = NDArray[np.bool_]

_NO_TABLE = np.zeros(0, np.int16)
_COUNT = (1 << 20) - 1


@dataclasses.dataclass(frozen=True, slots=True)
class _Kernels:
    """Of one format and length of a piece of noise: frames up to that length differ in nothing else."""

    frames: Kernel
    records: Kernel


class Fills:
    """The kernels of all formats."""

    def __init__(self, table: Table, voices: NDArray[np.float64]) -> None:
        """`voices` is the state of all rows' voices (voice.py)."""
        self._table, self._voices = table, voices
        self._kernels: dict[tuple[int, int], _Kernels | None] = {}
        "by format, and samples of a piece"
        self._ceased, self._flags = np.zeros(table.capacity, np.intp), np.zeros(table.capacity, np.uint16)
        "what the kernels fill in"

    def knows(self, fmt: Format, samples: int) -> bool:
        """Whether there are kernels for missing frames of so many samples on the line."""
        return fmt.up.takes(samples) and self._of(fmt, samples) is not None

    def records(self, fmt: Format, samples: int) -> Kernel | None:
        """What `write` calls; None where there is none for such frames."""
        kernels = self._of(fmt, samples) if fmt.up.takes(samples) else None
        return None if kernels is None else kernels.records

    def frames(
        self, fmt: Format, rows: Rows, samples: int, quiet: Mask, ahead: Ahead, *, hurried: bool
    ) -> tuple[Pcm, Flags, list[int]]:
        """A missing frame of each row at the agent's rate, its flags, and the rows that have now ceased to speak.

        `quiet` where concealment has ended; `hurried`: digital silence for all.
        """
        kernels = self._of(fmt, samples)
        assert kernels is not None
        flags, pcm = np.empty(len(rows), np.uint16), np.empty((len(rows), fmt.up.output_samples(samples)), np.int16)
        ceased = kernels.frames(int(hurried), rows, quiet, *ahead, flags, self._ceased, pcm)
        return pcm, flags, self._ceased[:ceased].tolist() if ceased else []

    def write(
        self, fmt: Format, rows: Rows, samples: int, quiet: Mask, ahead: Ahead, message: AudioMessage, *, hurried: bool
    ) -> list[int]:
        """The same as records of `message`, of those rows whose agent is ready; their positions are moved on."""
        kernels = self._of(fmt, samples)
        assert kernels is not None
        counts = kernels.records(int(hurried), rows, quiet, *ahead, self._flags, self._ceased, message.records)
        message.done(counts >> 20)
        ceased = counts & _COUNT
        return self._ceased[:ceased].tolist() if ceased else []

    def _of(self, fmt: Format, samples: int) -> _Kernels | None:
        kind = fmt.index, length_of_piece(samples, fmt.line_hz)
        if kind not in self._kernels:
            self._kernels[kind] = self._bind(fmt, kind[1])
        return self._kernels[kind]

    def _bind(self, fmt: Format, piece: int) -> _Kernels | None:
        table, c, up = self._table, self._table.shared, fmt.up
        if min(up.up, up.down) > 1 or not 0 < piece <= fmt.line_hz * LONGEST_MS // 1000:
            return None
        white = white_spectra(piece)
        size = 2 * (white.shape[1] - 1)
        if compiled.native is None or size > MOST_POINTS:
            return None
        decode = _NO_TABLE if fmt.codec.decode_table is None else fmt.codec.decode_table
        common = (
            fmt.line_history, fmt.line_hz, decode, table.lost_run, table.ahead_from, table.clock_hz,
            table.comfort_until_voice, table.receiving, table.noise_dbov, table.comfort_dbov, table.noise_known,
            table.noise_reflection, table.comfort_reflection, table.background, window(BACKGROUND_SAMPLES),
            white.view(np.float64), turns(size), c.frames_gap, c.frames_concealed, c.frames_comfort_noise,
            self._voices, table.up_history, *filter_of(fmt),
        )  # fmt: skip
        frames = compiled.bind("filled_frames", *common)
        records = compiled.bind("filled_records", *common, *columns_of_heads(table))
        return None if frames is None or records is None else _Kernels(frames, records)
