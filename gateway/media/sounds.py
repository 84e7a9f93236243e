# SPDX-License-Identifier: GPL-2.0-or-later
"""What callers hear in place of their agent: music on hold, a soft tone while an agent is looked for, a farewell.

A sound takes the place of the agent's speech in the packets; it is not the agent's, so it moves neither the
position of what was played nor any mark.  What the agent says meanwhile waits in its queue, as it would behind
other speech, and is heard when the sound has ended.  A sound `under` speech is heard only while the queue is
empty: what a lost agent has left there is played to its end first.

All rows that hear the same sound are one gather: 500 calls that lose their agent at once cost about as much as
500 agents that speak.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.packets import PacketWriter
from trunkline.gateway.media.sound_files import SoundError, at_rate, read_wav
from trunkline.gateway.media.sound_made import BUILT_IN, MADE_HZ, MUSIC, made
from trunkline.gateway.media.table import Stream, Table

FADE_MS = 5
"From what was heard before to the sound: too short to hear, long enough not to click."

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]
Mask = NDArray[np.bool_]


Clips = dict[tuple[str, int], Pcm]
"Sounds by file or name, and rate in Hz"


def load_clips(wanted: Sequence[str]) -> tuple[Clips, list[str]]:
    """Files before there are calls, `rate:path` each, and what is wrong with those that cannot be read any more.

    The gateway has checked them when it started.  What is `BUILT_IN` is made here, too: music takes 40 ms.
    """
    clips: Clips = {}
    problems = []
    for name in BUILT_IN:
        made(name)
    for text in wanted:
        rate, _, path = text.partition(":")
        try:
            clips[path, int(rate)] = at_rate(*read_wav(path), int(rate))
        except SoundError as error:
            problems.append(str(error))
    return clips, problems


class Sounds:
    """Which row hears which sound, and how far it has got."""

    def __init__(self, table: Table, writer: PacketWriter) -> None:
        n = table.capacity
        self._table = table
        self._writer = writer
        self._clips: list[Pcm] = []
        self._index: dict[tuple[str, int], int] = {}
        "(name, rate) -> place in `_clips`"
        self._clip: NDArray[np.int32] = np.full(n, -1, np.int32)
        self._at: NDArray[np.int64] = np.zeros(n, np.int64)
        "next sample"
        self._loop: Mask = np.zeros(n, bool)
        self._under: Mask = np.zeros(n, bool)
        self._from_ns: NDArray[np.int64] = np.zeros(n, np.int64)
        self.playing: set[int] = set()
        "rows that hear a sound, or will in a moment"
        self.on_end: Callable[[Stream], None] = lambda stream: None
        "called when a sound that is not looped has been heard to its end"

    def keep(self, clips: Clips) -> None:
        """Sounds that were loaded before they are needed."""
        for (path, rate_hz), clip in clips.items():
            self._keep(path, rate_hz, clip)

    def load(self, path: str, rate_hz: int) -> None:
        """Read a file before it is needed; raises SoundError."""
        if (path, rate_hz) not in self._index:
            self._keep(path, rate_hz, at_rate(*read_wav(path), rate_hz))

    def play(
        self, stream: Stream, path: str, loop: bool, now_ns: int, *, under: bool = False, after_ms: int = 0
    ) -> int:
        """Let the caller hear a file or one of `BUILT_IN` (empty: the music), in place of another sound.

        A file that can no longer be read is replaced by the music: silence would be taken for a dead line.
        Returns how many ns it lasts.
        """
        row, rate_hz = stream.row, stream.start.agent.sample_rate_hz
        self._clip[row] = self._find(path or MUSIC, rate_hz)
        self._at[row], self._loop[row], self._under[row] = 0, loop, under
        self._from_ns[row] = now_ns + after_ms * 1_000_000
        self.playing.add(row)
        return len(self._clips[self._clip[row]]) * 1_000_000_000 // rate_hz

    def stop(self, stream: Stream) -> None:
        """The agent is heard again; the last sample fades like that of any talkspurt."""
        self.playing.discard(stream.row)
        self._clip[stream.row] = -1

    def stop_under(self, stream: Stream) -> None:
        """Of a sound under speech only: music on hold goes on."""
        if self._under[stream.row]:
            self.stop(stream)

    def hears_over(self, stream: Stream) -> bool:
        """Whether the row hears a sound that speech waits for."""
        return stream.row in self.playing and not self._under[stream.row]

    def _find(self, name: str, rate_hz: int) -> int:
        if (name, rate_hz) not in self._index:
            if name in BUILT_IN:
                self._keep(name, rate_hz, at_rate(made(name), MADE_HZ, rate_hz))
            else:
                try:
                    self.load(name, rate_hz)
                except SoundError:
                    self._index[name, rate_hz] = self._find(MUSIC, rate_hz)
        return self._index[name, rate_hz]

    def _keep(self, name: str, rate_hz: int, clip: Pcm) -> None:
        self._index[name, rate_hz] = len(self._clips)
        self._clips.append(clip)

    # -- packets ----------------------------------------------------------------------------

    def send(self, fmt: Format, rows: Rows, now_ns: int) -> Mask | None:
        """One packet of its sound for each of these rows, all of one format and due now, that hears one.

        Returns which did, None if none; as `PacketWriter.send_tones`.
        """
        clip = self._clip[rows]
        heard = (clip >= 0) & (self._from_ns[rows] <= now_ns)
        heard &= ~self._under[rows] | ((fmt.queue.count[rows] == 0) & (fmt.queue.partial[rows] == 0))
        if not heard.any():
            return None
        table, sounding = self._table, rows[heard]
        pcm = self._frames(sounding, fmt.packet_samples)
        self._soften(sounding, pcm, fmt)
        marker = (table.shared.tx_talking[sounding] == 0) & (table.last_sample[sounding] == 0)
        table.shared.tx_talking[sounding] = 0
        sent, payload_bytes = self._writer.send_audio(fmt, sounding, pcm, marker)
        self._writer.account(sounding, payload_bytes, sent)
        self._move_on(sounding, fmt.packet_samples)
        return np.asarray(heard)

    def _frames(self, rows: Rows, width: int) -> Pcm:
        """The next samples of each row's sound: [n, width], silence behind the end."""
        pcm = np.zeros((len(rows), width), np.int16)
        which = self._clip[rows]
        for index in np.unique(which):
            clip, same = self._clips[index], which == index
            at = self._at[rows[same]][:, None] + np.arange(width)
            over = (at >= len(clip)) & ~self._loop[rows[same]][:, None]
            pcm[same] = np.where(over, 0, clip[at % len(clip)])
        return pcm

    def _soften(self, rows: Rows, pcm: Pcm, fmt: Format) -> None:
        """The beginning of a sound, in place: out of what was heard last."""
        fresh = np.flatnonzero(self._at[rows] == 0)
        if len(fresh):
            n = min(fmt.key.agent_rate_hz * FADE_MS // 1000, pcm.shape[1])
            rise = np.arange(1, n + 1, dtype=np.float32) / (n + 1)
            last = self._table.last_sample[rows[fresh]].astype(np.float32)[:, None]
            pcm[fresh, :n] = (pcm[fresh, :n] * rise + last * (1 - rise)).astype(np.int16)

    def _move_on(self, rows: Rows, width: int) -> None:
        self._at[rows] += width
        lengths = np.array([len(self._clips[index]) for index in self._clip[rows]])
        for row in rows[~self._loop[rows] & (self._at[rows] >= lengths)].tolist():
            stream = self._table.streams[row]
            if stream is not None:
                self.stop(stream)
                self.on_end(stream)
