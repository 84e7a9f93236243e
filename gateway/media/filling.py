# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames that never came: concealed, or background noise.

    lost, shorter than 240 ms   the sound goes on and fades (codecs/conceal.py), noise comes up
    lost for longer             noise, as the caller's background was; flagged as a gap
    the peer said CN            noise as it asked for (RFC 3389), until it speaks again
    on hold, never heard        digital silence

When a gap is filled, the packet behind it is often there already, in the reorder buffer:
the timeline says so (`expect`), and the fill leads over to it.  Otherwise the first good
frame begins with a short fade from what was made up.

Compiled (fills.py), it is done row by row; what is here is done where there are no kernels,
where decoders conceal, and for frames that are not cut as usual.
"""

from __future__ import annotations

import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import FLAG_COMFORT_NOISE, FLAG_CONCEALED, FLAG_GAP
from trunkline.codecs.compiled import Kernel
from trunkline.codecs.conceal import (
    HOLD_MS,
    MOST_SAMPLES,
    can_look_ahead,
    conceal,
    conceal_between,
    fade_left,
)
from trunkline.gateway.media import compiled
from trunkline.gateway.media.background import Background
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.table import SILENT_RUN, Table

MERGE_MS = 5
"Fade from what was made up into the first good frame; 10 ms cost 0.05 MOS, and none at all 0.1."

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]
Real = NDArray[np.float64]
Samples = NDArray[np.int64]
Ahead = tuple["array.array[int]", "array.array[int]", bytes]
"""What waits behind the gaps of rows: so many timestamp units after the beginning of the frame, where each payload
ends, and all of them; or nothing of all."""
NOTHING_AHEAD: Ahead = array.array("q"), array.array("q"), b""


class Filler:
    """Keeps what concealment needs of each row, and makes the frames that are missing."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._ahead: dict[int, tuple[int, bytes]] = {}
        "row -> (timestamp units from the next frame to fill up to the packet that waits, its payload)"
        self.background = Background(table)
        self._joins: dict[int, Kernel | None] = {}
        "by format"

    # -- good audio -------------------------------------------------------------------------

    def join(self, fmt: Format, rows: Rows, pcm: Pcm) -> Pcm:
        """Good audio as the agent hears it: where something was made up just before, with a fade."""
        kernel = self.join_kernel(fmt)
        if kernel is None or pcm.shape[1] > MOST_SAMPLES:
            return self._join_by_numpy(fmt, rows, pcm)
        joined: Pcm = np.empty(pcm.shape, np.int16)
        return joined if kernel(rows, pcm, joined) else pcm

    def join_kernel(self, fmt: Format) -> Kernel | None:
        """Does that for this format, None where nothing is compiled."""
        if fmt.index not in self._joins:
            table = self._table
            self._joins[fmt.index] = compiled.bind(
                "join", fmt.line_history, fmt.line_hz, table.lost_run, table.ahead_from, table.comfort_until_voice,
                table.shared.rx_ptime_ts, table.clock_hz,
            )  # fmt: skip
        return self._joins[fmt.index]

    def _join_by_numpy(self, fmt: Format, rows: Rows, pcm: Pcm) -> Pcm:
        """The same without a kernel."""
        table = self._table
        lost = table.lost_run[rows]
        if not lost.any():
            return pcm
        table.comfort_until_voice[rows] = False
        blind = np.flatnonzero((lost > 0) & (lost < SILENT_RUN) & (table.ahead_from[rows] < 0))
        table.ahead_from[rows] = -1
        width = min(fmt.line_hz * MERGE_MS // 1000, pcm.shape[1])
        if not len(blind) or not width:
            return pcm
        of_rows = rows[blind]
        frame_ts = table.shared.rx_ptime_ts[of_rows]
        start = lost[blind].astype(np.int64) * frame_ts * fmt.line_hz // table.clock_hz[of_rows]
        made_up = conceal(fmt.line_history[of_rows], width, start, fmt.line_hz)
        share = (np.arange(width) + 0.5) / width
        joined = pcm.copy()
        joined[blind, :width] = _whole(made_up * (1 - share) + pcm[blind, :width] * share)
        return joined

    def remember(self, fmt: Format, rows: Rows, pcm: Pcm, level: NDArray[np.float32]) -> None:
        """Keep the newest good audio, for concealment, and what is known of the background."""
        history, samples = fmt.line_history, pcm.shape[1]
        kept = history.shape[1]
        if samples >= kept:
            history[rows] = pcm[:, -kept:]
        else:
            history[rows, : kept - samples] = history[rows, samples:]
            history[rows, kept - samples :] = pcm
        self.background.listen(rows, pcm, level, samples / fmt.line_hz)

    # -- what is missing --------------------------------------------------------------------

    def expect(self, rows: Rows, gap_ts: Samples, payloads: Sequence[bytes]) -> None:
        """The next fill of these rows begins so many timestamp units before a packet that waits."""
        for row, gap, payload in zip(rows.tolist(), gap_ts.tolist(), payloads, strict=True):
            self._ahead[row] = gap, payload

    def ahead(self, fmt: Format, rows: Rows, quiet: NDArray[np.bool_]) -> Ahead:
        """What waits behind the gaps of these rows, which is forgotten: their next fill makes use of it.

        Not where concealment has ended (`quiet`), which may go without it.
        """
        if not self._ahead:
            return NOTHING_AHEAD
        gaps, ends, payloads = array.array("q"), array.array("q"), []
        as_it_is, end = fmt.codec.decode_table is not None, 0
        for i, row in enumerate(rows.tolist()):
            gap, payload = self._ahead.pop(row, (0, b""))
            if payload and not as_it_is:
                payload = b"" if quiet[i] else self._decoded(fmt, row, payload)
            end += len(payload)
            gaps.append(gap)
            ends.append(end)
            payloads.append(payload)
        return gaps, ends, b"".join(payloads)

    @staticmethod
    def _decoded(fmt: Format, row: int, payload: bytes) -> bytes:
        """Samples of a payload in the machine's own order; none where that cannot be looked at."""
        if not can_look_ahead(fmt.codec.samples_for(len(payload)), fmt.line_hz):
            return b""
        pcm = fmt.codec.look_ahead(np.array([row]), np.frombuffer(payload, np.uint8)[None])
        return b"" if pcm is None else pcm.tobytes()

    def frame(
        self, fmt: Format, rows: Rows, samples: int, quiet: NDArray[np.bool_]
    ) -> tuple[Pcm, NDArray[np.uint16]]:
        """One missing frame of each row, and its flags; `quiet` where concealment has ended."""
        table = self._table
        run = table.lost_run[rows]
        asked = table.comfort_until_voice[rows] & (run >= SILENT_RUN)
        start = (run.astype(np.int64) - 1) * samples
        if quiet.any():
            sound = np.zeros((len(rows), samples))
            loud = np.flatnonzero(~quiet)
            if len(loud):
                sound[loud] = self._concealed(fmt, rows[loud], samples, start[loud])
        else:
            sound = self._concealed(fmt, rows, samples, start)
        self.pass_over(rows)
        if int(start.max()) + samples > fmt.line_hz * HOLD_MS // 1000:  # not in the first packets of a loss
            share = np.sqrt(1 - np.square(fade_left(start, samples, fmt.line_hz)))
            share[quiet] = 1
            self.background.add(sound, fmt.line_hz, rows, share, asked)
        flags = np.where(quiet, np.where(asked, FLAG_COMFORT_NOISE, FLAG_GAP), FLAG_CONCEALED)
        return _whole(sound), flags.astype(np.uint16)

    def _concealed(self, fmt: Format, rows: Rows, samples: int, start: Samples) -> Real:
        """By the decoder if it can, else from both sides where the other side is known, else from what was before."""
        if fmt.codec.conceals:
            own = self._by_decoder(fmt, rows, samples, start)
            if own is not None:
                return own
        history = fmt.line_history[rows]
        if not self._ahead:
            return conceal(history, samples, start, fmt.line_hz)
        sound = np.empty((len(rows), samples))
        sizes = np.array([len(self._ahead[row][1]) if row in self._ahead else 0 for row in rows.tolist()])
        for size in np.unique(sizes):
            same = np.flatnonzero(sizes == size)
            if can_look_ahead(fmt.codec.samples_for(int(size)), fmt.line_hz):
                sound[same] = self._between(fmt, rows[same], history[same], samples, start[same], int(size))
            else:
                sound[same] = conceal(history[same], samples, start[same], fmt.line_hz)
        return sound

    def _by_decoder(self, fmt: Format, rows: Rows, samples: int, start: Samples) -> Real | None:
        """The decoder's own concealment, which may find a copy of the last missing frame in the packet behind it.

        It advances the decoder as a packet would have, so a packet that comes after all is no longer decoded.
        From where our noise has taken over, the decoder rests: it has faded too, and nothing asks it any more.
        """
        following: list[bytes] | None = None
        if self._ahead:
            near_ts = int(samples * self._table.clock_hz[rows[0]] // fmt.line_hz) * 3 // 2
            waiting = [self._ahead.get(row, (0, b"")) for row in rows.tolist()]
            following = [payload if gap_ts < near_ts else b"" for gap_ts, payload in waiting]
        pcm = fmt.codec.conceal(rows, samples, following)
        if pcm is None:
            return None
        self._table.ahead_from[rows] = 0  # it joins what it makes up to what follows by itself
        sound = pcm.astype(np.float64)
        if int(start.max()) + samples > fmt.line_hz * HOLD_MS // 1000:
            sound *= fade_left(start, samples, fmt.line_hz)
        return sound

    def _between(
        self, fmt: Format, rows: Rows, history: Pcm, samples: int, start: Samples, size: int
    ) -> Real:
        """Rows whose packet behind the gap has `size` bytes."""
        table = self._table
        waiting = [self._ahead[row] for row in rows.tolist()]
        payload = np.frombuffer(b"".join(data for _, data in waiting), np.uint8).reshape(len(rows), size)
        gap_ts = np.array([gap for gap, _ in waiting], np.int64)
        ahead = fmt.codec.look_ahead(rows, payload)
        if ahead is None:
            return conceal(history, samples, start, fmt.line_hz)
        length = start + gap_ts * fmt.line_hz // table.clock_hz[rows]
        known = np.where(table.ahead_from[rows] < 0, start, table.ahead_from[rows])
        table.ahead_from[rows] = known
        return conceal_between(history, ahead, samples, start, known, length, fmt.line_hz)

    def pass_over(self, rows: Rows) -> None:
        """Their next fill is done: what was expected behind it says nothing of a later one."""
        if self._ahead:
            for row in rows.tolist():
                self._ahead.pop(row, None)

    def forget(self, row: int) -> None:
        """The row ends."""
        self._ahead.pop(row, None)


def _whole(sound: Real) -> Pcm:
    return np.minimum(np.maximum(np.rint(sound), -32768), 32767).astype(np.int16)
