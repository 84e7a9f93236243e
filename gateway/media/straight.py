# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiled: good payloads of one length, from their packets to the agent's message, in one call (`native/straight.c`).

    -> decoded (uplink.py) -> voice (voice.py) -> joined on to what was made up (filling.py) -> records (hearing.py)

It is for packets that others were missing before, or that waited: a few of them at a time, so that four calls, with
arrays in between, cost more than what they do. Those that came as expected have gone by `usual.py`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.wire import AudioMessage
from trunkline.codecs.compiled import Kernel
from trunkline.codecs.conceal import MOST_SAMPLES
from trunkline.gateway.media import compiled, voice
from trunkline.gateway.media.arrivals import Arrivals
from trunkline.gateway.media.background import rise_db
from trunkline.gateway.media.filling import Filler
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.hearing import Hearing
from trunkline.gateway.media.table import Table
from trunkline.gateway.media.voice import Voice

Rows = NDArray[np.intp]

_COUNT = (1 << 20) - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """Of one format and length."""

    kernel: Kernel
    pcm: NDArray[np.int16]
    "[2, capacity, samples] that it fills in"


class Straight:
    """The kernels of all formats."""

    def __init__(self, table: Table, voice: Voice, filler: Filler, hearing: Hearing) -> None:
        self._table, self._voice, self._filler, self._hearing = table, voice, filler, hearing
        self._ways: dict[tuple[int, int], Way | None] = {}
        "by format, and bytes of a payload"
        n = table.capacity
        self._level, self._flags = np.zeros(n, np.float32), np.zeros(n, np.uint16)
        self._changed = np.zeros(n, np.intp)
        "what they fill in"

    def way(self, fmt: Format, samples: int) -> Way | None:
        """The one for payloads of so many bytes that are as many samples, a frame of the agent's."""
        if fmt.up.down > 1 or fmt.up.output_samples(samples) != fmt.frame_samples:
            return None  # or a peer could have one made for each length
        kind = fmt.index, samples
        if kind not in self._ways:
            self._ways[kind] = self._bind(fmt, samples)
        return self._ways[kind]

    def knows(self, fmt: Format, samples: int) -> bool:
        """Whether there is one."""
        return self.way(fmt, samples) is not None

    @staticmethod
    def times(fmt: Format, samples: int) -> tuple[float, float, float]:
        """How many ms frames of so many samples last; for how many they teach in a turn, and dB of rise."""
        ms = samples * 1000 / fmt.line_hz
        return ms, ms * voice.TURN, rise_db(samples / fmt.line_hz)

    def write(
        self, fmt: Format, rows: Rows, arrivals: Arrivals, which: NDArray[np.intp], samples: int, message: AudioMessage
    ) -> Rows:
        """Records of `message`, of those rows whose agent is ready; their positions are moved on.

        Returns the rows whose callers may have begun or ceased to speak with these frames.
        """
        way, voice = self._ways[fmt.index, samples], self._voice
        assert way is not None
        said = way.kernel(
            *voice.times_ms(fmt, samples), self._hearing.rise_db(fmt, samples), rows, arrivals.index[which],
            arrivals.packets, arrivals.start[which], *way.pcm, self._level, self._flags, self._changed, message.records,
        )  # fmt: skip
        message.done(said & _COUNT)
        return rows[self._changed[: said >> 20]]

    def _bind(self, fmt: Format, samples: int) -> Way | None:
        table, voice, join = fmt.codec.decode_table, self._voice.kernel, self._filler.join_kernel(fmt)
        records = self._hearing.records(fmt)
        if table is None or voice is None or join is None or records is None:
            return None
        if not 0 < samples <= MOST_SAMPLES:
            return None
        kernel = compiled.bind("straight", (compiled.bind("decode", table),), (voice,), (join,), (records,))
        return None if kernel is None else Way(kernel, np.zeros((2, self._table.capacity, samples), np.int16))
