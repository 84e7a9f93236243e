# SPDX-License-Identifier: GPL-2.0-or-later
"""Voice activity of every call: which frames are speech, and where the caller begins and ceases to speak.

    Uplink.hear -> energy over the noise floor, for all at once -> flags of the frames
                     -> voice that goes on: a voice, or only loud? (the few) -> changes -> Turns

Frames that were made up are no speech, and teach nothing.  Changes carry no time but their
place: Uplink knows where on the agent's timeline they are.  A route may have its calls
listened to by a neural network instead (neural_voice.py), or not at all: then frames that are
loud are flagged, and nobody is told of anything.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import FLAG_SPEECH
from trunkline.codecs import voice_activity as va
from trunkline.codecs.compiled import Kernel
from trunkline.codecs.level import level_dbov
from trunkline.codecs.voicing import span_samples, voicing
from trunkline.gateway.media import compiled
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.lateness import draws
from trunkline.gateway.media.neural_voice import NeuralVoice
from trunkline.gateway.media.table import Stream, Table
from trunkline.gateway.media.tone_watch import ToneWatch

SPEECH_DBOV = -45.0
"Without a detector, frames above this level are flagged: between line noise (-60) and quiet talk (-30)."
TURN = 4
"One batch in so many teaches the floor."
VOICED = 0.55
"Of `voicing`: as much as a voice has; what is loud and has less does not begin to speak."
SURELY_VOICED, LATE_MS = 0.7, 160.0
"What has had none for so long is hardly one, and must have more: noise is asked again and again."
WHISPER_MS = 1500.0
"Nothing is asked of what has gone on for so long: a whisper, since noise would be known (voice_activity.HELD_MS)."

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]
Flags = NDArray[np.uint16]
Levels = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A caller has begun to speak, or ceased."""

    row: int
    started: bool
    back_ms: float
    "so long before the end of the frame that showed it: first, or last, of the speech"
    level_dbov: float


