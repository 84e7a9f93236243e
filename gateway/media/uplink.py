# SPDX-License-Identifier: GPL-2.0-or-later
"""Second half of the uplink: payload to PCM, PCM to frames, frames to agents.

    Timeline -> decode | fill -> level -> resample -> cut into frames -> AgentLinks

The caller's packet time is the caller's business: whatever it is, agents get
frames of their own length, each with the position of its first sample.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import FLAG_COMFORT_NOISE, FLAG_CONCEALED, FLAG_GAP, FLAG_SPEECH
from trunkline.agent_bridge.wire import AudioMessage
from trunkline.codecs.compiled import Kernel
from trunkline.codecs.registry import AudioCodec
from trunkline.gateway.media import compiled
from trunkline.gateway.media.arrivals import Arrivals
from trunkline.gateway.media.batch import alike
from trunkline.gateway.media.cutting import Cutter, OddEnds
from trunkline.gateway.media.filling import Filler
from trunkline.gateway.media.fills import Fills
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.hearing import Hearing
from trunkline.gateway.media.straight import Straight
from trunkline.gateway.media.table import Stream, Table
from trunkline.gateway.media.tone_watch import ToneWatch
from trunkline.gateway.media.voice import Change, Voice
from trunkline.gateway.media.withholding import Withholding
from trunkline.rtp.comfort_noise import ComfortNoise

LONGEST_MS = 120
"The longest packet that we believe; Opus has no longer one (RFC 6716 3.2.5)."

DRAWN = 64
"Turns of batches that are drawn at once."

Rows = NDArray[np.intp]
Indices = NDArray[np.intp]
Pcm = NDArray[np.int16]


class FrameSink(Protocol):
    """Takes finished frames (agents.py)."""

    def deliver(self, rows: Rows, positions: NDArray[np.int64], flags: NDArray[np.uint16], pcm: Pcm) -> None:
        """One frame for each row: pcm[n, samples] at the agent's rate."""

    def message(self, rows: Rows, samples: int) -> AudioMessage | None:
        """In place of `deliver`: room for such frames as bytes of our dialect; None where that cannot be."""

    @property
    def index_of_row(self) -> NDArray[np.int64] | None:
        """Number of each row's connection if that takes messages, else -1; None where none does."""

    def message_to(self, index: int, count: int, samples: int) -> AudioMessage | None:
        """The same for rows whose connection this is."""


