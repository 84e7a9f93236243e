# SPDX-License-Identifier: GPL-2.0-or-later
"""A call's playback beside a model of it: a plain list of samples and marks, in the order in which they were said.

The line has L16, so every sample that is heard can be told from every other.  The model looks at what
leaves, at what the agent is told, and at nothing else; `check` compares.
"""

from __future__ import annotations

import collections
import dataclasses

import msgspec
import numpy as np
from numpy.typing import NDArray

from support.media_rig import MS, DownlinkRig, RecordingLink, running
from trunkline.gateway.media.downlink import FADE_SAMPLES, Downlink
from trunkline.gateway.media.playback import Playback
from trunkline.gateway.media.table import Table

LINE = {"codec": "L16/8000", "send_pt": 97, "receive_pt": 97}
CYCLE = 32_000
"Samples are numbered 1 to this and over again: none is silence."


@dataclasses.dataclass
class Accounts:
    """Samples."""

    said: int = 0
    heard: int = 0
    discarded: int = 0
    "by clear"
    refused: int = 0
    "in packets that the kernel did not take"
    dropped: int = 0
    "found no room"
    left_behind: int = 0
    "waited in a worker that died"


class PlaybackTruth:
    """One call; the methods are what can happen to it."""

    def __init__(self, queue_ms: int = 1000) -> None:
        self.rig = DownlinkRig(queue_ms=queue_ms, **LINE)
        self.sums = Accounts()
        self.waiting: collections.deque[int | str] = collections.deque()
        "samples by number, marks by name"
        self.expected: list[tuple[str, str]] = []
        "marks that must have been settled, and how, in order"
        self.ended = False
        self._names = 0
        self._told = 0
        self._settled: list[tuple[str, str]] = []
        self._nothing_left = False
        "the last packet was refused: marks wait for one that leaves"
        self._position = 0
        self._hook()

    def _hook(self) -> None:
        line, playback = self.rig.downlink, self.rig.playback
        sent, refused = line.on_sent, line.on_refused
        line.on_sent = lambda rows, now_ns: (self._left(), sent(rows, now_ns))[1]
        line.on_refused = lambda rows, samples: (self._refused(int(samples[0])), refused(rows, samples))[1]
        line.pace.look = lambda rows, now_ns: None  # type: ignore[method-assign]  # it leaves out samples; test_pace
        assert playback is not None

    # -- what happens -----------------------------------------------------------------------

    def speak(self, *sizes: int) -> None:
        """A chunk, or several that come at once."""
        numbers = np.arange(self.sums.said, self.sums.said + sum(sizes)) % CYCLE + 1
        at = 0
        for size in sizes:
            piece = numbers[at : at + size].astype(np.int16)
            dropped = self.rig.downlink.push  # the queue says what found no room
            lost: list[int] = []
            self.rig.downlink.push = lambda *a, d=dropped, lost=lost, **k: self._note(d(*a, **k), lost)  # type: ignore[method-assign]
            self.rig.speak(piece)
            self.rig.downlink.push = dropped  # type: ignore[method-assign]
            self._queue(piece.tolist(), lost[0])
            at += size
        self.sums.said += sum(sizes)

    @staticmethod
    def _note(dropped: NDArray[np.int64] | None, lost: list[int]) -> NDArray[np.int64] | None:
        lost.append(0 if dropped is None else int(dropped[0]))
        return dropped

    def _queue(self, piece: list[int], lost: int) -> None:
        self.waiting.extend(piece)
        self._drop(lost)

    def _drop(self, lost: int) -> None:
        """What finds no room is whole blocks, the last ones; what does not fill a block is kept behind them."""
        self.sums.dropped += lost
        total = sum(isinstance(item, int) for item in self.waiting)
        end = total - total % self.rig.table.formats.at(0).queue.block_samples
        kept, at = list[int | str](), 0
        for item in self.waiting:
            if isinstance(item, str) or not end - lost <= at < end:
                kept.append(item)
            at += isinstance(item, int)
        self.waiting = collections.deque(kept)

    @property
    def _queued(self) -> int:
        return int(self.rig.table.formats.at(0).queue.queued_samples(np.array([0]))[0])

    def mark(self) -> None:
        self._names += 1
        name = f"m{self._names}"
        if self.waiting or self._nothing_left:
            self.waiting.append(name)
        else:
            self.expected.append((name, "played"))
        self.rig.playback.mark(self.rig.stream, name)

    def clear(self) -> None:
        self.sums.discarded += sum(isinstance(item, int) for item in self.waiting)
        self.expected += [(item, "cleared") for item in self.waiting if isinstance(item, str)]
        self.waiting.clear()
        self.rig.playback.clear(self.rig.stream, "c")

    def hold(self) -> None:
        """Or come back."""
        media = self.rig.stream.media
        self.rig.table.apply(self.rig.stream, dataclasses.replace(media, send=not media.send))

    def repack(self, ptime_ms: int) -> None:
        """Packets of another length from now on. A queue of whole packets may have less room then."""
        before = self._queued
        self.rig.table.apply(self.rig.stream, dataclasses.replace(self.rig.stream.media, ptime_ms=ptime_ms))
        self._drop(before - self._queued)

    def press(self) -> None:
        self.rig.playback.send_digits(self.rig.stream, "1", 60, 40)

    def refuse(self) -> None:
        """The kernel takes no packet, or takes them again."""
        self.rig.refuse = not self.rig.refuse

    def stall(self, ms: int) -> None:
        """The worker does nothing for a while."""
        self.rig.now_ns += ms * MS
        self.rig.downlink.advance(self.rig.now_ns)

    def replace(self) -> None:
        """The worker dies; another one goes on with the row. What waited is gone, and so is the agent's connection."""
        old = self.rig.stream
        self.sums.left_behind += sum(isinstance(item, int) for item in self.waiting)
        self.waiting.clear()
        self._collect()
        columns, rig = self.rig.table.shared, self.rig
        rig.table = Table(columns)
        rig.downlink = Downlink(rig.table, rig, send_silence=True)
        rig.playback = Playback(rig.table, rig.downlink, rig.posted.append)
        start = msgspec.structs.replace(
            old.start, slot=old.row, generation=int(columns.generation[old.row]), media=old.media
        )
        rig.stream = running(rig.table, start, rig.now_ns)
        assert rig.stream.resumed
        rig.link = RecordingLink()
        rig.stream.link = rig.link  # type: ignore[assignment]
        self._told, self._nothing_left = 0, False
        self._hook()
        rig.downlink.begin(old.row, rig.now_ns)

    def end(self) -> None:
        self.expected += [(item, "cleared") for item in self.waiting if isinstance(item, str)]
        self.rig.playback.end(self.rig.stream)
        self.rig.table.formats.at(0).queue.clear(0)
        self.ended = True

    # -- what left --------------------------------------------------------------------------

    def _left(self) -> None:
        """A packet is with the kernel: its samples are those that waited longest, and what is behind them fades."""
        position = int(self.rig.table.shared.down_position[0])
        count, self._position = position - self._position, position
        heard = np.frombuffer(self.rig.sent[-1][1].payload, ">i2")
        assert [int(sample) for sample in heard[:count]] == [self._take() for _ in range(count)]
        assert not heard[count + FADE_SAMPLES :].any()
        self.sums.heard += count
        self._nothing_left = False
        self._reach()

    def _refused(self, count: int) -> None:
        for _ in range(count):
            self._take()
        self.sums.refused += count
        self._nothing_left = True

    def _take(self) -> int:
        """The next sample; marks before it have had to wait for a packet that leaves, and go with this one."""
        passed = []
        while isinstance(self.waiting[0], str):
            passed.append(self.waiting.popleft())
        sample = self.waiting.popleft()
        self.waiting.extendleft(reversed(passed))
        assert isinstance(sample, int)
        return sample

    def _reach(self) -> None:
        while self.waiting and isinstance(self.waiting[0], str):
            self.expected.append((self.waiting.popleft(), "played"))  # type: ignore[arg-type]

    # -- comparing --------------------------------------------------------------------------

    def _collect(self) -> None:
        for reply in self.rig.link.said[self._told :]:
            if reply.kind == "mark":
                self._settled.append((str(reply.data[0]), str(reply.data[2])))
            elif reply.kind == "cleared":
                self._settled += [(name, "cleared") for name in reply.data[3]]  # type: ignore[attr-defined]
        self._told = len(self.rig.link.said)

    def check(self) -> None:
        """Accounts balance, and every mark that had to be settled was, once, in order, and no other."""
        self._collect()
        assert self._settled == self.expected
        if self.ended:
            return
        queued = self._queued
        assert queued == sum(isinstance(item, int) for item in self.waiting)
        assert int(self.rig.table.shared.down_position[0]) == self.sums.heard
        sums = dataclasses.asdict(self.sums)
        assert sums.pop("said") == sum(sums.values()) + queued
