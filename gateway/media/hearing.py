# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiled: what becomes of good audio once it is known who speaks (`native/hear.c`).

    -> kept for concealment -> background -> resampled -> frames of a connection's own dialect, as bytes
                                                       -> frames

One pass does what `filling.remember`, `background.listen`, `uplink._resample` and, where the agent
takes records as bytes, `uplink._emit` and the dialect do one after the other.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.wire import AudioMessage
from trunkline.codecs.compiled import Kernel
from trunkline.gateway.media import compiled
from trunkline.gateway.media.background import Background, rise_db
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.table import Table

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]
Levels = NDArray[np.float32]
Flags = NDArray[np.uint16]

_AS_IT_IS = np.ones((1, 1), np.float32)


def filter_of(fmt: Format) -> tuple[NDArray[np.float32], int, int]:
    """The resampler to the agent's rate, as kernels take it: taps, up, down."""
    up = fmt.up
    return (_AS_IT_IS if up.from_hz == up.to_hz else up.phases), up.up, up.down


def columns_of_heads(table: Table) -> tuple[Any, ...]:
    """What heads of records are made of (native/frame.h)."""
    c = table.shared
    return (
        c.up_position, c.up_flags, table.agent_ready, table.channels, c.frames_to_agent, c.worker.frames_to_agent,
    )  # fmt: skip


def columns_of_records(table: Table, fmt: Format) -> tuple[Any, ...]:
    """What kernels that write records of a format begin with (native/uplink.h); the first eight are for frames, too."""
    return (
        fmt.line_history, table.background, table.noise_dbov, table.noise_known, table.up_history,
        *filter_of(fmt), *columns_of_heads(table),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class _Kernels:
    """Of one format."""

    frames: Kernel
    records: Kernel


class Hearing:
    """The kernels of all formats."""

    def __init__(self, table: Table, background: Background) -> None:
        self._table, self._background = table, background
        self._kernels: dict[int, _Kernels | None] = {}
        "by format"

    def knows(self, fmt: Format) -> bool:
        """Whether there are kernels for audio of this format."""
        return self._of(fmt) is not None

    def rise_db(self, fmt: Format, samples: int) -> float:
        """Of the background in a batch of frames of so many samples, negative if it is not its turn."""
        return rise_db(samples / fmt.line_hz) if self._background.turn else -1.0

    def frames(self, fmt: Format, rise_db: float, rows: Rows, pcm: Pcm, heard: Pcm, level: Levels) -> Pcm:
        """Good line audio pcm[n, samples] at the agent's rate; `heard` is the same but for fades (`filling.join`)."""
        kernels = self._of(fmt)
        assert kernels is not None
        out: Pcm = np.empty((len(rows), fmt.up.output_samples(pcm.shape[1])), np.int16)
        kernels.frames(rise_db, rows, pcm, heard, level, out)
        return out

    def write(
        self,
        fmt: Format,
        rise_db: float,
        rows: Rows,
        pcm: Pcm,
        heard: Pcm,
        level: Levels,
        flags: Flags,
        message: AudioMessage,
    ) -> None:
        """The same as records of `message`, of those rows whose agent is ready; their positions are moved on."""
        kernels = self._of(fmt)
        assert kernels is not None
        message.done(kernels.records(rise_db, rows, pcm, heard, level, flags, message.records))

    def records(self, fmt: Format) -> Kernel | None:
        """What `write` calls; None where there is none for this format."""
        kernels = self._of(fmt)
        return None if kernels is None else kernels.records

    def _of(self, fmt: Format) -> _Kernels | None:
        if fmt.index not in self._kernels:
            self._kernels[fmt.index] = self._bind(fmt)
        return self._kernels[fmt.index]

    def _bind(self, fmt: Format) -> _Kernels | None:
        if min(fmt.up.up, fmt.up.down) > 1:  # 44.1 kHz to most others
            return None
        columns = columns_of_records(self._table, fmt)
        frames, records = compiled.bind("frames", *columns[:8]), compiled.bind("records", *columns)
        return None if frames is None or records is None else _Kernels(frames, records)
