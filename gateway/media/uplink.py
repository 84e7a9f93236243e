# SPDX-License-Identifier: GPL-2.0-or-later
"""Second half of the uplink: payload to PCM, PCM to frames, frames to agents.

    Timeline -> decode | fill -> level -> resample -> cut into frames -> AgentLinks

The caller's packet time is the caller's business: whatever it is, agents get
frames of their own length, each with the position of its first sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import FLAG_COMFORT_NOISE, FLAG_CONCEALED, FLAG_GAP, FLAG_SPEECH
from trunkline.codecs.level import level_dbov
from trunkline.gateway.media.filling import Filler
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.table import Stream, Table
from trunkline.gateway.media.tone_watch import ToneWatch
from trunkline.rtp.comfort_noise import ComfortNoise

SPEECH_DBOV = -45.0
"Frames above this level are flagged as speech: a threshold between line noise (-60) and quiet talk (-30)."

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]


class FrameSink(Protocol):
    """Takes finished frames (agents.py)."""

    def deliver(self, rows: Rows, positions: NDArray[np.int64], flags: NDArray[np.uint16], pcm: Pcm) -> None:
        """One frame for each row: pcm[n, samples] at the agent's rate."""


class Uplink:
    """Turns what the timeline lets through into frames; implements `timeline.Speaker`."""

    def __init__(self, table: Table, sink: FrameSink) -> None:
        self._table = table
        self._sink = sink
        self._filler = Filler(table)
        self.tones = ToneWatch(table)
        self.hurried = False
        """Fill gaps with digital silence. To make up a frame costs several times what a good one does: a worker
        that is behind, and makes up what only waits at its sockets, falls behind for good."""
        self._waiting: dict[int, _Cutter] = {}
        "by format: cutters for rows whose packets are not one frame each"

    def decode(self, rows: Rows, payload: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Payloads [n, bytes] of n different rows; durations in timestamp units, 0 where impossible."""
        duration = np.zeros(len(rows), np.int64)
        for fmt, which in self._table.formats.groups(rows):
            samples = fmt.codec.samples_for(payload.shape[1])
            if samples <= 0 or samples > fmt.line_hz * 120 // 1000:  # 120 ms is the longest packet we believe
                continue
            of_format = rows[which]
            duration[which] = samples * self._table.clock_hz[of_format] // fmt.line_hz
            self.hear(fmt, of_format, payload[which], joins=True)
        return duration

    def hear(self, fmt: Format, rows: Rows, payload: NDArray[np.uint8], *, joins: bool = False) -> None:
        """Good payloads [n, bytes] of one format; they may join on to what was made up only if `joins`."""
        pcm = fmt.codec.decode(payload)
        level = level_dbov(pcm)
        self._table.shared.level_up_dbov[rows] = level
        flags = (level > SPEECH_DBOV) * np.uint16(FLAG_SPEECH)
        heard = self._filler.join(fmt, rows, pcm) if joins else pcm
        self._filler.remember(fmt, rows, pcm, level)
        self._deliver(fmt, rows, heard, flags)

    def expect(self, rows: Rows, gap_ts: NDArray[np.int64], payloads: Sequence[bytes]) -> None:
        """What waits behind the gap that is filled next, so many timestamp units after its beginning."""
        self._filler.expect(rows, gap_ts, payloads)

    def comfort_noise(self, stream: Stream, payload: bytes) -> None:
        """The peer pauses, and says what its background is like (RFC 3389)."""
        noise = ComfortNoise.parse(payload)
        if noise is not None:
            self._filler.background.told(stream.row, noise)

    def fill(self, rows: Rows, duration_ts: int, silent: NDArray[np.bool_]) -> None:
        """One frame that never came, for each row."""
        table, c = self._table, self._table.shared
        for fmt, which in table.formats.groups(rows):
            of_format, quiet = rows[which], silent[which]
            samples = int(duration_ts * fmt.line_hz // table.clock_hz[of_format[0]])
            if self.hurried:
                pcm = np.zeros((len(of_format), samples), np.int16)
                flags = np.full(len(of_format), FLAG_GAP, np.uint16)
            else:
                pcm, flags = self._filler.frame(fmt, of_format, samples, quiet)
            c.frames_gap[of_format] += flags == FLAG_GAP
            c.frames_concealed[of_format] += flags == FLAG_CONCEALED
            c.frames_comfort_noise[of_format] += flags == FLAG_COMFORT_NOISE
            self._deliver(fmt, of_format, pcm, flags)

    def _deliver(self, fmt: Format, rows: Rows, pcm: Pcm, flags: NDArray[np.uint16]) -> None:
        """Line audio of one format: resample it, cut it."""
        table = self._table
        if self.tones.watching:
            pcm, flags = self.tones.hear(fmt.line_hz, rows, pcm, flags)
        width = fmt.up.history_samples
        if width:
            pcm, history = fmt.up.process(table.up_history[rows, :width], pcm)
            table.up_history[rows, :width] = history
        cutter = self._waiting.get(fmt.index)
        if pcm.shape[1] == fmt.frame_samples and (cutter is None or not cutter.count[rows].any()):
            self._emit(rows, pcm, flags)
            return
        if cutter is None:
            cutter = self._waiting[fmt.index] = _Cutter(table.capacity, fmt.frame_samples)
        cutter.add(rows, pcm, flags)
        for of_rows, frame, frame_flags in cutter.frames(rows):
            self._emit(of_rows, frame, frame_flags)

    def _emit(self, rows: Rows, pcm: Pcm, flags: NDArray[np.uint16]) -> None:
        """Whole frames: give each its position and let the agent have it."""
        c = self._table.shared
        positions = c.up_position[rows]
        c.up_position[rows] = positions + pcm.shape[1]
        ready = self._table.agent_ready[rows]
        if not ready.all():
            rows, positions, flags, pcm = rows[ready], positions[ready], flags[ready], pcm[ready]
        if not len(rows):
            return
        if self._table.flagged:
            flags = flags | c.up_flags[rows]
            c.up_flags[rows] = 0
        self._sink.deliver(rows, positions, flags, pcm)

    def forget(self, row: int) -> None:
        """The row ends: drop the part of a frame that waits."""
        for cutter in self._waiting.values():
            cutter.count[row] = cutter.flags[row] = 0
        self._filler.forget(row)


class _Cutter:
    """Collects audio of any length and gives it back in frames; flags of the parts are joined."""

    def __init__(self, capacity: int, frame_samples: int) -> None:
        self._frame = frame_samples
        self._audio: Pcm = np.zeros((capacity, frame_samples * 2), np.int16)
        self.count: NDArray[np.int64] = np.zeros(capacity, np.int64)
        self.flags: NDArray[np.uint16] = np.zeros(capacity, np.uint16)

    def add(self, rows: Rows, pcm: Pcm, flags: NDArray[np.uint16]) -> None:
        """Append pcm[n, samples] to n different rows."""
        needed = int(self.count[rows].max()) + pcm.shape[1]
        if needed > self._audio.shape[1]:
            grown = np.zeros((len(self._audio), needed), np.int16)
            grown[:, : self._audio.shape[1]] = self._audio
            self._audio = grown
        columns = self.count[rows][:, None] + np.arange(pcm.shape[1])
        self._audio[rows[:, None], columns] = pcm
        self.count[rows] += pcm.shape[1]
        self.flags[rows] |= flags

    def frames(self, rows: Rows) -> list[tuple[Rows, Pcm, NDArray[np.uint16]]]:
        """Take every whole frame of these rows, oldest first."""
        out: list[tuple[Rows, Pcm, NDArray[np.uint16]]] = []
        while True:
            rows = rows[self.count[rows] >= self._frame]
            if not len(rows):
                return out
            out.append((rows, self._audio[rows, : self._frame].copy(), self.flags[rows].copy()))
            self._audio[rows, : -self._frame] = self._audio[rows, self._frame :]
            self.count[rows] -= self._frame
            self.flags[rows[self.count[rows] == 0]] = 0
