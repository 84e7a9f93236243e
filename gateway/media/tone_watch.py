# SPDX-License-Identifier: GPL-2.0-or-later
"""Key tones in callers' audio: told to `Keys`, and cut out where the route says so.

    Uplink -> [hold 30 ms back] -> detector -> silence what holds a tone -> Uplink
                 only where tones are cut

A call is watched only if it needs to be: the peer agreed on no telephone-event, or the trunk
says that it sends tones all the same, or tones are to be cut.  For all others this costs one
look at a flag.

A tone is known 15 to 30 ms after it has begun.  So that nothing of it slips through to an
agent that must not hear it, the audio of such a call is late by `HOLD_MS`: from there a tone
can still be taken back.  While an RTP event is under way the caller's audio is silenced
whole, and with it what was held back: peers that notice a key late leave its beginning in.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import FLAG_SPEECH
from trunkline.codecs.tone_detector import Suspect, Tone, ToneDetector
from trunkline.gateway.media.table import Stream, Table

HOLD_MS = 30

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]
Flags = NDArray[np.uint16]


class ToneWatch:
    """The calls whose audio is searched for key tones."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.watching = 0
        "calls that are watched; the uplink does not ask before there is one"
        self.pressed: Collection[int] = ()
        "rows in the middle of a press by RTP event"
        self.heard: list[Tone] = []
        "presses that have ended since somebody looked"
        self.sounding: set[int] = set()
        "rows whose last frame had a window with a tone in it: that is no voice"
        self.watched = np.zeros(table.capacity, bool)
        "rows of these calls"
        self._cut = np.zeros(table.capacity, bool)
        self._told = np.zeros(table.capacity, bool)
        self._lines: dict[int, _Line] = {}
        "by sample rate"

    def set(self, stream: Stream) -> None:
        """What was agreed on, or the end of a format: does this call need it now?"""
        digits, row = stream.start.digits, stream.row
        agreed = stream.media.receive_dtmf_pt >= 0
        told = digits.detect == "on" or (digits.detect == "auto" and not agreed)
        watched = told or digits.cut
        if self._told[row] and not told:  # a tone under way was pressed: its end would be told to nobody, or late
            self._end_tones(row)
        self.watching += int(watched) - int(self.watched[row])
        self.watched[row], self._cut[row], self._told[row] = watched, digits.cut, told

    def end(self, row: int) -> None:
        """The call, or its audio of this rate, is over: a press under way ends with it."""
        self._end_tones(row)
        for line in self._lines.values():
            line.held[row] = 0

    def _end_tones(self, row: int) -> None:
        for line in self._lines.values():
            last = line.detector.finish(row)
            if last is not None and self._told[row]:
                self.heard.append(last)

    def forget(self, row: int) -> None:
        """The row is free."""
        self.end(row)
        self.watching -= int(self.watched[row])
        self.watched[row] = self._cut[row] = self._told[row] = False
        self.sounding.discard(row)
        self.heard = [tone for tone in self.heard if tone.row != row]

    def late_ms(self, row: int) -> int:
        """By how much the audio of this row is late, so that tones can be cut out of it."""
        return HOLD_MS if self._cut[row] else 0

    def is_key(self, row: int) -> bool:
        """Whether what is heard now is a key, as far as anybody can tell."""
        return row in self.sounding or row in self.pressed

    def hear(self, line_hz: int, rows: Rows, pcm: Pcm, flags: Flags) -> tuple[Pcm, Flags]:
        """Line audio pcm[n, samples] of n different rows on its way to their agents; what is left of it."""
        watched = self.watched[rows]
        if not watched.any():
            return pcm, flags
        which = np.flatnonzero(watched)
        line = self._lines.get(line_hz)
        if line is None:
            line = self._lines[line_hz] = _Line(line_hz, self._table.capacity)
        tones, suspects = line.detector.process(rows[which], pcm[which])
        self.heard += [tone for tone in tones if self._told[tone.row]]
        if suspects or self.sounding:
            flags = self._note_sounding(rows, which, suspects, flags)
        cut = self._cut[rows[which]]
        if not cut.any():
            return pcm, flags
        silenced = [suspect for suspect in suspects if cut[suspect.index]]
        return self._without_tones(line, rows, which, pcm, flags, silenced)

    def _note_sounding(
        self, rows: Rows, which: NDArray[np.intp], suspects: list[Suspect], flags: Flags
    ) -> Flags:
        self.sounding.difference_update(rows[which].tolist())
        places = which[[suspect.index for suspect in suspects]]
        self.sounding.update(rows[places].tolist())
        flags = flags.copy()
        flags[places] &= np.uint16(0xFFFF ^ FLAG_SPEECH)
        return flags

    def _without_tones(
        self, line: _Line, rows: Rows, which: NDArray[np.intp], pcm: Pcm, flags: Flags, suspects: list[Suspect]
    ) -> tuple[Pcm, Flags]:
        """Audio of `HOLD_MS` ago for the rows that are cut; the others' as it is."""
        cut = which[self._cut[rows[which]]]
        place = np.full(len(rows), -1, np.intp)
        place[cut] = np.arange(len(cut))
        joined = np.concatenate([line.held[rows[cut]], pcm[cut]], axis=1)
        for suspect in suspects:
            at = place[which[suspect.index]]
            joined[at, max(0, suspect.start + line.hold) : max(0, suspect.stop + line.hold)] = 0
        if self.pressed:
            joined[[row in self.pressed for row in rows[cut].tolist()]] = 0
        width = pcm.shape[1]
        line.held[rows[cut]] = joined[:, width:]
        pcm, flags = pcm.copy(), flags.copy()
        pcm[cut] = joined[:, :width]
        flags[cut[~pcm[cut].any(axis=1)]] &= np.uint16(0xFFFF ^ FLAG_SPEECH)
        return pcm, flags


class _Line:
    """What belongs to one sample rate."""

    def __init__(self, rate_hz: int, capacity: int) -> None:
        self.detector = ToneDetector(rate_hz, capacity)
        self.hold = rate_hz * HOLD_MS // 1000
        self.held: Pcm = np.zeros((capacity, self.hold), np.int16)
        "the last samples of each row that have not gone to the agent"
