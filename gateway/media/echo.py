# SPDX-License-Identifier: GPL-2.0-or-later
"""Our own voice in the caller's audio must not pass for the caller's.

While something is played, and for as long as a line may echo it, the caller's audio is voice
only if it is louder than what was played less the line's loss (`Table.echo_dbov`, in
voice.py).  20 dB of loss are assumed.  A line with less is found out by what it does: "speech"
that began while we played and ends as soon as we stop was an echo, and 6 dB less are assumed
from then on.  So a bad line interrupts the agent a few times, not for ever; and a caller who
goes on when we have stopped gets them back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.level import FLOOR_DBOV, level_dbov
from trunkline.gateway.media.table import ECHO_LOSS_DB, Table

DECAY_DB = 1.0
"A packet time, of what was played: 50 dB/s, so an echo may come some 300 ms late and 15 dB weaker still."
EVERY = 8
"One sample in so many gives the level, to 1 or 2 dB, at a fraction of the cost."
LOUD_DBOV = -45.0
"What is quieter leaves no echo that could pass for a voice."
AFTER_MS = 300
"Speech that ends so soon after our last loud packet is an echo of it; a person who is let speak says more."
LEARN_DB = 6.0

Rows = NDArray[np.intp]


class Echo:
    """What lines may bring back of what they were sent."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def played(self, rows: Rows, pcm: NDArray[np.int16], now_ns: int) -> None:
        """A packet's audio for each row, silence too: pcm[n, samples] at the agent's rate."""
        table = self._table
        level = level_dbov(pcm, EVERY)
        loud = level > LOUD_DBOV
        table.loud_ns[rows if loud.all() else rows[loud]] = now_ns
        table.echo_dbov[rows] = np.maximum(level - table.echo_loss_db[rows], table.echo_dbov[rows] - DECAY_DB)

    def silent(self, rows: Rows) -> None:
        """Nothing was played to these rows for a packet time."""
        table = self._table
        table.echo_dbov[rows] = np.maximum(FLOOR_DBOV - table.echo_loss_db[rows], table.echo_dbov[rows] - DECAY_DB)

    def judge(self, row: int, ended_ns: int) -> None:
        """Speech that began while we played ended then; nothing can be told while we play on."""
        loss, went_on_ms = self._table.echo_loss_db, (ended_ns - int(self._table.loud_ns[row])) / 1e6
        if 0 <= went_on_ms < AFTER_MS:
            loss[row] = max(loss[row] - LEARN_DB, 0.0)
        elif went_on_ms >= AFTER_MS:
            loss[row] = min(loss[row] + LEARN_DB, ECHO_LOSS_DB)
