# SPDX-License-Identifier: GPL-2.0-or-later
"""What it sounds like where the caller is: learned from the quiet frames, played when nothing comes.

The level follows the least of what is heard: down quickly, up slowly.  A frame near that
level is background, and a piece of it is kept as it is; its colour is only worked out
when noise must be made, because that is seldom and every frame passes here.

A peer that says itself what its background is like (RFC 3389) is believed instead.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.comfort_noise import ORDER, analyse, length_of_piece, synthesise
from trunkline.gateway.media.lateness import draws
from trunkline.gateway.media.table import BACKGROUND_SAMPLES, Table
from trunkline.rtp.comfort_noise import ComfortNoise

TURN = 3
"One batch in so many is looked at."
RISE_DB_PER_S = 2.0
"Speech lets the level creep up by so much, until its next pause: 10 dB in 5 s of talk without a breath."
FALL = 0.25
"Share of the way down that one quieter frame goes: one strange frame in noise is not the background."
NEAR_DB = 3.0
"Frames so little above the level are background."
LOUDEST_DBOV = -40.0
"What is louder was speech, or a place where nobody telephones: noise that is made up is never louder than this."
AUDIBLE_DBOV = -75.0
"Below, noise is digital silence: an amplitude of 6 on a scale of 32768."
FLOOR_DBOV = -78.0
"The background is not taken for quieter, so that after digital silence the way up is not long."

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]


def rise_db(seconds: float) -> float:
    """By how much the level may have risen when a frame that lasts so long has its turn."""
    return RISE_DB_PER_S * seconds * TURN


class Background:
    """Level and colour of each row's background noise."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.turns = draws(TURN)
        self.turn = next(self.turns)
        "whether this batch is looked at; Uplink.draw"

    def listen(
        self, rows: Rows, pcm: NDArray[np.int16], level: NDArray[np.float32], seconds: float
    ) -> None:
        """Good frames pcm[n, samples] and their levels: a few column operations, and a copy of the quiet ones.

        One batch in three will do: backgrounds change slowly.
        """
        if self.turn:
            self.learn(rows, pcm, level, seconds)

    def learn(self, rows: Rows, pcm: NDArray[np.int16], level: NDArray[np.float32], seconds: float) -> None:
        """What these frames say."""
        table = self._table
        heard = np.maximum(level, FLOOR_DBOV)
        noise = table.noise_dbov[rows]
        np.copyto(noise, heard, where=noise > 0)  # the first frame of a call
        above = heard - noise
        noise += np.where(above < 0, above * FALL, rise_db(seconds))
        table.noise_dbov[rows] = noise
        near = np.flatnonzero(above < NEAR_DB)
        if len(near):
            quiet = rows[near]
            piece = pcm[near, -BACKGROUND_SAMPLES:]
            table.background[quiet, BACKGROUND_SAMPLES - piece.shape[1] :] = piece
            table.noise_known[quiet] = False

    def told(self, row: int, noise: ComfortNoise) -> None:
        """The peer has paused, and says what its background is like."""
        table = self._table
        table.comfort_until_voice[row] = True
        table.comfort_dbov[row] = noise.level_dbov
        table.comfort_reflection[row] = 0
        table.comfort_reflection[row, : len(noise.reflection)] = noise.reflection[:ORDER]

    def add(
        self, sound: NDArray[np.float64], rate_hz: int, rows: Rows, share: NDArray[np.float64], asked: Mask
    ) -> None:
        """Mix noise into sound[n, samples], in place: `share` of its amplitude, and the peer's where `asked`."""
        table = self._table
        known = table.noise_dbov[rows]
        level = np.where(known > 0, FLOOR_DBOV, np.minimum(known, LOUDEST_DBOV))
        level[asked] = table.comfort_dbov[rows[asked]]
        heard = np.flatnonzero((level > AUDIBLE_DBOV) & (share[:, -1] > 0) & table.receiving[rows])
        if not len(heard):
            return
        of_rows, peers = rows[heard], asked[heard]
        self._work_out(of_rows[~peers & ~table.noise_known[of_rows]])
        colour = table.noise_reflection[of_rows]
        colour[peers] = table.comfort_reflection[of_rows[peers]]
        piece = table.lost_run[of_rows].astype(np.int64) + of_rows * 7  # rows differ, frames of a row join
        samples = sound.shape[1]
        noise = synthesise(level[heard], colour, samples, piece, length_of_piece(samples, rate_hz))
        sound[heard] += noise * share[heard]

    def _work_out(self, rows: Rows) -> None:
        """Colour of the background where it has changed since it was last needed."""
        if len(rows):
            self._table.noise_reflection[rows] = analyse(self._table.background[rows])
            self._table.noise_known[rows] = True