class Voice:
    """State of all callers' voices, and what has changed since somebody looked."""

    def __init__(self, table: Table, tones: ToneWatch) -> None:
        self._table = table
        self._tones = tones
        self.turns = draws(TURN)
        self.turn = next(self.turns)
        "whether this batch teaches the floor; Uplink.draw"
        self._state = np.array([va.new_state()] * table.capacity)
        self._stop_ms = np.full(table.capacity, math.inf)
        self._start_ms = np.full(table.capacity, math.inf)
        self._neural: NeuralVoice | None = None
        self._untold = np.zeros(table.capacity, bool)
        self.neural = np.zeros(table.capacity, bool)
        "rows that a neural network listens to"
        self.columns = self._state, table.shared.level_up_dbov, table.echo_dbov, self._untold
        "what kernels that hear voices begin with"
        self._kernel = compiled.bind("voice", *self.columns)
        self._changed = np.zeros(table.capacity, np.intp)
        "what the kernel fills in"
        self.untold = 0
        "calls without a detector"
        self.changes: list[Change] = []
        "of the last frames; Uplink takes them"

    # -- calls ------------------------------------------------------------------------------

    def set(self, stream: Stream) -> None:
        """A call begins, perhaps in the middle of what a predecessor has told of."""
        turns, row = stream.start.turns, stream.row
        self._state[row] = va.new_state()
        told = turns.detector != "off"
        self._start_ms[row] = turns.min_speech_ms if told else math.inf
        self._stop_ms[row] = turns.min_silence_ms if told else math.inf
        if not told:
            self._untold[row] = True
            self.untold += 1
        if turns.detector == "neural":
            if self._neural is None:
                self._neural = NeuralVoice(self.neural)
            self._neural.set(row)
        speaking = bool(self._table.shared.speaking[row])
        if speaking:
            self._state[row, va.QUIET_MS] = 0.0
        self._expect(row, speaking=speaking)

    def forget(self, row: int) -> None:
        """The row ends."""
        self._state[row, va.START_MS] = self._state[row, va.STOP_MS] = math.inf
        if self._untold[row]:
            self._untold[row] = False
            self.untold -= 1
        if self._neural is not None:
            self._neural.forget(row)

    def quiet_ms(self, row: int) -> float:
        """Since voice was last heard."""
        return float(self._state[row, va.QUIET_MS])

    # -- frames -----------------------------------------------------------------------------

    def hear(self, fmt: Format, rows: Rows, pcm: Pcm) -> tuple[Levels, Flags]:
        """Good line audio of one format: levels and flags of these frames."""
        learn_ms, ms = self.times_ms(fmt, pcm.shape[1])
        if self._kernel is None:
            by = self._by_numpy
        elif self._neural is None or not self.neural[rows].any():
            by = self._by_kernel
        else:
            by = self._apart
        level, flags, changed = by(fmt, rows, pcm, ms, learn_ms)
        if len(changed):
            self.change(fmt, rows[changed], level[changed], pcm[changed])
        return level, flags

    @property
    def kernel(self) -> Kernel | None:
        """Hears frames of rows that are not `neural`."""
        return self._kernel

    def times_ms(self, fmt: Format, samples: int) -> tuple[float, float]:
        """For how long frames of so many samples teach the floor in this batch, 0 for not at all; how long they are."""
        ms = samples * 1000 / fmt.line_hz
        return ms * TURN if self.turn else 0.0, ms

    def _apart(self, fmt: Format, rows: Rows, pcm: Pcm, ms: float, learn_ms: float) -> tuple[Levels, Flags, Rows]:
        """Some are listened to by a neural network: those without the kernel, all others by it."""
        level, flags = np.empty(len(rows), np.float32), np.empty(len(rows), np.uint16)
        neural, changed = self.neural[rows], []
        for which, by in (np.flatnonzero(neural), self._by_numpy), (np.flatnonzero(~neural), self._by_kernel):
            if len(which):
                level[which], flags[which], places = by(fmt, rows[which], pcm[which], ms, learn_ms)
                changed.append(which[places])
        return level, flags, np.sort(np.concatenate(changed))

    def _by_kernel(
        self, fmt: Format, rows: Rows, pcm: Pcm, ms: float, learn_ms: float
    ) -> tuple[Levels, Flags, Rows]:
        assert self._kernel is not None
        level, flags = np.empty(len(rows), np.float32), np.empty(len(rows), np.uint16)
        count = self._kernel(learn_ms, ms, rows, pcm, level, flags, self._changed)
        return level, flags, self._changed[:count]

    def _by_numpy(
        self, fmt: Format, rows: Rows, pcm: Pcm, ms: float, learn_ms: float
    ) -> tuple[Levels, Flags, Rows]:
        """The same without a kernel; who may have begun or ceased to speak is told by the places."""
        level = level_dbov(pcm)
        self._table.shared.level_up_dbov[rows] = level
        state = self._state.take(rows, axis=0)
        if learn_ms:
            va.learn(state, level, learn_ms)
        voice = va.is_voice(state, level, self._table.echo_dbov.take(rows))
        if self._neural is not None:
            self._neural.hear(fmt.line_hz, rows, pcm, voice)
        if self.untold:
            untold = self._untold[rows]
            voice[untold] = level[untold] > SPEECH_DBOV
        changed = va.count(state, voice, ms)
        self._state[rows] = state
        return level, voice * np.uint16(FLAG_SPEECH), np.flatnonzero(changed)

    @property
    def state(self) -> NDArray[np.float64]:
        """Of all rows' voices, for kernels that pass frames over: f64[capacity, va.FIELDS]."""
        return self._state

    def pass_over(self, fmt: Format, rows: Rows, samples: int) -> None:
        """Frames that were made up."""
        state = self._state[rows]
        changed = va.count(state, np.zeros(len(rows), bool), samples * 1000 / fmt.line_hz)
        self._state[rows] = state
        self.ceased(rows[changed].tolist())

    def ceased(self, rows: list[int]) -> None:
        """In frames that were made up, these have been quiet for so long that they no longer speak."""
        for row in rows:
            self._told(row, started=False, level_dbov=va.LEAST_DBOV)

    # -- the few that change ----------------------------------------------------------------

    def change(self, fmt: Format, rows: Rows, level: Levels, pcm: Pcm | None = None) -> None:
        """Those who may have begun to speak or ceased, with frames that are in their history already without `pcm`."""
        starting = self._table.shared.speaking[rows] == 0
        voiced = self._voiced(fmt, rows, pcm, starting)
        of_all = rows.tolist(), level.tolist(), starting.tolist(), voiced.tolist()
        for row, loudness, starts, sure in zip(*of_all, strict=True):
            if not starts:
                self._told(row, started=False, level_dbov=loudness)
            elif self._tones.is_key(row):  # a tone is no voice
                self._state[row, va.VOICE_MS] = 0.0
            elif sure or self._state[row, va.VOICE_MS] >= WHISPER_MS:
                self._told(row, started=True, level_dbov=loudness)

    def _voiced(self, fmt: Format, rows: Rows, pcm: Pcm | None, starting: Mask) -> Mask:
        """Which of those that may begin to speak have a voice; a neural network has heard that already."""
        sure = ~starting
        if self._neural is not None:
            sure |= self.neural[rows]
        asked = np.flatnonzero(~sure)
        if len(asked):
            heard = fmt.line_history[rows[asked]]
            if pcm is not None:
                heard = np.concatenate([heard, pcm[asked]], axis=1)
            needed = np.where(self._state[rows[asked], va.VOICE_MS] > LATE_MS, SURELY_VOICED, VOICED)
            sure[asked] = voicing(heard[:, -span_samples(fmt.line_hz) :], fmt.line_hz) > needed
        return sure

    def _told(self, row: int, *, started: bool, level_dbov: float) -> None:
        back_ms = float(self._state[row, va.VOICE_MS if started else va.QUIET_MS])
        if self._neural is not None and self.neural[row]:
            back_ms += self._neural.lag_ms
        self._table.shared.speaking[row] = started
        self._expect(row, speaking=started)
        self.changes.append(Change(row, started, back_ms, level_dbov))

    def _expect(self, row: int, *, speaking: bool) -> None:
        """What would be a change now."""
        self._state[row, va.START_MS] = math.inf if speaking else self._start_ms[row]
        self._state[row, va.STOP_MS] = self._stop_ms[row] if speaking else math.inf
