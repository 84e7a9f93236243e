# SPDX-License-Identifier: GPL-2.0-or-later
"""A format: everything that rows with the same codec, rates and frame lengths share.

Stages work format by format, because only rows of one format have frames of one
width.  Most gateways run with a single format, so grouping must cost nothing
then: `groups` yields the rows as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.conceal import history_samples
from trunkline.codecs.opus import PACKET_TIMES_MS as OPUS_TIMES_MS
from trunkline.codecs.opus_sending import OpusSettings
from trunkline.codecs.registry import AudioCodec, open_codec
from trunkline.codecs.resample import get_resampler
from trunkline.gateway.media.batch import PACKET_BYTES
from trunkline.gateway.media.frame_queue import FrameQueue
from trunkline.rtp.packet import HEADER_BYTES
from trunkline.rtp.payload import AUDIO_FORMATS

Rows = NDArray[np.intp]


@dataclasses.dataclass(frozen=True)
class FormatKey:
    """What makes two calls alike."""

    codec: str
    agent_rate_hz: int
    frame_ms: int
    "frame of the agent"
    ptime_ms: int
    "packet time that we send"
    queue_ms: int


class Format:
    """Codec, resamplers both ways and the downlink queue of one kind of call."""

    def __init__(self, index: int, key: FormatKey, codec: AudioCodec, shared: _Shared) -> None:
        """Build kernels; `index` is the row's value in `Formats.of_row`."""
        self.index = index
        self.key = key
        self.codec = codec
        line_hz = codec.sample_rate_hz
        self.up = get_resampler(line_hz, key.agent_rate_hz)
        self.down = get_resampler(key.agent_rate_hz, line_hz)
        self.line_hz = line_hz
        self.line_history = shared.line_history(line_hz)
        "good line audio of each row, for concealment"
        self.frame_samples = key.agent_rate_hz * key.frame_ms // 1000
        "one frame to the agent, at its rate"
        self.packet_samples = key.agent_rate_hz * key.ptime_ms // 1000
        "audio of one packet to the caller, at the agent's rate,"
        self.line_samples = line_hz * key.ptime_ms // 1000
        "and at that of the line"
        self.queue = shared.queue(self.packet_samples, max(2, key.queue_ms // key.ptime_ms))


class _Shared:
    """What formats have in common with others: arrays with a place for every row, whose format uses it or not."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._queues: dict[tuple[int, int], FrameQueue] = {}
        self.line_histories: dict[int, NDArray[np.int16]] = {}
        "by rate on the line"

    def queue(self, block_samples: int, limit: int) -> FrameQueue:
        """Queues of such blocks: what waits in them does not depend on the codec."""
        kind = block_samples, limit
        if kind not in self._queues:
            self._queues[kind] = FrameQueue(self._capacity, *kind)
        return self._queues[kind]

    def line_history(self, rate_hz: int) -> NDArray[np.int16]:
        """50 ms of each row."""
        if rate_hz not in self.line_histories:
            self.line_histories[rate_hz] = np.zeros((self._capacity, history_samples(rate_hz)), np.int16)
        return self.line_histories[rate_hz]


class Formats:
    """All formats of a worker, made as calls need them."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.opus: OpusSettings | None = None
        "of all streams that are sent in Opus; set before the first call"
        self._by_key: dict[FormatKey, Format] = {}
        self._codecs: dict[tuple[str, int], AudioCodec] = {}
        """By encoding and the agents' rate, which no call changes: formats that differ in packet times or frames
        share the state of their rows."""
        self._shared = _Shared(capacity)
        self.list: list[Format] = []
        self.of_row: NDArray[np.int16] = np.zeros(capacity, np.int16)
        "index of each row's format"
        self.live: list[Format] = []
        "those that calls have now: peers choose among many in the life of a worker, and each costs a pass"
        self._calls: dict[int, int] = {}
        "by index of the format: how many calls have it"
        self._given: NDArray[np.bool_] = np.zeros(capacity, bool)
        "rows that count in `_calls`"

    def get(self, key: FormatKey) -> Format:
        """The format for `key`, new or known."""
        found = self._by_key.get(key)
        if found is None:
            found = self._new(key)
            self._by_key[key] = found
            self.list.append(found)
        return found

    def _new(self, key: FormatKey) -> Format:
        codec = self._codec(key)
        _check_packets(codec, key.ptime_ms)
        return Format(len(self.list), key, codec, self._shared)

    def _codec(self, key: FormatKey) -> AudioCodec:
        one = key.codec, key.agent_rate_hz
        if one not in self._codecs:
            self._codecs[one] = open_codec(key.codec, self._capacity, key.agent_rate_hz, self.opus)
        return self._codecs[one]

    def wipe(self, row: int) -> None:
        """The row is somebody else's now."""
        for history in self._shared.line_histories.values():
            history[row] = 0

    def give(self, row: int, fmt: Format) -> None:
        """The row's call has this format from now on."""
        self.take_back(row)
        self.of_row[row], self._given[row] = fmt.index, True
        self._calls[fmt.index] = self._calls.get(fmt.index, 0) + 1
        if self._calls[fmt.index] == 1:
            self.live = [*self.live, fmt]

    def take_back(self, row: int) -> None:
        """The row's call is over, or gets another format; `of_row` stays."""
        if not self._given[row]:
            return
        index, self._given[row] = int(self.of_row[row]), False
        self._calls[index] -= 1
        if not self._calls[index]:
            self.live = [fmt for fmt in self.live if fmt.index != index]

    def at(self, row: int) -> Format:
        """The format of one row."""
        return self.list[self.of_row[row]]

    def groups(self, rows: Rows) -> Iterator[tuple[Format, NDArray[np.intp] | slice]]:
        """Each format among `rows`, with the indices into `rows` that have it."""
        if len(self.list) == 1:
            if len(rows):
                yield self.list[0], slice(None)
            return
        kinds = self.of_row[rows]
        for index in np.unique(kinds):
            yield self.list[index], np.flatnonzero(kinds == index)


def _check_packets(codec: AudioCodec, ptime_ms: int) -> None:
    """ValueError, if packets of this time cannot be made: better at the start of a call than in its every tick."""
    if codec.variable and ptime_ms not in OPUS_TIMES_MS:
        raise ValueError(f"{codec.name} has packets of {', '.join(map(str, OPUS_TIMES_MS))} ms, not of {ptime_ms}")
    size = AUDIO_FORMATS[codec.name].bits_per_sample * codec.sample_rate_hz * ptime_ms // 8000
    if size > PACKET_BYTES - HEADER_BYTES:
        raise ValueError(f"{codec.name} at {ptime_ms} ms makes packets of {size} bytes; there is room for fewer")