class Uplink:
    """Turns what the timeline lets through into frames; where the timeline's frames go."""

    def __init__(self, table: Table, sink: FrameSink) -> None:
        self._table = table
        self.sink = sink
        self._filler = Filler(table)
        self.background = self._filler.background
        self._hearing = Hearing(table, self.background)
        self.tones = ToneWatch(table)
        self.voice = Voice(table, self.tones)
        self.fills = Fills(table, self.voice.state)
        self.straight = Straight(table, self.voice, self._filler, self._hearing)
        self.withholding = Withholding(table)
        self.changes: list[tuple[Change, int]] = []
        "callers who have begun to speak or ceased, and where on their agents' timelines; Turns takes them"
        self.hurried = False
        """Fill gaps with digital silence. To make up a frame costs several times what a good one does: a worker
        that is behind, and makes up what only waits at its sockets, falls behind for good."""
        self._waiting: dict[int, Cutter] = {}
        """By frame length: cutters for rows whose packets are not one frame each. An agent's frames never change, so
        what waits in mid-frame survives a change of codec or packet time."""
        self._parts: dict[int, NDArray[np.int64]] = {}
        "by frame length: how much of one waits, i64[capacity]"
        self._odd = OddEnds()
        self._decoders: dict[int, Kernel | None] = {}
        "by format, where there is no more to decoding than a table: a kernel that does it"
        self.drawn = bytes([self.voice.turn | self.background.turn << 1]), 0
        "whose turn it is to teach in batch after batch (1 for the voice, 2 for the background), and which is next"

    def draw(self, batches: int = 1) -> None:
        """So many batches have been heard: whose turn is it in the next?"""
        turns, turn = self.drawn[0], self.drawn[1] + batches
        if turn >= len(turns):
            turns, turn = self._draw_on(), turn - len(turns)
        self.drawn = turns, turn
        self.voice.turn, self.background.turn = turns[turn] & 1 > 0, turns[turn] > 1

    def _draw_on(self) -> bytes:
        voices, backgrounds = (itertools.islice(of.turns, DRAWN) for of in (self.voice, self.background))
        return bytes(voice | background << 1 for voice, background in zip(voices, backgrounds, strict=True))

    def is_plain(self) -> bool:
        """Whether nobody's frames are changed or may wait on their way to the agent."""
        table = self._table
        return not (self.tones.watching or table.muted_up or table.behind or self.withholding.count)

    def part_of_frame(self, fmt: Format) -> NDArray[np.int64]:
        """Samples of each row that wait for the rest of a frame of this length, i64[capacity]."""
        if fmt.frame_samples not in self._parts:
            self._parts[fmt.frame_samples] = np.zeros(self._table.capacity, np.int64)
        return self._parts[fmt.frame_samples]

    def durations(self, arrivals: Arrivals, which: Indices) -> NDArray[np.int64]:
        """Of payloads of different rows, in timestamp units; 0 where impossible."""
        rows = arrivals.rows[which]
        duration = np.zeros(len(rows), np.int64)
        for fmt, part in self._table.formats.groups(rows):
            if fmt.codec.variable:
                samples = fmt.codec.durations(*arrivals.padded(which[part]))
            else:
                samples = _by_size(fmt.codec, arrivals.size[which[part]])
            samples = np.where(samples <= fmt.line_hz * LONGEST_MS // 1000, samples, 0)
            duration[part] = samples * self._table.clock_hz[rows[part]] // fmt.line_hz
        return duration

    def speak(self, arrivals: Arrivals, which: Indices) -> None:
        """Good payloads of different rows, next in order; they may join on to what was made up before them."""
        rows = arrivals.rows[which]
        for fmt, part in self._table.formats.groups(rows):
            of_rows, of_format = rows[part], which[part]
            if fmt.codec.variable:
                self._speak_variable(fmt, of_rows, arrivals, of_format)
                continue
            sizes = arrivals.size[of_format]
            if alike(sizes):
                if self._speak_straight(fmt, of_rows, arrivals, of_format, int(sizes[0])):
                    continue
                self.hear(fmt, of_rows, self._decode(fmt, of_rows, arrivals, of_format), joins=True)
                continue
            for size in np.unique(sizes):
                same = np.flatnonzero(sizes == size)
                pcm = self._decode(fmt, of_rows[same], arrivals, of_format[same])
                self.hear(fmt, of_rows[same], pcm, joins=True)
        self.draw()

    def _speak_straight(self, fmt: Format, rows: Rows, arrivals: Arrivals, which: Indices, size: int) -> bool:
        """The usual: into a message by one kernel, while nobody's frames are changed or may wait; False for others."""
        if not self.is_plain() or self.voice.neural[rows].any():
            return False
        message = self._message(fmt, rows, size) if self.straight.knows(fmt, size) else None
        if message is None:
            return False
        changed = self.straight.write(fmt, rows, arrivals, which, size, message)
        if len(changed):
            self.changed(fmt, changed)
        return True

    def _speak_variable(self, fmt: Format, rows: Rows, arrivals: Arrivals, which: Indices) -> None:
        """Those of a format whose payloads have any length."""
        payload, lengths = arrivals.padded(which)
        kinds = fmt.codec.durations(payload, lengths)
        for kind in np.unique(kinds).tolist():
            same = np.flatnonzero(kinds == kind)
            pcm = fmt.codec.decode_variable(rows[same], payload[same], lengths[same], kind)
            self.hear(fmt, rows[same], pcm, joins=True)

    def _decode(self, fmt: Format, rows: Rows, arrivals: Arrivals, which: Indices) -> Pcm:
        """Payloads of one format and size."""
        size = int(arrivals.size[which[0]])
        if fmt.index not in self._decoders:
            table = fmt.codec.decode_table
            self._decoders[fmt.index] = None if table is None else compiled.bind("decode", table)
        decode = self._decoders[fmt.index]
        if decode is None:
            return fmt.codec.decode(rows, arrivals.payloads(which, size))
        pcm: Pcm = np.empty((len(rows), size), np.int16)
        decode(arrivals.index[which], arrivals.packets, arrivals.start[which], pcm)
        return pcm

    def hear(self, fmt: Format, rows: Rows, pcm: Pcm, *, joins: bool = False) -> None:
        """Good line audio of one format; it may join on to what was made up only if `joins`."""
        level, flags = self.voice.hear(fmt, rows, pcm)
        if self.voice.changes:
            self._place_changes(fmt, pcm.shape[1])
        heard = self._filler.join(fmt, rows, pcm) if joins else pcm
        odd = fmt.up.down > 1 and self._odd.any_among(rows, pcm.shape[1], fmt.up.down)
        if odd or self.tones.watching or not self._hearing.knows(fmt):
            self._filler.remember(fmt, rows, pcm, level)
            self._deliver(fmt, rows, heard, flags)
            return
        rise_db, apart = self._hearing.rise_db(fmt, pcm.shape[1]), self._apart(rows)
        if apart is None:
            self._pass_on(fmt, rise_db, rows, pcm, heard, level, flags)
            return
        for which, straight in ((~apart, True), (apart, False)):
            if which.any():
                batch = rows[which], pcm[which], heard[which], level[which], flags[which]
                self._pass_on(fmt, rise_db, *batch, straight=straight)

    def changed(self, fmt: Format, rows: Rows) -> None:
        """Their callers may have begun or ceased to speak, with a frame that has left already."""
        self.voice.change(fmt, rows, self._table.shared.level_up_dbov[rows])
        if self.voice.changes:
            samples = fmt.frame_samples * fmt.line_hz // fmt.key.agent_rate_hz
            self._place_changes(fmt, samples, left=fmt.frame_samples)

    def _apart(self, rows: Rows) -> NDArray[np.bool_] | None:
        """Those whose frames are changed or wait on their way to the agent; None, nearly always: nobody's are."""
        table = self._table
        if not (table.muted_up or table.behind or self.withholding.count):
            return None
        apart: NDArray[np.bool_] = table.muted_up_rows[rows] | table.behind_rows[rows]
        if self.withholding.count:
            apart |= self.withholding.asks(rows)
        return apart if apart.any() else None

    def _pass_on(
        self, fmt: Format, rise_db: float, rows: Rows, pcm: Pcm, heard: Pcm, level: NDArray[np.float32],
        flags: NDArray[np.uint16], *, straight: bool = True,
    ) -> None:  # fmt: skip
        """By the kernels; `straight` into a message, where there is room for one."""
        message = self._message(fmt, rows, pcm.shape[1]) if straight else None
        if message is None:
            self._cut(fmt, rows, self._hearing.frames(fmt, rise_db, rows, pcm, heard, level), flags)
        else:
            self._hearing.write(fmt, rise_db, rows, pcm, heard, level, flags, message)

    def _message(self, fmt: Format, rows: Rows, samples: int) -> AudioMessage | None:
        """Room for what so many samples of each row become, if that goes on as it is."""
        cutter = self._waiting.get(fmt.frame_samples)
        if fmt.up.output_samples(samples) != fmt.frame_samples or (cutter and cutter.count[rows].any()):
            return None
        return self.sink.message(rows, fmt.frame_samples)

    def expect(self, rows: Rows, gap_ts: NDArray[np.int64], payloads: Sequence[bytes]) -> None:
        """What waits behind the gap that is filled next, so many timestamp units after its beginning."""
        self._filler.expect(rows, gap_ts, payloads)

    def comfort_noise(self, stream: Stream, payload: bytes) -> None:
        """The peer pauses, and says what its background is like (RFC 3389)."""
        noise = ComfortNoise.parse(payload)
        if noise is not None:
            self.background.told(stream.row, noise)

    def fill(self, rows: Rows, duration_ts: int, silent: NDArray[np.bool_]) -> None:
        """One frame that never came, for each row."""
        table = self._table
        for fmt, which in table.formats.groups(rows):
            of_format, quiet = rows[which], silent[which]
            samples = int(duration_ts * fmt.line_hz // table.clock_hz[of_format[0]])
            odd = fmt.up.down > 1 and self._odd.any_among(of_format, samples, fmt.up.down)
            by_decoder = fmt.codec.conceals and not quiet.all()
            if odd or by_decoder or self.tones.watching or not self.fills.knows(fmt, samples):
                self._fill_by_numpy(fmt, of_format, samples, quiet)
            else:
                self._fill_compiled(fmt, of_format, samples, quiet)

    def _fill_compiled(self, fmt: Format, rows: Rows, samples: int, quiet: NDArray[np.bool_]) -> None:
        """The usual: straight into a message, where there is room for one and no frame may wait on its way."""
        if self.hurried:
            self._filler.pass_over(rows)
        ahead = self._filler.ahead(fmt, rows, quiet)
        straight = not self.withholding.count and self._apart(rows) is None
        message = self._message(fmt, rows, samples) if straight else None
        if message is None:
            pcm, flags, ceased = self.fills.frames(fmt, rows, samples, quiet, ahead, hurried=self.hurried)
            if ceased:
                self.place_ceased(fmt, ceased, samples)
            self._cut(fmt, rows, pcm, flags)
        else:
            ceased = self.fills.write(fmt, rows, samples, quiet, ahead, message, hurried=self.hurried)
            if ceased:
                self.place_ceased(fmt, ceased, 0)  # the frame is on the agent's timeline already

    def place_ceased(self, fmt: Format, rows: list[int], samples: int) -> None:
        """These have ceased to speak with a frame that was made up; so much of it is not on their timelines yet."""
        self.voice.ceased(rows)
        self._place_changes(fmt, samples)

    def _fill_by_numpy(self, fmt: Format, rows: Rows, samples: int, quiet: NDArray[np.bool_]) -> None:
        """The same without a kernel, or where one does not do."""
        c = self._table.shared
        if self.hurried:
            pcm = np.zeros((len(rows), samples), np.int16)
            flags = np.full(len(rows), FLAG_GAP, np.uint16)
            self._filler.pass_over(rows)
        else:
            pcm, flags = self._filler.frame(fmt, rows, samples, quiet)
        c.frames_gap[rows] += flags == FLAG_GAP
        c.frames_concealed[rows] += flags == FLAG_CONCEALED
        c.frames_comfort_noise[rows] += flags == FLAG_COMFORT_NOISE
        self.voice.pass_over(fmt, rows, samples)
        if self.voice.changes:
            self._place_changes(fmt, samples)
        self._deliver(fmt, rows, pcm, flags)

    def _place_changes(self, fmt: Format, samples: int, *, left: int = 0) -> None:
        """Where on the agent's timeline the changes are that so many samples have brought.

        They are not on it yet; or, as so many at the agent's rate, they have just `left`.
        """
        rate, cutter = fmt.key.agent_rate_hz, self._waiting.get(fmt.frame_samples)
        for change in self.voice.changes:
            row = change.row
            waiting = 0 if cutter is None else int(cutter.count[row])
            late_ms = samples * 1000 / fmt.line_hz + self.tones.late_ms(row) - change.back_ms
            position = int(self._table.shared.up_position[row]) - left + waiting + round(late_ms * rate / 1000)
            self.changes.append((change, max(position, 0)))
        self.voice.changes.clear()

    def _deliver(self, fmt: Format, rows: Rows, pcm: Pcm, flags: NDArray[np.uint16]) -> None:
        """Line audio of one format: resample it, cut it."""
        if fmt.up.down > 1 and self._odd.any_among(rows, pcm.shape[1], fmt.up.down):
            for row, whole, its_flags in self._odd.whole(rows, pcm, flags, fmt.up.down):
                self._resample(fmt, row, whole, its_flags)
            return
        self._resample(fmt, rows, pcm, flags)

    def _resample(self, fmt: Format, rows: Rows, pcm: Pcm, flags: NDArray[np.uint16]) -> None:
        """Line audio of which the resampler makes a whole number of samples."""
        table = self._table
        if self.tones.watching:
            pcm, flags = self.tones.hear(fmt.line_hz, rows, pcm, flags)
        self._cut(fmt, rows, fmt.up.process_rows(table.up_history, rows, pcm), flags)

    def _cut(self, fmt: Format, rows: Rows, pcm: Pcm, flags: NDArray[np.uint16]) -> None:
        """Audio at the agents' rate: in frames."""
        cutter = self._waiting.get(fmt.frame_samples)
        if pcm.shape[1] == fmt.frame_samples and (cutter is None or not cutter.count[rows].any()):
            self._emit(rows, pcm, flags)
            return
        if cutter is None:
            waiting = self.part_of_frame(fmt)
            cutter = self._waiting[fmt.frame_samples] = Cutter(self._table.capacity, fmt.frame_samples, waiting)
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
        if self._table.muted_up:
            muted = self._table.muted_up_rows[rows]
            pcm = np.where(muted[:, None], np.int16(0), pcm)
            flags = np.where(muted, flags & ~np.uint16(FLAG_SPEECH), flags)
        if self._table.flagged:
            flags = flags | c.up_flags[rows]
            c.up_flags[rows] = 0
        if self.withholding.count:
            self.withholding.pass_on(rows, positions, flags, pcm, self.sink.deliver)
            return
        self.sink.deliver(rows, positions, flags, pcm)

    def release(self, stream: Stream) -> None:
        """Silence that is kept back goes where all else went: what comes next may be for another agent."""
        self.withholding.release(stream.row, self.sink.deliver)

    def change(self, row: int, old: Format) -> None:
        """The row has another format than `old`: what waits at the agent's rate goes on, what does not is owed."""
        lost = self._odd.forget(row)
        packet_s = self._table.shared.rx_ptime_ts[row] / self._table.clock_hz[row]  # the peer's, not ours
        self._table.slip[row] += lost / (old.line_hz * packet_s)
        self._filler.forget(row)

    def forget(self, row: int) -> None:
        """The row ends: drop the part of a frame that waits."""
        for cutter in self._waiting.values():
            cutter.count[row] = cutter.flags[row] = 0
        self._odd.forget(row)
        self._filler.forget(row)
        self.voice.forget(row)


def _by_size(codec: AudioCodec, sizes: NDArray[np.int32]) -> NDArray[np.int64]:
    """Samples in payloads of these sizes."""
    first = int(sizes[0])
    if (sizes == first).all():
        return np.full(len(sizes), codec.samples_for(first), np.int64)
    return np.array([codec.samples_for(size) for size in sizes.tolist()], np.int64)
